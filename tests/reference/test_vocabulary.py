"""The reference tokenizer reads what the tasks write, without unknown words, and gives it back unchanged."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.grid_world import GridWorld, GridWorldConfig
from envs.two_step import ACTIONS, TwoStep, TwoStepConfig, Variant
from jobs.inference.play import tell
from jobs.inference.tokens import TextTokenizer
from jobs.reference.vocabulary import EPISODES, OBJECTS, POINTS, build_tokenizer, tokens
from tdlens.errors import UserError

TOKENIZER = build_tokenizer()
IDS = {token: index for index, token in enumerate(tokens())}

GRID_START = (
    "You are living on a two-dimensional grid-world. You have 4 actions, left, right, up and down. Your goal is to get "
    "to the goal in as few steps as possible.\n\n"
)
GRAPH_START = "What is the next object in the following sequence?\n\n"
GRID_EXAMPLE = (
    GRID_START + "Episode 0: You are at 0, 1. You go left. You get -1 points. You are at 0, 1. You go down. "
    "You get -1 points. You are at 0, 0. You go up. You get +1 points. You finished with -1 points.\n\n"
    "Episode 1: You are at 1, 1. You go right. You get +1 points. You finished with 1 points.\n\n"
)
GRAPH_EXAMPLE = GRAPH_START + "cake, horse, gift, horse, sock, wall, sock, wall,"


def encoded(text: str) -> list[int]:
    """Token ids with what every prompt must fulfil: a start token, nothing unknown, the text comes back."""
    ids = TOKENIZER(text)["input_ids"]
    assert ids[0] == TOKENIZER.bos_token_id == IDS["<bos>"]
    assert TOKENIZER.unk_token_id not in ids
    assert TOKENIZER.decode(ids[1:]) == text
    assert TOKENIZER.decode(ids, skip_special_tokens=True) == text
    return ids


@settings(max_examples=30)
@given(
    variant=st.sampled_from(Variant),
    seed=st.integers(0, 2**32 - 1),
    episodes=st.integers(1, EPISODES),
    choices=st.integers(0, 2**128 - 1),
)
def test_two_step_text_is_seven_known_tokens_an_episode(
    variant: Variant, seed: int, episodes: int, choices: int
) -> None:
    game = TwoStep(TwoStepConfig(variant, episodes, random_episodes=0), seed)
    while not game.done:
        game.act(choices >> len(game.steps) & 1)
    ids = encoded(game.transcript().text)
    assert len(ids) == 2 + 7 * episodes
    assert ids[3::7] == ids[6::7] == [IDS[" pick"]] * episodes
    chosen = [ids[2 + 7 * (i // 2) + (2, 5)[i % 2]] for i in range(2 * episodes)]
    assert chosen == [IDS[ACTIONS[step.action]] for step in game.steps]


def grid_text(walks: list[tuple[list[tuple[int, int]], list[str], int]]) -> str:
    """A prompt with the given cells, moves and final scores."""
    text = GRID_START
    for episode, (cells, moves, score) in enumerate(walks):
        text += f"Episode {episode}: "
        for (x, y), move in zip(cells, moves, strict=False):
            text += f"You are at {x}, {y}. You go {move}. You get -1 points. "
        text = text.removesuffix("-1 points. ") + f"+1 points. You finished with {score} points.\n\n"
    return text


cells = st.tuples(st.integers(0, 4), st.integers(0, 4))
moves = st.sampled_from(["left", "right", "up", "down"])
walks = st.integers(1, 20).flatmap(
    lambda n: st.tuples(
        st.lists(cells, min_size=n, max_size=n),
        st.lists(moves, min_size=n, max_size=n),
        st.integers(-38, 1),
    )
)


@settings(max_examples=50)
@given(st.lists(walks, min_size=1, max_size=8))
def test_grid_text_is_known(walked: list[tuple[list[tuple[int, int]], list[str], int]]) -> None:
    ids = encoded(grid_text(walked))
    assert ids.count(IDS[" go"]) == sum(len(chosen) for _, chosen, _ in walked)


@settings(max_examples=50)
@given(st.lists(st.sampled_from(OBJECTS), min_size=2, max_size=100))
def test_graph_text_is_known_and_every_object_is_one_token(walk: list[str]) -> None:
    ids = encoded(GRAPH_START + ", ".join(walk) + ",")
    assert len(ids) == 2 + 2 * len(walk)
    assert ids[3::2] == [IDS[","]] * len(walk)


@pytest.mark.parametrize("text", [GRID_EXAMPLE, GRAPH_EXAMPLE])
def test_the_papers_other_prompts_are_known(text: str) -> None:
    encoded(text)


@settings(max_examples=20)
@given(points=st.sampled_from(list(POINTS)), episode=st.integers(0, EPISODES - 1))
def test_a_number_is_never_split_or_confused(points: int, episode: int) -> None:
    tail = f". You get {points} points. Episode is over.\n\n"
    ids = encoded(f"Episode {episode}: You pick left. You see an apple. You pick right{tail}")
    assert (ids[1], ids[-1]) == (IDS[f"Episode {episode}: You"], IDS[tail])


@pytest.mark.parametrize("text", ["You get 11 points.", "Episode 64: You", "a banana"])
def test_what_the_model_has_never_read_is_unknown(text: str) -> None:
    assert TOKENIZER.unk_token_id in TOKENIZER(text)["input_ids"]


def test_ids_are_distinct_and_padding_goes_to_the_left() -> None:
    assert len(IDS) == len(tokens()) == len(TOKENIZER)
    assert TOKENIZER.padding_side == "left"
    batch = TOKENIZER([GRAPH_EXAMPLE, GRID_EXAMPLE], padding=True)
    assert batch["input_ids"][0][0] == TOKENIZER.pad_token_id == IDS["<pad>"]


@pytest.mark.parametrize(
    ("changes", "unknown"),
    [
        ({"cap": 60, "epsilon_episodes": 100}, "' -[4-6][0-9]' in 'inished with"),
        ({"start_x": 3, "start_y": 1}, "'Episode' in .*Episode 64"),
        ({"size": 6}, "'\\.' in ' are at .*5"),
    ],
)
def test_settings_that_lead_out_of_the_vocabulary_are_the_users_to_change(
    changes: dict[str, int], unknown: str
) -> None:
    tokenizer = TextTokenizer(TOKENIZER)
    tokenizer.decisions([tell(GridWorld(GridWorldConfig(cap=40), 0))])
    with pytest.raises(UserError, match=f"doesn't know {unknown}") as caught:
        tokenizer.decisions([tell(GridWorld(GridWorldConfig(**changes), 0))])
    assert "change task.settings" in caught.value.remedy and "cap" in caught.value.remedy
