"""What a study asks its models, with whom as judge: as its sections say, made once in a process."""

from __future__ import annotations

from typing import Any

from jobs.context import Context
from jobs.inference.files import find_model
from jobs.inference.models import load_engine
from jobs.stage import Unit
from jobs.welfare import probe as probing
from jobs.welfare.data import Item, items_of, knows_small_world
from jobs.welfare.emotions import VALENCE
from jobs.welfare.judges import RULES, Judge, RulesJudge
from jobs.welfare.judges.llm import LlmJudge, llm_name
from jobs.welfare.probe import ValenceProbe, learn_probe
from jobs.welfare.speaker import Speaker
from tdlens.identity import digest

NO_JUDGE = "none"
"""What the record says where nothing is judged."""


def items_for(context: Context, evaluation: str) -> list[Item]:
    """The items of an evaluation.

    Raises:
        UserError: a file is needed and isn't named, or can't be read.
    """
    steering = context.study.steering
    return context.keep(
        lambda: items_of(
            evaluation,
            steering.items,
            context.study.seed,
            file=steering.data.get(evaluation),
            small_world=knows_small_world(context.engine.tokenizer),
        ),
        "steered items",
        evaluation,
    )


def items_digest(context: Context, evaluation: str) -> str:
    """sha256 of an evaluation's items, for the configuration of a unit."""
    return digest([item.as_json() for item in items_for(context, evaluation)])


def judge_name(context: Context) -> str:
    """How the record calls the study's judge; a judge from the hub is downloaded for its revision."""
    named = context.study.steering.judge
    if named == RULES:
        return RULES
    return llm_name(context.keep(lambda: find_model(named, progress=context.progress), "judge's files").source)


def judge_of(context: Context) -> Judge:
    """The study's judge, loaded if it is a model."""
    return context.keep(lambda: _judge(context), "judge")


def _judge(context: Context) -> Judge:
    named, model = context.study.steering.judge, context.study.model
    if named == RULES:
        return RulesJudge()
    files = find_model(named, progress=context.progress)
    engine = load_engine(files, dtype=model.dtype, device=model.device, progress=context.progress)
    return LlmJudge(Speaker(engine, context.study.steering.batch_size), files.source)


def probe_config(context: Context) -> dict[str, Any]:
    """What decides the probe, beside the naive model."""
    return {"version": probing.VERSION, "words": known_emotions(context)}


def probe_of(context: Context) -> ValenceProbe:
    """The probe of valence on the naive model, learned once."""
    return context.keep(
        lambda: learn_probe(
            Speaker(context.engine, context.study.steering.batch_size), known_emotions(context), context.study.seed
        ),
        "valence probe",
    )


def known_emotions(context: Context) -> list[str]:
    """The emotion words without a token that stands for what is unknown."""
    tokenizer = context.engine.tokenizer
    unknown = tokenizer.unk_token_id
    return [
        word
        for word in VALENCE
        if unknown is None or unknown not in tokenizer.encode(f" {word}", add_special_tokens=False)
    ]


def training_of(unit: Unit) -> Unit:
    """The training behind a unit of concept vectors."""
    (found,) = unit.parents_of("train_in_maze")
    return found
