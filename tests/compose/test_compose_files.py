"""The compose file and the Dockerfile, as far as they can be checked without an engine."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    loaded: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
    return loaded


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


def test_the_dockerfile_is_linted() -> None:
    linted = tool("hadolint", "Dockerfile")
    assert linted.returncode == 0 and linted.stdout == "", linted.stdout


def test_ports_are_published_on_loopback_alone(services: dict[str, dict[str, Any]]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 2 and all(port.startswith("127.0.0.1:") for port in ports)


def test_passwords_come_from_the_environment_and_have_no_default() -> None:
    text = COMPOSE.read_text()
    asked = set(re.findall(r"\$\{(\w*PASSWORD)", text))
    assert asked == {"POSTGRES_PASSWORD", "TDLENS_DB_PASSWORD", "MLFLOW_DB_PASSWORD"}
    assert len(re.findall(r"\$\{\w*PASSWORD:\?", text)) == len(re.findall(r"\$\{\w*PASSWORD", text))
    example = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert {name for name, value in example.items() if not value} == asked
    assert example.keys() - asked <= set(re.findall(r"\$\{(\w+)", text))
    assert ".env" in (ROOT / ".gitignore").read_text().split()


def test_tdlens_and_mlflow_have_a_database_and_a_role_each(services: dict[str, dict[str, Any]]) -> None:
    ours = services["worker"]["environment"]["TDLENS_DATABASE_URL"]
    theirs = services["mlflow"]["environment"]["MLFLOW_BACKEND_STORE_URI"]
    assert ours.startswith("postgresql+psycopg://tdlens:") and ours.endswith("@db:5432/tdlens")
    assert theirs.startswith("postgresql+psycopg://mlflow:") and theirs.endswith("@db:5432/mlflow")
    assert "TDLENS_DATABASE_URL" not in services["mlflow"]["environment"]


def test_nothing_starts_before_the_schemas_are_there(services: dict[str, dict[str, Any]]) -> None:
    assert services["migrate"]["depends_on"] == {"db": {"condition": "service_healthy"}}
    for name in ("mlflow", "worker", "demo"):
        assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    for name in ("db", "mlflow"):
        assert "healthcheck" in services[name] and services[name]["restart"] == "unless-stopped"


def test_the_server_answers_to_the_services_name(services: dict[str, dict[str, Any]]) -> None:
    allowed = services["mlflow"]["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert {"mlflow", "mlflow:*", "localhost:*", "127.0.0.1:*"} <= set(allowed)


def test_containers_of_ours_are_locked_down(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        if name != "db":
            assert service["read_only"] and service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    assert re.search(r"^USER \d+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)


def test_a_worker_has_longer_to_stop_than_its_unit(services: dict[str, dict[str, Any]]) -> None:
    command, grace = services["worker"]["command"], services["worker"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > int(command[command.index("--grace") + 1])


def test_what_is_copied_into_the_image_is_there() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert len(kept) > 5 and all((ROOT / path).exists() for path in kept)
