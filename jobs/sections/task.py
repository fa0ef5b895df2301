"""Which task is played, or read, and how often."""

from __future__ import annotations

from typing import Any, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError, ValidationInfo, field_validator, model_validator

from envs import TASKS
from jobs.sections.base import Distinct, Section, distinct, registered

FEWEST_ROLLOUTS = 4
"""Fewer rollouts of a variant can't be halved and have intervals."""


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
    settings: dict[str, Any] = Field(default_factory=dict)
    """The task's own settings (two_step: episodes, random_episodes, change_episode; grid_world: steps, cap, size,
    start_x, start_y, goal_x, goal_y, alpha, gamma, epsilon, epsilon_episodes; graph_walk: steps, words;
    rook_endgame: moves; ms_pacman: moves, repeat_action_probability, max_frames; head_ablation: steps, prompts,
    ablation, control_weight, control_tokens; maze: size, turns, wind_probability, melting, gold_ratio, turn_reward,
    gold_reward, mold_reward, path_tile, mold_tile, gold_tile)."""

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
        distinct((*self.variants, *self.controls))
        config = task.config(variant=self.variants[0], **self.settings)
        if task.make is None or task.seen is not None:
            return self  # an agent's decisions are all its own, and its games may need what isn't installed here
        game = task.rollout(config, 0)
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
