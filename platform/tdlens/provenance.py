"""What made a result: the source's commit, the versions of the packages, the device."""

import os
import platform
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

PACKAGES = (
    *("tdlens", "numpy", "pandas", "safetensors", "scipy"),
    *("deepspeed", "sqlalchemy", "tokenizers", "torch", "transformers"),
    *("gymnasium", "sb3-contrib", "stable-baselines3"),
)
ROOMS = ("platform", "envs", "sae", "jobs", "migrations")


@dataclass(frozen=True)
class Provenance:
    """The circumstances of one job."""

    git_commit: str | None
    """Commit of the source checkout; of an installed package what TDLENS_COMMIT says, as our image does, or None."""

    git_dirty: bool | None
    """Whether the source differed from that commit; None where nobody can tell."""

    versions: dict[str, str]
    """Version of Python and of each package that results may depend on."""

    device: str
    """What computed, for people: the GPU's or the CPU's model."""


def provenance(device: str = "cpu") -> Provenance:
    """The circumstances now. `device` is torch's name of the device: cpu, cuda, cuda:1; or several: 8 x cuda."""
    commit, dirty = _git()
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return Provenance(commit, dirty, versions, describe_device(device))


def source_root() -> Path | None:
    """The top folder of the source checkout this package is imported from, or None when it is installed."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / "migrations" / "env.py").is_file() else None


def describe_device(device: str) -> str:
    """The device's model and, for a CPU, how many cores this process may use."""
    if "cuda" in device:
        import torch

        one = device if device.startswith("cuda") else "cuda"
        return f"{device}: {torch.cuda.get_device_name(one)}"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{device}: {_cpu_model()}, {cores} cores"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _git() -> tuple[str | None, bool | None]:
    root = source_root()
    # Without this test an unpacked archive inside some other repository would claim that repository's commit.
    if root is None or not (root / ".git").exists():
        return os.environ.get("TDLENS_COMMIT") or None, None
    try:
        commit = _run_git(root, "rev-parse", "HEAD").strip()
        return commit, bool(_run_git(root, "status", "--porcelain", "--", *ROOMS))
    except (OSError, subprocess.CalledProcessError):
        return None, None


def _run_git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
