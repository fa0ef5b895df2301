"""The seam between what runs a language model (an engine) and everything that uses one.

An engine runs one decoder-only language model on one batch of token ids. At a few chosen positions of each
row it edits the residual stream, returns it, and returns the logits of the next token.

Contract of every engine:

- ``block`` numbers the residual stream as ``hidden_states`` does: 0 is what enters the first decoder block, i
  is the output of the i-th decoder block, up to ``n_blocks``. The last one is taken before the final norm.
- A row's result depends on its own unmasked tokens alone: padding, on either side, changes only rounding.
- Tensors handed in may lie on any device. Tensors handed out lie on ``device``, in the model's ``dtype``,
  belong to the caller, and carry no gradient.
- Edits of one block are applied in the order given; a capture of that block sees all of them, and so do later
  blocks, the logits, and (through the cache) later calls. Edits of heads come before those of their block's output.
- Mistakes of the user (a text longer than the model's context, a block that isn't there) raise ``UserError``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenBatch:
    """Rows of token ids, padded to one length."""

    ids: Tensor
    """Token ids [B, T], int64."""
    mask: Tensor
    """True where there is a token, False where there is padding [B, T]."""

    @classmethod
    def from_rows(cls, rows: Sequence[Sequence[int]], pad_id: int, side: Literal["left", "right"] = "left") -> Self:
        """Pad ``rows`` with ``pad_id`` on one side to the length of the longest."""
        length = max(len(row) for row in rows)
        ids = torch.full((len(rows), length), pad_id, dtype=torch.int64)
        mask = torch.zeros((len(rows), length), dtype=torch.bool)
        for index, row in enumerate(rows):
            place = slice(length - len(row), length) if side == "left" else slice(0, len(row))
            ids[index, place] = torch.tensor(row, dtype=torch.int64)
            mask[index, place] = True
        return cls(ids, mask)


class StreamEdit(Protocol):
    """A change of the residual stream at the output of one block."""

    @property
    def block(self) -> int:
        """Where: an index into ``hidden_states``."""

    def __call__(self, x: Tensor) -> Tensor:
        """The changed stream at the batch's positions, [B, P, d] to [B, P, d], same dtype and device.

        Must not write into ``x``, and must return it equal to the bit where nothing is to change.
        """


@dataclass(frozen=True, eq=False)
class HeadEdit:
    """Replace what some attention heads of one decoder block write into its output projection.

    With zeros this is Hugging Face's head mask, with each head's mean a mean ablation.
    """

    block: int
    """Which decoder block, 1 to n_blocks."""
    heads: tuple[int, ...]
    """Indices of the heads."""
    values: Tensor | None = None
    """What each head's output becomes: zeros if None, else what can be broadcast to [B, P, len(heads), d_head], so that
    [len(heads), d_head] holds for every row and position."""
    rows: slice | None = None
    """Which rows of the batch are changed, and B of the values counts; all if None."""

    def write(self, heads: Tensor, first: int = 0) -> None:
        """Change, where they are, the outputs of the heads from ``first`` on, [B, P, H, d_head]; it leaves others."""
        own = heads if self.rows is None else heads[self.rows]
        for index, head in enumerate(self.heads):
            if first <= head < first + heads.shape[2]:
                own[:, :, head - first] = 0 if self.values is None else self.values[..., index, :].to(heads)


Edit = StreamEdit | HeadEdit


Deliver = Callable[[int, Tensor], None]
"""Given a captured block's stream [B, P, d], once it is there; what it is given may not be written into."""


@dataclass(frozen=True)
class Forward:
    """What one forward pass gave at the P positions of each row."""

    logits: Tensor | None
    """Logits of the next token [B, P, V], or of the chosen tokens [B, P, C]; None if they weren't asked for."""
    activations: dict[int, Tensor]
    """Residual stream of each captured block after edits, [B, P, d]; empty where they were delivered."""


@dataclass(frozen=True)
class ModelDescription:
    """What the record keeps of a model."""

    architecture: str
    """Class name of the model, e.g. ``LlamaForCausalLM``."""
    n_blocks: int
    """Number of decoder blocks, or of a plain network's hidden layers."""
    d_model: int
    """Width of the residual stream, or of the hidden layers."""
    n_parameters: int
    """Number of parameters, tied ones counted once."""
    dtype: str
    """Floating-point type it runs in, e.g. ``float32``."""
    fingerprint: str
    """sha256 over configuration and weights."""


class Network(Protocol):
    """Whatever chooses the actions of a study, and has activations at numbered places: a language model or another."""

    n_blocks: int
    d_model: int
    device: torch.device
    """Where tensors handed out lie."""
    place: str
    """What computes, as the record keeps it: ``cpu``, ``cuda:0``, ``8 x cuda, tensor parallel``."""

    def describe(self) -> ModelDescription:
        """What the record keeps of the model."""

    def close(self) -> None:
        """Let go of what is held beyond memory: processes, scratch files. Harmless to repeat."""


class Engine(Network, Protocol):
    """A language model that can be read and edited at chosen tokens; see the module's contract."""

    tokenizer: Any
    """The model's own fast Hugging Face tokenizer."""
    dtype: torch.dtype
    n_heads: int
    """Attention heads of a block."""
    readers: int
    """How many processes read different rows of a batch: each holds so much less of it."""

    def new_cache(self) -> Any:
        """An empty key-value cache, to be handed to successive calls of ``forward`` on the same rows."""

    def forward(
        self,
        tokens: TokenBatch,
        *,
        positions: Tensor,
        capture: Sequence[int] = (),
        edits: Sequence[Edit] = (),
        cache: Any | None = None,
        logits: bool = True,
        choices: Tensor | None = None,
        deliver: Deliver | None = None,
    ) -> Forward:
        """Run the model on ``tokens``; capture, edit and predict at ``positions``.

        Without logits and cache the model is run no further than the last block that is captured.

        Args:
            tokens: with a cache, only what follows the tokens already in it.
            positions: columns of ``tokens`` [B, P], int64; none may be padding.
            capture: blocks to return.
            edits: changes to make, each at its own block.
            cache: from ``new_cache``; extended in place.
            logits: whether to compute logits (the LM head is skipped otherwise).
            choices: ids of the tokens whose logits are wanted [B, C], int64; all V of them if None.
            deliver: takes each captured block instead of the activations that are handed out, on an engine that
                computes in this process while later blocks are computed, so that they needn't all be held.

        Raises:
            UserError: a block or head that isn't there, or more tokens than the model's context holds.
        """
