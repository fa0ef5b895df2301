"""The sections of a study: every setting that decides its results, validated, with unknown keys refused."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from envs import TASKS, Task
from envs.agents import MatrixSource, signal_sources
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


def _first(signals: tuple[str, ...]) -> tuple[str, ...]:
    return ("td_error",) if "td_error" in signals else signals[:1]


class Section(BaseModel):
    """Settings that belong together; unknown ones are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class TaskSection(Section):
    """Which task is played, or read, and how often."""

    name: str = "two_step"
    """A registered task."""
    variants: Distinct[str] = Field(("standard",), min_length=1)
    """Versions of the task; the first is the one on which behaviour and interventions are measured."""
    controls: Distinct[str] = ()
    """Versions that the model plays or reads for comparison only: they are neither captured nor analysed."""
    rollouts: int = Field(100, ge=FEWEST_ROLLOUTS)
    """Rollouts of each variant, one seed each; each half needs two for its interval."""
    further_rollouts: int = Field(0, ge=0)
    """So many more of the first variant, for a finer curve of behaviour: they are neither captured nor analysed."""
    settings: dict[str, Any] = {}
    """The task's own settings (two_step: episodes, random_episodes, change_episode; grid_world: steps, cap, size,
    start_x, start_y, goal_x, goal_y, alpha, gamma, epsilon, epsilon_episodes; graph_walk: steps, words)."""

    @field_validator("settings")
    @classmethod
    def _typed(cls, settings: dict[str, Any], about: ValidationInfo) -> dict[str, Any]:
        name = about.data["name"]
        if name not in TASKS:
            return settings
        types = {field: kind for field, kind in get_type_hints(TASKS[name].config).items() if field != "variant"}
        typed = {}
        for setting, value in settings.items():
            kind = types[registered(setting, list(types), f"setting of {name}")]
            try:
                typed[setting] = TypeAdapter(kind).validate_python(value)
            except ValidationError as error:
                raise ValueError(f"{setting}: {error.errors()[0]['msg']}") from None
        return typed

    @model_validator(mode="after")
    def _known(self) -> TaskSection:
        task = registered(self.name, TASKS, "task")
        for variant in (*self.variants, *self.controls):
            registered(variant, task.variants, f"variant of {self.name}")
        _distinct((*self.variants, *self.controls))
        game = task.make(task.config(variant=self.variants[0], **self.settings), 0)
        if task.teacher_forced:
            if game.forced_action is None:
                raise ValueError(f"{self.name} is read, not played, but its settings leave the choices to the model")
            return self
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
    """The language model that plays or reads."""

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
    window: PositiveInt | Literal["all"] = 4
    """Transitions over which the TD error is averaged: so many last ones, or all."""
    agents: Distinct[str] = ("q_learning", "myopic", "repetition", "best_episode", "context")
    """Registered agents that replay every rollout."""
    sr_initial: float = Field(0.0, ge=0)
    """Diagonal of the successor representation before anything is learned: 0, or 1 for the identity."""
    surprise_clip: float = Field(1e-3, gt=0, lt=1)
    """Smallest probability whose logarithm is a surprise."""

    @model_validator(mode="after")
    def _known(self) -> SignalsSection:
        for agent in self.agents:
            registered(agent, signal_sources(), "agent")
        return self

    def config(self) -> dict[str, Any]:
        """What decides the signals. Settings that came later are left out at their defaults: identities stay."""
        return self.model_dump(mode="json", exclude=_at_default(self, "sr_initial", "surprise_clip"))

    def names(self, task: Task) -> list[str]:
        """The signals that the agents give in a task."""
        sources = signal_sources(task.actions, task.n_states)
        return [name for agent in self.agents for name in sources[agent].describe()]

    def matrices(self, task: Task) -> list[str]:
        """Those of their signals that have a value for every state."""
        sources = [signal_sources(task.actions, task.n_states)[agent] for agent in self.agents]
        return [name for source in sources if isinstance(source, MatrixSource) for name in source.describe_matrices()]


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
    traced: Distinct[str] = Field(default_factory=lambda given: _first(given.get("signals", ())))
    """Signals whose best latent's activation at every decision is kept in SQL, for each autoencoder; by default the TD
    error or, where there is none, the first of the signals."""
    controls: Distinct[Literal["raw", "pca", "untrained", "shuffled"]] = (
        "raw",
        "pca",
        "untrained",
        "shuffled",
    )
    """The same statistics for residual dimensions, principal components, an untrained model, shuffled signals."""


class InterventionSection(Section):
    """One run, or one pass over what is read, with latents changed before each choice."""

    name: str
    """How the study, the views and the report call it."""
    sae: str
    """Name of the autoencoder whose latents are changed."""
    signal: str = "td_error"
    """Latents are chosen by how they follow this signal on the selection half of the rollouts: by r, or, if it has a
    value for every state (sr_error), by the highest r over states, averaged over rollouts."""
    rank_by: Literal["r", "r_partial"] = "r"
    """Choose by signed r, as the paper does, or by the partial correlation; both on the selection half."""
    latents: int = Field(1, ge=1)
    """How many latents of each block."""
    block: Literal["best"] | int = "best"
    """The block with the strongest latent, or a given one. Best leaves out the last block, after which an edit can
    change nothing but the choice itself, where there are enough others."""
    blocks: int = Field(1, ge=1)
    """How many blocks are edited together: those with the strongest latents."""
    from_block: PositiveInt | Annotated[float, Field(gt=0, lt=1)] | None = None
    """Best looks from this block on or, below 1, from this share of the model's blocks on."""
    min_r: float | None = Field(None, gt=0, le=1)
    """Least r of every latent chosen, as ``rank_by`` counts it; the study fails where there aren't enough such."""
    decisions: tuple[NonNegativeInt, NonNegativeInt] | None = None
    """First and last decision, counted from 0, before which latents are changed; all if left out."""
    operation: Literal["zero", "clamp", "multiply", "mean"] = "zero"
    """What happens to the latents' values."""
    value: float | None = None
    """The value for clamp and multiply."""
    control: Literal["none", "lowest", "matched", "step_matched", "random_direction", "td_minus_q"] = "none"
    """Instead of the chosen latents: those correlated least; those of like firing rate and size; those that follow the
    step as closely, and given the covariates hardly the signal; a random direction of equal norm; the best ones that
    follow no Q-value more closely than the target. All in the blocks of the chosen ones."""
    draw: int = Field(0, ge=0)
    """Which random direction, or which matched set (the best, the next best, …): an interval over rollouts doesn't
    cover the choice of a control."""

    @model_validator(mode="after")
    def _value_where_needed(self) -> InterventionSection:
        if (self.operation in ("clamp", "multiply")) != (self.value is not None):
            raise ValueError(f"operation {self.operation!r} {'needs' if self.value is None else 'takes no'} value")
        if self.block != "best" and (self.blocks > 1 or self.from_block is not None):
            raise ValueError(f"block {self.block} is given, so blocks and from_block have nothing to choose")
        if self.decisions is not None and self.decisions[0] > self.decisions[1]:
            raise ValueError(f"decisions {list(self.decisions)}: the first comes after the last")
        return self

    @property
    def edited(self) -> range | None:
        """The decisions before which latents are changed; None for all."""
        return None if self.decisions is None else range(self.decisions[0], self.decisions[1] + 1)

    def config(self) -> dict[str, Any]:
        """What decides the result. Settings that came later are left out at their defaults: identities stay."""
        return self.model_dump(mode="json", exclude=_at_default(self, "blocks", "from_block", "min_r", "decisions"))


def _at_default(section: Section, *settings: str) -> set[str]:
    """Those of a section's settings that have their default."""
    return {key for key in settings if getattr(section, key) == type(section).model_fields[key].default}


def registered(name: str, known: Any, kind: str) -> Any:
    """What is registered under a name, or the name itself in a list; ValueError where it isn't there."""
    if name not in known:
        raise ValueError(f"unknown {kind} {name!r}{hint(name, list(known))} (known: {', '.join(known) or 'none'})")
    return known[name] if isinstance(known, dict) else name


def hint(name: str, known: list[str]) -> str:
    """The nearest known name, for the end of a message; empty where none is near."""
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
