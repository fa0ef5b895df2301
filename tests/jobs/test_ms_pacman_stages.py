"""A study of an agent of Ms. Pac-Man, whose states can't be listed: every stage that needs no list of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs import TASKS
from envs.ms_pacman import MsPacmanConfig, MsPacmanGames
from jobs.networks.conv_network import ConvNetwork
from jobs.networks.files import save
from jobs.networks.player import load_player
from jobs.networks.q_network import fresh
from jobs.networks.train_ms_pacman import N_INPUTS, PacmanAgentConfig, about
from jobs.pipeline import plan_study
from jobs.sections import ModelSection
from jobs.study import load, validate
from tdlens.errors import UserError
from tdlens.record import Record
from tests.jobs.small_study import context_of, fresh_record, run

ROLLOUTS, MOVES, FRAMES, GAMES, SPLICED = 4, 60, 200, 3, 2
FILE = Path(__file__).parents[2] / "studies" / "ms_pacman.toml"
STUDY: dict[str, Any] = {
    "name": "pacman",
    "bootstrap": 100,
    "task": {"name": "ms_pacman", "rollouts": ROLLOUTS, "settings": {"moves": MOVES, "max_frames": FRAMES}},
    "capture": {"blocks": [1]},
    "sae": [
        {"name": "k4", "architecture": "topk", "expansion": 1, "options": {"k": 4, "centre": True}, "epochs": 4}
        | {"lr": 0.01, "batch_size": 64}
    ],
    "correlate": {"permutations": 19, "controls": ["raw", "untrained", "shuffled"]},
    "games": {"played": GAMES, "spliced": SPLICED},
}


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an agent that has learned nothing."""
    pytest.importorskip("ale_py", reason="the emulator is an optional extra: pip install 'tdlens[atari]'")
    folder = tmp_path_factory.mktemp("pacman") / "agent"
    save(fresh(ConvNetwork, N_INPUTS, (16, 16), 9, seed=3), folder, about(PacmanAgentConfig(hidden=(16, 16))))
    return folder


@pytest.fixture(scope="module")
def done(agent: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Record]:
    """The record of the whole study."""
    with fresh_record("sqlite", tmp_path_factory.mktemp("pacman")) as record:
        run(validate(STUDY | {"model": {"name": str(agent)}}, "pacman"), record)
        yield record


def test_every_stage_that_needs_no_list_of_states_leaves_its_rows(done: Record) -> None:
    states = done.query("SELECT stage, state, count(*) AS n FROM v_job GROUP BY stage, state").set_index("stage")
    assert (states["state"] == "done").all()
    assert set(states.index) == {"play", "games", "signals", "harvest", "train_sae", "correlate", "rank", "splice"}
    assert states.loc["games", "n"] == 2  # nobody knows the best play
    correlated = done.query("SELECT DISTINCT source, model LIKE '%-untrained' AS untrained FROM v_correlation")
    assert set(correlated.itertuples(index=False, name=None)) >= {("sae", 0), ("raw", 0), ("raw", 1), ("shuffled", 0)}
    assert done.query("SELECT * FROM v_model_metric WHERE metric LIKE '%expected%'").empty


def test_play_is_that_of_the_agent_and_its_values_are_of_what_it_saw(done: Record, agent: Path) -> None:
    player = load_player(ModelSection(name=str(agent)), "ms_pacman", TASKS["ms_pacman"])
    steps = done.query("SELECT * FROM v_step WHERE policy = 'model' AND rollout = (SELECT min(rollout) FROM v_step)")
    game = MsPacmanGames(MsPacmanConfig(moves=MOVES, max_frames=FRAMES), seed=0)
    seen = []
    for action in steps.sort_values("step")["action"]:
        seen.append(game.observation)
        game.act(int(action))
    q = player.look(np.stack(seen)).q.numpy()
    assert [step.state for step in game.steps] == steps["state"].tolist()
    assert q.argmax(1).tolist() == steps["action"].tolist()
    values = done.query(
        "SELECT step, value FROM v_learning_signal WHERE signal = 'q_max' AND "
        "rollout = (SELECT min(rollout) FROM v_step) ORDER BY step"
    )
    np.testing.assert_allclose(values["value"], q.max(1), rtol=1e-4)


def test_games_with_the_layer_replaced_are_compared_with_the_same_as_they_were(done: Record) -> None:
    effects = done.query("SELECT * FROM v_intervention_effect")
    assert {"mean_layer", "zero_layer", "k4_splice"} <= set(effects["intervention"])
    metrics = set(effects["metric"])
    assert {"return", "agreement", "fvu", "time_out"} <= metrics and not {m for m in metrics if m.endswith("_all")}
    table = effects.set_index(["intervention", "metric"])
    assert table.loc[("mean_layer", "fvu"), "value"] == pytest.approx(1)
    assert table.loc[("k4_splice", "return"), "n_rollouts"] == SPLICED
    metric = done.query("SELECT * FROM v_model_metric").set_index("metric")
    assert metric.loc["time_out", "value"] == 1 and metric.loc["length", "value"] == FRAMES / 4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"signals": {"agents": ["q_network", "optimal", "place", "clock"]}},
            "nobody knows the best play of ms_pacman",
        ),
        ({"population": {"agents": 2}}, "takes too long to be trained within a study"),
        ({"task": {"name": "ms_pacman", "settings": {"movs": 3}}}, "movs"),
    ],
)
def test_what_its_states_do_not_allow_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as refused:
        validate(STUDY | changes, "pacman")
    assert said in str(refused.value)


@pytest.mark.parametrize("quick", [False, True])
def test_the_study_is_valid_without_the_emulator_but_does_not_run(
    quick: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "ale_py", None)  # an import of it fails
    study = load(FILE, quick=quick)
    assert study.sae[0].autoencoder(512).d_latents == 2048
    with fresh_record("sqlite", tmp_path) as record, pytest.raises(UserError, match="needs ale_py") as refused:
        plan_study(context_of(study, record))
    assert refused.value.remedy == "pip install 'tdlens[atari]'"
