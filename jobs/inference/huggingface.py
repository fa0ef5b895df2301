"""The engine that runs any Hugging Face causal language model in one process, on one device."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from jobs.inference.base import Deliver, Edit, Forward, HeadEdit, ModelDescription, StreamEdit, TokenBatch
from jobs.inference.blocks import Visit, decoder_blocks, output_projection, visiting
from tdlens.errors import UserError

ATTENTION_LAYERS = {"full_attention", "sliding_attention"}


class _Enough(Exception):
    """Raised inside a model to leave it after the last block that is wanted."""


@dataclass
class Cache:
    """Keys and values of the tokens seen so far, and which of their slots are padding."""

    keys_values: Any
    mask: Tensor
    """True where a slot holds a token [B, S]."""

    def select(self, rows: Tensor) -> None:
        """Keep some rows, and forget the others.

        Args:
            rows: their indices, on the engine's device.
        """
        self.keys_values.batch_select_indices(rows)
        self.mask = self.mask[rows]


class HuggingFaceEngine:
    """A ``transformers`` causal language model behind the :class:`~jobs.inference.base.Engine` interface.

    Args:
        model: put into evaluation mode; stays on the device and in the dtype it has.
        tokenizer: the model's fast tokenizer.
        fingerprint: sha256 over configuration and weights.
        device: where the model computes, if its weights lie elsewhere between passes; else where they lie.

    Raises:
        UserError: the architecture has no decoder blocks known here, isn't causal, can't be told where its
            tokens lie, or keeps a state other than attention's (padding would change its results).
    """

    def __init__(self, model: Any, tokenizer: Any, fingerprint: str, device: torch.device | None = None) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.blocks = decoder_blocks(model)
        self.config = model.config.get_text_config()
        self.head = model.get_output_embeddings()
        self.n_blocks = len(self.blocks)
        self.d_model = int(self.config.hidden_size)
        self.dtype: torch.dtype = model.dtype
        self.device: torch.device = device or model.device
        self.place = str(self.device)
        self.readers = 1
        self.first_head = 0
        """The first of the attention heads that this process holds; tensor parallelism deals them out."""
        self.n_heads = int(self.config.num_attention_heads)
        self.d_head = int(getattr(self.config, "head_dim", None) or self.d_model // self.n_heads)
        self._fingerprint = fingerprint
        self._refuse_unsuitable()

    def new_cache(self) -> Cache:
        return Cache(DynamicCache(config=self.config), torch.zeros(0, 0, dtype=torch.bool, device=self.device))

    @torch.no_grad()
    def forward(
        self,
        tokens: TokenBatch,
        *,
        positions: Tensor,
        capture: Sequence[int] = (),
        edits: Sequence[Edit] = (),
        cache: Cache | None = None,
        logits: bool = True,
        choices: Tensor | None = None,
        deliver: Deliver | None = None,
    ) -> Forward:
        ids, mask = tokens.ids.to(self.device), tokens.mask.to(self.device)
        if cache is not None:
            mask = torch.cat([cache.mask.reshape(len(mask), -1), mask], dim=1)
            cache.mask = mask
            self._refuse_padding_in_window(mask)
        refuse_overlong(self.config, int(mask.sum(dim=1).max()))

        rows = torch.arange(len(ids), device=self.device)[:, None]
        positions = positions.to(self.device)
        activations: dict[int, Tensor] = {}
        stream_edits = [edit for edit in edits if not isinstance(edit, HeadEdit)]
        enough = max(capture, default=None) if not logits and cache is None else None
        visits = self._visits(rows, positions, capture, stream_edits, deliver or activations.__setitem__, enough)
        arguments = self.arguments(ids, mask, None if cache is None else cache.keys_values)
        with visiting(self.blocks, visits), self.heads_edited(rows, positions, edits):
            if not logits:
                with suppress(_Enough):
                    self.model.base_model(**arguments)
                return Forward(None, activations)
            with self.head_at(rows, positions):
                scores = self.model(**arguments).logits
        if choices is not None:
            scores = scores.gather(-1, choices.to(self.device)[:, None].expand(-1, scores.shape[1], -1))
        return Forward(scores, activations)

    def arguments(self, ids: Tensor, mask: Tensor, keys_values: Any | None = None) -> dict[str, Any]:
        """What the Hugging Face model is called with.

        Args:
            ids: token ids [B, T], on the engine's device.
            mask: True where a slot holds a token, those in the cache first [B, S].
            keys_values: the cache of the S - T tokens before.
        """
        return {
            "input_ids": ids,
            "attention_mask": mask.long(),
            "position_ids": (mask.cumsum(dim=1) - 1)[:, -ids.shape[1] :].clamp(min=0),
            "past_key_values": keys_values,
            "use_cache": keys_values is not None,
        }

    def projection(self, block: int) -> Any:
        """The map by which the heads of a decoder block, counted from 1, write into the residual stream.

        Raises:
            UserError: it isn't known where they do.
        """
        projection = output_projection(self.blocks[block - 1])
        if projection is None:
            raise UserError(
                f"Can't tell where the attention heads of {type(self.model).__name__} write their outputs.",
                "Edit the residual stream instead, or use Llama, Qwen, GPT-2, GPT-NeoX or OPT.",
            )
        return projection

    @contextmanager
    def heads_edited(self, rows: Tensor, positions: Tensor, edits: Sequence[Edit]) -> Iterator[None]:
        """Let the edits of attention heads act on the input of their blocks' output projections."""
        edits_at: defaultdict[int, list[HeadEdit]] = defaultdict(list)
        for edit in edits:
            if isinstance(edit, HeadEdit):
                self.refuse_missing_heads(edit)
                edits_at[edit.block].append(edit)

        def changing(wanted: list[HeadEdit]) -> Any:
            def hook(module: Any, args: tuple[Any, ...]) -> Any:
                mixed = args[0].clone()
                heads = mixed[rows, positions].unflatten(-1, (-1, self.d_head))
                for edit in wanted:
                    edit.write(heads, self.first_head)
                mixed[rows, positions] = heads.flatten(-2)
                return (mixed, *args[1:])

            return hook

        with ExitStack() as hooks:
            for block, wanted in edits_at.items():
                handle = self.projection(block).register_forward_pre_hook(changing(wanted))
                hooks.callback(handle.remove)
            yield

    @contextmanager
    def head_at(self, rows: Tensor, positions: Tensor) -> Iterator[None]:
        """Let the LM head see the wanted positions only, and the model do what it does with its output."""
        handle = self.head.register_forward_pre_hook(lambda head, args: (args[0][rows, positions],))
        try:
            yield
        finally:
            handle.remove()

    def refuse_missing_heads(self, edit: HeadEdit) -> None:
        """Raise UserError where an edit is of a head that isn't there."""
        heads = [head for head in edit.heads if not 0 <= head < self.n_heads]
        if heads or not 1 <= edit.block <= self.n_blocks:
            raise UserError(
                f"There is no head {heads[0] if heads else edit.heads[0]} in a block {edit.block}: the model has "
                f"{self.n_blocks} blocks of {self.n_heads} heads.",
                f"Choose blocks between 1 and {self.n_blocks}, heads between 0 and {self.n_heads - 1}.",
            )

    def describe(self) -> ModelDescription:
        return ModelDescription(
            architecture=type(self.model).__name__,
            n_blocks=self.n_blocks,
            d_model=self.d_model,
            n_parameters=sum(parameter.numel() for parameter in self.model.parameters()),
            dtype=str(self.dtype).removeprefix("torch."),
            fingerprint=self._fingerprint,
        )

    def close(self) -> None:
        """Nothing is held beyond memory."""

    def _visits(
        self,
        rows: Tensor,
        positions: Tensor,
        capture: Sequence[int],
        edits: Sequence[StreamEdit],
        deliver: Deliver,
        enough: int | None,
    ) -> dict[int, Visit]:
        edits_at: defaultdict[int, list[StreamEdit]] = defaultdict(list)
        for edit in edits:
            edits_at[edit.block].append(edit)
        blocks = sorted({*capture, *edits_at})
        refuse_missing_blocks(self.n_blocks, blocks)

        def visit_at(block: int) -> Visit:
            def visit(stream: Tensor) -> Tensor | None:
                x = stream[rows, positions]
                for edit in edits_at.get(block, ()):
                    x = edit(x)
                if block in capture:
                    deliver(block, x)
                if block == enough:
                    raise _Enough
                if block not in edits_at:
                    return None
                edited = stream.clone()
                edited[rows, positions] = x
                return edited

            return visit

        return {block: visit_at(block) for block in blocks}

    def _refuse_unsuitable(self) -> None:
        architecture = type(self.model).__name__
        remedy = "Use an attention model with explicit positions, such as Llama, Qwen, GPT-2, GPT-NeoX or OPT."
        if self.head is None:
            raise UserError(f"{architecture} has no language-model head.", remedy)
        if "position_ids" not in inspect.signature(self.model.forward).parameters:
            raise UserError(f"{architecture} takes no position_ids, so its results would depend on padding.", remedy)
        if not self._is_causal():
            raise UserError(f"In {architecture} tokens see those that follow them.", remedy)
        strange = set(getattr(self.config, "layer_types", None) or ()) - ATTENTION_LAYERS
        if strange:
            raise UserError(
                f"{architecture} has layers ({', '.join(sorted(strange))}) whose results depend on padding.",
                remedy,
            )

    def _is_causal(self) -> bool:
        tokens = TokenBatch(torch.tensor([[0, 0], [0, 1]]), torch.ones(2, 2, dtype=torch.bool))
        first = torch.zeros(2, 1, dtype=torch.int64)
        final = self.forward(tokens, positions=first, capture=[self.n_blocks], logits=False)
        one, other = final.activations[self.n_blocks].float()
        return bool((one - other).norm() <= 1e-3 * one.norm())

    def _refuse_padding_in_window(self, mask: Tensor) -> None:
        # Sliding windows count cache slots, padding included, so padding between chunks would shorten them.
        window = getattr(self.config, "sliding_window", None)
        if window is not None and mask.shape[1] > window and not bool(mask.all()):
            raise UserError(
                f"The model attends within a window of {window} tokens, and the padding that lets rollouts "
                "share a batch would fall into it.",
                "Play with batch_size = 1.",
            )


def refuse_missing_blocks(n_blocks: int, blocks: Iterable[int]) -> None:
    """Raise UserError where one of ``blocks`` isn't a place in the residual stream of a model of ``n_blocks``."""
    for block in blocks:
        if not 0 <= block <= n_blocks:
            raise UserError(
                f"There is no block {block}: the model has {n_blocks}, and 0 is the embedding.",
                f"Choose blocks between 0 and {n_blocks}.",
            )


def refuse_overlong(config: Any, length: int) -> None:
    """Raise UserError where a text of ``length`` tokens doesn't fit into the model's context."""
    limit = getattr(config, "max_position_embeddings", None)
    if limit is not None and length > limit:
        raise UserError(
            f"A text of {length} tokens is longer than the model's context of {limit}.",
            "Play fewer episodes or tell fewer steps, or use a model with a longer context.",
        )
