"""Plans of tasks that the model reads: whole texts, no cache, and what is read for comparison only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs import TASKS
from envs.graph_walk import GraphWalk, GraphWalkConfig
from envs.grid_world import GridWorld, GridWorldConfig
from jobs.inference.huggingface import HuggingFaceEngine
from jobs.inference.layout import Node
from jobs.inference.play import replay, tell
from jobs.inference.shapes import ModelShape, shipped_config
from jobs.names import with_names
from jobs.planning.estimate import Estimate, estimate
from jobs.planning.memory import RESERVED, device_working, kv_cache
from jobs.planning.nodes import Space
from jobs.planning.scope import Scope
from jobs.planning.texts import Texts, measure
from jobs.study import load, validate
from tests.inference.tiny import tiny_model
from tests.jobs.forced_study import word_level
from tests.planning.machines import with_gpu
from tests.planning.test_work import Watched

STUDIES = Path(__file__).parents[2] / "studies"
TEXTS = Texts(np.full((4, 320), 17), measured=True)


def scope_of(size: str = "70B", **task: Any) -> Scope:
    data = {
        "name": "planned",
        "task": {"name": "grid_world", "rollouts": 50, **task},
        "model": {"dtype": "bfloat16", "engine": "deepspeed"},
        "sae": [{"name": "paper", "options": {"l1": 1e-5}}],
        "intervention": [{"name": "td", "sae": "paper"}],
        "correlate": {"controls": ["raw"]},
    }
    config = shipped_config(f"meta-llama/Meta-Llama-3-{size}")
    assert config is not None
    return Scope(validate(data, "planned"), ModelShape.of(config), TEXTS)


def planned(scope: Scope) -> Estimate:
    return estimate(scope, Node(8, round(80e9), None, "h100"), with_gpu("h100"), Space())


def stage(found: Estimate, name: str) -> Any:
    return next(each for each in found.stages if each.name == name)


def test_whole_texts_are_read_without_a_cache_by_ranks_that_read_different_ones() -> None:
    scope = scope_of()
    assert planned(scope).play.kind == "zero3"
    assert kv_cache(scope, "single", 1) == 0
    assert [(work.rows, work.new, work.captured, work.predicted, n) for work, n in scope.play(1)] == [
        (16, 320 * 17, 320, 320, 3),
        (2, 320 * 17, 320, 320, 1),
    ]
    assert sum(n for _, n in scope.play(8)) == 1


def test_a_batch_of_whole_texts_fills_the_memory_not_the_rollouts() -> None:
    few, many = scope_of(rollouts=16), scope_of(rollouts=1600)
    needed = [device_working(scope, "play", "single", 1, has_gpu=True) for scope in (few, many)]
    assert needed[0] == needed[1] > RESERVED


def test_what_is_compared_is_read_too() -> None:
    alone, compared = planned(scope_of()), planned(scope_of(controls=["random", "swapped"], further_rollouts=25))
    assert "compare" not in [each.name for each in alone.stages]
    extra = stage(compared, "compare")
    assert (extra.units, extra.written) == (3, 0)
    assert extra.flops == pytest.approx(2.5 * stage(alone, "play").flops)
    assert stage(compared, "play") == stage(alone, "play")
    assert compared.disk == alone.disk


def test_an_intervention_reads_once() -> None:
    found = planned(scope_of())
    encoding = stage(found, "intervene").flops - stage(found, "play").flops
    assert 0 < encoding < stage(found, "play").flops / 10


def test_signals_of_every_state_take_time_where_there_are_some() -> None:
    """Each rollout is paired with all others, up to so many."""
    assert "represent" not in [each.name for each in planned(scope_of()).stages]
    study, shape = load(STUDIES / "graph_walk_llama3_70b.toml"), scope_of().shape
    of = {}
    for n in (8, 16, 32, 64, 128):
        changed = study.model_copy(update={"task": study.task.model_copy(update={"rollouts": n})})
        of[n] = stage(planned(Scope(changed, shape, TEXTS)), "represent")
    sources = len(study.sae) + len(set(study.correlate.controls) - {"shuffled"})
    assert {each.units for each in of.values()} == {sources + 1}
    for more in ({n: each.flops for n, each in of.items()}, {n: each.hours for n, each in of.items()}):
        assert more[32] - more[16] > 2.5 * (more[16] - more[8]) > 0
        assert more[128] - more[64] == pytest.approx(2 * (more[64] - more[32]))


@pytest.mark.parametrize("task", ["grid_world", "graph_walk"])
def test_tokens_are_those_of_the_texts_that_are_read(task: str) -> None:
    """The tokenizer lacks half of the words that a walk could draw from."""
    tokenizer = word_level(without=GraphWalkConfig().words[::2])
    settings = with_names(TASKS[task], {"steps": 25}, tokenizer, "a model")
    texts = measure(TASKS[task], settings, TASKS[task].variants[:1], 5, tokenizer)
    games = [
        GridWorld(GridWorldConfig(**settings), 5 + i)
        if task == "grid_world"
        else GraphWalk(GraphWalkConfig(**settings), 5 + i)
        for i in range(16)
    ]
    model = tiny_model("llama")
    model.resize_token_embeddings(len(tokenizer))
    engine = Watched()
    engine._engine = HuggingFaceEngine(model, tokenizer, fingerprint="")
    played = replay(engine, [tell(game) for game in games], [game.actions for game in games], batch_size=16)
    np.testing.assert_array_equal(texts.chunks.sum(1), played.token_positions[:, -1] + 1)
    assert engine.passes == [(16, texts.longest, 0, 25)]


@pytest.mark.parametrize("name", ["grid_world_llama3_70b", "graph_walk_llama3_70b"])
def test_the_published_model_reads_the_studies_of_this_repository(name: str) -> None:
    """On eight GPUs of 80 GB, in a context of 8,192 tokens."""
    study = load(STUDIES / f"{name}.toml")
    config = shipped_config(study.model.name)
    assert config is not None
    texts = measure(TASKS[study.task.name], study.task.settings, study.task.variants, 0, None)
    found = planned(Scope(study, ModelShape.of(config), texts))
    assert texts.longest < 8192 and found.fits
