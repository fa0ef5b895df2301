"""A model plays games in closed loop, or re-reads games already played."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs.game import Game
from envs.transcript import Transcript
from jobs.inference.base import Edit, Engine, Forward, TokenBatch
from jobs.inference.tokens import TextTokenizer
from tdlens.errors import UserError

Progress = Callable[[int], None]
"""Told how many more decisions have been made."""


@dataclass(frozen=True)
class Played:
    """R rollouts of T decisions each, as the model chose and saw them."""

    actions: NDArray[np.int64]
    """Index of the action taken [R, T]."""
    probabilities: NDArray[np.float64]
    """The model's probability of each action, among the actions alone [R, T, A], forced or not."""
    activations: dict[int, Tensor]
    """Residual stream at the decision tokens, after edits: block to float32 [R, T, d] on the CPU."""
    token_positions: NDArray[np.int64]
    """Index of each decision token in the whole text's tokens, special tokens included [R, T]."""
    transcripts: list[Transcript]
    """Text of each rollout."""


def play(
    engine: Engine,
    games: Sequence[Game],
    *,
    capture: Sequence[int] = (),
    edits: Sequence[Edit] = (),
    seed: int,
    temperature: float = 1.0,
    batch_size: int = 64,
    progress: Progress | None = None,
) -> Played:
    """Let the model play all ``games`` to their end, each decision sampled from the action tokens alone.

    The protocol of Demircan et al. (2025, arXiv 2410.01280), with temperature 1 there. Games advance in
    lockstep; a forward pass reads only the text since the last decision. Edits act at every decision token.

    Decision t of rollout i uses the t-th number of a generator made from ``(seed, i)``, forced or not: with
    equal seeds, runs that differ in their edits or batch size draw the same numbers.

    Raises:
        UserError: actions that aren't single tokens, or another misfit of tokenizer and text.
        ValueError: games that differ in their number of decisions or actions.
    """
    player = _Player(engine, TextTokenizer(engine.tokenizer), capture, edits, temperature, progress)
    generators = [np.random.default_rng((seed, index)) for index in range(len(games))]
    batches = [slice(start, start + batch_size) for start in range(0, len(games), batch_size)]
    return _joined([player.play(games[batch], generators[batch]) for batch in batches])


def replay(
    engine: Engine,
    transcripts: Sequence[Transcript],
    actions: Sequence[str],
    *,
    capture: Sequence[int] = (),
    edits: Sequence[Edit] = (),
    temperature: float = 1.0,
    batch_size: int = 16,
    progress: Progress | None = None,
) -> Played:
    """Teacher-forced counterpart of :func:`play`: the model reads whole texts and predicts at each decision.

    Args:
        engine: the model.
        transcripts: texts with T decisions each, every one followed by its action.
        actions: what each action appends after the decision word, e.g. ``(" left", " right")``.
        capture: blocks to return.
        edits: changes made at every decision token.
        temperature: of the softmax over the actions.
        batch_size: texts in one forward pass.
        progress: told of the decisions read.

    Raises:
        UserError: as :func:`play`.
        ValueError: texts that differ in their number of decisions, or a decision not followed by an action.
    """
    player = _Player(engine, TextTokenizer(engine.tokenizer), capture, edits, temperature, progress)
    first = transcripts[0]
    action_ids = player.tokenizer.action_ids(first.text[: first.decisions[0].end], actions)
    batches = [slice(start, start + batch_size) for start in range(0, len(transcripts), batch_size)]
    return _joined([player.replay(transcripts[batch], action_ids) for batch in batches])


@dataclass(frozen=True)
class _Player:
    """A model with what it is to return and undergo, the same for every batch."""

    engine: Engine
    tokenizer: TextTokenizer
    capture: Sequence[int]
    edits: Sequence[Edit]
    temperature: float
    progress: Progress | None

    def play(self, games: Sequence[Game], generators: Sequence[np.random.Generator]) -> Played:
        cache = self.engine.new_cache()
        texts = [""] * len(games)
        rows: list[list[int]] = [[] for _ in games]
        action_ids: list[list[int]] = []
        chosen: list[int] = []
        actions, probabilities, token_positions = [], [], []
        activations: dict[int, list[Tensor]] = {block: [] for block in self.capture}
        while not _finished(games):
            pieces = [game.observe() for game in games]
            chunks = [self.tokenizer.extend(text, piece) for text, piece in zip(texts, pieces, strict=True)]
            texts = [text + piece for text, piece in zip(texts, pieces, strict=True)]
            if not action_ids:
                action_ids = self._action_ids(texts, games)
            else:
                _check_acted(chunks, action_ids, chosen, games)
            for row, chunk in zip(rows, chunks, strict=True):
                row.extend(chunk)

            # padded on the right every slot has a token to attend to, so no row of the attention is empty
            tokens = TokenBatch.from_rows(chunks, self.tokenizer.pad_id, side="right")
            last = torch.tensor([[len(chunk) - 1] for chunk in chunks])
            result = self.engine.forward(tokens, positions=last, capture=self.capture, edits=self.edits, cache=cache)
            choice = self._probabilities(result, action_ids)[:, 0]
            chosen = [
                _choose(game.forced_action, p, generator.random())
                for game, p, generator in zip(games, choice, generators, strict=True)
            ]
            for game, action in zip(games, chosen, strict=True):
                game.act(action)

            actions.append(chosen)
            probabilities.append(choice)
            token_positions.append([len(row) - 1 for row in rows])
            for block, x in result.activations.items():
                activations[block].append(x[:, 0].float().cpu())
            if self.progress is not None:
                self.progress(len(games))
        transcripts = [game.transcript() for game in games]
        self.tokenizer.verify([transcript.text for transcript in transcripts], rows)
        return Played(
            actions=np.array(actions, dtype=np.int64).T,
            probabilities=np.stack(probabilities, axis=1),
            activations={block: torch.stack(xs, dim=1) for block, xs in activations.items()},
            token_positions=np.array(token_positions, dtype=np.int64).T,
            transcripts=transcripts,
        )

    def replay(self, transcripts: Sequence[Transcript], action_ids: list[int]) -> Played:
        rows, positions = self.tokenizer.decisions(transcripts)
        if len({len(places) for places in positions}) > 1:
            raise ValueError("the transcripts differ in their number of decisions")
        actions = [
            [_action_taken(row, place, action_ids) for place in places]
            for row, places in zip(rows, positions, strict=True)
        ]
        # what follows the last decision can't reach back to it
        read = [row[: places[-1] + 1] for row, places in zip(rows, positions, strict=True)]
        tokens = TokenBatch.from_rows(read, self.tokenizer.pad_id, side="right")
        result = self.engine.forward(tokens, positions=torch.tensor(positions), capture=self.capture, edits=self.edits)
        if self.progress is not None:
            self.progress(sum(map(len, positions)))
        return Played(
            actions=np.array(actions, dtype=np.int64),
            probabilities=self._probabilities(result, [action_ids] * len(rows)),
            activations={block: x.float().cpu() for block, x in result.activations.items()},
            token_positions=np.array(positions, dtype=np.int64),
            transcripts=list(transcripts),
        )

    def _action_ids(self, texts: Sequence[str], games: Sequence[Game]) -> list[list[int]]:
        known = {
            (text, actions): self.tokenizer.action_ids(text, actions)
            for text, actions in {(text, game.actions) for text, game in zip(texts, games, strict=True)}
        }
        return [known[text, game.actions] for text, game in zip(texts, games, strict=True)]

    def _probabilities(self, result: Forward, action_ids: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """Softmax over the action tokens alone: [B, P, A]."""
        assert result.logits is not None
        logits = result.logits.float()
        ids = torch.tensor(action_ids, device=logits.device)[:, None].expand(-1, logits.shape[1], -1)
        chances = (logits.gather(-1, ids) / self.temperature).softmax(dim=-1)
        return chances.cpu().numpy().astype(np.float64)


def _finished(games: Sequence[Game]) -> bool:
    done = {game.done for game in games}
    if len(done) > 1:
        raise ValueError("the games differ in their number of decisions")
    return done != {False}


def _check_acted(
    chunks: Sequence[Sequence[int]],
    action_ids: Sequence[Sequence[int]],
    chosen: Sequence[int],
    games: Sequence[Game],
) -> None:
    for chunk, ids, action, game in zip(chunks, action_ids, chosen, games, strict=True):
        if chunk[0] != ids[action]:
            raise UserError(
                f"Action {game.actions[action]!r} becomes another token when more text follows it.",
                "Name the actions by words that are single tokens of this model, or use another model.",
            )


def _choose(forced: int | None, probabilities: NDArray[np.float64], uniform: float) -> int:
    if forced is not None:
        return forced
    below = np.searchsorted(probabilities.cumsum(), uniform, side="right")
    return min(int(below), len(probabilities) - 1)


def _action_taken(row: Sequence[int], place: int, action_ids: Sequence[int]) -> int:
    follows = row[place + 1 : place + 2]
    if not follows or follows[0] not in action_ids:
        raise ValueError(f"the decision at token {place} of a transcript isn't followed by one of the actions")
    return action_ids.index(follows[0])


def _joined(parts: Sequence[Played]) -> Played:
    return Played(
        actions=np.concatenate([part.actions for part in parts]),
        probabilities=np.concatenate([part.probabilities for part in parts]),
        activations={block: torch.cat([part.activations[block] for part in parts]) for block in parts[0].activations},
        token_positions=np.concatenate([part.token_positions for part in parts]),
        transcripts=[transcript for part in parts for transcript in part.transcripts],
    )
