"""Rows of a synthetic study as a real run writes them: its jobs, play, published curves and behaviour fits."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from envs.agents import QLearning, Transitions
from envs.game import Step as GameStep
from envs.two_step import TwoStep, TwoStepConfig, Variant
from jobs.recording import record_rollouts, record_signals, record_task, replay_sources
from jobs.stages import published
from tdlens.record import BehaviourFit, Job, Model, Study, StudyJob

STUDY = "two_step_demo"
MODEL = "reference"
BLOCKS = range(1, 7)
ROLLOUTS = 12


@dataclass(frozen=True)
class Writer:
    """Rows of one study under one job per stage."""

    session: Session
    study: Study
    rng: np.random.Generator

    def job(self, stage: str, key: str = "all", **config: Any) -> int:
        """A finished job of the study."""
        job = Job(
            stage=stage,
            key=key,
            identity=f"{self.study.name} {stage} {key}",
            state="done",
            attempt=1,
            owner="test",
            config=config,
            seed=7,
            git_commit="0123abcd",
            git_dirty=False,
            versions={"python": "3.11", "numpy": "2"},
            device="cpu",
            started_at=datetime.now(UTC),
            finished_at=datetime.now(UTC),
        )
        self.session.add(job)
        self.session.flush()
        self.session.add(StudyJob(study_id=self.study.id, job_id=job.id))
        return job.id

    def model(self, name: str) -> int:
        known = self.session.scalars(select(Model).where(Model.name == name)).first()
        if known is not None:
            return known.id
        model = Model(
            name=name,
            source=name,
            fingerprint=f"sha256:{name}",
            architecture="LlamaForCausalLM",
            n_blocks=len(BLOCKS),
            d_model=64,
            n_parameters=1_000_000,
            dtype="float32",
        )
        self.session.add(model)
        self.session.flush()
        return model.id


def play(variant: Variant, seeds: range, rng: np.random.Generator, beta: float) -> list[list[GameStep]]:
    """Rollouts of a Q-learner whose choices are the noisier the smaller beta is."""
    histories = []
    for seed in seeds:
        game = TwoStep(TwoStepConfig(variant), seed)
        values = np.zeros((3, 2))
        while not game.done:
            state = game.steps[-1].next_state if game.steps and not game.steps[-1].done else 0
            p_right = 1 / (1 + np.exp(-beta * (values[state, 1] - values[state, 0])))
            forced = game.forced_action
            game.act(int(rng.random() < p_right) if forced is None else forced)
            step = game.steps[-1]
            target = step.reward if step.done else values[step.next_state].max()
            values[state, step.action] += 0.5 * (target - values[state, step.action])
        histories.append(game.steps)
    return histories


def write_play(w: Writer, model_id: int) -> None:
    for variant in Variant:
        job_id = w.job(
            "play",
            str(variant),
            task={"name": "two_step", **asdict(TwoStepConfig(variant))},
            model={
                "name": MODEL,
                "fingerprint": "sha256:abc",
                "architecture": "LlamaForCausalLM",
                "dtype": "float32",
                "n_blocks": len(BLOCKS),
                "d_model": 64,
                "n_parameters": 1_000_000,
            },
        )
        write_rollouts(w, variant, job_id, 1.2, model_id=model_id, policy="model")


def write_rollouts(w: Writer, variant: Variant, job_id: int, beta: float, **common: Any) -> None:
    histories = play(variant, range(ROLLOUTS), w.rng, beta)
    task_id = record_task(w.session, "two_step", {"variant": str(variant)}, ("left", "right"))
    steps = record_rollouts(w.session, histories, range(ROLLOUTS), job_id=job_id, task_id=task_id, **common)
    transitions = [Transitions.from_steps(history) for history in histories]
    learner = QLearning(("left", "right"))
    record_signals(w.session, job_id, steps, replay_sources(transitions, [learner], ["td_error", "q_left"]))


def write_published(w: Writer) -> None:
    unit = next(iter(published.units(_TwoStepStudy(), None)))  # type: ignore[arg-type]
    publish = published.run(_TwoStepStudy(), unit)  # type: ignore[arg-type]
    publish(w.session, w.job("published"))


class _TwoStepStudy:
    """As much of a run's context as the stage ``published`` looks at."""

    class study:
        class task:
            name = "two_step"

    class task:
        actions = ("left", "right")


def write_fits(w: Writer, model_id: int) -> None:
    job_id, choices = w.job("behaviour"), ROLLOUTS * 46
    for name, share, parameters in (
        ("q_learning", 0.60, 1),
        ("myopic", 0.62, 1),
        ("repetition", 0.66, 1),
        ("repetition_unfitted", 1.3, 0),
        ("best_episode", 0.605, 1),
        ("chance", np.log(2), 0),
    ):
        nll, more = share * choices, (share - 0.60) * choices
        spread = 0.0 if name == "q_learning" else 6.0
        w.session.add(
            BehaviourFit(
                job_id=job_id,
                task="two_step",
                model_id=model_id,
                policy="model",
                behaviour_model=name,
                n_choices=choices,
                n_rollouts=ROLLOUTS,
                n_parameters=parameters,
                beta=0.4,
                nll=nll,
                aic=2 * nll + 2 * parameters,
                bic=2 * nll + parameters * np.log(choices),
                chance_nll=choices * np.log(2),
                nll_minus_q=more,
                ci_low=more - spread,
                ci_high=more + spread,
            )
        )
