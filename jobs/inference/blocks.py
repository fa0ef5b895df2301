"""The decoder blocks of a Hugging Face causal language model, and hooks on their residual stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tdlens.errors import UserError

Visit = Callable[[Tensor], Tensor | None]
"""Sees the residual stream [B, T, d]; returns its replacement, or None to leave it."""


def decoder_blocks(model: Any) -> nn.ModuleList:
    """The decoder blocks of a causal language model, in order.

    They are the outermost list of modules as long as ``config.num_hidden_layers`` says, whatever the
    architecture calls it (``layers``, ``h``, ``decoder.layers``).

    Raises:
        UserError: not a decoder-only transformer of a shape known here.
    """
    architecture = type(model).__name__
    remedy = "Use a decoder-only model such as Llama, Qwen, GPT-2, GPT-NeoX or OPT."
    config = model.config.get_text_config()
    if model.config.is_encoder_decoder:
        raise UserError(f"{architecture} is an encoder-decoder: it has no single residual stream.", remedy)
    n_blocks = getattr(config, "num_hidden_layers", None)
    lists = {
        name: module
        for name, module in model.base_model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == n_blocks
    }
    depth = min((name.count(".") for name in lists), default=0)
    outermost = [module for name, module in lists.items() if name.count(".") == depth]
    if len(outermost) != 1:
        raise UserError(f"Can't tell which modules of {architecture} are its decoder blocks.", remedy)
    return outermost[0]


def attention(block: nn.Module) -> tuple[nn.Module, nn.Module] | None:
    """A decoder block's attention and the linear map by which its heads write into the residual stream, if known.

    The map's input is the heads' outputs side by side. It is ``o_proj`` in Llama and its kin, ``c_proj`` in GPT-2,
    ``out_proj`` in OPT, ``dense`` in GPT-NeoX.
    """
    for name, module in block.named_children():
        if "attn" in name or "attention" in name:
            for projection in ("o_proj", "c_proj", "out_proj", "dense"):
                if isinstance(found := getattr(module, projection, None), nn.Module):
                    return module, found
    return None


def output_projection(block: nn.Module) -> nn.Module | None:
    """The map by which a decoder block's attention heads write into the residual stream, if it is known."""
    found = attention(block)
    return None if found is None else found[1]


def value_bias(block: nn.Module, n_heads: int, d_head: int) -> Tensor | None:
    """What each head gives to the output projection whatever it attends to: the bias of its values [H, d_head].

    A head's weights over tokens sum to one, so this constant is in its output at every token. Zero where the model has
    no such bias; None where it isn't known where the model keeps it.
    """
    found = attention(block)
    if found is None:
        return None
    module, projection = found
    for name in ("v_proj", "c_attn", "query_key_value"):
        if isinstance(made := getattr(module, name, None), nn.Module):
            bias: Tensor | None = getattr(made, "bias", None)
            if bias is None:
                return next(projection.parameters()).new_zeros(n_heads, d_head)
            if name == "v_proj":  # heads that share values share their bias
                if len(bias) % d_head or n_heads * d_head % len(bias):
                    return None
                return bias.view(-1, d_head).repeat_interleave(n_heads * d_head // len(bias), dim=0)
            if len(bias) != 3 * n_heads * d_head:  # one map makes more queries than values: layouts differ
                return None
            if name == "c_attn" and not hasattr(module, "multi_query"):  # all queries, all keys, all values
                return bias.view(3, n_heads, d_head)[2]
            return bias.view(n_heads, 3, d_head)[:, 2]  # each head's query, key and value, in GPT-BigCode too
    return None


@contextmanager
def visiting(blocks: nn.ModuleList, visits: Mapping[int, Visit]) -> Iterator[None]:
    """Within the context each visit sees, and may replace, the residual stream at its block.

    Block 0 is the input of the first decoder block: the embedding, with learned positions where the
    architecture adds them. Block i is the output of the i-th decoder block.
    """
    with ExitStack() as hooks:
        for block, visit in visits.items():
            handle = (
                blocks[0].register_forward_pre_hook(_on_input(visit), with_kwargs=True)
                if block == 0
                else blocks[block - 1].register_forward_hook(_on_output(visit))
            )
            hooks.callback(handle.remove)
        yield


@contextmanager
def starting_in(blocks: nn.ModuleList, block: int, stream: Tensor, heads: Tensor, *, tuples: bool) -> Iterator[None]:
    """Within the context the model begins at the attention's output of one decoder block; none before it is run.

    Args:
        blocks: the model's decoder blocks.
        block: in which of them, from 1.
        stream: what enters it [B, T, d].
        heads: what its heads give to their output projection [B, T, H * d_head].
        tuples: whether the model's blocks return tuples.
    """
    found = attention(blocks[block - 1])
    assert found is not None
    module, projection = found
    handed_on = (stream,) if tuples else stream
    with ExitStack() as restored:
        for earlier in blocks[: block - 1]:
            restored.enter_context(_running(earlier, lambda *args, **kwargs: handed_on))
        restored.enter_context(_running(module, lambda *args, **kwargs: (projection(heads), None)))
        restored.enter_context(visiting(blocks, {0: lambda _: stream}))
        yield


@contextmanager
def mlp_at(block: nn.Module, rows: Tensor, positions: Tensor) -> Iterator[None]:
    """Within the context a decoder block's MLP is computed at some positions, and zero elsewhere.

    So it is in the models that keep it in one module of one input, as Llama and GPT-2 do; others compute it everywhere.

    Args:
        block: the decoder block.
        rows: of the batch [B, 1].
        positions: in each row [B, Q].
    """
    mlp = getattr(block, "mlp", None)
    if mlp is None:
        yield
        return
    everywhere = mlp.forward

    def there(*args: Any, **kwargs: Any) -> Any:
        if len(args) != 1 or kwargs:
            return everywhere(*args, **kwargs)
        given = everywhere(args[0][rows, positions])
        full = torch.zeros_like(args[0])
        full[rows, positions] = given[0] if isinstance(given, tuple) else given
        return (full, *given[1:]) if isinstance(given, tuple) else full

    with _running(mlp, there):
        yield


@contextmanager
def _running(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Within the context the module computes something else."""
    own = vars(module).get("forward")  # there if somebody else has put one in place of the class's
    module.forward = forward
    try:
        yield
    finally:
        del module.forward
        if own is not None:
            module.forward = own


def _on_input(visit: Visit) -> Callable[..., Any]:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            replacement = visit(args[0])
            return None if replacement is None else ((replacement, *args[1:]), kwargs)
        replacement = visit(kwargs["hidden_states"])
        return None if replacement is None else (args, {**kwargs, "hidden_states": replacement})

    return hook


def _on_output(visit: Visit) -> Callable[..., Any]:
    # most blocks of transformers 5 return the stream itself, some a tuple that starts with it
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if isinstance(output, tuple):
            replacement = visit(output[0])
            return None if replacement is None else (replacement, *output[1:])
        return visit(output)

    return hook
