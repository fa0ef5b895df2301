"""Induction on random tokens: what came after A the first time comes after it again (Khadka 2026, arXiv 2605.26343).

A row is BOS, A, B, 57 fillers, A. All are drawn alike from the ids from 10 on (below lie special tokens), so A may be
among the fillers, too. The wrong answer is a random token other than A and B.

Random calls, in the order of the paper's code: one torch generator with ``seed`` gives all A [n], all B [n], all
fillers [n, 57]; another with ``seed + 7919`` gives the wrong answers [n] and then, row by row, a new one [1] for as
long as it is A or B.
"""

from __future__ import annotations

from typing import Any

from envs.circuit_tasks.prompts import CORRUPTION_SEED, Prompts, UnsuitableTokenizer, Words

NAME = "induction"
LENGTH = 61
FIRST_ID = 10
WRONG_SEED = 7919


def make(tokenizer: Any, n: int, seed: int) -> Prompts:
    """n prompts. Corrupted, other tokens take the places of the first A and of B.

    Roles: ``a1`` and ``b``, the first A and B; ``a2``, the last token.

    Raises:
        UnsuitableTokenizer: too few ids to draw from.
    """
    import torch

    words = Words(tokenizer)
    if words.n_ids < FIRST_ID + 5:  # a row's A and B, their two stand-ins, and a wrong answer
        raise UnsuitableTokenizer(f"the task draws from the ids from {FIRST_ID} on, and there are only {words.n_ids}")

    def generator_of(number: int) -> torch.Generator:
        return torch.Generator().manual_seed(number)

    def draw(shape: tuple[int, ...], chance: torch.Generator) -> Any:
        return torch.randint(FIRST_ID, words.n_ids, shape, generator=chance).tolist()

    def other(than: tuple[int, int], chance: torch.Generator) -> int:
        while (token := draw((1,), chance)[0]) in than:
            pass
        return int(token)

    generator = generator_of(seed)
    a, b = draw((n,), generator), draw((n,), generator)
    fillers = draw((n, LENGTH - 4), generator)
    pairs, rest = list(zip(a, b, strict=True)), [tuple(row) for row in fillers]

    generator, stand_ins = generator_of(seed + WRONG_SEED), generator_of(seed + CORRUPTION_SEED)
    wrong = draw((n,), generator)
    others = []
    for row, pair in enumerate(pairs):
        while wrong[row] in pair:
            (wrong[row],) = draw((1,), generator)
        others.append([other(pair, stand_ins) for _ in pair])
    return Prompts(
        rows=tuple((words.bos, *pair, *fill, pair[0]) for pair, fill in zip(pairs, rest, strict=True)),
        corrupted=tuple((words.bos, *new, *fill, pair[0]) for new, fill, pair in zip(others, rest, pairs, strict=True)),
        right=tuple((token,) for token in b),
        wrong=tuple((token,) for token in wrong),
        texts=(),
        roles={"a1": (1,) * n, "b": (2,) * n, "a2": (LENGTH - 1,) * n},
    )
