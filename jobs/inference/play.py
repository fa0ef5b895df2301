"""A model plays games in closed loop, or re-reads games already played.

Rollouts advance in batches. The activations of a batch are handed over when it is finished and not kept, so that
memory doesn't grow with the number of rollouts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from envs.game import Game
from envs.transcript import Transcript
from jobs.inference.base import Edit, Engine
from jobs.inference.player import Played, Player, Progress, Take

__all__ = ["TEXTS_A_READER", "Played", "Progress", "Take", "play", "read", "replay", "tell", "texts_at_once"]

TEXTS_A_READER = 16
"""Whole texts that a process reads at once. Each costs the memory of all its tokens, not of one decision's."""


def play(
    engine: Engine,
    games: Sequence[Game],
    *,
    capture: Sequence[int] = (),
    take: Take | None = None,
    edits: Sequence[Edit] = (),
    edited: range | None = None,
    seed: int,
    temperature: float = 1.0,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> Played:
    """Let the model play all ``games`` to their end, each decision sampled from the action tokens alone.

    The protocol of Demircan et al. (2025, arXiv 2410.01280), with temperature 1 there. Games advance in
    lockstep; a forward pass reads only the text since the last decision.

    Decision t of rollout i uses the t-th number of a generator made from ``(seed, i)``, forced or not: with
    equal seeds, runs that differ in their edits or batch size draw the same numbers.

    Args:
        engine: the model.
        games: fresh ones; they are advanced.
        capture: blocks that ``take`` is given.
        take: takes each batch's activations, once its games are at their end.
        edits: changes made at the decision tokens.
        edited: decisions at which they are made, counted from 0; all if None.
        seed: of the choices.
        temperature: of the softmax over the actions.
        batch_size: rollouts played side by side.
        progress: told of the decisions made.

    Raises:
        UserError: actions that aren't single tokens, or another misfit of tokenizer and text.
        ValueError: games that differ in their number of decisions or actions.
    """
    player = Player(engine, capture, take, edits, temperature, progress, edited)
    generators = [np.random.default_rng((seed, index)) for index in range(len(games))]
    return _joined([player.play(games[batch], generators[batch]) for batch in _batches(len(games), batch_size)])


def replay(
    engine: Engine,
    transcripts: Sequence[Transcript],
    actions: Sequence[str] | Sequence[Sequence[str]],
    *,
    capture: Sequence[int] = (),
    take: Take | None = None,
    edits: Sequence[Edit] = (),
    edited: range | None = None,
    temperature: float = 1.0,
    batch_size: int = TEXTS_A_READER,
    progress: Progress | None = None,
) -> Played:
    """Teacher-forced counterpart of :func:`play`: the model reads whole texts and predicts at each decision.

    Args:
        engine: the model.
        transcripts: texts with T decisions each, every one followed by its action.
        actions: what each action appends after the decision word, e.g. ``(" left", " right")``; or a list of
            such lists, one for each text.
        capture: blocks that ``take`` is given.
        take: takes each batch's activations.
        edits: changes made at the decision tokens.
        edited: decisions at which they are made, counted from 0; all if None.
        temperature: of the softmax over the actions.
        batch_size: texts in one forward pass; :func:`texts_at_once` says how many are affordable.
        progress: told of the decisions read.

    Raises:
        UserError: as :func:`play`.
        ValueError: texts that differ in their number of decisions, or a decision not followed by an action.
    """
    player = Player(engine, capture, take, edits, temperature, progress, edited)
    action_ids = player.ids_of(transcripts, actions)
    batches = _batches(len(transcripts), batch_size)
    return _joined([player.replay(transcripts[batch], action_ids[batch]) for batch in batches])


def read(
    engine: Engine,
    transcripts: Sequence[Transcript],
    *,
    capture: Sequence[int],
    take: Take,
    edits: Sequence[Edit] = (),
    batch_size: int = TEXTS_A_READER,
    progress: Progress | None = None,
) -> None:
    """As :func:`replay`, without predictions: the model is run no further than the last block that is captured."""
    player = Player(engine, capture, take, edits, 1.0, progress)
    for batch in _batches(len(transcripts), batch_size):
        player.read(*player.decisions(transcripts[batch]))


def tell(game: Game) -> Transcript:
    """The whole text of a game whose every action is imposed; it is advanced to its end."""
    while not game.done:
        action = game.forced_action
        if action is None:
            raise ValueError("the game leaves a choice to its player")
        game.observe()
        game.act(action)
    return game.transcript()


def texts_at_once(batch_size: int, readers: int) -> int:
    """How many whole texts to read in one forward pass.

    Args:
        batch_size: rollouts that are played side by side, which is never exceeded.
        readers: processes that read different texts, see :class:`~jobs.inference.base.Engine`.
    """
    return min(batch_size, TEXTS_A_READER * readers)


def _batches(n: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, n, size)]


def _joined(parts: Sequence[Played]) -> Played:
    return Played(
        actions=np.concatenate([part.actions for part in parts]),
        probabilities=np.concatenate([part.probabilities for part in parts]),
        token_positions=np.concatenate([part.token_positions for part in parts]),
        transcripts=[transcript for part in parts for transcript in part.transcripts],
    )
