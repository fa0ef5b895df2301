"""The closed loop: one pass over the whole text with the same edits gives the same numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny import TOKENIZERS, Sparse, small_games, tiny_engine, tiny_model

from envs.transcript import Transcript
from envs.two_step import ACTIONS, TwoStep, TwoStepConfig
from jobs.inference.base import HeadEdit
from jobs.inference.edits import DirectionEdit, LatentEdit
from jobs.inference.huggingface import HuggingFaceEngine
from jobs.inference.play import Played, play, read, replay
from tdlens.errors import UserError

EDIT = LatentEdit(1, Sparse(32, 40), [2, 5, 9], "clamp", value=4.0)
BLOCKS = (0, 1, 2, 3)


class Taken:
    """Keeps all that it is given: block to [R, T, d]."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.batches: list[dict[int, torch.Tensor]] = []

    def __call__(self, activations: dict[int, torch.Tensor]) -> None:
        self.sizes.append(len(next(iter(activations.values()))))
        self.batches.append(activations)

    @property
    def all(self) -> dict[int, torch.Tensor]:
        return {block: torch.cat([batch[block] for batch in self.batches]) for block in self.batches[0]}


def assert_same_numbers(one: Played, other: Played) -> None:
    np.testing.assert_array_equal(one.actions, other.actions)
    np.testing.assert_array_equal(one.token_positions, other.token_positions)
    np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)
    assert one.transcripts == other.transcripts


def assert_same_activations(one: Taken, other: Taken) -> None:
    assert one.all.keys() == other.all.keys()
    for block, x in one.all.items():
        torch.testing.assert_close(x, other.all[block], atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("edits", [(), (EDIT,), (DirectionEdit(EDIT, seed=3),)], ids=["none", "latent", "random"])
def test_closed_loop_with_a_cache_equals_one_pass_over_the_whole_text(engine: HuggingFaceEngine, edits: Any) -> None:
    looped, whole, unpredicted = Taken(), Taken(), Taken()
    played = play(engine, small_games(6), capture=BLOCKS, take=looped, edits=edits, seed=0)
    texts = played.transcripts
    again = replay(engine, texts, ACTIONS, capture=BLOCKS, take=whole, edits=edits, batch_size=4)
    assert_same_numbers(played, again)
    assert_same_activations(looped, whole)
    read(engine, texts, capture=BLOCKS, take=unpredicted, edits=edits, batch_size=4)
    assert unpredicted.sizes == whole.sizes == [4, 2] and looped.sizes == [6]
    for block, x in whole.all.items():
        assert x.shape == (6, 8, 32) and torch.equal(x, unpredicted.all[block])


@pytest.mark.parametrize("edited", [range(2, 5), range(6, 8), range(7, 99)], ids=str)
@pytest.mark.parametrize("edit", [EDIT, DirectionEdit(EDIT, seed=3)], ids=["latent", "random"])
def test_edits_of_some_decisions_touch_no_other(engine: HuggingFaceEngine, edit: Any, edited: range) -> None:
    intact, partly, looped = Taken(), Taken(), Taken()
    texts = play(engine, small_games(6), seed=0).transcripts
    inside = [t for t in range(8) if t in edited]
    outside = [t for t in range(8) if t not in edited]
    replay(engine, texts, ACTIONS, capture=BLOCKS, take=intact)
    replay(engine, texts, ACTIONS, capture=BLOCKS, take=partly, edits=[edit], edited=edited)
    assert torch.equal(partly.all[1][:, outside], intact.all[1][:, outside])
    moved = (partly.all[1] != intact.all[1]).any(-1)
    assert moved[:, inside].any(1).all()
    for block in BLOCKS:
        assert torch.equal(partly.all[block][:, : edited.start], intact.all[block][:, : edited.start])
    # what came after reads the edited stream through attention
    later = [t for t in outside if t > edited.start]
    assert all((partly.all[3] != intact.all[3]).any(-1)[:, t].any() for t in later)

    played = play(engine, small_games(6), capture=BLOCKS, take=looped, edits=[edit], edited=edited, seed=0)
    again = Taken()
    read_again = replay(
        engine, played.transcripts, ACTIONS, capture=BLOCKS, take=again, edits=[edit], edited=edited, batch_size=4
    )
    assert_same_numbers(played, read_again)
    assert_same_activations(looped, again)
    untouched = play(engine, small_games(6), seed=0)
    np.testing.assert_array_equal(played.probabilities[:, : edited.start], untouched.probabilities[:, : edited.start])


def test_edits_of_all_decisions_are_edits_without_a_range(llama: HuggingFaceEngine) -> None:
    everywhere = play(llama, small_games(4), edits=[EDIT], seed=0)
    ranged = play(llama, small_games(4), edits=[EDIT], edited=range(8), seed=0)
    np.testing.assert_array_equal(ranged.probabilities, everywhere.probabilities)
    texts = everywhere.transcripts
    one, other = (replay(llama, texts, ACTIONS, edits=[EDIT], edited=edited) for edited in (None, range(8)))
    np.testing.assert_array_equal(one.probabilities, other.probabilities)
    with pytest.raises(ValueError, match="heads are edited at every decision"):
        replay(llama, texts, ACTIONS, edits=[HeadEdit(1, (0,))], edited=range(2))


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_any_tokenizer_plays(tokenizer: str) -> None:
    engine = tiny_engine("llama", tokenizer)
    played = play(engine, small_games(3), seed=0)
    assert_same_numbers(played, replay(engine, played.transcripts, ACTIONS))


def test_probabilities_are_the_softmax_over_the_action_tokens_alone(engine: HuggingFaceEngine) -> None:
    played = play(engine, small_games(2, episodes=2), seed=0, temperature=0.5)
    left, right = engine.tokenizer(list(ACTIONS), add_special_tokens=False)["input_ids"]
    for index, transcript in enumerate(played.transcripts):
        for t, span in enumerate(transcript.decisions):
            ids = engine.tokenizer(transcript.text[: span.end])["input_ids"]
            assert played.token_positions[index, t] == len(ids) - 1
            with torch.no_grad():
                logits = engine.model(torch.tensor([ids])).logits[0, -1, [*left, *right]]
            expected = torch.softmax(logits.double() / 0.5, dim=0).numpy()
            np.testing.assert_allclose(played.probabilities[index, t], expected, atol=1e-5)


def test_results_do_not_depend_on_the_batch(engine: HuggingFaceEngine) -> None:
    together = Taken()
    whole = play(engine, small_games(7), capture=BLOCKS, take=together, edits=[EDIT], seed=5)
    for batch_size, sizes in ((1, [1] * 7), (3, [3, 3, 1])):
        apart = Taken()
        parts = play(engine, small_games(7), capture=BLOCKS, take=apart, edits=[EDIT], seed=5, batch_size=batch_size)
        assert_same_numbers(whole, parts)
        assert_same_activations(together, apart)
        assert apart.sizes == sizes


def test_a_batch_is_taken_when_its_games_are_at_their_end_and_no_other_has_begun(llama: HuggingFaceEngine) -> None:
    games = small_games(5)
    seen: list[list[int]] = []
    play(llama, games, capture=[2], take=lambda _: seen.append([len(g.steps) for g in games]), seed=0, batch_size=2)
    assert seen == [[8, 8, 0, 0, 0], [8, 8, 8, 8, 0], [8] * 5]


def test_activations_travel_in_the_dtype_of_the_model() -> None:
    engine = HuggingFaceEngine(tiny_model("llama").to(torch.bfloat16), tiny_engine("llama").tokenizer, "")
    taken, again = Taken(), Taken()
    played = play(engine, small_games(2), capture=[2], take=taken, seed=0)
    read(engine, played.transcripts, capture=[2], take=again)
    assert {x.dtype for x in (*taken.all.values(), *again.all.values())} == {torch.bfloat16}


def test_without_predictions_later_blocks_and_the_head_are_not_run(llama: HuggingFaceEngine) -> None:
    texts = play(llama, small_games(2), seed=0).transcripts
    run: list[object] = []
    for name, module in (("third block", llama.blocks[2]), ("second block", llama.blocks[1]), ("head", llama.head)):
        module.register_forward_hook(lambda *_, name=name: run.append(name))
    taken = Taken()
    read(llama, texts, capture=[0, 2], take=taken)
    assert run == ["second block"] and set(taken.all) == {0, 2}


def test_blocks_that_nobody_takes_are_refused(llama: HuggingFaceEngine) -> None:
    with pytest.raises(ValueError, match="nobody takes"):
        play(llama, small_games(1), capture=[1], seed=0)


def test_equal_seeds_give_equal_play_and_other_seeds_other_play(llama: HuggingFaceEngine) -> None:
    taken, again = Taken(), Taken()
    first = play(llama, small_games(6), seed=1, capture=[3], take=taken)
    second = play(llama, small_games(6), seed=1, capture=[3], take=again)
    np.testing.assert_array_equal(first.probabilities, second.probabilities)
    assert torch.equal(taken.all[3], again.all[3])
    assert (first.actions != play(llama, small_games(6), seed=2).actions).any()


def test_the_games_record_what_was_played_and_forced_actions_are_taken(llama: HuggingFaceEngine) -> None:
    games = small_games(6)
    forced = [game.forced_action for game in games]
    played = play(llama, games, seed=0)
    for index, game in enumerate(games):
        assert game.done
        assert [step.action for step in game.steps] == played.actions[index].tolist()
        assert played.actions[index, 0] == forced[index]
        assert [step.forced for step in game.steps] == [True] * 2 + [False] * 6


class Bandit:
    """A few decisions without outcomes, two of them forced."""

    actions = ACTIONS

    def __init__(self, decisions: int = 4) -> None:
        self.steps: list[Any] = []
        self._decisions = decisions
        self._text, self._read = "You pick", 0

    @property
    def done(self) -> bool:
        return len(self.steps) == self._decisions

    @property
    def forced_action(self) -> int | None:
        return 1 if len(self.steps) in (0, 2) else None

    def observe(self) -> str:
        fresh, self._read = self._text[self._read :], len(self._text)
        return fresh

    def act(self, action: int) -> None:
        self.steps.append(action)
        self._text += self.actions[action] + ". You pick"

    def transcript(self) -> Transcript:
        raise AssertionError


class BiasedEngine:
    """A real engine whose logits are replaced so that the left action has a given probability."""

    def __init__(self, engine: HuggingFaceEngine, probability: float) -> None:
        self.engine, self.tokenizer, self.new_cache = engine, engine.tokenizer, engine.new_cache
        (left,), (right,) = engine.tokenizer(list(ACTIONS), add_special_tokens=False)["input_ids"]
        self.logits = torch.full((400,), 9.0)
        self.logits[[left, right]] = torch.tensor([probability, 1 - probability]).log()

    def forward(self, tokens: Any, **arguments: Any) -> Any:
        result = self.engine.forward(tokens, **arguments)
        logits = self.logits[arguments["choices"]][:, None].expand(result.logits.shape)
        return type(result)(logits, result.activations)


def test_choices_follow_the_probabilities_with_numbers_common_to_all_interventions(
    llama: HuggingFaceEngine,
) -> None:
    config = TwoStepConfig(episodes=3, random_episodes=1)

    def lefts(probability: float, n: int = 300) -> Any:
        engine: Any = BiasedEngine(llama, probability)
        return play(engine, [TwoStep(config, seed=s) for s in range(n)], seed=0).actions == 0

    some, more = lefts(0.3), lefts(0.6)
    free = slice(2, None)
    assert abs(some[:, free].mean() - 0.3) < 4 * (0.3 * 0.7 / 1200) ** 0.5
    assert abs(more[:, free].mean() - 0.6) < 4 * (0.6 * 0.4 / 1200) ** 0.5
    # with common random numbers whoever picks left at 0.3 picks left at 0.6 too
    assert not (some & ~more).any()
    np.testing.assert_array_equal(some[:, :2], more[:, :2])
    # rollout i's numbers are its own: fewer rollouts, same choices
    np.testing.assert_array_equal(lefts(0.3, n=20), some[:20])


def test_progress_counts_every_decision(llama: HuggingFaceEngine) -> None:
    made: list[int] = []
    played = play(llama, small_games(5), seed=0, batch_size=2, progress=made.append)
    assert sum(made) == played.actions.size == 5 * 8
    made.clear()
    replay(llama, played.transcripts, ACTIONS, batch_size=2, progress=made.append)
    assert sum(made) == 5 * 8


def test_every_text_may_have_its_own_actions(llama: HuggingFaceEngine) -> None:
    texts = play(llama, small_games(5), seed=0).transcripts
    common = replay(llama, texts, ACTIONS)
    turned = [ACTIONS[::-1] if index % 2 else ACTIONS for index in range(5)]
    own = replay(llama, texts, turned, batch_size=2)
    np.testing.assert_array_equal(own.actions[::2], common.actions[::2])
    np.testing.assert_array_equal(own.actions[1::2], 1 - common.actions[1::2])
    np.testing.assert_allclose(own.probabilities[::2], common.probabilities[::2], atol=1e-5)
    np.testing.assert_allclose(own.probabilities[1::2], common.probabilities[1::2, :, ::-1], atol=1e-5)


def test_games_of_different_lengths_are_refused(llama: HuggingFaceEngine) -> None:
    games: Any = [Bandit(2), Bandit(3)]
    with pytest.raises(ValueError, match="number of decisions"):
        play(llama, games, seed=0)


def test_an_action_that_the_model_splits_is_refused(llama: HuggingFaceEngine) -> None:
    game: Any = Bandit()
    game.actions = (" left", " backwards")
    with pytest.raises(UserError, match="' backwards' is not one token"):
        play(llama, [game], seed=0)


def test_a_decision_without_an_action_after_it_is_refused(llama: HuggingFaceEngine) -> None:
    (game,) = small_games(1)
    cut = game.transcript()
    with pytest.raises(ValueError, match="isn't followed by one of the actions"):
        replay(llama, [cut], ACTIONS)
