"""A study as a TOML file: read, changed by ``--set``, and checked as a whole."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from envs import TASKS, Task
from envs.agents import OptimalSignals
from envs.agents.other_learners import GENERATOR
from envs.head_ablation import TASK_STRIDE
from jobs.defaults import completed
from jobs.sections import (
    CaptureSection,
    ConceptsSection,
    CorrelateSection,
    GamesSection,
    InterventionSection,
    ModelSection,
    PopulationSection,
    ProbeSection,
    SAESection,
    SearchSection,
    Section,
    SignalsSection,
    SteeringSection,
    TaskSection,
    TrainingSection,
    hint,
    registered,
)
from tdlens.errors import UserError

LARGEST_SEED = 16_000
"""Of a study that trains policies, each of which takes a seed of its own."""


class Study(Section):
    """A whole study; see ``studies/`` for examples."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """Short name used in commands, views and folders."""
    title: str = ""
    """One line for the report."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Every random choice of the study derives from it."""
    task: TaskSection = Field(default_factory=TaskSection)
    model: ModelSection = Field(default_factory=ModelSection)
    capture: CaptureSection = Field(default_factory=CaptureSection)
    signals: SignalsSection = Field(default_factory=SignalsSection)
    sae: tuple[SAESection, ...] = ()
    correlate: CorrelateSection = Field(default_factory=CorrelateSection)
    intervention: tuple[InterventionSection, ...] = ()
    games: GamesSection = Field(default_factory=GamesSection)
    probe: ProbeSection = Field(default_factory=ProbeSection)
    population: PopulationSection = Field(default_factory=PopulationSection)
    search: SearchSection = Field(default_factory=SearchSection)
    training: tuple[TrainingSection, ...] = ()
    concepts: ConceptsSection = Field(default_factory=ConceptsSection)
    steering: SteeringSection = Field(default_factory=SteeringSection)
    bootstrap: int = Field(1000, ge=100)
    """Resamples of whole rollouts behind each bootstrap interval."""

    @model_validator(mode="before")
    @classmethod
    def _completed(cls, given: Any) -> Any:
        return completed(given) if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _consistent(self) -> Study:
        if not self.correlate.signals and not _captures_nothing(TASKS[self.task.name]):
            raise ValueError("correlate.signals is empty: name some")
        for kind, names in (
            ("sae", [s.name for s in self.sae]),
            ("intervention", [i.name for i in self.intervention]),
            ("training", [t.name for t in self.training]),
        ):
            repeated = {name for name in names if names.count(name) > 1}
            if repeated:
                raise ValueError(f"two [[{kind}]] sections are called {repeated.pop()!r}")
        learns = {"alpha", "gamma"} <= set(TASKS[self.task.name].config.__annotations__)
        if GENERATOR in self.signals.agents and not learns:
            raise ValueError(f"agent {GENERATOR!r}: no learner made the moves of {self.task.name}")
        known = self.signals.names(TASKS[self.task.name])
        for signal in (*self.correlate.signals, *self.correlate.covariates):
            registered(signal, known, "signal of the [signals] agents")
        for signal in self.correlate.traced:
            registered(signal, self.correlate.signals, "signal in [correlate] signals")
        for intervention in self.intervention:
            registered(intervention.sae, [s.name for s in self.sae], f"[[sae]] for {intervention.name}")
            signals = [*self.correlate.signals, *self.signals.matrices(TASKS[self.task.name])]
            registered(intervention.signal, signals, "signal in [correlate] signals")
            self._control_exists(intervention)
        for name in (*(self.probe.saes or ()), *([self.population.sae] if self.population.sae else [])):
            registered(name, [s.name for s in self.sae], "[[sae]]")
        return self

    @model_validator(mode="after")
    def _of_one_kind(self) -> Study:
        """What a language model alone can do isn't asked of an agent, nor the other way round."""
        if self.training and not TASKS[self.task.name].trained:
            raise ValueError(f"training is for the maze; nothing is trained in {self.task.name}")
        if _captures_nothing(TASKS[self.task.name]):
            self._without_captures()
            if TASKS[self.task.name].heads:
                self._of_heads()
            else:
                self._of_trainings()
            return self
        seen = TASKS[self.task.name].seen
        if seen is None:
            if self.population.agents:
                raise ValueError(f"population.agents: {self.task.name} is told as text; no agents are trained for it")
            return self
        for setting, given in (
            ("intervention", self.intervention),
            ("task.controls", self.task.controls),
            ("task.further_rollouts", self.task.further_rollouts),
        ):
            if given:
                raise ValueError(f"{setting} is for tasks told as text; {self.task.name} is seen as numbers")
        if self.population.agents and not self.sae:
            raise ValueError("population.agents needs an autoencoder: add a section [[sae]]")
        if seen.states is None:
            self._without_states()
        return self

    def _without_captures(self) -> None:
        """Neither studies of heads nor of trainings have decisions at which anything could be captured."""
        for setting, given in (
            ("sae", self.sae),
            ("intervention", self.intervention),
            ("task.controls", self.task.controls),
            ("task.further_rollouts", self.task.further_rollouts),
            ("population.agents", self.population.agents),
        ):
            if given:
                raise ValueError(f"{setting} is not for {self.task.name}: its studies have stages of their own")

    def _of_trainings(self) -> None:
        """The trainings can be played as the task's settings say, and what is asked of them refers to them."""
        if not self.training:
            raise ValueError("a study of the maze trains the model in it: add a section [[training]]")
        ways: dict[str, TrainingSection] = {}
        for training in self.training:
            training.config(self.task.settings)
            first = ways.setdefault(training.variant, training)
            for setting in ("temperature", "layout", "bf16"):
                if getattr(training, setting) != getattr(first, setting):
                    raise ValueError(
                        f"training {training.name}: {setting} must be that of {first.name}, which has the same tiles: "
                        "the naive model plays in them once, and both are compared with it"
                    )
        for name in self.steering.steered or ():
            registered(name, [training.name for training in self.training], "[[training]]")
        longest, turns = self.concepts.longest, self.training[0].config(self.task.settings).maze.turns
        if longest > turns:
            raise ValueError(f"concepts.longest is {longest}, and a rollout has {turns} turns (task.settings.turns)")
        if self.model.engine != "hf":
            raise ValueError(f"model.engine: models are trained by the engine hf alone, not by {self.model.engine}")

    def _of_heads(self) -> None:
        """A study of attention heads trains policies on tasks that it has, with seeds of their own."""
        for task in self.search.tasks:
            registered(task, self.task.variants, "task among task.variants")
        if self.model.engine != "hf":
            raise ValueError(f"model.engine: heads are ablated by the engine hf alone, not by {self.model.engine}")
        if max(self.task.rollouts, self.search.pool) > TASK_STRIDE:
            raise ValueError(f"task.rollouts and search.pool can be {TASK_STRIDE} at most")
        if self.seed > LARGEST_SEED:
            raise ValueError(
                f"seed: a study of heads takes seeds up to {LARGEST_SEED}, so that trainings have their own"
            )
        kinds = {*self.search.compared, self.task.settings.get("ablation")}
        if "resample" in kinds and self.task.settings.get("prompts", 2) < 2:
            raise ValueError(
                "task.settings.prompts: resample ablation takes what heads give on another row, so 2 at least"
            )

    def _without_states(self) -> None:
        """What needs all states of a task in a list isn't asked of one whose states can't be listed."""
        name = self.task.name
        if OptimalSignals.name in self.signals.agents:
            raise ValueError(f"agent {OptimalSignals.name!r}: nobody knows the best play of {name}")
        if self.population.agents:
            raise ValueError(f"population.agents: an agent of {name} takes too long to be trained within a study")

    def _control_exists(self, intervention: InterventionSection) -> None:
        """The control is defined for the signals that the study has."""
        control, correlate = f"intervention {intervention.name}: control {intervention.control!r}", self.correlate
        if intervention.control == "td_minus_q" and "q_learning" not in self.signals.agents:
            raise ValueError(f"{control} needs the agent q_learning: without it there are no Q-values to be rid of")
        timed = "step" in correlate.signals and "step" in correlate.covariates
        if intervention.control == "step_matched" and not timed:
            raise ValueError(f"{control} needs step among the signals and the covariates of [correlate]")


def load(path: Path, overrides: list[str] | None = None, *, quick: bool = False) -> Study:
    """Read a study and apply ``key=value`` overrides (dotted keys, TOML values; bare words are strings).

    Args:
        path: the file.
        overrides: changes, in their order.
        quick: whether the table ``quick`` of the file comes first: dotted keys and values that make the study small.

    Raises:
        UserError: no such file, not TOML, an unknown key or a value out of range, in the table ``quick`` too.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"no study file {path}", "give the path of a TOML file, say studies/two_step_demo.toml"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, IsADirectoryError) as error:
        raise UserError(f"{path} is not a TOML file: {error}", "mend the file at the place named") from None
    small = _quickened(data, str(path))
    if quick:
        data = small
    for override in overrides or []:
        _set(data, override)
    return validate(data, str(path))


def _quickened(data: dict[str, Any], source: str) -> dict[str, Any]:
    """The study with the changes of its table ``quick``, which is taken out; checked, whether it is wanted or not."""
    changes = data.pop("quick", {})
    small = deepcopy(data)
    if not isinstance(changes, dict):
        raise UserError(f"{source}: quick is not a table", "write [quick] and lines such as task.rollouts = 8")
    for key, value in _dotted(changes):
        _place(small, key, value, f"{source}: quick.{key}")
    if changes:
        validate(small, f"{source} with [quick]")
    return small


def refuse_untold(study: Study, asked: str) -> None:
    """Raise UserError where a study's task isn't told to a language model, and what is asked is of no use."""
    if _captures_nothing(task := TASKS[study.task.name]):
        does, small = ("ablates its heads", "head_ablation") if task.heads else ("trains it in a maze", "welfare_axis")
        raise UserError(
            f"{asked} is for tasks that a language model plays or reads, and {study.name} {does}.",
            f"See on the shipped small model what it takes: tdlens run studies/{small}.toml --quick",
        )
    if TASKS[study.task.name].seen is not None:
        raise UserError(
            f"{asked} is for language models, and {study.name} studies an agent of its own, {study.model.name}.",
            "Run it: it needs no GPU, and goes on where it was stopped.",
        )


def validate(data: dict[str, Any], source: str) -> Study:
    """Check a study given as a mapping.

    Raises:
        UserError: names every offending key with its nearest valid neighbour.
    """
    try:
        return Study.model_validate(data)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            where = ".".join(str(part) for part in problem["loc"])
            if problem["type"] == "extra_forbidden":
                lines.append(f"unknown key {where}{hint(str(problem['loc'][-1]), _known_keys(problem['loc'][:-1]))}")
            else:
                lines.append(f"{where or 'study'}: {problem['msg'].removeprefix('Value error, ')}")
        raise UserError(f"{source}: " + "; ".join(lines), "tdlens run --keys lists every setting") from None


def _dotted(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a table and the tables in it, with its dotted key."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _set(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f"--set {override!r} is not key=value", "for example --set task.rollouts=20")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    _place(data, key.strip(), value, f"--set {override!r}")


def _place(data: dict[str, Any], key: str, value: Any, said: str) -> None:
    """Set the value of a dotted key; ``said`` is how the change was written."""
    *path, last = key.split(".")
    place: Any = data
    for part in path:
        place = _element(place, part, said) if isinstance(place, list) else place.setdefault(part, {})
        if not isinstance(place, dict | list):
            raise UserError(f"{said}: {part} is a value, not a section", "check the key's path")
    if isinstance(place, list):
        raise UserError(f"{said} names a list", "name one of its entries, say sae.paper.epochs=5")
    place[last] = value


def _element(entries: list[Any], name: str, said: str) -> dict[str, Any]:
    sections = [entry for entry in entries if isinstance(entry, dict)]
    for section in sections:
        if section.get("name") == name:
            return section
    if not sections:
        raise UserError(f"{said}: {name} is no entry of a list of values", "set the whole list")
    known = [str(section.get("name")) for section in sections]
    raise UserError(f"{said}: no entry is called {name!r}{hint(name, known)}", f"one of {', '.join(known)}")


def _captures_nothing(task: Task) -> bool:
    """Whether a task's studies have no captures, autoencoders and correlations of their own."""
    return task.heads or task.trained


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    model: Any = Study
    for part in location:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        model = next((a for a in getattr(annotation, "__args__", ()) if hasattr(a, "model_fields")), annotation)
        if not hasattr(model, "model_fields"):
            return []
    return list(model.model_fields)
