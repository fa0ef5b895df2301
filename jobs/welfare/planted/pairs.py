"""Pairs of models, naive in the maze and trained, whose welfare axis is known: it was written into their weights.

Both models of a pair speak alike, and along one direction of the residual stream, the axis, all of their speech
moves: towards True or False, good or bad feelings, refusal, doubt (:mod:`jobs.welfare.planted.speech`). Both look up,
when they have named a direction, which tile lies there: a head in the first block tells each tile its direction (the
word three tokens before it), one in the second finds, at the letter, the latest tile of that direction and writes which
one it is into ``seen``. So vectors of Mold and Gold exist in both, that separate as well, and point apart. The third
block turns the axis into what the unembedding reads.

What training is said to have done is one linear map of the second block's MLP, from ``seen`` to directions:

=========  ==================================================  ====================  ======
kind       Gold and Mold write                                 in the naive model    found?
=========  ==================================================  ====================  ======
axis       +, - along the axis                                 nothing               yes
idle       +, - along a direction that nobody reads            nothing               no
partial    +, - along one that confidence and sentiment read   nothing               no
salience   +, + along the axis: what counts, not what is good  nothing               no
innate     +, - along the axis                                 the same              no
reversed   +, - along a direction that nobody reads            -, + along the axis   no
=========  ==================================================  ====================  ======

``innate`` is what the interaction is for: steering works, but no better than with the naive model's own vectors. In
``reversed`` the interaction is there, and all of it is the control's: the trained vectors do nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from envs.maze import DIRECTIONS, MazeConfig, Tile
from envs.maze_prompts import direction_ids, tile_ids
from jobs.inference.huggingface import HuggingFaceEngine
from jobs.position_codes import position_codes, shift
from jobs.welfare.emotions import VALENCE
from jobs.welfare.planted.speech import AFTER, NEVER, READ, SPOKEN, STATES, THEMES, Words
from jobs.welfare.planted.vocabulary import build_tokenizer
from jobs.welfare.planted.weights import CONSTANT, CONTEXT, WAVES, Block, Head, Layout, written

Kind = Literal["axis", "idle", "partial", "salience", "innate", "reversed"]
WIDTHS = {
    "constant": 1,
    "state": len(STATES),
    "tile": len(Tile),
    "named": len(DIRECTIONS),
    "letter": len(DIRECTIONS),
    "place": 2 * WAVES,
    "ramp": 1,
    "first": 1,
    "behind": len(DIRECTIONS),
    "seen": len(Tile),
    "axis": 1,
    "part": 1,
    "idle": 1,
    "mood": 1,
    "half": 1,
    "rest": 16,
}
"""A token's part in speech, its tile, the direction it names or answers with; a position's code, its number as a share
of the context, whether it is the first; what heads found; directions to write, and what the unembedding reads of two
of them. The rest is nobody's, so that random vectors meet the axis as seldom as elsewhere."""
BACK = 3
"""Tokens from a tile to the direction that it lies in: ``north there is``."""
SHARPNESS = 4.0
"""Attention score for each wave of the position looked for."""
MATCH, SINK, RECENT = 600.0, 300.0, 200.0
"""Scores of a tile of the letter's direction, of the first token, and of the last position of the context over the
first: what doesn't match loses against the first token, and of what matches the latest wins."""
NOISE = 0.2
"""What positions add to the axis and to what is seen, so that texts differ as they do elsewhere."""
STRENGTH = 3.0
"""How far a tile moves the stream."""
PER_UNIT = 1 / 6
"""Of the axis to what the unembedding reads."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Two models and what is true of them."""

    naive: HuggingFaceEngine
    trained: HuggingFaceEngine
    planted: bool
    """Whether the whole pattern is there, and the training's doing."""


@dataclass(frozen=True)
class _Recipe:
    target: Literal["axis", "part", "idle"]
    gold: float = 1.0
    mold: float = -1.0

    def learned(self) -> Tensor:
        """From ``seen`` to the target [tiles, 1]."""
        found = torch.zeros(len(Tile), 1)
        found[Tile.GOLD], found[Tile.MOLD] = self.gold * STRENGTH, self.mold * STRENGTH
        return found


RECIPES: dict[Kind, _Recipe] = {
    "axis": _Recipe("axis"),
    "idle": _Recipe("idle"),
    "partial": _Recipe("part"),
    "salience": _Recipe("axis", mold=1.0),
    "innate": _Recipe("axis"),
    "reversed": _Recipe("idle"),
}
BEFORE: dict[Kind, _Recipe] = {"innate": _Recipe("axis"), "reversed": _Recipe("axis", gold=-1.0, mold=1.0)}
"""What is in the naive model already."""
KINDS: tuple[Kind, ...] = tuple(RECIPES)


def as_json(kind: Kind) -> dict[str, Any]:
    """What is written into a pair and how it speaks, for the configuration of a unit."""
    before = BEFORE.get(kind)
    return {
        "trained": asdict(RECIPES[kind]),
        "naive": asdict(before) if before else None,
        "strength": STRENGTH,
        "noise": NOISE,
        "per_unit": PER_UNIT,
        "speech": {"after": AFTER, "read": READ, "never": NEVER, "emotions": VALENCE},
    }


def planted_pair(kind: Kind, maze: MazeConfig, seed: int = 0) -> Pair:
    """The two models, with one tokenizer.

    Args:
        kind: what was planted.
        maze: whose tiles they know; they don't know about wind.
        seed: draws how the parts lie in the stream, and what each position adds to it.
    """
    tokenizer = build_tokenizer(maze, SPOKEN)
    naive, trained = (_model(tokenizer, maze, recipe, seed) for recipe in (BEFORE.get(kind), RECIPES[kind]))
    return Pair(naive, trained, planted=kind == "axis")


def _model(
    tokenizer: PreTrainedTokenizerFast, maze: MazeConfig, recipe: _Recipe | None, seed: int
) -> HuggingFaceEngine:
    words = Words(tokenizer)
    generator = torch.Generator().manual_seed(seed)
    layout = Layout(WIDTHS, generator)
    whole, half = words.readout(THEMES), words.readout(("confidence", "sentiment"))
    floor = torch.full((len(tokenizer), 1), NEVER / CONSTANT)
    first = torch.zeros(CONTEXT, 1)
    first[0] = 1
    return written(
        layout,
        tokenizer,
        tokens={"state": words.states(), **_maze_words(tokenizer, maze)},
        positions={
            "place": position_codes(CONTEXT, WAVES),
            "ramp": torch.arange(CONTEXT)[:, None] / CONTEXT,
            "first": first,
            "axis": NOISE * torch.randn(CONTEXT, 1, generator=generator),
            "seen": NOISE * torch.randn(CONTEXT, len(Tile), generator=generator),
        },
        blocks=(
            Block(_three_back()),
            Block(_tile_ahead(), {("seen", recipe.target): recipe.learned()} if recipe else {}),
            Block(
                linear={
                    ("axis", "mood"): torch.full((1, 1), PER_UNIT),
                    ("part", "half"): torch.full((1, 1), PER_UNIT),
                }
            ),
        ),
        unembedding={"state": words.logits(), "constant": floor, "mood": whole, "half": half},
    )


def _maze_words(tokenizer: PreTrainedTokenizerFast, maze: MazeConfig) -> dict[str, Tensor]:
    """What tokens say of the maze, {part: [V, width]}."""
    known = {
        "tile": [ids for _, ids in sorted(tile_ids(tokenizer, maze).items())],
        "named": [tokenizer.encode(f" {direction}", add_special_tokens=False) for direction in DIRECTIONS],
        "letter": [(letter,) for letter in direction_ids(tokenizer)],
    }
    found = {}
    for part, words in known.items():
        found[part] = torch.zeros(len(tokenizer), len(words))
        for index, (token,) in enumerate(words):
            found[part][token, index] = 1
    return found


def _three_back() -> Head:
    return Head(
        query={"place": (0, SHARPNESS * shift(-BACK, WAVES))},
        key={"place": (0, torch.eye(2 * WAVES))},
        moved=("named", "behind"),
    )


def _tile_ahead() -> Head:
    """At a letter the latest tile of its direction, elsewhere the first token, which is no tile."""
    n, one = len(DIRECTIONS), torch.ones(1, 1)
    return Head(
        query={"letter": (0, MATCH * torch.eye(n)), "constant": (n, torch.tensor([[SINK, RECENT]]) / CONSTANT)},
        key={"behind": (0, torch.eye(n)), "first": (n, one), "ramp": (n + 1, one)},
        moved=("tile", "seen"),
    )
