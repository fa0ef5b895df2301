"""A Q network as a player: what it sees, edits of its layers, and games against the same games played by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from envs import TASKS
from envs.rook_endgame import STARTS, observations
from envs.rook_games import RookEndgameConfig, RookGames, whole_game
from jobs.networks.files import About, save
from jobs.networks.player import Player, load_player
from jobs.networks.playing import play_games
from jobs.networks.q_network import untrained
from jobs.networks.splices import Constant, Splice
from jobs.sections import ModelSection
from sae.architectures import build
from sae.config import SAEConfig
from tdlens.errors import UserError

TASK = TASKS["rook_endgame"]
BOARDS = observations(np.flatnonzero(STARTS)[::97])


def player(seed: int = 0, hidden: tuple[int, ...] = (16, 16)) -> Player:
    return Player(untrained(75, hidden, 24, seed), gamma=0.98, reward_scale=0.01, source="here", fingerprint="f")


def saved(folder: Path, hidden: tuple[int, ...] = (16, 16), task: str = "rook_endgame") -> Path:
    about = About(
        task=task,
        variant="smart",
        n_inputs=75,
        hidden=list(hidden),
        n_actions=24,
        gamma=0.98,
        reward_scale=0.01,
        training={},
        versions={},
    )
    save(untrained(75, hidden, 24, 0), folder, about)
    return folder


class Twice:
    block = 1

    def __call__(self, x: Tensor) -> Tensor:
        return 2 * x


def test_it_sees_what_its_network_sees() -> None:
    one = player()
    look = one.look(BOARDS, [1, 2])
    x = torch.from_numpy(BOARDS)
    torch.testing.assert_close(look.q, one.network.q_values(x))
    for block in (1, 2):
        torch.testing.assert_close(look.activations[block], one.network.hidden(x, block))
        torch.testing.assert_close(one.onwards(look.activations[block], block), look.q)


def test_an_edit_changes_what_follows_and_not_what_is_captured() -> None:
    one = player()
    plain, edited = one.look(BOARDS, [1]), one.look(BOARDS, [1], Twice())
    torch.testing.assert_close(edited.activations[1], plain.activations[1])
    torch.testing.assert_close(edited.q, one.onwards(2 * plain.activations[1], 1))
    assert not torch.allclose(edited.q, plain.q)


def test_what_can_take_a_layers_place() -> None:
    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    sae = build(SAEConfig("topk", 16, 32, k=4), torch.Generator().manual_seed(0))
    torch.testing.assert_close(Splice(2, sae)(x), sae.decode(sae.encode(x)))
    assert Constant(2, torch.arange(16.0))(x).tolist() == [list(range(16))] * 5


def test_an_untrained_player_is_drawn_with_its_seed() -> None:
    one = player()
    fresh, again, other = one.untrained(1), one.untrained(1), one.untrained(2)
    assert fresh.describe() == again.describe() != other.describe()
    torch.testing.assert_close(fresh.look(BOARDS).q, again.look(BOARDS).q)
    assert not torch.allclose(fresh.look(BOARDS).q, one.look(BOARDS).q)


def test_games_side_by_side_are_those_of_each_alone() -> None:
    one, config = player(3), RookEndgameConfig(moves=30)
    together = [RookGames(config, seed) for seed in range(5)]
    captured: list[dict[int, Tensor]] = []
    q = play_games(one, together, capture=[1, 2], take=captured.append, batch_size=2)
    assert [len(batch[2]) for batch in captured] == [2, 2, 1]
    activations = torch.cat([batch[2] for batch in captured])
    for seed, (game, values) in enumerate(zip(together, q, strict=True)):
        alone = RookGames(config, seed)
        for t in range(30):
            look = one.look(alone.observation[None], [2])
            torch.testing.assert_close(activations[seed, t], look.activations[2][0])
            np.testing.assert_allclose(values[t], look.q[0].numpy(), rtol=1e-5, atol=1e-6)
            alone.observe()
            alone.act(int(look.q[0].argmax()))
        assert alone.steps == game.steps


def test_whole_games_end_when_they_end() -> None:
    games = [whole_game(RookEndgameConfig(), seed) for seed in range(20)]
    told = 0

    def count(n: int) -> None:
        nonlocal told
        told += n

    q = play_games(player(), games, edit=Twice(), progress=count)
    assert all(len(game.outcomes) == 1 and game.steps[-1].done for game in games)
    assert [len(values) for values in q] == [len(game.steps) for game in games] and told == sum(map(len, q))


def test_the_shipped_agent_is_loaded_by_name_and_others_by_folder(tmp_path: Path) -> None:
    shipped = load_player(ModelSection(name="rook_128"), "rook_endgame", TASK)
    assert (shipped.n_blocks, shipped.d_model, shipped.gamma) == (2, 128, 0.98)
    own = load_player(ModelSection(name=str(saved(tmp_path / "own"))), "rook_endgame", TASK)
    torch.testing.assert_close(own.look(BOARDS).q, player().look(BOARDS).q)
    assert own.describe().fingerprint != shipped.describe().fingerprint


@pytest.mark.parametrize(
    ("hidden", "task", "said"),
    [((16, 8), "rook_endgame", "16, 8 wide"), ((16, 16), "two_step", "was trained on two_step")],
)
def test_agents_that_a_study_cannot_use_are_refused(
    tmp_path: Path, hidden: tuple[int, ...], task: str, said: str
) -> None:
    folder = saved(tmp_path / "agent", hidden, task)
    with pytest.raises(UserError, match=said):
        load_player(ModelSection(name=str(folder)), "rook_endgame", TASK)


def test_a_language_model_is_no_agent() -> None:
    with pytest.raises(UserError, match="There is no agent reference"):
        load_player(ModelSection(name="reference"), "rook_endgame", TASK)
