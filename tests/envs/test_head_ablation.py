"""The environment of attention heads: what an agent sees, what a head pays, when an episode ends."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from envs.circuit_tasks import CIRCUIT_TASKS
from envs.head_ablation import (
    ABLATIONS,
    FIRST_EVALUATION_SEED,
    HeadAblation,
    HeadAblationConfig,
    TableScores,
    evaluation_seed,
    head_name,
)

N_BLOCKS, N_HEADS = 3, 4
H = N_BLOCKS * N_HEADS


def table(task: str, episode: int) -> TableScores:
    rng = np.random.default_rng((len(task), episode))
    return TableScores(rng.normal(1, 3, H), rng.normal(0, 1, H), 0.5, N_BLOCKS, N_HEADS)


def environment(steps: int = 5, **settings: Any) -> HeadAblation:
    return HeadAblation(table, N_BLOCKS, N_HEADS, steps, **settings)


def test_scores_are_task_damage_less_weighted_control_damage() -> None:
    scores = TableScores([3.0, -1.0, 2.0, 3.5], [0.0, 1.0, -2.0, 1.0], 0.5, 2, 2)
    assert scores.score([3, 0, 3]).tolist() == [3.0, 3.0, 3.0]
    assert scores.scores.tolist() == [3.0, -1.5, 3.0, 3.0]
    assert (scores.best, scores.oracle) == (0, 3.0)
    assert [head_name(head, 2) for head in range(4)] == ["0.0", "0.1", "1.0", "1.1"]


def test_a_table_keeps_its_numbers() -> None:
    damage = np.zeros(H)
    scores = TableScores(damage, damage, 1.0, N_BLOCKS, N_HEADS)
    damage[:] = 7
    assert scores.oracle == 0.0 and not scores.task_damage.any()


@pytest.mark.parametrize(
    ("task", "control"), [([1.0] * 3, [1.0] * 4), ([1.0] * 4, [1.0] * 3), ([1.0, 2.0, 3.0, float("nan")], [0.0] * 4)]
)
def test_tables_of_other_shapes_or_without_numbers_are_refused(task: list[float], control: list[float]) -> None:
    with pytest.raises(ValueError, match=r"2 x 2 heads|finite"):
        TableScores(task, control, 1.0, 2, 2)


@given(
    actions=st.lists(st.integers(0, H - 1), min_size=7, max_size=7),
    seed=st.integers(0, 2**31),
    tasks=st.sampled_from([("induction",), ("induction", "ioi"), ("ioi", "docstring", "induction")]),
)
def test_an_episode_is_a_plain_loop_over_a_table(actions: list[int], seed: int, tasks: tuple[str, ...]) -> None:
    env = environment(steps=7, tasks=tasks)
    observation, info = env.reset(seed=seed)
    assert info.keys() == {"task", "episode"} and info["task"] in tasks
    scores = table(info["task"], info["episode"]).scores
    code = [float(task == info["task"]) for task in tasks]
    tried: dict[int, float] = {}
    for step, action in enumerate(actions, start=1):
        masked = np.isin(np.arange(H), list(tried))
        assert env.action_masks().tolist() == (~masked).tolist()
        shown = [tried.get(head, 0.0) / 5 for head in range(H)]
        np.testing.assert_allclose(observation, [*code, *masked, *shown], rtol=1e-6)
        assert observation in env.observation_space and observation.dtype == np.float32
        expected = -1.0 if action in tried else scores[action]
        tried.setdefault(action, scores[action])
        observation, reward, terminated, truncated, info = env.step(np.int64(action))
        assert (reward, terminated, truncated) == (expected, False, step == 7)
        assert (info["head"], info["best"]) == (action, max(tried.values()))
    with pytest.raises(ValueError, match="call reset first"):
        env.step(np.int64(0))


def test_trying_all_heads_finds_the_oracle() -> None:
    env = environment(steps=H)
    env.reset(seed=0, options={"task": "ioi", "episode": 11})
    rewards = [env.step(np.int64(head))[1] for head in range(H)]
    assert rewards == table("ioi", 11).scores.tolist()
    assert env.best == table("ioi", 11).oracle
    assert not env.action_masks().any()


def test_env_checker_has_nothing_to_say() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(environment(), skip_render_check=True)


def drawn(env: HeadAblation, n: int, seed: int | None = None) -> list[tuple[str, int]]:
    episodes = [env.reset(seed=seed if index == 0 else None)[1] for index in range(n)]
    return [(info["task"], info["episode"]) for info in episodes]


def test_episodes_come_from_the_seed_and_not_from_those_of_evaluations() -> None:
    first = drawn(environment(seed=3), 300)
    assert first == drawn(environment(seed=3), 300) == drawn(environment(seed=4), 300, seed=3)
    assert first != drawn(environment(seed=4), 300)
    tasks = [task for task, _ in first]
    assert 110 < tasks.count("ioi") < 190 and set(tasks) == {"ioi", "induction"}
    assert len({episode for _, episode in first}) == 300
    assert max(episode for _, episode in first) < FIRST_EVALUATION_SEED == evaluation_seed(0, 0)


def test_episodes_of_a_pool_are_those_of_their_task() -> None:
    pool = {"induction": [1, 2, 3], "ioi": [7, 8]}
    seen = set(drawn(environment(pool=pool), 200))
    assert seen == {("induction", 1), ("induction", 2), ("induction", 3), ("ioi", 7), ("ioi", 8)}


def test_a_task_that_was_not_trained_on_is_shown_without_a_code_or_with_any() -> None:
    env = environment(pool={"induction": [1], "ioi": [2]})
    observation, info = env.reset(seed=0, options={"task": "docstring"})
    assert info["task"] == "docstring" and observation[:2].tolist() == [0, 0]
    env.step(np.int64(5))
    observation, info = env.reset(options={"task": "docstring", "episode": 9, "code": (0, 1)})
    assert (info, observation[:2].tolist()) == ({"task": "docstring", "episode": 9}, [0, 1])
    assert not observation[2:].any() and env.best == float("-inf")
    assert env.reset(options={"task": "ioi", "code": (0.0, 0.0)})[0][:2].tolist() == [0, 0]
    assert env.reset(options={"task": "ioi"})[0][:2].tolist() == [0, 1]


@pytest.mark.parametrize("options", [{"code": (1,)}, {"code": 1.0}, {"seed": 3}])
def test_strange_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"a code needs|no option 'seed'"):
        environment().reset(options=options)


@pytest.mark.parametrize("action", [-1, H])
def test_a_head_that_is_not_there_is_refused_and_nothing_is_tried(action: int) -> None:
    env = environment()
    env.reset(seed=0)
    with pytest.raises(ValueError, match=f"no head {action}"):
        env.step(np.int64(action))
    assert env.action_masks().all()


def test_stepping_before_the_first_reset_is_refused() -> None:
    with pytest.raises(ValueError, match="call reset first"):
        environment().step(np.int64(0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "1 to 12 steps"),
        ({"steps": H + 1}, "1 to 12 steps"),
        ({"tasks": ()}, "each named once"),
        ({"tasks": ("ioi", "ioi")}, "each named once"),
        ({"pool": {"induction": [1]}}, "every task"),
        ({"pool": {"induction": [1], "ioi": []}}, "every task"),
    ],
)
def test_impossible_environments_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        environment(**settings)


def test_an_episode_of_another_model_is_refused() -> None:
    class Other:
        n_blocks, n_heads = 2, 6

        def score(self, heads: Sequence[int]) -> NDArray[np.float64]:
            return np.zeros(len(heads))

    with pytest.raises(ValueError, match="3 layers of 4 heads"):
        HeadAblation(lambda task, episode: Other(), N_BLOCKS, N_HEADS, 5).reset(seed=0)


@pytest.mark.parametrize(
    ("steps", "heads", "expected"),
    [(0, 144, 50), (0, 1024, 50), (0, 48, 17), (0, 8, 3), (0, 1, 1), (20, 48, 20), (20, 8, 8), (60, 144, 60)],
)
def test_steps_of_an_episode(steps: int, heads: int, expected: int) -> None:
    assert HeadAblationConfig(steps=steps).steps_with(heads) == expected


def test_the_published_settings_are_the_defaults() -> None:
    config = HeadAblationConfig()
    assert (config.prompts, config.control_weight, config.control_tokens, config.ablation) == (
        32,
        1.0,
        60,
        "value_bias",
    )
    assert [evaluation_seed(task, 29) for task in (0, 1)] == [10_000_029, 10_010_029]
    for variant in CIRCUIT_TASKS:
        assert HeadAblationConfig(variant=variant).variant == variant
    for ablation in ABLATIONS:
        assert HeadAblationConfig(ablation=ablation).ablation == ablation


@pytest.mark.parametrize(
    "settings",
    [
        {"variant": "chess"},
        {"ablation": "noise"},
        {"steps": -1},
        {"prompts": 0},
        {"control_tokens": 1},
        {"control_weight": -0.1},
        {"control_weight": float("nan")},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings)).replace("variant", "task")):
        HeadAblationConfig(**settings)


@pytest.mark.parametrize(("task", "episode"), [(-1, 0), (0, -1), (0, 10_000)])
def test_seeds_of_evaluations_are_all_different(task: int, episode: int) -> None:
    with pytest.raises(ValueError, match="numbered 0 to 9999"):
        evaluation_seed(task, episode)
