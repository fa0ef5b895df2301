"""What a study asks its models, with whom as judge: as its sections say, made once in a process."""

from __future__ import annotations

from typing import Any

from jobs.context import Context
from jobs.inference.files import ModelFiles, find_model
from jobs.inference.fingerprint import hash_files
from jobs.inference.models import load_engine
from jobs.maze_training.policy import load_tokenizer
from jobs.stage import Unit
from jobs.study import Study
from jobs.welfare import probe as probing
from jobs.welfare.data import Item, items_of, knows_small_world
from jobs.welfare.emotions import VALENCE
from jobs.welfare.evaluations import Evaluation
from jobs.welfare.judges import RULES, Judge, RulesJudge
from jobs.welfare.judges.llm import LlmJudge, llm_name
from jobs.welfare.judges.rules import rules_digest
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
    return context.keep(
        lambda: _items(context.study, evaluation, context.engine.tokenizer), "steered items", evaluation
    )


def _items(study: Study, evaluation: str, tokenizer: Any) -> list[Item]:
    steering = study.steering
    file, small_world = steering.data.get(evaluation), knows_small_world(tokenizer)
    return items_of(evaluation, steering.items, study.seed, file=file, small_world=small_world)


def refuse_unaskable(study: Study) -> None:
    """Check before anything is computed that what a study asks is there; of its model no more than the words is read.

    Raises:
        UserError: a file is needed and isn't named, or one that is named can't be read; no such model.
    """
    if not study.training:
        return
    model, steering = study.model, study.steering
    tokenizer = load_tokenizer(find_model(model.name, model.revision, weights=False).folder)
    for evaluation in dict.fromkeys((*steering.evaluations, *steering.data)):
        _items(study, evaluation, tokenizer)


def items_digest(context: Context, evaluation: str) -> str:
    """sha256 of an evaluation's items, for the configuration of a unit."""
    return digest([item.as_json() for item in items_for(context, evaluation)])


def judge_config(context: Context, evaluation: Evaluation) -> dict[str, Any]:
    """Who judges an evaluation's replies, for the configuration of a unit; a judge from the hub is downloaded for it.

    A model's weights count, wherever they lie, and the rules, which sort out what a model isn't shown.
    """
    if not evaluation.JUDGED:
        return {"judge": NO_JUDGE}
    if context.study.steering.judge == RULES:
        return {"judge": RULES, "rules": rules_digest()}
    files = _judges_files(context)
    weights = context.keep(lambda: hash_files(files.folder, context.progress), "judge's weights")
    about = {"judge_weights": weights, "judge_dtype": context.study.model.dtype}
    return {"judge": llm_name(files.source), "rules": rules_digest(), **about}


def judge_of(context: Context, evaluation: Evaluation) -> Judge:
    """The study's judge, loaded if it is a model; nothing is loaded for an evaluation that judges nothing."""
    if not evaluation.JUDGED:
        return RulesJudge()
    return context.keep(lambda: _judge(context), "judge")


def _judges_files(context: Context) -> ModelFiles:
    named = context.study.steering.judge
    return context.keep(lambda: find_model(named, progress=context.progress), "judge's files")


def _judge(context: Context) -> Judge:
    if context.study.steering.judge == RULES:
        return RulesJudge()
    model, files = context.study.model, _judges_files(context)
    engine = load_engine(files, dtype=model.dtype, device=model.device, progress=context.progress)
    return LlmJudge(Speaker(engine, context.study.steering.batch_size), files.source)


def probe_config(context: Context) -> dict[str, Any]:
    """What decides the probe, beside the naive model."""
    return {"version": probing.VERSION, "valence": {word: VALENCE[word] for word in known_emotions(context)}}


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
