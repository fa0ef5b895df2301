"""Stretches of ordinary text: what ablations do to them is what they do to everything."""

from __future__ import annotations

from collections.abc import Sequence


def control_rows(stream: Sequence[int], bos: int, n: int, length: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """n rows of BOS and ``length - 1`` consecutive tokens of a text, from random places on.

    As in the code of Khadka (2026, arXiv 2605.26343), one torch generator with ``seed`` gives all n places at once,
    each from 0 to ``len(stream) - length - 1``.

    Args:
        stream: the ids of the whole text.
        bos: the id that begins each row.
        n: how many rows.
        length: of a row, BOS included.
        seed: draws the places.

    Raises:
        ValueError: the text isn't longer than a row, or a row has no token beside BOS.
    """
    import torch

    if not 2 <= length < len(stream):
        raise ValueError(f"can't take rows of {length} tokens, BOS included, out of a text of {len(stream)}")
    generator = torch.Generator().manual_seed(seed)
    places = torch.randint(0, len(stream) - length, (n,), generator=generator).tolist()
    return tuple((bos, *stream[place : place + length - 1]) for place in places)
