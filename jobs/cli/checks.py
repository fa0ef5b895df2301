"""Checks of the installation: packages, folder, threads, devices, the shipped models, MLflow."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import InvalidRequirement, Requirement

from tdlens.errors import UserError
from tdlens.provenance import describe_device, source_root
from tdlens.settings import Settings

LOW_SPACE = 5 * 2**30
"""Bytes below which a study may not fit."""


@dataclass(frozen=True)
class Check:
    """One thing looked at."""

    name: str
    state: Literal["ok", "warn", "fail"]
    finding: str
    remedy: str = ""
    details: tuple[str, ...] = ()


def check_installation(settings: Settings) -> Iterator[Check]:
    """Everything that doesn't need the database."""
    yield _packages()
    yield _home(settings.home)
    yield _threads()
    yield _device()
    yield from _shipped_models()
    yield _mlflow(settings)


def _packages() -> Check:
    python = f"Python {platform.python_version()}"
    broken = [
        f"{text}: {installed or 'not installed'}"
        for text in metadata.requires("tdlens") or []
        if not _holds(Requirement(text), installed := _version(Requirement(text).name))
    ]
    if broken:
        return Check("packages", "fail", python, "Install again: make install", tuple(broken))
    root = source_root()
    file = root / "constraints.txt" if root else None
    if file is None or not file.is_file():
        return Check("packages", "ok", f"{python}; requirements met")
    pins = [_pin(line) for line in file.read_text().splitlines()]
    other = [
        f"{pin}: {installed}"
        for pin in pins
        if pin and (installed := _version(pin.name)) and not _holds(pin, installed)
    ]
    if other:
        finding = f"{python}; {len(other)} packages differ from the tested versions"
        return Check("packages", "warn", finding, "If results differ: make install", tuple(other))
    return Check("packages", "ok", f"{python}; versions as tested")


def _pin(line: str) -> Requirement | None:
    try:
        return Requirement(line.partition("#")[0].strip())
    except InvalidRequirement:
        return None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _holds(requirement: Requirement, installed: str | None) -> bool:
    if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
        return True
    return installed is not None and requirement.specifier.contains(installed, prereleases=True)


def _home(home: Path) -> Check:
    place = home
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        return Check("TDLENS_HOME", "fail", f"{home} can't be written", "Set TDLENS_HOME to a folder of yours.")
    free = shutil.disk_usage(place).free
    finding = f"{home}, {free / 2**30:.1f} GiB free"
    if free < LOW_SPACE:
        return Check("TDLENS_HOME", "warn", finding, "Free some space, or move TDLENS_HOME to a larger disk.")
    return Check("TDLENS_HOME", "ok", finding)


def _threads() -> Check:
    from jobs.cores import available_cores

    cores, wanted = available_cores(), os.environ.get("OMP_NUM_THREADS")
    if wanted is None:
        return Check("threads", "ok", f"{cores}, as many as there are cores for this process")
    finding = f"{wanted} of {cores} cores (OMP_NUM_THREADS)"
    if not wanted.isdecimal() or int(wanted) > cores:
        return Check("threads", "warn", finding, f"Unset OMP_NUM_THREADS, or set it to {cores} at most.")
    return Check("threads", "ok", finding)


def _device() -> Check:
    import torch

    if not torch.cuda.is_available():
        return Check("devices", "ok", describe_device("cpu"))
    devices = [describe_device(f"cuda:{index}") for index in range(torch.cuda.device_count())]
    return Check("devices", "ok", "; ".join(devices))


def _shipped_models() -> Iterator[Check]:
    from jobs.inference.files import SHIPPED, find_model

    for model in SHIPPED:
        try:
            folder = find_model(model).folder
        except UserError as error:
            yield Check(f"{model} model", "warn", error.message, error.remedy)
            continue
        size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        yield Check(f"{model} model", "ok", f"{folder}, {size / 1e6:.1f} MB")


def _mlflow(settings: Settings) -> Check:
    from tdlens.tracking import reach, tracking_uri

    uri = tracking_uri(settings)
    if uri == settings.mlflow_uri and not (settings.home / "mlflow.db").exists():
        return Check("MLflow", "ok", "nothing there yet; the next run or tdlens sync-mlflow writes it")
    try:
        return Check("MLflow", "ok", f"{uri}, {reach(settings)}")
    except UserError as error:
        return Check("MLflow", "warn", error.message, error.remedy)
