"""Models of the Hugging Face hub: their files in the local cache, and what to do when they can't be had."""

from __future__ import annotations

import errno
import re
import shutil
from pathlib import Path
from typing import Any

from huggingface_hub import constants, get_token, snapshot_download
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    DryRunError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,  # of the client that huggingface_hub uses, whichever it is
    IncompleteSnapshotError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils.tqdm import tqdm

from jobs.inference.progress import Advance, Progress, silent
from tdlens.errors import UserError

MAIN = "main"
"""The branch that holds a repository's newest revision."""
COMMIT = re.compile(r"[0-9a-f]{40}")
CONFIGURATION = ["*.json", "*.model", "*.txt", "*.jinja"]
WEIGHTS = ["*.safetensors"]
LOG_IN = "log in with `hf auth login` or set HF_TOKEN"


def download(model: str, revision: str = MAIN, *, weights: bool = True, progress: Progress = silent) -> Path:
    """The local copy of a hub repository at one revision; only what isn't in the cache yet is downloaded.

    A commit hash whose files are all here needs no network; a branch or tag needs it to learn what it stands for,
    and without a network stands for what it did last.

    Args:
        model: id of the repository, ``organisation/name``.
        revision: a commit hash, branch or tag.
        weights: whether to download them too.
        progress: shows how far the download is, in MB.

    Returns:
        A folder whose name is the commit hash.

    Raises:
        UserError: whatever stands between the user and the model, with its remedy. No token is ever shown.
    """
    token = get_token() or ""
    if not token.isascii():
        raise UserError("The Hugging Face token has characters that no token has.", f"Copy it again: {LOG_IN}.")
    wanted: dict[str, Any] = {
        "repo_id": model,
        "revision": revision,
        "allow_patterns": CONFIGURATION + (WEIGHTS if weights else []),
        "ignore_patterns": ["original/*"],
    }
    try:
        if COMMIT.fullmatch(revision):
            try:
                return Path(snapshot_download(**wanted, local_files_only=True))
            except LocalEntryNotFoundError:
                pass
        try:
            files = snapshot_download(**wanted, dry_run=True)
        except DryRunError as error:
            return _cached(wanted, error)
        megabytes = sum(file.file_size or 0 for file in files if file.will_download) / 1e6
        _refuse_full_disk(model, megabytes)
        with progress(f"download {model} (MB)", megabytes) as advance:
            return Path(snapshot_download(**wanted, tqdm_class=_bar(advance)))
    except (OSError, HTTPError, HFValidationError, RuntimeError) as error:
        raise _explained(model, revision, error, token) from error


def _cached(wanted: dict[str, Any], refused: DryRunError) -> Path:
    """What was downloaded before, where the hub can't be asked or doesn't answer as hoped."""
    try:
        return Path(snapshot_download(**wanted, local_files_only=True))
    except IncompleteSnapshotError:
        raise
    except LocalEntryNotFoundError:
        raise refused from refused.__cause__


def _bar(advance: Advance) -> type[tqdm]:
    """A class of progress bars of which the one that counts the bytes of all files moves ours."""

    class Bar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._counts = kwargs.get("name") == "huggingface_hub.snapshot_download"
            super().__init__(*args, **kwargs | {"disable": True})  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> None:
            if self._counts:
                advance((n or 0) / 1e6)

    return Bar


def _refuse_full_disk(model: str, megabytes: float) -> None:
    cache = Path(constants.HF_HUB_CACHE)
    place = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = shutil.disk_usage(place).free / 1e6
    if megabytes > free:
        raise OSError(errno.ENOSPC, f"{model} needs {megabytes / 1e3:.1f} GB more, and {free / 1e3:.1f} GB are free")


def _explained(model: str, revision: str, error: Exception, token: str) -> UserError:
    while isinstance(error, DryRunError | LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    page = f"{constants.ENDPOINT}/{model}"
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if token:
        reason = reason.replace(token, "…")
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    match error:
        case GatedRepoError() if not token:
            return UserError(
                f"{model} is gated: its licence must be accepted first, and there is no token on this machine.",
                f"Accept the licence at {page}, then {LOG_IN}.",
            )
        case GatedRepoError():
            return UserError(
                f"{model} is gated, and the account of this machine's token may not download it.",
                f"Accept the licence at {page} with that account, wait until it is granted (the page says so), "
                f"or {LOG_IN} of an account that has it.",
            )
        case RevisionNotFoundError():
            return UserError(
                f"{model} has no revision {revision!r}.",
                f"Set model.revision to a commit, branch or tag of {page}/commits/main, or leave it out.",
            )
        case RepositoryNotFoundError():
            return UserError(
                f"There is no model at {model}, neither as a folder nor on the Hugging Face hub, "
                "or it is private and not yours to read.",
                f"Check the spelling; for a private model {LOG_IN}.",
            )
        case HfHubHTTPError() if status == 401:
            return UserError(
                f"The hub doesn't accept this machine's token ({reason}).", f"Make a new one and {LOG_IN}."
            )
        case HfHubHTTPError() if status == 403:
            return UserError(
                f"The token of this machine may not read {model} ({reason}).",
                "In the token's settings allow it to read public gated repositories, or make a token of type read.",
            )
        case IncompleteSnapshotError():
            return UserError(
                f"Some files of {model} aren't in the cache ({constants.HF_HUB_CACHE}), and the hub can't be asked.",
                "Run again with a network (and without HF_HUB_OFFLINE): only what is missing is downloaded.",
            )
        case HFValidationError():
            return UserError(
                f"There is no model at {model}, neither as a folder nor on the Hugging Face hub ({reason}).",
                "Check the spelling: a hub id is organisation/name.",
            )
        case OfflineModeIsEnabled():
            return UserError(
                f"{model} is no folder here, isn't complete in the hub's cache ({constants.HF_HUB_CACHE}), and "
                "HF_HUB_OFFLINE forbids to ask the hub.",
                "Unset HF_HUB_OFFLINE; without a network, copy the model here and give its folder.",
            )
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return UserError(
                f"The disk of the Hugging Face cache, {constants.HF_HUB_CACHE}, is full: {reason}.",
                "Free some space, or put the cache elsewhere with HF_HOME; files that are whole are kept.",
            )
    return UserError(
        f"{model} can't be downloaded ({reason}).",
        "Check the network and run again: only what is missing is downloaded. Without a network, copy the model here "
        "and give its folder.",
    )
