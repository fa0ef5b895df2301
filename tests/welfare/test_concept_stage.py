"""The stages of concept vectors and of goal tracking: their units, and their rows beside a plain computation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from sqlalchemy import select

from envs.maze import MazeConfig, Tile, Variant
from envs.maze_prompts import LETTERS, chat, replay
from envs.maze_trajectories import SEED, draw_trajectories
from jobs import pipeline
from jobs.context import Context
from jobs.inference.base import Engine
from jobs.inference.huggingface import HuggingFaceEngine
from jobs.sections.welfare import ConceptsSection
from jobs.stage import Plan, Unit
from jobs.stages import concepts, track, train_in_maze
from jobs.stages.concepts import final_units, naive_unit
from jobs.study import Study
from jobs.welfare.answers import answers
from jobs.welfare.chat import assistant, user
from jobs.welfare.concept_vectors import CONCEPTS, read_vectors
from jobs.welfare.data import items_of
from jobs.welfare.models import engine_of, training_units
from jobs.welfare.separation import cohen_d, overlap
from jobs.welfare.speaker import Speaker
from tdlens.record import Job, Record
from tests.jobs.small_study import context_of, fresh_record, run
from tests.welfare.small_welfare import BLOCKS, MAZE, welfare_study

PER_CLASS, HELD_OUT = 20, 6
SHARE = 2 * HELD_OUT / PER_CLASS
SETTINGS: dict[str, Any] = dict(MAZE)


@pytest.fixture(autouse=True, scope="module")
def these_stages_alone() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "OF_TRAINING", (train_in_maze, concepts, track))
        yield


def small(base: Path, **changes: Any) -> Study:
    common = {"mazes": 2, "rollouts": 4, "lora_rank": 0}
    settings: dict[str, Any] = {
        "training": [
            {"name": "first", "steps": 2, "checkpoint_every": 1, "learning_rate": 0.02, **common},
            {"name": "swapped", "variant": "swap", "steps": 1, **common},
        ],
        "concepts": {"held_out": SHARE, "tracked": 12},
    }
    return welfare_study(base, **(settings | changes))


@dataclass
class Finished:
    record: Record
    context: Context
    plan: Plan
    ends: dict[tuple[str, str], dict[Tile, torch.Tensor]] = field(default_factory=dict)
    """What :func:`plain` gave, by the tiles and the model's fingerprint."""

    def ask(self, sql: str, **values: Any) -> pd.DataFrame:
        return self.record.query(sql, values)

    def unit(self, key: str) -> Unit:
        return next(unit for unit in self.plan.of(concepts.NAME) if unit.key == key)

    def read_plainly(self, engine: Engine, variant: str) -> dict[Tile, torch.Tensor]:
        assert isinstance(engine, HuggingFaceEngine)
        key = (variant, engine.describe().fingerprint)
        if key not in self.ends:
            self.ends[key] = plain(engine, variant, self.context.study.seed)
        return self.ends[key]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    base = tmp_path_factory.getbasetemp()
    with fresh_record("sqlite", tmp_path_factory.mktemp("concepts")) as record:
        study = small(base)
        run(study, record)
        context = context_of(study, record)
        plan = pipeline.plan_study(context)
        with record.session(read_only=True) as session:
            context.remember({row.identity: row.id for row in session.execute(select(Job.identity, Job.id))})
        yield Finished(record, context, plan)


# --- units


def test_units_and_what_they_are_compared_with(finished: Finished) -> None:
    units = {unit.key: unit for unit in finished.plan.of(concepts.NAME)}
    assert list(units) == ["naive/standard", "naive/swap", "first", "first@1", "swapped"]
    parents = {key: [parent.key for parent in unit.parents] for key, unit in units.items()}
    assert parents == {
        "naive/standard": [],
        "naive/swap": [],
        "first": ["first", "naive/standard"],
        "first@1": ["first", "naive/standard", "first"],
        "swapped": ["swapped", "naive/swap", "first"],
    }
    assert final_units(finished.plan) == {"first": units["first"], "swapped": units["swapped"]}
    assert naive_unit(units["swapped"]) is units["naive/swap"]
    position = {unit.identity: index for index, unit in enumerate(finished.plan.units)}
    for unit in units.values():
        assert all(position[parent.identity] < position[unit.identity] for parent in unit.parents)


def test_trainings_in_the_same_tiles_share_the_naive_models_vectors(
    finished: Finished, tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.getbasetemp()
    common = {"steps": 2, "checkpoint_every": 1}
    plain = {"name": "plain", "layout": "plain", "variant": "swap"}
    trainings = [{"name": "one", **common}, {"name": "two", **common}, plain | common]
    study = small(base, training=trainings, concepts={"checkpoints": False, "per_class": 24})
    plan = pipeline.plan_study(context_of(study, finished.record))
    units = plan.of(concepts.NAME)
    assert [unit.key for unit in units] == ["naive/standard", "naive/swap/plain", "one", "two", "plain"]
    assert not {unit.identity for unit in units} & {unit.identity for unit in finished.plan.units}


def test_the_held_out_are_never_all_or_none() -> None:
    shares = (0.25, 0.001, 0.999)
    assert [ConceptsSection(per_class=20, held_out=share).n_held_out for share in shares] == [2, 2, 9]
    assert ConceptsSection(per_class=300, held_out=0.4).n_held_out == 60


# --- rows


def plain(engine: HuggingFaceEngine, variant: str, seed: int) -> dict[Tile, torch.Tensor]:
    """The stream at the last letter of each trajectory [n, n_blocks + 1, d], text by text as the template tells it."""
    config, found = MazeConfig(variant=Variant(variant), **SETTINGS), {}
    seen: list[torch.Tensor] = []
    layers = engine.model.model.layers
    hooks = [layers[0].register_forward_pre_hook(lambda m, args, kwargs: seen.append(args[0]), with_kwargs=True)]
    hooks += [
        layer.register_forward_hook(lambda m, args, out: seen.append(out[0] if isinstance(out, tuple) else out))
        for layer in layers
    ]
    for tile in Tile:
        rows = []
        for one in draw_trajectories(config, tile, PER_CLASS, (SEED, seed), longest=4):
            messages = chat(replay(config, one.maze, one.moves), one.moves)
            text = engine.tokenizer.apply_chat_template(messages, tokenize=False)
            letter = LETTERS[one.moves[-1]]
            text = text[: text.rindex(f"assistant\n{letter}") + len(f"assistant\n{letter}")]
            with torch.no_grad():
                engine.model(torch.tensor([engine.tokenizer.encode(text, add_special_tokens=False)]))
            rows.append(torch.stack([part.reshape(-1, engine.d_model)[-1] for part in seen]))
            seen.clear()
        found[tile] = torch.stack(rows).double()
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize(
    ("key", "variant", "training", "step"),
    [
        ("naive/standard", "standard", None, None),
        ("first@1", "standard", "first", 1),
        ("swapped", "swap", "swapped", None),
    ],
)
def test_rows_are_what_a_plain_computation_gives(
    finished: Finished, key: str, variant: str, training: str | None, step: int | None
) -> None:
    unit, trained = finished.unit(key), training_units(finished.plan)
    engine = engine_of(finished.context, None if training is None else trained[training], step)
    activations = finished.read_plainly(engine, variant)
    making = {tile: values[: -2 * HELD_OUT] for tile, values in activations.items()}
    rows = finished.ask(
        "SELECT v.*, m.name AS model FROM concept_vector v JOIN model m ON m.id = v.model_id WHERE job_id = :job",
        job=finished.context.job_id(unit),
    )
    assert len(rows) == 3 * (BLOCKS + 1)
    name = finished.context.study.model.name
    suffix = "" if training is None else f":{training}" + ("" if step is None else f"@{step}")
    assert set(rows.model) == {name + suffix}
    assert set(rows.variant) == {variant}
    assert set(rows.training.dropna()) == ({training} - {None})
    assert set(rows.step.dropna()) == ({step} - {None})
    assert set(rows.n) == {PER_CLASS - 2 * HELD_OUT}
    read = read_vectors(finished.context, unit)
    for tile, concept in zip(Tile, CONCEPTS, strict=True):
        others = [making[other].mean(0) for other in Tile if other != tile]
        vector = making[tile].mean(0) - (others[0] + others[1]) / 2
        torch.testing.assert_close(read.of(concept).double(), vector, atol=2e-5, rtol=1e-4)
        mine = rows[rows.concept == concept].sort_values("block")
        np.testing.assert_allclose(mine.norm, vector.norm(dim=-1), rtol=1e-4)
        norms = torch.stack([values.norm(dim=-1).mean(0) for values in making.values()]).mean(0)
        np.testing.assert_allclose(mine.stream_norm, norms, rtol=1e-4)
        np.testing.assert_allclose(read.stream_norm[concept], norms, rtol=1e-4)
        (chosen,) = mine.block[mine.chosen.astype(bool)].tolist()
        assert read.chosen[concept] == chosen
        assert 1 <= chosen < BLOCKS
        unit_vector = vector / vector.norm(dim=-1, keepdim=True)
        judged = torch.cat([activations[other][-2 * HELD_OUT : -HELD_OUT] for other in Tile])
        projections = (judged * unit_vector).sum(-1).numpy()
        own = np.repeat([other == tile for other in Tile], HELD_OUT)
        # not in block 0: the embeddings of a letter are the same, so that rounding would tell them apart
        for row in mine[mine.block > 0].to_dict("records"):
            values = projections[:, row["block"]]
            first, rest = values[own], values[~own]
            assert row["auroc"] == pytest.approx(roc_auc_score(own, values), abs=0.02)
            pooled = (5 * first.var(ddof=1) + 11 * rest.var(ddof=1)) / 16
            assert row["cohen_d"] == pytest.approx((first.mean() - rest.mean()) / pooled**0.5, abs=1e-3)
            assert row["overlap"] == pytest.approx(overlap(first, rest), abs=1 / HELD_OUT)  # one may change its bin


def test_cosines_name_what_they_are_of(finished: Finished) -> None:
    table = finished.ask('SELECT j."key" AS unit, c.* FROM concept_cosine c JOIN job j ON j.id = c.job_id')
    own = {"mold | gold", "mold centred | gold centred", "mold - path | gold - path"}
    untrained, primary = (
        {f"{one} | {whose} {other}" for one in ("mold", "gold") for other in ("mold", "gold")}
        for whose in ("untrained", "primary")
    )
    expected = {
        "naive/standard": own,
        "naive/swap": own,
        "first": own | untrained,
        "first@1": own | untrained | primary,
        "swapped": own | untrained | primary,
    }
    for key, names in expected.items():
        mine = table[table.unit == key]
        assert set(mine.concept + " | " + mine.other) == names
        # in block 0 are the embeddings of the same letters in each class, which rounding alone could tell apart
        assert set(mine.block) - {0} == set(range(1, BLOCKS + 1))
    naive, trained = (read_vectors(finished.context, finished.unit(key)) for key in ("naive/swap", "swapped"))
    first = read_vectors(finished.context, finished.unit("first"))
    of_gold = table[(table.unit == "swapped") & (table.block == 2) & (table.concept == "gold")]
    cosines = dict(zip(of_gold.other, of_gold.cosine, strict=True))
    for other, vector in (("untrained gold", naive.gold), ("primary mold", first.mold)):
        expected_cosine = torch.cosine_similarity(trained.gold[2].double(), vector[2].double(), dim=0)
        assert cosines[other] == pytest.approx(float(expected_cosine), abs=1e-5)


def test_tokens_are_of_whole_models_and_not_of_checkpoints(finished: Finished) -> None:
    table = finished.ask('SELECT j."key" AS unit, t.* FROM concept_token t JOIN job j ON j.id = t.job_id')
    assert set(table.unit) == {"naive/standard", "naive/swap", "first", "swapped"}
    assert set(table.block) == {5 * BLOCKS // 6}
    counts = table.groupby(["unit", "concept", "sign"]).size()
    assert len(counts) == 4 * 2 * 2
    assert set(counts) == {20}
    assert (table.logit * table.sign > 0).all()


# --- goal tracking


def test_tracking_depends_on_what_is_asked(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> None:
    units = finished.plan.of(track.NAME)
    assert [unit.key for unit in units] == ["first", "swapped"]
    assert [parent.key for parent in units[1].parents] == ["swapped", "naive/swap"]
    study = small(tmp_path_factory.getbasetemp(), concepts={"held_out": SHARE, "tracked": 7})
    plan = pipeline.plan_study(context_of(study, finished.record))
    assert [unit.identity for unit in plan.of(concepts.NAME)] == [
        unit.identity for unit in finished.plan.of(concepts.NAME)
    ]
    assert not {unit.identity for unit in plan.of(track.NAME)} & {unit.identity for unit in units}


def test_ends_of_trajectories_are_projected_on_both_models_vectors(finished: Finished) -> None:
    table = finished.ask("SELECT * FROM v_goal_tracking WHERE training = 'swapped' AND panel = 'maze finals'")
    assert len(table) == 2 * 2 * 2
    trained, naive = (read_vectors(finished.context, finished.unit(key)) for key in ("swapped", "naive/swap"))
    training = training_units(finished.plan)["swapped"]
    for reader, model in (("naive", None), ("swapped", training)):
        engine = engine_of(finished.context, model)
        ends = finished.read_plainly(engine, "swap")
        for source, concepts_of in (("trained", trained), ("untrained", naive)):
            for tile, concept in ((Tile.MOLD, "mold"), (Tile.GOLD, "gold")):
                block = concepts_of.chosen[concept]
                vector = concepts_of.of(concept)[block].double()
                own = (ends[tile][-HELD_OUT:, block] @ vector).numpy()
                others = [ends[other][-HELD_OUT:, block] @ vector for other in Tile if other != tile]
                rest = torch.cat(others).numpy()
                pooled = (5 * own.var(ddof=1) + 11 * rest.var(ddof=1)) / 16
                row = table[(table.reader == reader) & (table.source == source) & (table.concept == concept)].iloc[0]
                assert row.block == block
                assert row.d == pytest.approx((own.mean() - rest.mean()) / pooled**0.5, abs=1e-3)
                assert (row.n, row.n_other) == (HELD_OUT, 2 * HELD_OUT)


def test_answers_are_judged_truthfully(finished: Finished) -> None:
    """What the naive model answered, as the study has it, told right or wrong, text by text."""
    engine, first = finished.context.engine, finished.unit("first")
    assert isinstance(engine, HuggingFaceEngine)
    items = items_of(
        "confidence",
        12,
        finished.context.study.seed,
        file=finished.context.study.steering.data["confidence"],
        small_world=False,
    )
    given = answers(Speaker(engine, 5), items, finished.context.study.steering.max_tokens, problems=False)
    right = np.array([answer.right for answer in given])
    assert 2 <= right.sum() <= len(right) - 2
    table = finished.ask(
        "SELECT * FROM v_goal_tracking WHERE training = 'first' AND reader = 'naive' AND panel = 'correctness' "
        "AND source = 'trained'"
    )
    vectors = read_vectors(finished.context, first)
    header = engine.tokenizer.encode("<|im_start|>assistant\n", add_special_tokens=False)
    for row in table.to_dict("records"):
        block = vectors.chosen[row["concept"]]
        values = []
        for answer in given:
            told = [user(answer.question), assistant(answer.answer)]
            told.append(user("That's right." if answer.right else "That's wrong."))
            text = engine.tokenizer.apply_chat_template(told, tokenize=False, add_generation_prompt=True)
            ids = engine.tokenizer.encode(text, add_special_tokens=False)
            assert ids[-len(header) :] == header
            with torch.no_grad():
                states = engine.model(torch.tensor([ids]), output_hidden_states=True).hidden_states
            values.append(
                float(states[block][0, -len(header) :].mean(0).double() @ vectors.of(row["concept"])[block].double())
            )
        own, rest = np.array(values)[right], np.array(values)[~right]
        assert row["d"] == pytest.approx(cohen_d(own, rest), abs=1e-3)
        assert (row["n"], row["n_other"]) == (len(own), len(rest))
    assert set(table.concept) == {"mold", "gold"}


def test_a_model_without_questions_is_tracked_in_the_maze(
    finished: Finished, tmp_path_factory: pytest.TempPathFactory
) -> None:
    study = small(tmp_path_factory.getbasetemp(), steering={"data": {}})
    plan = pipeline.plan_study(context_of(study, finished.record))
    assert [unit.config["asked"] for unit in plan.of(track.NAME)] == [{}, {}]


def test_nothing_is_computed_twice(finished: Finished) -> None:
    assert run(finished.context.study, finished.record).computed == 0
