"""The stages steer and contrast: what they plan, and their rows beside a plain computation."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import ttest_1samp
from sqlalchemy import select

from jobs import pipeline
from jobs.context import Context
from jobs.stage import Plan
from jobs.stages import concepts, contrast, steer, train_in_maze
from jobs.stages.concepts import final_units, naive_unit
from jobs.study import Study
from jobs.welfare import asked
from jobs.welfare.concept_vectors import read_vectors
from jobs.welfare.emotions import VALENCE
from jobs.welfare.evaluations import EVALUATIONS
from jobs.welfare.judges.rules import AMBIGUOUS, LEXICON, RulesJudge
from jobs.welfare.models import engine_of, training_units
from tdlens.errors import UserError
from tdlens.record import Job, Record
from tests.jobs.small_study import context_of, fresh_record, run
from tests.welfare.small_welfare import welfare_llama, welfare_study

DOSES = [("alpha", -2.0), ("alpha", 0.0), ("alpha", 2.0), ("unit", -0.5), ("unit", 0.0), ("unit", 0.5)]


@pytest.fixture(autouse=True, scope="module")
def these_stages_alone() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "OF_TRAINING", (train_in_maze, concepts, steer, contrast))
        yield


def small(base: Path, **changes: Any) -> Study:
    common = {"mazes": 2, "rollouts": 4, "lora_rank": 0, "learning_rate": 0.02}
    settings: dict[str, Any] = {
        "training": [
            {"name": "first", "steps": 1, **common},
            {"name": "other", "steps": 1, "shuffled_rewards": "batch", **common},
        ],
        "concepts": {"checkpoints": False},
    }
    steering = {"evaluations": ["confidence", "sentiment"], "steered": ["first"], **changes.pop("steering", {})}
    return welfare_study(base, **(settings | changes), steering=steering)


@dataclass
class Finished:
    record: Record
    context: Context
    plan: Plan

    def ask(self, sql: str, **values: Any) -> pd.DataFrame:
        return self.record.query(sql, values)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    base = tmp_path_factory.getbasetemp()
    with fresh_record("sqlite", tmp_path_factory.mktemp("steer")) as record:
        study = small(base)
        assert run(study, record).found == 0
        context = context_of(study, record)
        plan = pipeline.plan_study(context)
        with record.session(read_only=True) as session:
            context.remember({row.identity: row.id for row in session.execute(select(Job.identity, Job.id))})
        yield Finished(record, context, plan)


def test_controls_are_read_by_the_naive_model_and_the_first_trained_model_reads_its_own(
    finished: Finished, tmp_path: Path
) -> None:
    plan = pipeline.plan_study(context_of(small(tmp_path, steering={"steered": None}), finished.record))
    planned = Counter(
        (unit.config["training"], unit.config["reader"], unit.config["source"]) for unit in plan.of(steer.NAME)
    )
    each = 2 * 2  # concepts, evaluations
    assert planned == {
        ("first", "naive", "trained"): each,
        ("first", "naive", "untrained"): each,
        ("first", "naive", "random"): each,
        ("first", "first", "trained"): each,
        ("other", "naive", "trained"): each,
        ("other", "naive", "untrained"): each,
    }
    assert [unit.key for unit in plan.of(contrast.NAME)] == ["first/naive", "first/first", "other/naive"]
    assert [unit.key for unit in finished.plan.of(contrast.NAME)] == ["first/naive", "first/first"]
    again = {unit.identity for unit in pipeline.plan_study(context_of(finished.context.study, finished.record)).units}
    assert again == {unit.identity for unit in finished.plan.units}


def test_what_is_added_has_the_trained_vectors_block_and_norm(finished: Finished) -> None:
    units = final_units(finished.plan)
    trained = read_vectors(finished.context, units["first"])
    naive = read_vectors(finished.context, naive_unit(units["first"]))
    rows = finished.ask(
        "SELECT DISTINCT training, reader, concept, source, block, dose_kind, dose, norm FROM steering_effect"
    )
    for row in rows[rows.training == "first"].to_dict("records"):
        block = trained.chosen[row["concept"]]
        whose = trained if row["reader"] == "first" else naive
        size = {
            "alpha": trained.of(row["concept"])[block].norm().item(),
            "unit": float(whose.stream_norm[row["concept"]][block]),
        }
        assert row["block"] == block
        assert row["norm"] == pytest.approx(abs(row["dose"]) * size[row["dose_kind"]], rel=1e-5)
    assert set(zip(rows.dose_kind, rows.dose, strict=True)) == set(DOSES)
    directions = {
        source: steer.doses_of(
            finished.context,
            next(u for u in finished.plan.of("steer") if (u.config["source"], u.config["concept"]) == (source, "gold")),
        )[1][2].vector
        for source in ("trained", "untrained", "random")
    }
    block = trained.chosen["gold"]
    for source, expected in (("trained", trained.gold[block]), ("untrained", naive.gold[block])):
        cosine = torch.nn.functional.cosine_similarity(directions[source].double(), expected.double(), dim=0)
        assert cosine.item() == pytest.approx(1, abs=1e-6), source


def test_a_random_pair_has_the_trained_pairs_norms_and_angle(finished: Finished) -> None:
    pairs = {}
    for source in ("trained", "random"):
        units = {unit.config["concept"]: unit for unit in finished.plan.of("steer") if unit.config["source"] == source}
        pairs[source] = torch.stack(
            [steer.doses_of(finished.context, units[concept])[1][2].vector.double() for concept in ("gold", "mold")]
        )
    products = {source: pair @ pair.T for source, pair in pairs.items()}
    torch.testing.assert_close(products["random"], products["trained"], rtol=1e-5, atol=0)
    between = torch.nn.functional.cosine_similarity(pairs["random"], pairs["trained"], dim=1)
    assert (between.abs() < 0.9).all()


def p_true_by_hand(finished: Finished, reader: str, dose: torch.Tensor, block: int, prompt: str, answer: str) -> float:
    """From one whole pass without cache, in a model to whose layer a hook is added."""
    unit = None if reader == "naive" else training_units(finished.plan)[reader]
    engine: Any = engine_of(finished.context, unit)
    ask = "Is your proposed answer correct? Answer only 'True' or 'False'."
    turn = "<|im_start|>{}\n{}<|im_end|>\n"
    parts = [("user", prompt), ("assistant", answer), ("user", ask)]
    text = "".join(turn.format(*part) for part in parts) + "<|im_start|>assistant\n"
    encoded = engine.tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    theirs = [(text.index(said), text.index(said) + len(said)) for said in (prompt, ask)]
    own = [not any(a < stop and start < b for start, stop in theirs) for a, b in encoded["offset_mapping"]]
    steered = torch.tensor(own).float()[:, None]
    hook = engine.model.model.layers[block - 1].register_forward_hook(lambda module, args, out: out + steered * dose)
    with torch.no_grad():
        p = engine.model(input_ids=torch.tensor([encoded["input_ids"]])).logits[0, -1].softmax(-1)
    hook.remove()
    true, false = (float(p[engine.tokenizer.convert_tokens_to_ids(word)]) for word in ("True", "False"))
    return true / (true + false)


@pytest.mark.parametrize(("reader", "source"), [("naive", "trained"), ("naive", "untrained"), ("first", "trained")])
def test_confidence_is_that_of_whole_passes(finished: Finished, reader: str, source: str) -> None:
    unit = next(
        unit
        for unit in finished.plan.of(steer.NAME)
        if [unit.config[name] for name in ("reader", "source", "concept", "evaluation")]
        == [reader, source, "mold", "confidence"]
    )
    table = contrast._replies(finished.context, unit)
    block, curve = steer.doses_of(finished.context, unit)
    assert len(table) == 8 * len(DOSES)
    at = {(dose.kind, dose.size): dose.vector for dose in curve}
    few = table[table["item"] % 4 == 0]
    found = [
        p_true_by_hand(finished, reader, at[row["dose_kind"], row["dose"]], block, row["prompt"], row["text"])
        for row in few.to_dict("records")
    ]
    np.testing.assert_allclose(few["p_true"], found, rtol=1e-3)
    assert few.groupby("item")["p_true"].nunique().min() > 3  # the doses do something


def test_effects_are_means_over_items_with_students_intervals(finished: Finished) -> None:
    for unit in finished.plan.of(steer.NAME)[:4]:
        table = contrast._replies(finished.context, unit)
        rows = finished.ask("SELECT * FROM steering_effect WHERE job_id = :job", job=finished.context.job_id(unit))
        assert set(rows.judge) == {"none" if unit.config["evaluation"] == "confidence" else "rules"}
        for row in rows.to_dict("records"):
            own = table[(table.dose_kind == row["dose_kind"]) & (table.dose == row["dose"])]
            if row["group"] != "all":
                own = own[[row["group"] in groups.split("|") for groups in own["groups"]]]
            means = own.groupby("item")[row["measure"]].mean().dropna()
            assert row["n"] == len(means)
            assert row["value"] == pytest.approx(means.mean()) if len(means) else np.isnan(row["value"])
            if len(means) > 1 and means.std() > 0:
                interval = ttest_1samp(means, 0).confidence_interval(0.95)
                assert (row["ci_low"], row["ci_high"]) == pytest.approx(tuple(interval))
            if unit.config["evaluation"] == "sentiment":
                assert row["incoherent"] == pytest.approx((own["label"] == "nonsensical").mean())
            else:
                assert row["incoherent"] is None


def test_dose_zero_is_the_same_under_every_vector(finished: Finished) -> None:
    zero = finished.ask(
        "SELECT reader, evaluation, measure, grp, value FROM v_steering_effect WHERE dose = 0 AND dose_kind = 'alpha'"
    )
    spread = zero.groupby(["reader", "evaluation", "measure", "grp"])["value"].agg(np.ptp)
    assert len(spread) > 10
    assert (spread[spread.index.get_level_values("measure") != "probe"] == 0).all()
    assert (spread <= 1e-6).all()  # the probe reads the same texts in other batches


def test_texts_of_the_first_items_are_kept(finished: Finished) -> None:
    texts = finished.ask("SELECT * FROM steered_text")
    assert len(texts) == len(DOSES) * len(finished.plan.of(steer.NAME))
    assert set(texts["item"]) == {0} and set(texts["sample"]) == {0}
    assert set(texts.label) <= {"correct", "incorrect", "pleasant", "neutral", "unpleasant", "nonsensical"}


def test_contrasts_are_computed_from_items(finished: Finished) -> None:
    rows = finished.ask(
        "SELECT * FROM steering_contrast WHERE training = 'first' AND reader = 'naive' AND measure = 'p_true'"
    )
    slopes = {}
    for unit in finished.plan.of(steer.NAME):
        config = unit.config
        if (config["training"], config["reader"], config["evaluation"]) == ("first", "naive", "confidence"):
            table = contrast._replies(finished.context, unit)
            of_kind = table[table.dose_kind == "unit"].pivot(index="item", columns="dose", values="p_true")
            slopes[config["source"], config["concept"]] = np.polyfit(of_kind.columns, of_kind.T, 1)[0]
    by_hand = slopes["trained", "gold"] - slopes["trained", "mold"]
    by_hand -= slopes["untrained", "gold"] - slopes["untrained", "mold"]
    (row,) = rows[
        (rows.dose_kind == "unit") & (rows.source == "trained - untrained") & (rows.quantity == "contrast")
    ].to_dict("records")
    assert (row["value"], row["p"], row["n"], row["expected"]) == pytest.approx(
        (by_hand.mean(), ttest_1samp(by_hand, 0).pvalue, 8, 1), rel=1e-6
    )
    assert set(rows.source) == {"trained", "untrained", "trained - untrained"}  # one random draw says nothing


def test_probes_accuracy_is_recorded(finished: Finished) -> None:
    found = finished.ask("SELECT DISTINCT value, n FROM model_metric WHERE name = :name", name=steer.PROBE_ACCURACY)
    assert len(found) == 1 and 0 < found.value[0] < 1 and found.n[0] > 100


def test_what_is_asked_and_the_judge_are_of_a_units_identity(finished: Finished, tmp_path: Path) -> None:
    def identities(study: Study) -> dict[str, str]:
        plan = pipeline.plan_study(context_of(study, finished.record))
        return {unit.config["evaluation"]: unit.identity for unit in plan.of(steer.NAME)}

    base = tmp_path
    before = identities(small(base))
    (base / "other.jsonl").write_text('{"prompt": "Is 1 larger than 0?", "answer": "yes"}\n' * 8)
    changed = small(base)
    data = {**changed.steering.data, "confidence": str(base / "other.jsonl")}
    after = identities(small(base, steering={"data": data}))
    assert before["confidence"] != after["confidence"] and before["sentiment"] == after["sentiment"]
    judge = shutil.copytree(changed.model.name, base / "judge")
    judged = identities(small(base, steering={"judge": str(judge)}))
    assert judged["confidence"] == before["confidence"] and judged["sentiment"] != before["sentiment"]
    welfare_llama(7).save_pretrained(judge)
    other = identities(small(base, steering={"judge": str(judge)}))
    assert other["confidence"] == before["confidence"] and other["sentiment"] != judged["sentiment"]


@pytest.mark.parametrize(
    ("table", "word", "value"), [(LEXICON, "good", 0.8), (AMBIGUOUS, "fine", {"is"}), (VALENCE, "happy", 0.8)]
)
def test_words_of_the_rules_and_of_the_probe_are_of_a_units_identity(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: dict[str, Any], word: str, value: Any
) -> None:
    def identities() -> dict[str, str]:
        plan = pipeline.plan_study(context_of(small(tmp_path), finished.record))
        return {unit.config["evaluation"]: unit.identity for unit in plan.of(steer.NAME)}

    before = identities()
    monkeypatch.setitem(table, word, value)
    after = identities()
    assert before["confidence"] == after["confidence"] and before["sentiment"] != after["sentiment"]


def test_a_model_is_loaded_as_judge_only_where_replies_are_judged(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = small(tmp_path)
    context = context_of(small(tmp_path, steering={"judge": study.model.name}), finished.record)
    loaded: list[str] = []
    monkeypatch.setattr(asked, "load_engine", lambda files, **how: loaded.append(files.source) or context.engine)
    assert isinstance(asked.judge_of(context, EVALUATIONS["confidence"]), RulesJudge) and not loaded
    assert asked.judge_of(context, EVALUATIONS["sentiment"]).name == f"{study.model.name} (wording 1)"
    assert loaded == [study.model.name]


def test_mistakes_are_named_when_the_study_is_planned(finished: Finished, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown evaluation 'confidenc' \(did you mean confidence\?\)"):
        small(tmp_path, steering={"evaluations": ["confidenc"]})
    with pytest.raises(UserError, match="unknown evaluation 'refusals'"):
        small(tmp_path, steering={"data": {"refusals": "requests.jsonl"}})
    with pytest.raises(UserError, match="has nothing to ask this model") as raised:
        pipeline.plan_study(context_of(small(tmp_path, steering={"data": {}}), finished.record))
    assert "steering.data.confidence" in raised.value.remedy
