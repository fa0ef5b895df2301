"""Models whose circuit is known because it was written into their weights: what a search for heads must find.

Both do induction. A *previous-token head* in the first layer writes at each position the code of the token before it.
An *induction head* in the second looks for the positions whose previous token is the present one, and writes the code
of what stands there: the answer. Where there is none it looks at BOS, which has no code.

In the second model a third layer holds a *backup*: an induction head, too, but one that looks at BOS wherever the first
has answered. Without the one the other answers, so that ablating either changes nothing, and both everything: as
backup name movers do in GPT-2 (Wang et al. 2023, arXiv 2211.00593). Single ablations can't show such twins.

All other heads are decoys. They attend as heads do (to the previous token, to equal tokens, to what induction heads
look for, to BOS, to everything before), but write where nobody reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from jobs.circuit_model.vocabulary import build_tokenizer
from jobs.circuits.planted.writing import (
    CODE,
    CONSTANT,
    N_HEADS,
    WAVES,
    WIDTHS,
    Head,
    codes,
    reading,
    writing,
    written,
)
from jobs.inference.huggingface import HuggingFaceEngine
from jobs.position_codes import shift

Role = Literal["circuit", "hidden", "other"]
SHARPNESS = 40.0
"""Attention score of an equal token; that of the position looked for is a tenth of it for each wave."""
SINK = 0.7
"""Share of it that BOS has: more than unequal tokens whose codes happen to be alike."""
KEY = CODE
"""The head's number with which BOS is looked at, behind those of a code."""


@dataclass(frozen=True, eq=False)
class Planted:
    """A model and its circuit."""

    engine: HuggingFaceEngine
    heads: tuple[int, ...]
    """The heads without any one of which the model can't do its task, in the order in which they act."""
    hidden: tuple[int, ...]
    """Twins, each of which does the other's work where that is ablated; empty if there are none."""

    def role(self, head: int) -> Role:
        """What a head is: layer times heads in a layer plus its place there."""
        return "circuit" if head in self.heads else "hidden" if head in self.hidden else "other"


def planted_models(seed: int = 0) -> dict[str, Planted]:
    """The two models, by name: ``induction`` (two layers of 8 heads) and ``backup`` (three).

    Their tokenizer is that of the circuits model (:mod:`jobs.circuit_model`), their task ``induction``.

    Args:
        seed: draws the codes of tokens, what decoys write, and which head of its layer each is.
    """
    return {
        "induction": _plant([previous_token(), induction()], [], seed),
        "backup": _plant([previous_token()], [induction(), induction(backup=True)], seed + 1),
    }


def previous_token() -> Head:
    """Writes the previous token's code into ``previous``."""
    return Head(*_looking_back(), reading(("token", 0, 1.0)), writing(("previous", 0, 1.0)))


def induction(*, backup: bool = False) -> Head:
    """Writes into ``answer`` what stands behind the present token's earlier mentions, and 1 into ``answered``.

    Args:
        backup: look at BOS wherever another head has answered.
    """
    return Head(
        *_looking_for_what_followed(backup=backup),
        reading(("token", 0, 1.0), ("word", KEY, 1.0)),
        writing(("answer", 0, 1.0), ("answered", KEY, 1.0)),
    )


def decoy(layer: int, place: int, generator: torch.Generator) -> Head:
    """One of five ways to attend, writing the codes found, turned at random, where nobody reads."""
    ways = (
        _looking_back(),
        (reading(("token", 0, SHARPNESS)), reading(("token", 0, 1.0))),
        # in the first layer nothing is known of previous tokens: there it looks at BOS alone
        _looking_for_what_followed(backup=False),
        (reading(("constant", 0, SHARPNESS / CONSTANT)), reading(("bos", 0, 1.0))),
        (reading(), reading()),
    )
    turned = torch.randn(CODE, WIDTHS["rest"], generator=generator) / WIDTHS["rest"] ** 0.5
    return Head(*ways[(layer + place) % len(ways)], reading(("token", 0, 1.0)), writing(("rest", 0, turned)))


def _looking_back() -> tuple[Tensor, Tensor]:
    """Queries and keys that meet at the previous position."""
    return reading(("place", 0, shift(-1, WAVES) * SHARPNESS / 10)), reading(("place", 0, 1.0))


def _looking_for_what_followed(*, backup: bool) -> tuple[Tensor, Tensor]:
    """Queries and keys that meet where the previous token is the present one, and else at BOS."""
    shy = [("answered", KEY, torch.full((1, 1), 2 * SHARPNESS))] if backup else []
    return (
        reading(("token", 0, SHARPNESS), ("constant", KEY, SINK * SHARPNESS / CONSTANT), *shy),
        reading(("previous", 0, 1.0), ("bos", KEY, 1.0)),
    )


def _plant(alone: list[Head], twins: list[Head], seed: int) -> Planted:
    """A model with one head of the circuit in each layer, ``alone`` first."""
    generator = torch.Generator().manual_seed(seed)
    tokenizer = build_tokenizer()
    code = codes(len(tokenizer), tokenizer.bos_token_id, generator)
    circuit = [*alone, *twins]
    places = torch.randint(N_HEADS, (len(circuit),), generator=generator).tolist()
    layers = [[decoy(layer, place, generator) for place in range(N_HEADS)] for layer in range(len(circuit))]
    for layer, (place, head) in enumerate(zip(places, circuit, strict=True)):
        layers[layer][place] = head
    found = tuple(layer * N_HEADS + place for layer, place in enumerate(places))
    return Planted(written(layers, tokenizer, code), found[: len(alone)], found[len(alone) :])
