"""How closely each block as a whole follows signals with a column a state, and how it represents the states.

Features of every source are correlated with every state's column in each rollout; the residual stream is compared as a
whole (CKA), its states are mapped, and what kind of state it is in is decoded from rollouts the decoder hasn't seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from envs.graph_walk import BOTTLENECKS, community
from jobs.context import Context
from jobs.representation import NEARNESS, Maps, matrices_of, states_of
from jobs.stage import Plan, Publish, Unit
from jobs.stages.correlate import autoencoder_of, features, signals_of, sources
from jobs.stages.rank import model_of
from jobs.stages.train_sae import activations_of
from sae.cka import paired_cka
from sae.decoding import leave_one_rollout_out, permuted_accuracy
from sae.permutation_null import rollout_permutations
from sae.rollout_means import family_null, mean_interval, permuted_means
from sae.rollout_statistics import split_halves
from sae.similarity import permuted_contrast, permuted_similarity
from sae.state_correlation import best_states, latent_scores, paired_largest, state_correlation
from sae.state_maps import at_last_encounter, cosine, state_means
from tdlens.record import BlockMeasure, MapPoint, insert_rows, record_artifact

NAME = "represent"
DESCRIPTION = "blocks against signals with a column a state: largest r, CKA, decoding, similarity and maps of states"

MATRIX = "matrix"
"""Name of the artifact of an autoencoder's unit: each latent's correlation with each signal as parquet."""
STREAM = "stream"
"""The source that is the residual stream as a whole."""
MEASURES = 3
"""Largest r: as it is, given the covariates, given the states."""
PAIRED = 32
"""Rollouts that the null pairs with each other: its cost grows with this number, not with that of all rollouts."""
BOTTLENECK, COMMUNITY = "bottleneck", "community"

Floats = NDArray[np.float64]


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit for each source of features, and one for the residual stream; none without such signals."""
    study = context.study
    signals = study.signals.matrices(context.task)
    if not signals:
        return
    common = {
        "signals": signals,
        "covariates": list(study.correlate.covariates),
        "permutations": study.correlate.permutations,
        "alpha": study.correlate.alpha,
        "blocks": list(context.blocks),
    }
    found = sources(context)
    for source, sae in [*found, (STREAM, None)]:
        if source == "shuffled":  # comes with the null of its autoencoder
            continue
        config = {"source": source, "sae": sae, "shuffled": ("shuffled", sae) in found, **common}
        parents = [*plan.of("play"), *plan.of("signals")]
        parents += [unit for unit in plan.of("train_sae") if unit.config["name"] == sae]
        if source == "untrained":
            parents += plan.of("harvest")
        key = f"{source}{':' + sae if sae else ''}"
        yield Unit(NAME, key, config, tuple(parents), seed=study.seed, version=3)


def run(context: Context, unit: Unit) -> Publish:
    source, sae, blocks = unit.config["source"], unit.config["sae"], unit.config["blocks"]
    design = Design(context, unit)
    maps = Maps(context, unit) if source in (STREAM, "untrained") else None
    points = maps.signal_rows() if maps and source == STREAM else []
    measured: list[list[Measurement]] = []
    tables: list[pd.DataFrame] = []
    with context.progress(f"represent {unit.key}", len(blocks)) as advance:
        for block in blocks:
            x = activations_of(context, unit.parents_of("harvest" if source == "untrained" else "play"), block)
            here: list[Measurement] = []
            if maps:
                stream = design.by_rollout(x)
                here += design.structure(stream)
                points += maps.rows(stream[Maps.ROLLOUT], block=block, source=source)
            if source != STREAM:
                found, about = features(x, source, _autoencoder(context, unit, block))
                latents = design.by_rollout(found)
                here += design.followed(latents)
                if sae is not None:
                    tables.append(design.table(latents, about).assign(block=block))
            measured.append(here)
            advance(1)
    rows = [
        {"source": source, "sae_name": sae, **row}
        for row in _judged(blocks, measured, unit.config["alpha"], shuffled=unit.config["shuffled"])
    ]
    blob = context.record.blobs.put_table(pd.concat(tables, ignore_index=True)) if tables else None

    def publish(session: Session, job_id: int) -> None:
        model_id = model_of(session, context, source)
        common = {"job_id": job_id, "model_id": model_id, "task": context.study.task.name}
        insert_rows(session, BlockMeasure, [common | row for row in rows])
        insert_rows(session, MapPoint, [{"job_id": job_id, **point} for point in points])
        if blob is not None:
            record_artifact(session, job_id, MATRIX, blob)

    return publish


class Measurement(NamedTuple):
    """One measure of one block against one signal."""

    measure: str
    signal: str
    values: Floats
    """Of each rollout, [R]."""
    means: Floats
    """Over rollouts: as it is, and under each permutation, [P + 1]."""
    shuffled: Floats | None = None
    """Mean of each rollout with the signals of all others of its group, [R]."""


@dataclass(frozen=True)
class Design:
    """What all blocks of a unit are compared with, and how rollouts and states are permuted."""

    context: Context
    unit: Unit

    def by_rollout(self, x: torch.Tensor) -> torch.Tensor:
        """Rows of all decisions [R * T, F] as [R, T, F]."""
        return x.view(*self.states.shape, x.shape[1])

    def followed(self, x: torch.Tensor) -> Iterator[Measurement]:
        """The largest r over features x [R, T, F], averaged over states, as it is and given what could feign it."""
        for measure, given in self.given.items():
            yield from self._of_pairs(measure, paired_largest(x, self.signals, given, strata=self.groups))

    def structure(self, x: torch.Tensor) -> Iterator[Measurement]:
        """The residual stream x [R, T, d] as a whole: CKA with the signals, and how its states are represented."""
        yield from self._of_pairs("cka", paired_cka(x, self.signals, strata=self.groups))
        last = np.stack([at_last_encounter(*one, self.n_states) for one in zip(x, self.states, strict=True)])
        bottleneck = np.isin(np.arange(self.n_states), BOTTLENECKS)
        predicted = leave_one_rollout_out(last, bottleneck, seed=self.unit.seed)
        met = np.asarray(np.isfinite(last).all(2))
        yield _of_states("decoding", BOTTLENECK, permuted_accuracy(predicted, bottleneck, met, self.permuted_states))
        # less the rollout's mean: what all states have in common would make all cosines one
        tables = [
            cosine(state_means(one - one.mean(0, dtype=torch.float64), states, self.n_states))
            for one, states in zip(x, self.states, strict=True)
        ]
        groups = np.array([community(state) for state in range(self.n_states)])
        order = self.permuted_states.transpose(1, 0, 2)
        contrasts = [permuted_contrast(table, groups, own) for table, own in zip(tables, order, strict=True)]
        yield _of_states("contrast", COMMUNITY, np.stack(contrasts, axis=1))
        for name, nearness in self.nearness.items():
            similar = [permuted_similarity(*one) for one in zip(tables, nearness, order, strict=True)]
            yield _of_states("similarity", name, np.stack(similar, axis=1))

    def table(self, x: torch.Tensor, about: pd.DataFrame) -> pd.DataFrame:
        """Each latent's mean over rollouts of its largest r over states, one row a latent and signal.

        Columns as those of the correlations with scalar signals, so that latents are chosen from either alike. The
        largest of several is above 0 for whatever fires: ``chance`` is the same with the signals of the next rollout.
        """
        halves = {"": np.ones_like(self.selection), "_selection": self.selection, "_heldout": ~self.selection}
        parts = {name: about.assign(signal=name) for name in self.names}
        for kind, given in (("r", None), ("r_partial", self.covariates)):
            for index, name in enumerate(self.names):
                best, others = np.empty((2, x.shape[0], x.shape[2]))
                for group in np.unique(self.groups):
                    of = np.flatnonzero(self.groups == group)
                    own = None if given is None else given[of]
                    for into, signals in ((best, of), (others, self.following[of])):
                        into[of] = best_states(state_correlation(x[of], self.signals[signals, :, index], own))
                for half, rollouts in halves.items():
                    parts[name][f"{kind}{half}"] = latent_scores(best[rollouts])
                parts[name][f"{kind}_chance_selection"] = latent_scores(others[self.selection])
        return pd.concat(parts.values())

    def _of_pairs(self, measure: str, pairs: Floats) -> Iterator[Measurement]:
        others = np.where(np.eye(len(pairs), dtype=np.bool_)[:, :, None], np.nan, pairs)
        known = np.isfinite(others)
        with np.errstate(invalid="ignore"):
            shuffled = np.where(known, others, 0.0).sum(1) / known.sum(1)
        means = permuted_means(pairs, self.permutations)
        for index, name in enumerate(self.names):
            own = pairs[:, :, index].diagonal()
            yield Measurement(measure, name, own, means[:, index], shuffled[:, index])

    @property
    def names(self) -> list[str]:
        """Of the signals."""
        names: list[str] = self.unit.config["signals"]
        return names

    @property
    def n_states(self) -> int:
        return self.context.task.n_states

    @cached_property
    def states(self) -> NDArray[np.int64]:
        """[R, T]"""
        return states_of(self.context, self.unit)

    @cached_property
    def signals(self) -> NDArray[np.float32]:
        """[R, T, K, S]"""
        return matrices_of(self.context, self.unit, self.names)

    @cached_property
    def covariates(self) -> Floats:
        """[R, T, C]"""
        return signals_of(self.context, self.unit, self.context.study.correlate.covariates)

    @cached_property
    def given(self) -> dict[str, Floats | None]:
        """By measure: what is held constant, [R, T, C]: nothing, the covariates, or these and the two last states.

        An SR-TD error is first of all 1 in the column of the state left, and a row of M that of the state entered: a
        feature that knows the name alone correlates with both.
        """
        entered = np.eye(self.n_states)[self.states]
        left = np.concatenate([np.zeros_like(entered[:, :1]), entered[:, :-1]], axis=1)
        names = np.concatenate([self.covariates, entered, left], axis=2)
        return {"max_r": None, "max_r_partial": self.covariates, "max_r_given_states": names}

    @cached_property
    def nearness(self) -> dict[str, Floats]:
        """By signal: what it knew of each state when the state was met last, [R, S, S]."""
        found = {}
        for index, name in enumerate(self.names):
            if name in NEARNESS:
                rollouts = zip(self.signals[:, :, index], self.states, strict=True)
                found[name] = np.stack([at_last_encounter(rows, states, self.n_states) for rows, states in rollouts])
        return found

    @cached_property
    def variants(self) -> NDArray[np.int64]:
        """The variant of each rollout, [R]."""
        return np.repeat(np.arange(len(self.unit.parents_of("play"))), self.context.study.task.rollouts)

    @cached_property
    def following(self) -> NDArray[np.int64]:
        """The next rollout of the same variant, the first after the last, [R]."""
        return np.roll(np.arange(len(self.variants)).reshape(-1, self.context.study.task.rollouts), -1, axis=1).ravel()

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """Rollouts of one variant that the null pairs, [R]."""
        within = np.arange(len(self.variants)) % self.context.study.task.rollouts
        return self.variants * len(self.variants) + within // PAIRED

    @cached_property
    def selection(self) -> NDArray[np.bool_]:
        """Rollouts on which latents may be chosen: those of the scalar signals, too, [R]."""
        return split_halves(self.variants, seed=self.unit.seed)

    @cached_property
    def permutations(self) -> NDArray[np.int64]:
        """Of the rollouts of each group, [P, R]."""
        return rollout_permutations(self.groups, self.unit.config["permutations"], seed=self.unit.seed)

    @cached_property
    def permuted_states(self) -> NDArray[np.int64]:
        """Permutations of the states of each rollout, [P, R, S]."""
        shape = (self.unit.config["permutations"], len(self.variants), 1)
        return np.random.default_rng(self.unit.seed).permuted(np.tile(np.arange(self.n_states), shape), axis=2)


def _autoencoder(context: Context, unit: Unit, block: int) -> Any:
    trained = {one.config["block"]: one for one in unit.parents_of("train_sae")}
    return autoencoder_of(context, trained[block]) if trained else None


def _of_states(measure: str, signal: str, permuted: Floats) -> Measurement:
    """From the measure in each rollout, as it is and with its states permuted, [P + 1, R]."""
    known = np.isfinite(permuted)
    with np.errstate(invalid="ignore"):
        means = np.where(known, permuted, 0.0).sum(1) / known.sum(1)
    return Measurement(measure, signal, permuted[0], means)


def _judged(
    blocks: list[int], measured: list[list[Measurement]], alpha: float, *, shuffled: bool
) -> Iterator[dict[str, Any]]:
    """Rows of ``BlockMeasure``: all blocks of a measure and signal are one family of the null."""
    for family in zip(*measured, strict=True):
        null = family_null(np.stack([one.means for one in family], axis=1), alpha=alpha)
        for block, one, mean, threshold in zip(blocks, family, null.mean, null.threshold, strict=True):
            common = {"block": block, "measure": one.measure, "signal": one.signal}
            yield common | _interval(one.values) | {"null_mean": mean, "null_threshold": threshold}
            if shuffled and one.shuffled is not None:
                others = {"source": "shuffled", "null_mean": np.nan, "null_threshold": np.nan}
                yield common | _interval(one.shuffled) | others


def _interval(values: Floats) -> dict[str, Any]:
    mean = mean_interval(values)
    return {"value": mean.value, "ci_low": mean.low, "ci_high": mean.high, "n_rollouts": mean.n}
