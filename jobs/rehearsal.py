"""A rehearsal: the exact study on a model of random weights, cut to a few blocks, in a record of its own.

Prompts, batches, precision, captures, autoencoders, statistics, interventions, engine and its layout are the study's.
Random are the weights, cut is the depth, and fewer rollouts are played. What a user got wrong shows in minutes.
"""

from __future__ import annotations

import copy
import resource
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import Progress
from transformers import AutoConfig

from envs import TASKS
from jobs.inference.files import INDEX, ModelFiles, find_model
from jobs.inference.layout import Layout, Node, choose
from jobs.inference.models import DTYPES, find_device
from jobs.inference.progress import shown_on
from jobs.inference.random_weights import write_random_model
from jobs.inference.shapes import ModelShape, shipped_names
from jobs.inference.weights import unloadable
from jobs.report import write_report
from jobs.sections import FEWEST_ROLLOUTS, InterventionSection, ModelSection, ParallelSection
from jobs.selection import blocks_from
from jobs.study import Study
from jobs.worker.inline import COLUMNS, run_study
from tdlens.errors import DiskFull, UserError
from tdlens.record import Record
from tdlens.settings import Settings

FORWARD = {"play", "compare", "harvest", "intervene"}
BY_BLOCK = {"train_sae", "correlate", "rank", "td_parts", "represent"}


@dataclass(frozen=True)
class Cut:
    """What a rehearsal leaves of a study."""

    depth: int
    """Decoder blocks of the model."""
    blocks: int
    """Of these the rehearsal has so many."""
    whole: Study
    study: Study
    """The study with fewer rollouts, and with blocks that the rehearsal's model has."""

    def most(self, stage: str) -> float | None:
        """The whole study takes at most so many times longer; None if the stage doesn't grow.

        Every stage has a part that doesn't grow at all, and larger batches are cheaper by the row.
        """
        longer = self.whole.task.rollouts / self.study.task.rollouts
        if stage in FORWARD:
            return longer * self.depth / self.blocks
        if stage in BY_BLOCK:
            return longer * _captured(self.whole, self.depth) / _captured(self.study, self.blocks)
        return None if stage == "published" else longer


@dataclass(frozen=True)
class StageTime:
    """What a stage took."""

    stage: str
    units: int
    seconds: float
    most: float | None
    """Seconds that the whole study takes for it at most, on the same machine; None if as many."""


@dataclass(frozen=True)
class Measured:
    """What a rehearsal found."""

    stages: tuple[StageTime, ...]
    tokens_per_second: float
    """Tokens of text that the model read or wrote while playing, over the seconds of that stage."""
    host_bytes: int
    """Most memory of this process."""
    child_bytes: int
    """Most memory of one of the processes that it started, ranks among them."""
    gpu_bytes: int
    """Most memory that this process allocated on a GPU; what ranks allocate isn't among it."""
    report: Path | None
    """The page of its report, if one was wanted."""


def cut(study: Study, depth: int, blocks: int, rollouts: int) -> Cut:
    """A study on a model of ``depth`` blocks, cut to ``blocks`` of them and to so many rollouts a variant.

    Raises:
        UserError: the study names a block that its model doesn't have.
    """
    blocks = min(blocks, depth)
    wanted = [] if study.capture.blocks == "all" else list(study.capture.blocks)
    wanted += [section.block for section in study.intervention if section.block != "best"]
    missing = [block for block in wanted if not 0 <= block <= depth]
    if missing:
        raise UserError(
            f"There is no block {missing[0]}: the model has {depth}, and 0 is the embedding.",
            f"Choose blocks between 0 and {depth} in capture.blocks and intervention.block.",
        )
    captured = study.capture.blocks
    if captured != "all":
        captured = tuple(dict.fromkeys(nearest(block, depth, blocks) for block in captured))
    kept = range(1, blocks + 1) if captured == "all" else captured
    interventions = tuple(_cut_intervention(section, depth, blocks, kept) for section in study.intervention)
    task = study.task
    fewer = {"rollouts": min(task.rollouts, rollouts), "further_rollouts": min(task.further_rollouts, rollouts)}
    smaller = study.model_copy(
        update={
            "name": f"{study.name}-rehearsal",
            "title": f"Rehearsal with random weights: {study.title or study.name}",
            "task": task.model_copy(update=fewer),
            "capture": study.capture.model_copy(update={"blocks": captured}),
            "intervention": interventions,
        }
    )
    return Cut(depth, blocks, study, smaller)


def _cut_intervention(
    section: InterventionSection, depth: int, blocks: int, captured: Sequence[int]
) -> InterventionSection:
    """On as many of the captured blocks as there are; random weights needn't follow any signal closely."""
    if section.block != "best":
        return section.model_copy(update={"block": nearest(section.block, depth, blocks)})
    first = section.from_block
    if isinstance(first, int):
        first = nearest(first, depth, blocks)
    together = min(section.blocks, max(1, len(blocks_from(first, captured, blocks))))
    return section.model_copy(update={"from_block": first, "blocks": together, "min_r": None})


def nearest(block: int, depth: int, blocks: int) -> int:
    """Where a block comes to lie in a model cut from ``depth`` to ``blocks``.

    The embedding stays the embedding and the last block the last; the others are spread over those between, so that
    what isn't the last block doesn't become it (after the last one an intervention is treated differently).
    """
    if block in (0, depth) or blocks == depth:
        return min(block, blocks)
    return max(1, -(-block * (blocks - 1) // (depth - 1)))


class Rehearsal:
    """A study and the files of its model that tell its shape, ready to be rehearsed.

    Args:
        study: as it is to run.
        settings: of the user's record, which is left as it is.
        console: for progress.
        blocks: how many decoder blocks are kept, at least 2.
        rollouts: how many rollouts of each variant are played at most.

    Raises:
        UserError: configuration or tokenizer of the model can't be had, or a block that isn't there.
    """

    def __init__(
        self, study: Study, settings: Settings, console: Console, *, blocks: int = 2, rollouts: int = FEWEST_ROLLOUTS
    ) -> None:
        self._console = console
        self._files = _shape_files(study, console)
        try:
            whole = AutoConfig.from_pretrained(self._files.folder, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise unloadable(self._files.folder, error) from error
        self.whole = ModelShape.of(whole)
        self.cut = cut(study, self.whole.n_blocks, blocks, rollouts)
        self._config = shallower(whole, self.cut.blocks)
        self.shape = ModelShape.of(self._config)
        self.dtype = DTYPES[study.model.dtype]
        self._device = find_device(study.model.device)
        self.parallel, self.layout_note = self._parallel(study.model)
        self.home = settings.home / "rehearsal" / study.name
        self._settings = Settings.from_environment({"TDLENS_HOME": str(self.home)})

    @property
    def weight_bytes(self) -> int:
        """Size of the random weights."""
        return self.shape.parameters * self.dtype.itemsize

    def run(self, *, report: bool = True) -> Measured:
        """Rehearse, in a record of its own that takes the place of an earlier rehearsal's.

        Args:
            report: whether its report is written.

        Raises:
            UserError: whatever the study would have run into, or it is being rehearsed there already.
        """
        with self._emptied_home(), self._random_model() as folder:
            study = self.cut.study
            model = study.model.model_copy(update={"name": str(folder), "revision": "main", "parallel": self.parallel})
            study = study.model_copy(update={"model": model})
            if self._device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(self._device)
            record = Record.open(self._settings)
            try:
                run_study(study, record, self._console)
                page = write_report(record, study.name, self._settings.reports / study.name) if report else None
                return self._measured(record, page)
            finally:
                record.close()

    def _parallel(self, model: ModelSection) -> tuple[ParallelSection, str]:
        """The study's settings, so that ranks share the cut model out as they will the whole one; a line on it."""
        asked = model.parallel
        if model.engine != "deepspeed":
            return asked, ""
        node = Node.here()
        if self._device.type != "cuda":
            node = Node(0, 0, node.host_memory, "")

        def layout(shape: ModelShape) -> Layout:
            return choose(
                shape,
                self.dtype.itemsize,
                node,
                "read" if TASKS[self.cut.whole.task.name].teacher_forced else "play",
                ranks=asked.ranks,
                kind=asked.layout,
                offload=asked.offload,
                nvme=None if asked.nvme is None else Path(asked.nvme),
            )

        try:
            whole, smaller = layout(self.whole), layout(self.shape)
        except UserError as error:
            return asked, f"All {self.cut.depth} blocks can't run on this machine: {error.message}"
        if (whole.kind, whole.ranks, whole.offload) == (smaller.kind, smaller.ranks, smaller.offload):
            return asked, ""
        forced = {"layout": whole.kind, "ranks": whole.ranks, "offload": whole.offload}
        return asked.model_copy(update=forced), f"Shared out as all {self.cut.depth} blocks are: {whole.reason}."

    @contextmanager
    def _emptied_home(self) -> Iterator[None]:
        self.home.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{self.home}.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise UserError(
                f"{self.cut.whole.name} is being rehearsed already, in {self.home}.",
                "Wait for that to end, or set TDLENS_HOME to another folder.",
            ) from None
        try:
            shutil.rmtree(self.home, ignore_errors=True)
            self.home.mkdir()
            yield
        finally:
            lock.release()

    @contextmanager
    def _random_model(self) -> Iterator[Path]:
        free = shutil.disk_usage(self.home).free
        if free < self.weight_bytes:
            raise DiskFull(
                f"The rehearsal's random weights take {self.weight_bytes / 1e9:.1f} GB, and {free / 1e9:.1f} GB are "
                f"free in {self.home}.",
                "Set TDLENS_HOME to a folder on a larger disk, or keep fewer blocks with --rehearse-blocks.",
            )
        folder = Path(mkdtemp(prefix="weights-", dir=self.home))
        try:
            for file in self._files.folder.iterdir():
                if file.suffix in (".json", ".model", ".txt", ".jinja") and file.name not in ("config.json", INDEX):
                    shutil.copyfile(file, folder / file.name)
            with Progress(*COLUMNS, console=self._console, transient=True) as bars:
                write_random_model(self._config, folder, self.dtype, self.cut.study.seed, shown_on(bars))
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _measured(self, record: Record, report: Path | None) -> Measured:
        jobs = record.query("SELECT stage, started, finished FROM v_job")
        jobs["seconds"] = (jobs["finished"] - jobs["started"]).dt.total_seconds()
        times = []
        for stage, group in jobs.sort_values("started").groupby("stage", sort=False):
            seconds, most = float(group["seconds"].sum()), self.cut.most(str(stage))
            times.append(StageTime(str(stage), len(group), seconds, None if most is None else seconds * most))
        read = record.query(
            "SELECT max(token_position) + 1 AS tokens FROM v_step "
            "WHERE policy = 'model' AND intervention = 'none' GROUP BY rollout"
        )
        playing = sum(time.seconds for time in times if time.stage in ("play", "compare"))
        kilobytes = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return Measured(
            stages=tuple(times),
            tokens_per_second=float(read["tokens"].sum()) / playing,
            host_bytes=kilobytes[0] * 1024,
            child_bytes=kilobytes[1] * 1024,
            gpu_bytes=torch.cuda.max_memory_allocated(self._device) if self._device.type == "cuda" else 0,
            report=report,
        )


def shallower(config: Any, blocks: int) -> Any:
    """The configuration of the same model with only so many decoder blocks."""
    config = copy.deepcopy(config)
    text = config.get_text_config()
    depth = text.num_hidden_layers
    for name, value in vars(text).items():
        if "layer" in name and isinstance(value, list) and len(value) == depth:  # one entry a block
            setattr(text, name, value[:blocks])
    text.num_hidden_layers = blocks
    return config


def _shape_files(study: Study, console: Console) -> ModelFiles:
    name = study.model.name
    try:
        with Progress(*COLUMNS, console=console, transient=True) as bars:
            return find_model(name, study.model.revision, weights=False, progress=shown_on(bars))
    except UserError as error:
        if name not in shipped_names():
            raise
        raise UserError(
            f"A rehearsal needs configuration and tokenizer of {name}, not its weights. {error.message}",
            f"{error.remedy.rstrip('.')}. Or copy config.json, tokenizer.json and tokenizer_config.json from a machine "
            "that has them into a folder, and rehearse with --model FOLDER.",
        ) from error


def _captured(study: Study, depth: int) -> int:
    return depth if study.capture.blocks == "all" else len(study.capture.blocks)
