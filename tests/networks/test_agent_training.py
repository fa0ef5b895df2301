"""Training on the smallest scale: reproducible to the bit, it learns, and it leaves nothing behind but its folder."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from envs.rook_endgame import Outcome
from envs.rook_values import play_out
from jobs.networks.evaluate import greedy_policy
from jobs.networks.files import load_network
from jobs.networks.learned import TRAINING
from jobs.networks.q_network import QNetwork, untrained
from jobs.networks.train import AgentConfig, Progress, train_agent, train_into

TINY = AgentConfig(hidden=(16, 12), moves=3_000, games=16, updates=1, batch=16, learning_starts=200)


def weights(network: QNetwork) -> bytes:
    return b"".join(weight.numpy().tobytes() for weight in network.state_dict().values())


def test_the_seed_decides_the_weights_to_the_bit() -> None:
    first = weights(train_agent(TINY))
    np.random.seed(5)  # noqa: NPY002 - whatever has been drawn before
    torch.manual_seed(5)
    assert weights(train_agent(TINY)) == first
    assert weights(train_agent(replace(TINY, seed=1))) != first


def test_looking_at_the_progress_changes_nothing() -> None:
    seen: list[Progress] = []
    assert weights(train_agent(TINY, seen.append, reports=4)) == weights(train_agent(TINY))
    assert [progress.moves for progress in seen] == [752, 1504, 2256, 3008]
    assert [progress.updates for progress in seen] == sorted({progress.updates for progress in seen})


def test_global_generators_and_threads_are_put_back() -> None:
    def drawn() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002

    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    before = drawn()
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    threads = torch.get_num_threads()
    train_agent(replace(TINY, moves=400))
    assert drawn() == before and torch.get_num_threads() == threads


def test_a_few_thousand_moves_teach_which_moves_are_illegal() -> None:
    config = AgentConfig(hidden=(64,), moves=20_000, updates=4, batch=64, learning_rate=2e-3)
    fresh, taught = untrained(75, (64,), 24, seed=0), train_agent(config)
    before, after = (play_out(greedy_policy(network)).shares[Outcome.ILLEGAL] for network in (fresh, taught))
    assert before > 0.5 and after < 0.3


def test_the_folder_says_how_it_came_to_be(tmp_path: Path) -> None:
    network = train_into(tmp_path / "agent", TINY)
    loaded, about = load_network(tmp_path / "agent")
    assert weights(loaded) == weights(network)
    config = json.loads(json.dumps(asdict(TINY)))
    assert about.training == config and (about.hidden, about.gamma, about.variant) == ([16, 12], 0.98, "smart")
    record = json.loads((tmp_path / "agent" / TRAINING).read_text())
    assert record["config"] == config
    assert record["cost"]["moves"] == record["curve"][-1]["moves"] == 3_008
    assert record["curve"][-1]["mean_return"] == pytest.approx(play_out(greedy_policy(network)).mean_return)


@pytest.mark.parametrize(
    "setting",
    [
        *({"moves": 0}, {"games": 0}, {"batch": 0}, {"hidden": ()}, {"hidden": (8, 0)}, {"seed": -1}),
        *({"gamma": 1.5}, {"exploration": -0.1}, {"learning_rate": -1.0}, {"variant": "clever"}),
    ],
    ids=str,
)
def test_settings_that_make_no_sense(setting: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting)) if "variant" not in setting else "clever"):
        AgentConfig(**setting)  # type: ignore[arg-type]
