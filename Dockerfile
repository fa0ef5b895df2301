# One image for the command line, the workers, migrations and the MLflow server. Targets: cpu (the default), cuda.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
RUN python -m venv /opt/tdlens
ENV PATH=/opt/tdlens/bin:$PATH
COPY constraints.txt ./

# The registry's own torch for Linux is the CUDA build, of several gigabytes; the CPU build has an index of its own.
# Wheels put into docker/wheels are preferred to downloads. TORCH_INDEX="" takes torch from there, or from a mirror.
FROM build AS build-cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=bind,source=docker/wheels,target=/wheels \
    pip install --constraint constraints.txt --find-links /wheels ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=bind,source=docker/wheels,target=/wheels \
    pip install --constraint constraints.txt --find-links /wheels .

FROM build AS build-cuda
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=bind,source=docker/wheels,target=/wheels \
    pip install --constraint constraints.txt --find-links /wheels . \
    && python -c 'import sys, torch; sys.exit(not torch.version.cuda and "docker/wheels has a torch without CUDA")'

FROM ${PYTHON_IMAGE} AS runtime
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin tdlens \
    && install --directory --owner tdlens --group tdlens /data /artifacts
# Everything that is written lies in a volume or in /tmp, so that the root file system can be read-only.
ENV PATH=/opt/tdlens/bin:$PATH \
    HOME=/tmp \
    HF_HOME=/data/huggingface \
    MPLCONFIGDIR=/tmp/matplotlib \
    PYTHONUNBUFFERED=1 \
    TDLENS_HOME=/data
# Readable to that user whatever the checkout's modes are.
COPY --chmod=755 docker/migrate.py /srv/docker/
COPY --chmod=755 studies /srv/studies
# What the record gives as the commit of results.
ARG COMMIT=""
ENV TDLENS_COMMIT=${COMMIT}
WORKDIR /srv
USER 10001
CMD ["tdlens", "worker"]

FROM runtime AS cuda
COPY --from=build-cuda /opt/tdlens /opt/tdlens

FROM runtime AS cpu
COPY --from=build-cpu /opt/tdlens /opt/tdlens
