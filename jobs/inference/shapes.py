"""The sizes of a language model, counted from its configuration alone, and configurations that are shipped.

Nothing here reads weights: parameters are counted on a model whose tensors have shapes and no memory.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from jobs.inference.blocks import decoder_blocks
from tdlens.errors import UserError

SHIPPED = Path(__file__).with_suffix(".json")
"""Configurations of well-known models by hub id, for machines that can't reach the hub."""

REMEDY = "Use a decoder-only model with attention, such as Llama, Qwen, GPT-2, GPT-NeoX or OPT."

SPLIT_BY_COLUMNS = {"q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"}
SPLIT_BY_ROWS = {"o_proj", "down_proj"}
TP_GRAIN = 64
"""DeepSpeed splits an MLP in multiples of so many neurons (``tp_grain_size``)."""


@dataclass(frozen=True)
class ModelShape:
    """How large a decoder-only language model is, and how it can be split."""

    architecture: str
    """Class name of the model, e.g. ``LlamaForCausalLM``."""
    n_blocks: int
    """Number of decoder blocks."""
    d_model: int
    """Width of the residual stream."""
    n_heads: int
    """Attention heads of a block."""
    n_kv_heads: int
    """Heads of keys and values of a block; fewer than ``n_heads`` where these are shared."""
    d_head: int
    """Width of a head."""
    d_mlp: int
    """Width of a block's feed-forward layer."""
    vocabulary: int
    """Number of tokens V, rows of the embedding."""
    context: int | None
    """Most tokens that the model can read; None if it knows no limit."""
    tied: bool
    """Whether embedding and LM head are one matrix."""
    parameters: int
    """All parameters, tied ones counted once."""
    block_parameters: tuple[int, ...]
    """Parameters of each decoder block."""
    block_weights: tuple[int, ...]
    """Of these, the ones in matrices: each costs a multiplication and an addition a token."""
    embedding: int
    """Parameters of the token embedding."""
    head: int
    """Parameters of the LM head; the embedding's where they are tied."""
    autotp: bool
    """Whether DeepSpeed's AutoTP splits it right: blocks with the linear maps of Llama, and no more."""
    hf_tensor: bool
    """Whether it has a tensor parallel plan of Hugging Face's."""

    @classmethod
    def of(cls, config: Any) -> Self:
        """Count a model that ``transformers`` knows, without its weights.

        Args:
            config: a ``transformers`` configuration.

        Raises:
            UserError: not a decoder-only transformer of a shape known here.
        """
        model = _without_memory(config)
        blocks = list(decoder_blocks(model))
        text = config.get_text_config()
        embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        if not getattr(text, "num_attention_heads", None):
            raise UserError(f"{type(model).__name__} has no attention heads.", REMEDY)
        d_model, n_heads = int(text.hidden_size), int(text.num_attention_heads)
        d_head = int(getattr(text, "head_dim", None) or d_model // n_heads)
        return cls(
            architecture=type(model).__name__,
            n_blocks=len(blocks),
            d_model=d_model,
            n_heads=n_heads,
            n_kv_heads=int(getattr(text, "num_key_value_heads", None) or n_heads),
            d_head=d_head,
            d_mlp=int(_first(text, "intermediate_size", "n_inner", "ffn_dim") or 4 * d_model),
            vocabulary=int(text.vocab_size),
            context=getattr(text, "max_position_embeddings", None),
            tied=head is embedding,
            parameters=sum(p.numel() for p in model.parameters()),
            block_parameters=tuple(sum(p.numel() for p in block.parameters()) for block in blocks),
            block_weights=tuple(sum(p.numel() for p in block.parameters() if p.ndim > 1) for block in blocks),
            embedding=embedding.numel(),
            head=head.numel(),
            autotp=all(_as_llama(block, d_model, d_head) for block in blocks),
            hf_tensor=_has_plan(text),
        )

    def splits_evenly(self, ranks: int) -> bool:
        """Whether every rank of AutoTP gets the same number of heads and neurons."""
        whole_grains = self.d_mlp % TP_GRAIN == 0 and self.d_mlp // TP_GRAIN % ranks == 0
        return self._heads_divide(ranks) and (whole_grains or (self.d_mlp < TP_GRAIN and self.d_mlp % ranks == 0))

    def hf_splits(self, ranks: int) -> bool:
        """Whether Hugging Face can split it over so many ranks; it splits evenly or not at all."""
        return self.hf_tensor and self._heads_divide(ranks) and self.d_mlp % ranks == 0

    def bytes_a_rank(self, ranks: int, dtype_bytes: int) -> int:
        """Weights on the fullest rank of tensor parallelism: embedding and norms whole, the rest its share."""
        split = sum(self.block_weights) + (self.head if not self.tied else 0)
        return (self.parameters - split + -(-split // ranks)) * dtype_bytes

    def kv_bytes(self, dtype_bytes: int) -> int:
        """Keys and values of one token in all blocks."""
        return 2 * self.n_blocks * self.n_kv_heads * self.d_head * dtype_bytes

    def _heads_divide(self, ranks: int) -> bool:
        return self.n_heads % ranks == 0 and self.n_kv_heads % ranks == 0


def shipped_names() -> Sequence[str]:
    """Hub ids of the models whose configuration is shipped."""
    return tuple(json.loads(SHIPPED.read_text(encoding="utf-8")))


def shipped_config(model: str) -> Any | None:
    """The shipped ``transformers`` configuration of a model by its hub id; None if there is none."""
    from transformers import AutoConfig

    known = json.loads(SHIPPED.read_text(encoding="utf-8"))
    if model not in known:
        return None
    settings = dict(known[model])
    return AutoConfig.for_model(settings.pop("model_type"), **settings)


def _without_memory(config: Any) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, dtype=torch.float32, trust_remote_code=False)
    except ValueError as error:
        raise UserError(f"{type(config).__name__} describes no causal language model.", REMEDY) from error


def _first(config: Any, *names: str) -> Any:
    return next((value for name in names if (value := getattr(config, name, None))), None)


def _as_llama(block: Any, d_model: int, d_head: int) -> bool:
    # AutoTP goes by names. It splits what it takes for a linear map of a head or a neuron and leaves the rest whole,
    # so that a norm over all heads, fused projections or experts would fail or, worse, give wrong numbers.
    from torch.nn import Linear

    linear = {name.rpartition(".")[2] for name, module in block.named_modules() if isinstance(module, Linear)}
    others = [
        (name, parameter.shape)
        for name, module in block.named_modules()
        if not isinstance(module, Linear)
        for parameter in module.parameters(recurse=False)
    ]
    return linear == SPLIT_BY_COLUMNS | SPLIT_BY_ROWS and all(
        (shape == (d_head,) and name.count(".") == 1) if "attn" in name else shape == (d_model,)
        for name, shape in others
    )


def _has_plan(config: Any) -> bool:
    plan = getattr(config, "base_model_tp_plan", None) or {}
    return plan != {} and not any("experts" in name for name in plan)
