"""The engine that runs any Hugging Face causal language model in one process, on one device."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from jobs.inference.base import Edit, Forward, ModelDescription, TokenBatch
from jobs.inference.blocks import Visit, decoder_blocks, visiting
from tdlens.errors import UserError

ATTENTION_LAYERS = {"full_attention", "sliding_attention"}


@dataclass
class Cache:
    """Keys and values of the tokens seen so far, and which of their slots are padding."""

    keys_values: Any
    mask: Tensor
    """True where a slot holds a token [B, S]."""


class HuggingFaceEngine:
    """A ``transformers`` causal language model behind the :class:`~jobs.inference.base.Engine` interface.

    Args:
        model: put into evaluation mode; stays on the device and in the dtype it has.
        tokenizer: the model's fast tokenizer.
        fingerprint: sha256 over configuration and weights.

    Raises:
        UserError: the architecture has no decoder blocks known here, isn't causal, can't be told where its
            tokens lie, or keeps a state other than attention's (padding would change its results).
    """

    def __init__(self, model: Any, tokenizer: Any, fingerprint: str) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.blocks = decoder_blocks(model)
        self.config = model.config.get_text_config()
        self.head = model.get_output_embeddings()
        self.n_blocks = len(self.blocks)
        self.d_model = int(self.config.hidden_size)
        self.dtype: torch.dtype = model.dtype
        self.device: torch.device = model.device
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
    ) -> Forward:
        ids, mask = tokens.ids.to(self.device), tokens.mask.to(self.device)
        if cache is not None:
            mask = torch.cat([cache.mask.reshape(len(mask), -1), mask], dim=1)
            cache.mask = mask
            self._refuse_padding_in_window(mask)
        token_positions = mask.cumsum(dim=1) - 1
        self._refuse_overlong(int(token_positions.max()) + 1)

        rows = torch.arange(len(ids), device=self.device)[:, None]
        positions = positions.to(self.device)
        activations: dict[int, Tensor] = {}
        visits = self._visits(rows, positions, capture, edits, activations)
        arguments = {
            "input_ids": ids,
            "attention_mask": mask.long(),
            "position_ids": token_positions[:, -ids.shape[1] :].clamp(min=0),
            "past_key_values": None if cache is None else cache.keys_values,
            "use_cache": cache is not None,
        }
        with visiting(self.blocks, visits):
            if not logits:
                self.model.base_model(**arguments)
                return Forward(None, activations)
            with self._head_at(rows, positions):
                return Forward(self.model(**arguments).logits, activations)

    def describe(self) -> ModelDescription:
        return ModelDescription(
            architecture=type(self.model).__name__,
            n_blocks=self.n_blocks,
            d_model=self.d_model,
            n_parameters=sum(parameter.numel() for parameter in self.model.parameters()),
            dtype=str(self.dtype).removeprefix("torch."),
            fingerprint=self._fingerprint,
        )

    def _visits(
        self,
        rows: Tensor,
        positions: Tensor,
        capture: Sequence[int],
        edits: Sequence[Edit],
        activations: dict[int, Tensor],
    ) -> dict[int, Visit]:
        edits_at: defaultdict[int, list[Edit]] = defaultdict(list)
        for edit in edits:
            edits_at[edit.block].append(edit)
        blocks = sorted({*capture, *edits_at})
        outside = [block for block in blocks if not 0 <= block <= self.n_blocks]
        if outside:
            raise UserError(
                f"There is no block {outside[0]}: the model has {self.n_blocks}, and 0 is the embedding.",
                f"Choose blocks between 0 and {self.n_blocks}.",
            )

        def visit_at(block: int) -> Visit:
            def visit(stream: Tensor) -> Tensor | None:
                x = stream[rows, positions]
                for edit in edits_at.get(block, ()):
                    x = edit(x)
                if block in capture:
                    activations[block] = x
                if block not in edits_at:
                    return None
                edited = stream.clone()
                edited[rows, positions] = x
                return edited

            return visit

        return {block: visit_at(block) for block in blocks}

    @contextmanager
    def _head_at(self, rows: Tensor, positions: Tensor) -> Iterator[None]:
        """Let the LM head see the wanted positions only, and the model do what it does with its output."""
        handle = self.head.register_forward_pre_hook(lambda head, args: (args[0][rows, positions],))
        try:
            yield
        finally:
            handle.remove()

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

    def _refuse_overlong(self, length: int) -> None:
        limit = getattr(self.config, "max_position_embeddings", None)
        if limit is not None and length > limit:
            raise UserError(
                f"A text of {length} tokens is longer than the model's context of {limit}.",
                "Play fewer episodes, or use a model with a longer context.",
            )

    def _refuse_padding_in_window(self, mask: Tensor) -> None:
        # Sliding windows count cache slots, padding included, so padding between chunks would shorten them.
        window = getattr(self.config, "sliding_window", None)
        if window is not None and mask.shape[1] > window and not bool(mask.all()):
            raise UserError(
                f"The model attends within a window of {window} tokens, and the padding that lets rollouts "
                "share a batch would fall into it.",
                "Play with batch_size = 1.",
            )
