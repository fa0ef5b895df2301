"""Headline numbers of the graph task."""

from __future__ import annotations

from collections.abc import Callable

from jobs.report.block_measures import SAE, STREAM, highest_of, read_measures
from jobs.report.graph_walk.accuracy import CEILING, CHANCE, overall, read_accuracy
from jobs.report.graph_walk.fig6a_lesion import METRIC
from jobs.report.graph_walk.groups import sr_lesion
from jobs.report.lesions import read_effects, read_lesions
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.td_in_llms.row import Measured, Row
from jobs.report.td_in_llms.two_step_numbers import live_latents
from jobs.report.verdicts import Interval

FORETELLS = "The model learns to foretell the next node"
COSTS = "Zeroing the SR-TD latent spoils the predictions, more than zeroing anything else"
DECODED = "Bottleneck nodes can be told from others in walks that the decoder has not seen"
FOLLOW = "Latents follow {}"
ALIGNED = "Without autoencoders too: whole blocks align with {} (CKA)"
SR, ERROR = "the successor representation", "the SR-TD error"


def _accuracy(reader: Reader, facts: StudyFacts) -> Measured:
    return overall(read_accuracy(reader, facts))


def _lesioned(reader: Reader, facts: StudyFacts) -> Measured:
    """The interval is that of the change."""
    effect = read_effects(reader).get((sr_lesion(read_lesions(reader, facts)).name, METRIC))
    if effect is None:
        raise NotRecorded("accuracy under the lesion")
    low, high = effect.baseline + effect.difference.low, effect.baseline + effect.difference.high
    return Interval(effect.value, low, high)


def _highest(measure: str, signal: str, source: str) -> Callable[[Reader, StudyFacts], Measured]:
    return lambda reader, facts: highest_of(
        read_measures(reader, facts, (measure,), (signal,)), measure, signal, source
    )


ROWS: tuple[Row, ...] = (
    Row(
        "Nodes foretold, of a walk's words (published: of all tokens)",
        "graph_accuracy",
        _accuracy,
        "fig5b_accuracy",
        FORETELLS,
        3,
    ),
    Row("… SR-TD latent zeroed", "graph_accuracy_lesion", _lesioned, "fig6a_lesion", COSTS, 3),
    Row("… ceiling", "graph_accuracy_ceiling", lambda reader, facts: CEILING, "fig5b_accuracy", "", 3),
    Row("… chance", "graph_accuracy_chance", lambda reader, facts: CHANCE, "fig5b_accuracy", "", 3),
    *(
        Row(
            f"Largest r with {name}",
            f"graph_max_r_{signal}",
            _highest("max_r", signal, SAE),
            "fig5de_correlations",
            claim,
        )
        for signal, name, claim in (
            ("sr", SR, FOLLOW.format(SR)),
            ("transition", "the transition matrix", FOLLOW.format(SR)),
            ("sr_error", ERROR, FOLLOW.format(ERROR)),
            ("surprise", "surprise", FOLLOW.format(ERROR)),
        )
    ),
    Row(
        "Bottleneck nodes decoded",
        "graph_decoding",
        _highest("decoding", "bottleneck", STREAM),
        "fig5c_decoding",
        DECODED,
    ),
    *(
        Row(f"Highest CKA with {name}", f"graph_cka_{signal}", _highest("cka", signal, STREAM), "fig10_cka", claim)
        for signal, name, claim in (
            ("sr", SR, ALIGNED.format(SR)),
            ("transition", "the transition matrix", ALIGNED.format(SR)),
            ("sr_error", ERROR, ALIGNED.format(ERROR)),
            ("surprise", "surprise", ALIGNED.format(ERROR)),
        )
    ),
    Row("Latents of a block that vary", "0 to 27", live_latents, "fig8_latents"),
)
