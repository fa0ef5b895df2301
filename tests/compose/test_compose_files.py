"""The compose file and the Dockerfile without an engine; docker/rehearsal.sh tries them with one."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "Dockerfile"

Services = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def services() -> Services:
    loaded: Services = yaml.safe_load(COMPOSE.read_text())["services"]
    return loaded


@pytest.fixture(scope="module")
def ours(services: Services) -> Services:
    """All that run the image made here."""
    return {name: service for name, service in services.items() if name != "db"}


def tool(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).parent / name), *arguments], cwd=ROOT, capture_output=True, text=True
    )


def test_the_compose_file_follows_the_specification(tmp_path: Path) -> None:
    schema = ("check-jsonschema", "--builtin-schema", "vendor.compose-spec")
    checked = tool(*schema, str(COMPOSE))
    assert checked.returncode == 0, checked.stdout
    broken = tmp_path / "docker-compose.yml"
    broken.write_text(COMPOSE.read_text().replace("healthcheck:", "health_check:"))
    assert tool(*schema, str(broken)).returncode == 1


def test_the_dockerfile_is_linted(tmp_path: Path) -> None:
    linted = tool("hadolint", str(DOCKERFILE))
    assert linted.returncode == 0 and linted.stdout == "", linted.stdout
    broken = tmp_path / "Dockerfile"
    broken.write_text(re.sub(r"^USER .*$", "USER root", DOCKERFILE.read_text(), flags=re.MULTILINE))
    assert "DL3002" in tool("hadolint", str(broken)).stdout


def test_ports_are_published_on_loopback_alone(services: Services) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 2 and all(port.startswith("127.0.0.1:") for port in ports)
    assert not any("network_mode" in service for service in services.values())


def test_passwords_come_from_the_environment_and_have_no_default() -> None:
    text = COMPOSE.read_text()
    asked = set(re.findall(r"\$\{(\w*PASSWORD)", text))
    assert asked == {"POSTGRES_PASSWORD", "TDLENS_DB_PASSWORD", "MLFLOW_DB_PASSWORD"}
    assert len(re.findall(r"\$\{\w*PASSWORD:\?", text)) == len(re.findall(r"\$\{\w*PASSWORD", text))
    example = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert {name for name, value in example.items() if not value} == asked
    assert example.keys() - asked <= set(re.findall(r"\$\{(\w+)", text))
    assert ".env" in (ROOT / ".gitignore").read_text().split()


def test_nobody_is_given_a_password_he_does_not_need(services: Services) -> None:
    given = {
        name: {variable for variable in re.findall(r"\$\{(\w*PASSWORD)", str(service["environment"]))}
        for name, service in services.items()
    }
    assert given["db"] == {"POSTGRES_PASSWORD"} and given["mlflow"] == {"MLFLOW_DB_PASSWORD"}
    assert given["worker"] == given["worker-gpu"] == given["demo"] == {"TDLENS_DB_PASSWORD"}


def test_tdlens_and_mlflow_have_a_database_and_a_role_each(services: Services) -> None:
    # Addresses without a password: one with a slash in it would have to be escaped.
    assert services["worker"]["environment"]["TDLENS_DATABASE_URL"] == "postgresql+psycopg://tdlens@db:5432/tdlens"
    mlflow = services["mlflow"]["environment"]
    assert mlflow["MLFLOW_BACKEND_STORE_URI"] == "postgresql+psycopg://mlflow@db:5432/mlflow"
    assert "TDLENS_DATABASE_URL" not in mlflow


def test_nothing_starts_before_the_schemas_are_there(services: Services) -> None:
    assert services["migrate"]["depends_on"] == {"db": {"condition": "service_healthy"}}
    assert services["migrate"]["restart"] == "no"
    for name in ("mlflow", "worker", "worker-gpu", "demo"):
        assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert services["demo"]["depends_on"]["mlflow"] == {"condition": "service_healthy"}
    for name in ("worker", "worker-gpu"):
        assert "mlflow" not in services[name]["depends_on"], "workers don't use it: it only shows a copy"


def test_servers_are_asked_how_they_are_and_come_back(services: Services) -> None:
    assert "pg_isready" in services["db"]["healthcheck"]["test"]
    assert "--host=127.0.0.1" in services["db"]["healthcheck"]["test"]
    assert "http://127.0.0.1:5000/health" in services["mlflow"]["healthcheck"]["test"][-1]
    for name in ("db", "mlflow"):
        assert services[name]["healthcheck"]["retries"] > 5
        assert int(services[name]["healthcheck"]["start_period"].removesuffix("s")) >= 60
    for name in ("db", "mlflow", "worker", "worker-gpu"):
        assert services[name]["restart"] == "unless-stopped"


def test_mlflow_answers_to_the_services_name_and_does_no_more_than_it_must(services: Services) -> None:
    mlflow = services["mlflow"]["environment"]
    names = {"mlflow", "mlflow:*", "localhost", "localhost:*", "127.0.0.1", "127.0.0.1:*"}
    assert set(mlflow["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")) == names
    assert mlflow["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert "--serve-artifacts" in services["mlflow"]["command"]
    assert mlflow["MLFLOW_ARTIFACTS_DESTINATION"] == "/artifacts"
    for name, service in services.items():
        assert name == "db" or service["environment"]["MLFLOW_DISABLE_TELEMETRY"] == "true", name
    assert services["worker"]["environment"]["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"


def test_what_must_last_lies_in_volumes(services: Services, ours: Services) -> None:
    assert services["db"]["volumes"] == ["db:/var/lib/postgresql/data"]
    assert services["mlflow"]["volumes"] == ["artifacts:/artifacts"]
    for name, service in ours.items():
        if name != "mlflow":
            assert service["volumes"] == ["home:/data"] and service["environment"]["TDLENS_HOME"] == "/data", name
    assert set(yaml.safe_load(COMPOSE.read_text())["volumes"]) == {"db", "home", "artifacts"}
    # a new volume takes the owner of the folder that the image has in its place
    assert "--owner tdlens --group tdlens /data /artifacts" in DOCKERFILE.read_text()


def test_containers_are_locked_down(services: Services, ours: Services) -> None:
    for name, service in services.items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged") and "user" not in service, name
    for name, service in ours.items():
        assert service["read_only"] and service["cap_drop"] == ["ALL"] and service["tmpfs"] == "/tmp", name
        assert service["init"], name


def test_the_image_has_two_targets_runs_as_nobody_and_installs_nothing_at_start(ours: Services) -> None:
    stages = re.split(r"^FROM ", DOCKERFILE.read_text(), flags=re.MULTILINE)
    runtime = next(stage for stage in stages if "AS runtime" in stage.splitlines()[0])
    assert re.search(r"^USER [1-9]\d*$", runtime, re.MULTILINE)
    final = [stage for stage in stages if stage.startswith("runtime AS ")]
    assert [stage.split()[2] for stage in final] == ["cuda", "cpu"]
    assert all("USER" not in stage and "RUN" not in stage for stage in final)
    for name, service in ours.items():
        assert not re.search(r"\b(pip|apt|install)\b", str(service["command"])), name


def test_images_are_pinned_and_ours_is_built_once_and_never_pulled(services: Services, ours: Services) -> None:
    assert re.search(r"^ARG PYTHON_IMAGE=(\S+)", DOCKERFILE.read_text(), re.MULTILINE)
    pinned = re.findall(r"\$\{\w+_IMAGE:-(\S+)\}", COMPOSE.read_text())
    pinned += re.findall(r"^ARG PYTHON_IMAGE=(\S+)", DOCKERFILE.read_text(), re.MULTILINE)
    assert len(pinned) == 3 and all(re.search(r":\d+\.\d+", image) for image in pinned)
    assert pinned[1] == pinned[2]
    assert all(service["pull_policy"] == "never" for service in ours.values())
    builders = {name: service["image"] for name, service in services.items() if "build" in service}
    assert builders == {"migrate": "tdlens:cpu", "worker-gpu": "tdlens:cuda"}


def test_workers_can_be_many_and_have_longer_to_stop_than_their_unit(services: Services) -> None:
    assert not {"container_name", "ports", "hostname"} & services["worker"].keys()
    for name in ("worker", "worker-gpu"):
        command, grace = services[name]["command"], services[name]["stop_grace_period"]
        assert int(grace.removesuffix("s")) > int(command[command.index("--grace") + 1])


def test_optional_services_start_only_when_asked_for(services: Services) -> None:
    assert {name: service["profiles"] for name, service in services.items() if "profiles" in service} == {
        "demo": ["demo"],
        "worker-gpu": ["gpu"],
    }
    study = services["demo"]["command"][-1]
    assert (ROOT / study).is_file()


def test_what_is_copied_into_the_image_is_there() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert len(kept) > 5 and all((ROOT / path).exists() for path in kept)
    copied = re.findall(r"^COPY (?:--chmod=\d+ )?([^.\s-]\S*) /?\S+$", DOCKERFILE.read_text(), re.MULTILINE)
    assert len(copied) >= 3 and all(path in kept for path in copied)
