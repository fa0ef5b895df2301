"""What single latents of an agent stand for, and what they do, over all states of its task.

Every live latent is scored against every predicate, beside single dimensions of the layer, those of an untrained
network, and latents whose states were shuffled. What a latent does to the Q-values is what is lost when it alone is
removed from the layer's output; what that costs is the exact return of playing on without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from sqlalchemy import select
from sqlalchemy.orm import Session
from torch import Tensor

from envs import States
from jobs.context import Context
from jobs.inference.edits import LatentEdit
from jobs.probing import Features, Scored, score
from jobs.stage import Plan, Publish, Unit
from jobs.stages.correlate import autoencoder_of
from jobs.stages.games import greedy
from jobs.stages.rank import model_of
from jobs.stages.train_sae import activations_of
from sae.autoencoder import Autoencoder
from sae.matched_pairs import decode_predicate, decode_together, matched_pairs, neighbours, share_added, share_larger
from sae.metrics import evaluate
from tdlens.record import LatentExample, LatentMeasure, LatentPredicate, MapPoint, SaeCheckpoint, insert_rows

NAME = "probe"
DESCRIPTION = "what single latents of an agent tell of its states, and what removing each does"

NOT_COMPARED: dict[str, None] = dict.fromkeys(
    (
        *("matched_pairs", "matched_share", "matched_low", "matched_high"),
        *("added_share", "added_low", "added_high", "decoder_f1"),
    )
)
"""Columns of the pairs that aren't looked at beside the Q-values."""

Row = dict[str, Any]


def units(context: Context, plan: Plan) -> Iterable[Unit]:
    """One unit for each autoencoder, and one for each control and block."""
    seen, section = context.task.seen, context.study.probe
    if seen is None or seen.states is None:
        return
    common = {
        "permutations": section.permutations,
        "alpha": context.study.correlate.alpha,
        "variant": context.study.task.variants[0],
    }
    trained = [u for u in plan.of("train_sae") if section.saes is None or u.config["name"] in section.saes]
    plays, seed = tuple(plan.of("play")), context.study.seed
    for unit in trained:
        config = {**common, "source": "sae", "examples": section.examples, "matched": section.matched}
        yield Unit(NAME, unit.key, {**config, "block": unit.config["block"]}, (unit, *plays), seed=seed)
    for control in context.study.correlate.controls:
        for block in context.blocks:
            parents = [u for u in trained if u.config["block"] == block][:1] if control == "shuffled" else plays
            if control != "pca" and parents:
                config = {**common, "source": control, "block": block}
                yield Unit(NAME, f"{control}/block {block}", config, tuple(parents), seed=seed)


def run(context: Context, unit: Unit) -> Publish:
    source, block = unit.config["source"], unit.config["block"]
    trained = unit.parents_of("train_sae")
    sae = autoencoder_of(context, trained[0]) if trained else None
    x = _outputs(context, unit, "occurring")
    features = Features.of_units(x) if sae is None else Features.of_autoencoder(sae, x)
    if source == "shuffled":
        features = features.shuffled(unit.seed + 1)
    found = score(
        features,
        _states(context),
        permutations=unit.config["permutations"],
        alpha=unit.config["alpha"],
        seed=unit.seed,
    )
    predicates = {pair: found.row(*pair, _states(context)) for pair in found.kept()}
    measures: list[Row] = []
    examples: list[Row] = []
    points: list[Row] = []
    if sae is not None and source == "sae":
        clear = [pair for pair in found.best() if predicates[pair]["p_familywise"] <= unit.config["alpha"]]
        compared = clear[: unit.config["matched"]]
        with context.progress(f"probe {unit.key}", len(features.latents) + len(compared)) as advance:
            for effect in _effects(context, unit, sae, features, x):
                measures += effect.measures
                examples += effect.examples
                advance(1)
            for pair in compared:
                predicates[pair] |= _beyond_outputs(context, unit, found, pair, x)
                measures.append(_return_effect(context, unit, sae, int(features.latents[pair[0]])))
                advance(1)
        measures += _frequencies(context, unit, sae)
        points = _map(sae, found, {feature: found.names[predicate] for feature, predicate in clear})

    def publish(session: Session, job_id: int) -> None:
        model_id, sae_id = model_of(session, context, source), None
        if trained:
            query = select(SaeCheckpoint.id).where(SaeCheckpoint.job_id == context.job_id(trained[0]))
            sae_id = session.scalars(query).one()
        common = {"job_id": job_id, "sae_id": sae_id}
        about = {**common, "model_id": model_id, "source": source, "block": block, **NOT_COMPARED}
        insert_rows(session, LatentPredicate, [{**about, **row} for row in predicates.values()])
        insert_rows(session, LatentMeasure, [{**common, **row} for row in measures])
        insert_rows(session, LatentExample, [{**common, **row} for row in examples])
        placed = {"job_id": job_id, "block": block, "source": trained[0].config["name"] if trained else source}
        insert_rows(session, MapPoint, [{**placed, **row} for row in points])

    return publish


def _states(context: Context) -> States:
    assert context.task.seen is not None and context.task.seen.states is not None
    return context.task.seen.states


def _outputs(context: Context, unit: Unit, which: Literal["occurring", "placed"]) -> Tensor:
    """What the layer puts out in every state of a kind, [n, d]."""
    states, block = _states(context), unit.config["block"]
    player = context.untrained_player if unit.config["source"] == "untrained" else context.player
    return player.look(states.observe(np.flatnonzero(getattr(states, which))), [block]).activations[block]


@dataclass(frozen=True)
class RemovedLatent:
    """What removing a latent does where it fires, and where it is largest."""

    measures: list[Row]
    examples: list[Row]


def _effects(context: Context, unit: Unit, sae: Autoencoder, features: Features, x: Tensor) -> Iterator[RemovedLatent]:
    """Latent by latent, over the states that occur."""
    block, numbers = unit.config["block"], np.flatnonzero(_states(context).occurring)
    intact = context.player.onwards(x, block)
    chosen, rows = intact.argmax(1), sae.decoder_rows()
    for column, latent in enumerate(features.latents.tolist()):
        z = features.z[:, column]
        fires = (z > 0).nonzero().flatten()
        without = context.player.onwards(x[fires] - z[fires, None] * rows[latent], block)
        lost = intact[fires] - without
        flipped = (without.argmax(1) != chosen[fires]).double()
        largest = z[fires].argsort(descending=True, stable=True)[: unit.config["examples"]]
        values = {
            "mean_active": float(z[fires].mean()),
            "q_effect": float(lost.abs().mean()),
            "flip_rate": float(flipped.mean()),
            "flips": float(flipped.sum()) / len(z),
        }
        yield RemovedLatent(
            [{"latent": latent, "name": name, "value": value} for name, value in values.items()],
            [
                {
                    "latent": latent,
                    "rank": rank,
                    "state": int(numbers[fires[index]]),
                    "value": float(z[fires[index]]),
                    "q_effect": lost[index].tolist(),
                }
                for rank, index in enumerate(largest.tolist())
            ],
        )


def _frequencies(context: Context, unit: Unit, sae: Autoencoder) -> Iterator[Row]:
    """How often each latent fires, in play and over all states there are, and its size in play; 0 for dead ones."""
    metrics = evaluate(sae, [activations_of(context, unit.parents_of("play"), unit.config["block"])])
    everywhere = (sae.encode(_outputs(context, unit, "placed")) > 0).double().mean(0).numpy()
    for name, values in (
        ("frequency", metrics.frequency),
        ("frequency_all", everywhere),
        ("rms", metrics.latent_rms),
    ):
        yield from ({"latent": latent, "name": name, "value": value} for latent, value in enumerate(values.tolist()))


def _beyond_outputs(context: Context, unit: Unit, found: Scored, pair: tuple[int, int], x: Tensor) -> Row:
    """Whether a latent tells its predicate apart where the Q-values hardly do, beside what these alone tell."""
    feature, predicate = pair
    block, heldout = unit.config["block"], ~found.half
    q = context.player.onwards(x, block).double().numpy()
    holds = found.holds[:, predicate]
    key = (unit.seed, block, found.names[predicate])
    near = context.keep(lambda: neighbours(q[heldout]), "neighbours", unit.seed, block)
    perceptron = context.keep(
        lambda: decode_together(q, found.holds, found.half, seed=unit.seed), "perceptron", unit.seed, block
    )
    other = perceptron.inside[:, predicate], perceptron.outside[:, predicate]
    decoded = context.keep(lambda: decode_predicate(q, holds, found.half, seed=unit.seed, other=other), "decoded", *key)
    pairs = context.keep(lambda: matched_pairs(near, holds[heldout]), "pairs", *key)
    z = found.features.z[heldout, feature].numpy()
    share, added = share_larger(pairs, z), share_added(pairs, z, decoded.scores)
    return {
        "matched_pairs": share.n,
        "matched_share": share.value,
        "matched_low": share.low,
        "matched_high": share.high,
        "added_share": added.value,
        "added_low": added.low,
        "added_high": added.high,
        "decoder_f1": decoded.f1,
    }


def _return_effect(context: Context, unit: Unit, sae: Autoencoder, latent: int) -> Row:
    """What removing a latent adds to the exact expected return of a game."""
    states, variant = _states(context), unit.config["variant"]
    edit = LatentEdit(unit.config["block"], sae, [latent], "zero")
    intact = context.keep(
        lambda: states.play_out(greedy(context.player, states), variant).mean_return, "expected return", variant
    )
    without = states.play_out(greedy(context.player, states, edit), variant).mean_return
    return {"latent": latent, "name": "return_effect", "value": without - intact}


def _map(sae: Autoencoder, found: Scored, labels: dict[int, str]) -> list[Row]:
    """The live latents' decoder directions on the plane of their two largest principal components."""
    rows = torch.nn.functional.normalize(sae.decoder_rows()[found.features.latents], dim=1).double()
    centred = rows - rows.mean(0)
    if len(rows) < 3:
        return []
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    places = (centred @ axes[:2].T).numpy()
    return [
        {
            "method": "pca",
            "rollout_index": 0,
            "item": latent,
            "label": labels.get(column, ""),
            "grp": int(column in labels),
            "x": float(places[column, 0]),
            "y": float(places[column, 1]),
        }
        for column, latent in enumerate(found.features.latents.tolist())
    ]
