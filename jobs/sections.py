"""The sections of a study: every setting that decides its results, validated, with unknown keys refused."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, NonNegativeInt, model_validator

from envs import TASKS
from envs.agents import signal_sources
from jobs.inference.parallel import Parallel
from sae.architectures import check
from sae.config import SAEConfig
from sae.training import TrainingConfig

T = TypeVar("T")
FEWEST_ROLLOUTS = 4
"""Fewer rollouts of a variant can't be halved and have intervals."""


def _distinct(entries: tuple[T, ...]) -> tuple[T, ...]:
    repeated = [entry for index, entry in enumerate(entries) if entry in entries[:index]]
    if repeated:
        raise ValueError(f"{repeated[0]!r} occurs twice")
    return entries


Distinct = Annotated[tuple[T, ...], AfterValidator(_distinct)]
"""A list whose entries differ from each other."""


class Section(BaseModel):
    """Settings that belong together; unknown ones are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class TaskSection(Section):
    """Which task is played and how often."""

    name: str = "two_step"
    """A registered task."""
    variants: Distinct[str] = Field(("standard",), min_length=1)
    """Versions of the task; the first is the one on which behaviour and interventions are measured."""
    rollouts: int = Field(100, ge=FEWEST_ROLLOUTS)
    """Rollouts of each variant, one seed each; each half needs two for its interval."""
    settings: dict[str, int] = {}
    """The task's own settings (two_step: episodes, random_episodes, change_episode)."""

    @model_validator(mode="after")
    def _known(self) -> TaskSection:
        task = registered(self.name, TASKS, "task")
        for variant in self.variants:
            registered(variant, task.variants, f"variant of {self.name}")
        known = [field.name for field in dataclasses.fields(task.config) if field.name != "variant"]
        for setting in self.settings:
            registered(setting, known, f"setting of {self.name}")
        game = task.make(task.config(variant=self.variants[0], **self.settings), 0)
        free = 0
        while not game.done:
            forced = game.forced_action
            free += forced is None
            game.observe()
            game.act(forced or 0)
        if not free:
            raise ValueError("the settings leave the model no choice of its own: every decision is forced")
        return self


class ParallelSection(Section):
    """How ``--engine deepspeed`` spreads the model over processes. It changes speed and rounding, nothing else."""

    ranks: int | None = Field(None, ge=1)
    """Processes, one a GPU; all GPUs if left out, one process where there are none."""
    layout: Literal["auto", "single", "zero3", "tensor", "hf_tensor"] = "auto"
    """``single``: one process; ``zero3``: each rank its own prompts; ``tensor``: DeepSpeed's AutoTP; ``hf_tensor``:
    Hugging Face's. Auto: from the model's size, the GPUs and the job; said when the model is loaded."""
    offload: Literal["auto", "none", "cpu", "nvme"] = "auto"
    """Where ZeRO-3 keeps weights that aren't needed at the moment."""
    nvme: str | None = None
    """A folder on a fast local disk, for weights that fit neither GPUs nor main memory."""
    launcher: Literal["deepspeed", "torchrun"] = "deepspeed"
    """What starts the processes."""
    timeout: float = Field(30.0, gt=0)
    """Minutes after which ranks that give no answer are given up."""

    def settings(self) -> Parallel:
        """As the engine takes it."""
        return Parallel(**self.model_dump())


class ModelSection(Section):
    """The language model that plays."""

    name: str = "reference"
    """``reference`` (shipped), a folder, or a Hugging Face hub id."""
    revision: str = Field("main", min_length=1)
    """Of a hub model: a branch, a tag, or, so that the study stays what it is, a commit hash."""
    engine: Literal["hf", "deepspeed"] = "hf"
    """``hf``: in this process, on one device; ``deepspeed``: on several GPUs of a node."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the forward pass."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:1``."""
    batch_size: int = Field(100, ge=1)
    """Rollouts played side by side, and the most whole texts read at once."""
    parallel: ParallelSection = Field(default_factory=ParallelSection)
    """How the engine deepspeed spreads the model over processes."""


class CaptureSection(Section):
    """What is kept of the residual stream at the decision tokens."""

    blocks: Literal["all"] | tuple[NonNegativeInt, ...] = "all"
    """Blocks as indices into hidden states (0 = embedding, i = output of the i-th decoder block); all: 1 to last."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the shards; they are centred first and the mean is kept in float32."""

    @model_validator(mode="after")
    def _some_once(self) -> CaptureSection:
        if self.blocks == ():
            raise ValueError("blocks is empty: name some, or all")
        if self.blocks != "all":
            _distinct(self.blocks)
        return self


class SignalsSection(Section):
    """The learners whose signals are recorded (paper §2.4: α 0.1, γ 0.99, the last 4 transitions)."""

    alpha: float = Field(0.1, gt=0, le=1)
    """Learning rate."""
    gamma: float = Field(0.99, ge=0, le=1)
    """Discount of the Q-learner; the myopic learner has 0."""
    window: int = Field(4, ge=1)
    """Transitions over which the TD error is averaged."""
    agents: Distinct[str] = ("q_learning", "myopic", "repetition", "best_episode", "context")
    """Registered agents that replay every rollout."""

    @model_validator(mode="after")
    def _known(self) -> SignalsSection:
        for agent in self.agents:
            registered(agent, signal_sources(), "agent")
        return self

    def names(self, actions: Iterable[str]) -> list[str]:
        """The signals that the agents give in a task with these actions."""
        sources = signal_sources(tuple(actions))
        return [name for agent in self.agents for name in sources[agent].describe()]


class SAESection(Section):
    """One autoencoder per block on the decision tokens of all variants."""

    name: str
    """How the study, the views and the report call it."""
    architecture: str = "relu"
    """A registered architecture."""
    expansion: float = Field(2.0, gt=0)
    """Latents per residual dimension."""
    options: dict[str, Any] = {}
    """The architecture's own settings, see ``sae.config.SAEConfig`` (relu: l1, l1_squared, …; topk: k, …)."""
    lr: float = Field(1e-4, gt=0)
    """Adam's learning rate."""
    batch_size: int = Field(256, ge=1)
    """Vectors a step."""
    epochs: int = Field(30, ge=1)
    """Passes over the vectors."""
    ranks: int | None = Field(None, ge=1)
    """Processes that share every batch, one a GPU; left out, as many of the GPUs that ``--engine deepspeed`` takes as
    get 256 vectors of each batch: with fewer, summing the gradients takes longer than it saves."""

    @model_validator(mode="after")
    def _known(self) -> SAESection:
        for option in ("architecture", "d_in", "d_latents"):
            if option in self.options:
                raise ValueError(
                    f"{option} is not among the options: it follows from architecture, expansion and model"
                )
        check(self.autoencoder(d_in=1024))
        return self

    def autoencoder(self, d_in: int) -> SAEConfig:
        """The autoencoder of a residual stream ``d_in`` wide."""
        sizes = {"architecture": self.architecture, "d_in": d_in, "d_latents": round(self.expansion * d_in)}
        return SAEConfig.from_dict({**self.options, **sizes})

    def training(self) -> TrainingConfig:
        """How it is trained."""
        return TrainingConfig(self.lr, self.batch_size, self.epochs)


class CorrelateSection(Section):
    """Which signals are correlated with every latent, and the statistics beside r."""

    signals: Distinct[str] = Field(
        (
            "td_error",
            "td_error_full",
            "myopic_error",
            "q_left",
            "q_right",
            "q_chosen",
            "q_max",
            "q_difference",
            "myopic_left",
            "myopic_right",
            "best_return",
            "step",
        ),
        min_length=1,
    )
    """Names of recorded learning signals."""
    covariates: Distinct[str] = ("step", "is_second_pick", "last_reward", "max_so_far")
    """Signals held constant in the partial correlation."""
    permutations: int = Field(500, ge=19)
    """Permutations of whole rollouts that make the null distribution."""
    alpha: float = Field(0.05, gt=0, lt=1)
    """Family-wise error rate and one minus the confidence level."""
    top: int = Field(256, ge=1)
    """So many of the strongest correlations of a block and signal go into SQL; all of them into a parquet blob."""
    cutoff: float = Field(0.5, ge=0, le=1)
    """And every other with at least this |r|."""
    traced: Distinct[str] = ("td_error",)
    """Signals whose best latent's activation at every decision is kept in SQL, for each autoencoder."""
    controls: Distinct[Literal["raw", "pca", "untrained", "shuffled"]] = (
        "raw",
        "pca",
        "untrained",
        "shuffled",
    )
    """The same statistics for residual dimensions, principal components, an untrained model, shuffled signals."""


class InterventionSection(Section):
    """One closed-loop run with latents changed before each choice."""

    name: str
    """How the study, the views and the report call it."""
    sae: str
    """Name of the autoencoder whose latents are changed."""
    signal: str = "td_error"
    """Latents are chosen by their correlation with this signal on the selection half of the rollouts."""
    rank_by: Literal["r", "r_partial"] = "r"
    """Choose by signed r, as the paper does, or by the partial correlation; both on the selection half."""
    latents: int = Field(1, ge=1)
    """How many latents, all of one block."""
    block: Literal["best"] | int = "best"
    """The block with the strongest latent, or a given one. Best leaves out the last block, after which an edit can
    change nothing but the choice itself."""
    operation: Literal["zero", "clamp", "multiply", "mean"] = "zero"
    """What happens to the latents' values."""
    value: float | None = None
    """The value for clamp and multiply."""
    control: Literal["none", "lowest", "matched", "random_direction", "td_minus_q"] = "none"
    """Instead of the chosen latents: those correlated least; those of like firing rate and size; a random direction
    of equal norm; the best ones that follow no Q-value more closely than the target."""
    draw: int = Field(0, ge=0)
    """Which random direction, or which matched set (the best, the next best, …): an interval over rollouts doesn't
    cover the choice of a control."""

    @model_validator(mode="after")
    def _value_where_needed(self) -> InterventionSection:
        if (self.operation in ("clamp", "multiply")) != (self.value is not None):
            raise ValueError(f"operation {self.operation!r} {'needs' if self.value is None else 'takes no'} value")
        return self


def registered(name: str, known: Any, kind: str) -> Any:
    """What is registered under a name, or the name itself in a list; ValueError where it isn't there."""
    if name not in known:
        raise ValueError(f"unknown {kind} {name!r}{hint(name, list(known))} (known: {', '.join(known) or 'none'})")
    return known[name] if isinstance(known, dict) else name


def hint(name: str, known: list[str]) -> str:
    """The nearest known name, for the end of a message; empty where none is near."""
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
