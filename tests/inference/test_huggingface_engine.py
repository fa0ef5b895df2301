"""A forward pass at chosen positions is the plain forward pass of the model, whatever the padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny import CONFIGS, Sparse, tiny_engine, tiny_model
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertLMHeadModel,
    BloomConfig,
    BloomForCausalLM,
    FalconConfig,
    GPTBigCodeConfig,
    T5Config,
    T5Model,
)

from jobs.inference.base import HeadEdit, TokenBatch
from jobs.inference.blocks import output_projection, value_bias
from jobs.inference.edits import LatentEdit
from jobs.inference.huggingface import HuggingFaceEngine
from jobs.inference.starts import begin, resume
from tdlens.errors import UserError

ROWS = [[5, 9, 200, 31, 7, 7, 350], [11, 3, 120], [8, 8, 61, 90, 17]]
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def plain(model: Any, row: list[int]) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """Logits [T, V] and hidden states of one row alone, by transformers itself."""
    with torch.no_grad():
        output = model(torch.tensor([row]), output_hidden_states=True, use_cache=False)
    return output.logits[0], tuple(hidden[0] for hidden in output.hidden_states)


def columns(tokens: TokenBatch, rows: list[list[int]], side: str, back: int) -> torch.Tensor:
    """The last ``back`` tokens of each row, as columns of the padded batch."""
    ends = [tokens.ids.shape[1] if side == "left" else len(row) for row in rows]
    return torch.tensor([range(end - back, end) for end in ends])


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("architecture", CONFIGS)
def test_padded_batch_gives_the_logits_and_residual_stream_of_single_rows(architecture: str, side: Any) -> None:
    engine = tiny_engine(architecture)
    tokens = TokenBatch.from_rows(ROWS, pad_id=1, side=side)
    result = engine.forward(tokens, positions=columns(tokens, ROWS, side, 3), capture=range(engine.n_blocks + 1))
    assert result.logits is not None
    for index, row in enumerate(ROWS):
        logits, hidden = plain(engine.model, row)
        torch.testing.assert_close(result.logits[index], logits[-3:], **CLOSE)
        for block in range(engine.n_blocks):
            torch.testing.assert_close(result.activations[block][index], hidden[block][-3:], **CLOSE)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen2"])
def test_last_block_is_the_stream_before_the_final_norm(architecture: str) -> None:
    engine = tiny_engine(architecture)
    last = engine.n_blocks
    tokens = TokenBatch.from_rows(ROWS[:1], pad_id=0)
    result = engine.forward(tokens, positions=torch.arange(7)[None], capture=[last])
    _, hidden = plain(engine.model, ROWS[0])
    base = engine.model.base_model
    norm = base.norm if hasattr(base, "norm") else base.ln_f
    assert not torch.allclose(result.activations[last][0], hidden[last])
    torch.testing.assert_close(norm(result.activations[last][0]), hidden[last], **CLOSE)


def test_rows_fed_in_padded_chunks_through_the_cache_equal_one_pass(engine: HuggingFaceEngine) -> None:
    rng = np.random.default_rng(0)
    chunks = [[rng.integers(400, size=rng.integers(1, 9)).tolist() for _ in range(5)] for _ in range(6)]
    cache = engine.new_cache()
    rows: list[list[int]] = [[] for _ in range(5)]
    for number, pieces in enumerate(chunks):
        side: Any = "right" if number % 2 else "left"
        tokens = TokenBatch.from_rows(pieces, pad_id=0, side=side)
        last = columns(tokens, pieces, side, 1)
        result = engine.forward(tokens, positions=last, capture=[1, engine.n_blocks - 1], cache=cache)
        assert result.logits is not None
        for index, (row, piece) in enumerate(zip(rows, pieces, strict=True)):
            row.extend(piece)
            logits, hidden = plain(engine.model, row)
            torch.testing.assert_close(result.logits[index, 0], logits[-1], **CLOSE)
            for block, x in result.activations.items():
                torch.testing.assert_close(x[index, 0], hidden[block][-1], **CLOSE)


def test_without_logits_the_activations_are_the_same_and_the_head_is_not_run(
    engine: HuggingFaceEngine,
) -> None:
    tokens = TokenBatch.from_rows(ROWS, pad_id=0)
    positions = torch.full((3, 1), 6)
    with_logits = engine.forward(tokens, positions=positions, capture=[0, 2, 3])
    calls: list[object] = []
    handle = engine.head.register_forward_hook(lambda *_: calls.append(1))
    without = engine.forward(tokens, positions=positions, capture=[0, 2, 3], logits=False)
    handle.remove()
    assert without.logits is None
    assert not calls
    for block in (0, 2, 3):
        assert torch.equal(with_logits.activations[block], without.activations[block])


def test_edits_act_at_their_positions_only_and_before_the_capture(engine: HuggingFaceEngine) -> None:
    ramp = torch.linspace(-1, 1, 32)  # a constant would vanish in LayerNorm

    class Shift:
        def __init__(self, block: int) -> None:
            self.block = block

        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            return x + ramp

    tokens = TokenBatch.from_rows(ROWS[:1], pad_id=0)
    everywhere = torch.arange(7)[None]
    before = engine.forward(tokens, positions=everywhere, capture=range(4))
    for block in range(4):
        at = engine.forward(tokens, positions=torch.tensor([[4]]), capture=range(4), edits=[Shift(block), Shift(block)])
        torch.testing.assert_close(at.activations[block][:, 0], before.activations[block][:, 4] + 2 * ramp)
        for earlier in range(block):
            assert torch.equal(at.activations[earlier][:, 0], before.activations[earlier][:, 4])
        assert at.logits is not None
        assert before.logits is not None
        assert not torch.allclose(at.logits[:, 0], before.logits[:, 4])

    # tokens before the edited one never see it, tokens after it do
    class AtFour(Shift):
        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.eye(7)[4][None, :, None] * ramp

    after = engine.forward(tokens, positions=everywhere, capture=[3], edits=[AtFour(1)])
    change = (after.activations[3] - before.activations[3]).abs().amax(dim=(0, 2))
    assert bool((change[:4] == 0).all())
    assert bool((change[4:] > 1e-4).all())


def test_hooks_are_gone_afterwards_even_when_an_edit_fails(engine: HuggingFaceEngine) -> None:
    class Fails:
        block = 1

        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no")

    tokens = TokenBatch.from_rows(ROWS, pad_id=0)
    with pytest.raises(RuntimeError):
        engine.forward(tokens, positions=torch.full((3, 1), 6), edits=[Fails()])
    hooks = [
        hook
        for module in engine.model.modules()
        for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
    ]
    assert hooks == []


def test_bfloat16_gives_its_own_dtype_and_stays_near_float32() -> None:
    exact = tiny_engine("llama")
    engine = HuggingFaceEngine(tiny_model("llama").to(torch.bfloat16), exact.tokenizer, "")
    tokens, positions = TokenBatch.from_rows(ROWS, pad_id=0), torch.full((3, 1), 6)
    edit = LatentEdit(2, Sparse(32, 40), [0, 1], "clamp", value=3.0)
    result = engine.forward(tokens, positions=positions, capture=[3], edits=[edit])
    truth = exact.forward(tokens, positions=positions, capture=[3], edits=[edit])
    assert result.activations[3].dtype == torch.bfloat16
    error = result.activations[3].float() - truth.activations[3]
    assert float(error.norm() / truth.activations[3].norm()) < 0.05


def test_description_counts_tied_parameters_once() -> None:
    engine = tiny_engine("qwen2")
    described = engine.describe()
    assert (described.architecture, described.n_blocks, described.d_model, described.dtype) == (
        "Qwen2ForCausalLM",
        3,
        32,
        "float32",
    )
    distinct = {weight.data_ptr(): weight.numel() for weight in engine.model.state_dict().values()}
    assert described.n_parameters == sum(distinct.values())


@pytest.mark.parametrize("block", [-1, 4])
def test_a_block_outside_the_model_is_refused(llama: HuggingFaceEngine, block: int) -> None:
    tokens = TokenBatch.from_rows(ROWS, pad_id=0)
    with pytest.raises(UserError, match=f"no block {block}.*has 3"):
        llama.forward(tokens, positions=torch.full((3, 1), 6), capture=[block])


def test_a_text_beyond_the_context_is_refused(engine: HuggingFaceEngine) -> None:
    tokens = TokenBatch.from_rows([[1] * 513], pad_id=0)
    with pytest.raises(UserError, match="513 tokens is longer than the model's context of 512"):
        engine.forward(tokens, positions=torch.tensor([[512]]))


def test_padding_inside_a_sliding_window_is_refused_and_single_rows_are_exact() -> None:
    config = CONFIGS["qwen2"]()
    config.sliding_window, config.use_sliding_window = 6, True
    config.layer_types = ["sliding_attention"] * 3
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = type(tiny_model("qwen2"))(config)
    engine = HuggingFaceEngine(model, tiny_engine("qwen2").tokenizer, "")
    cache = engine.new_cache()
    for row in (ROWS[0], ROWS[2]):
        single = TokenBatch.from_rows([row], 0)
        result = engine.forward(single, positions=torch.tensor([[len(row) - 1]]), cache=cache)
    assert result.logits is not None
    torch.testing.assert_close(result.logits[0, 0], plain(model, ROWS[0] + ROWS[2])[0][-1], **CLOSE)
    with pytest.raises(UserError, match="window of 6 tokens"):
        engine.forward(TokenBatch.from_rows(ROWS, 0), positions=torch.full((3, 1), 6), cache=engine.new_cache())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: BloomForCausalLM(BloomConfig(vocab_size=40, hidden_size=32, n_layer=2)), "position_ids"),
        (
            lambda: BertLMHeadModel(
                BertConfig(
                    vocab_size=40,
                    hidden_size=32,
                    num_hidden_layers=2,
                    num_attention_heads=4,
                    intermediate_size=32,
                )
            ),
            "see those that follow",
        ),
        (lambda: T5Model(T5Config(vocab_size=40, d_model=32, num_layers=2, d_ff=32)), "encoder-decoder"),
    ],
)
def test_unsuitable_architectures_are_refused(model: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        HuggingFaceEngine(model(), None, "")


@pytest.mark.parametrize("architecture", CONFIGS)
def test_heads_without_output_are_heads_whose_weights_are_zero(architecture: str) -> None:
    tokens = TokenBatch.from_rows([[5, 9, 3, 7], [8, 2]], 0, side="right")
    everywhere = torch.arange(4).expand(2, -1)  # padding too, which nobody attends to
    engine = tiny_engine(architecture)
    edited = engine.forward(tokens, positions=everywhere, capture=[2, 3], edits=[HeadEdit(2, (0, 3))])
    engine.forward(tokens, positions=everywhere, capture=[2])  # the edit is gone again

    projection = output_projection(engine.blocks[1])
    assert projection is not None
    weight = projection.weight.data  # GPT-2's is transposed
    heads = (weight if architecture == "gpt2" else weight.T).view(4, engine.d_head, -1)
    heads[[0, 3]] = 0
    ablated = engine.forward(tokens, positions=everywhere, capture=[2, 3])
    for block in (2, 3):
        torch.testing.assert_close(edited.activations[block][tokens.mask], ablated.activations[block][tokens.mask])


def test_heads_become_what_is_given_for_each_row_and_position(engine: HuggingFaceEngine) -> None:
    tokens = TokenBatch.from_rows(ROWS, 0, side="right")
    everywhere = torch.arange(7).expand(3, -1)
    values = torch.randn(2, 7, 2, engine.d_head, generator=torch.Generator().manual_seed(1))
    edited = engine.forward(tokens, positions=everywhere, edits=[HeadEdit(2, (3, 1), values, slice(1, 3))])
    assert edited.logits is not None
    untouched = engine.forward(tokens, positions=everywhere)
    assert untouched.logits is not None
    torch.testing.assert_close(edited.logits[0], untouched.logits[0], **CLOSE)
    for row in (1, 2):
        length = len(ROWS[row])
        seen: list[torch.Tensor] = []
        everywhere, edit = torch.arange(length)[None], HeadEdit(2, (3, 1), values[row - 1, :length])
        with engine.heads_edited(torch.zeros(1, 1, dtype=torch.int64), everywhere, [edit]):
            handle = engine.projection(2).register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0]))
            logits, _ = plain(engine.model, ROWS[row])
            handle.remove()
        torch.testing.assert_close(edited.logits[row, :length], logits, **CLOSE)
        heads = seen[0][0].unflatten(-1, (4, engine.d_head))
        assert torch.equal(heads[:, [3, 1]], values[row - 1, :length])


FALCON = {"vocab_size": 400, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "bias": True}
BIGCODE = {"vocab_size": 400, "n_embd": 32, "n_layer": 3, "n_head": 4}
FUSED = {
    "falcon": lambda: FalconConfig(**FALCON, multi_query=False),
    "falcon, shared values": lambda: FalconConfig(**FALCON, multi_query=True),
    "falcon, grouped values": lambda: FalconConfig(**FALCON, new_decoder_architecture=True, num_kv_heads=2),
    "bigcode": lambda: GPTBigCodeConfig(**BIGCODE, multi_query=False),
    "bigcode, shared values": lambda: GPTBigCodeConfig(**BIGCODE, multi_query=True),
}


def some_engine(architecture: str) -> HuggingFaceEngine:
    """With random weights: a usual one, or one whose queries, keys and values are made by one map."""
    if architecture in CONFIGS:
        return tiny_engine(architecture)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return HuggingFaceEngine(AutoModelForCausalLM.from_config(FUSED[architecture]()), None, fingerprint="")


@pytest.mark.parametrize("architecture", [*CONFIGS, "falcon", "bigcode"])
def test_what_heads_give_whatever_they_attend_to_is_the_bias_of_their_values(architecture: str) -> None:
    engine = some_engine(architecture)
    generator = torch.Generator().manual_seed(2)
    for name, weight in engine.model.named_parameters():
        if name.endswith("bias"):
            weight.data = torch.randn(weight.shape, generator=generator)
    norms = [module for name, module in engine.blocks[1].named_modules() if name.count(".") == 0 and "norm" in name]
    norm: Any = norms[0] if norms else engine.blocks[1].ln_1
    for weight in norm.parameters():
        weight.data.zero_()  # attention then sees nothing, and moves nothing
    tokens = TokenBatch.from_rows(ROWS[:1], 0)
    _, starts = begin(engine, tokens, logits_at=torch.tensor([[6]]))
    bias = value_bias(engine.blocks[1], engine.n_heads, engine.d_head)
    assert bias is not None
    assert bool(bias.any()) == (architecture not in ("llama", "qwen3"))
    torch.testing.assert_close(starts[1].heads[0], bias.expand(7, -1, -1))


@pytest.mark.parametrize("architecture", [name for name in FUSED if "values" in name])
def test_biases_of_values_that_one_map_makes_for_several_heads_are_not_known(architecture: str) -> None:
    engine = some_engine(architecture)
    assert value_bias(engine.blocks[1], engine.n_heads, engine.d_head) is None


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("architecture", CONFIGS)
def test_a_pass_from_within_a_block_equals_the_whole_pass(architecture: str, side: Any) -> None:
    engine = tiny_engine(architecture)
    tokens = TokenBatch.from_rows(ROWS, 0, side=side)
    everywhere, last = torch.arange(7).expand(3, -1), columns(tokens, ROWS, side, 2)
    logits, starts = begin(engine, tokens, logits_at=last)
    rows = torch.arange(3)[:, None]
    untouched = engine.forward(tokens, positions=last).logits
    assert untouched is not None
    torch.testing.assert_close(logits, untouched, **CLOSE)
    assert [start.block for start in starts] == [1, 2, 3]
    values = torch.randn(3, 7, 1, engine.d_head, generator=torch.Generator().manual_seed(1))
    for start in starts:
        edits = [HeadEdit(block, (block % 4,), values, slice(0, 3)) for block in range(start.block, 4)]
        edits.append(HeadEdit(start.block, (0,), None, slice(1, 2)))
        whole = engine.forward(tokens, positions=everywhere, edits=edits).logits
        assert whole is not None
        resumed = resume(engine, tokens, start, edits=edits, logits_at=last)
        torch.testing.assert_close(resumed, whole[rows, last], **CLOSE)
        assert not torch.allclose(resumed, untouched, atol=1e-3)
    # nothing is left behind in the model
    again = engine.forward(tokens, positions=last).logits
    assert again is not None
    assert torch.equal(again, untouched)


def test_a_pass_from_within_a_block_leaves_the_model_as_it_was_when_it_fails(engine: HuggingFaceEngine) -> None:
    tokens, last = TokenBatch.from_rows(ROWS, 0), torch.full((3, 1), 6)
    _, starts = begin(engine, tokens, logits_at=last)
    with pytest.raises(RuntimeError):
        resume(engine, tokens, starts[1], edits=[HeadEdit(3, (0,), torch.zeros(1, 99))], logits_at=last)
    modules = list(engine.model.modules())
    assert not any("forward" in vars(module) for module in modules)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in modules)
    with pytest.raises(ValueError, match="before block 2"):
        resume(engine, tokens, starts[1], edits=[HeadEdit(1, (0,))], logits_at=last)
    with pytest.raises(UserError, match="no head 4 in a block 2"):
        resume(engine, tokens, starts[1], edits=[HeadEdit(2, (4,))], logits_at=last)


@pytest.mark.parametrize(("block", "head"), [(0, 0), (4, 0), (1, 4), (1, -1)])
def test_a_head_that_is_not_there_is_refused(llama: HuggingFaceEngine, block: int, head: int) -> None:
    tokens = TokenBatch.from_rows([[1, 2]], 0)
    with pytest.raises(UserError, match=f"no head {head} in a block {block}: the model has 3 blocks of 4 heads"):
        llama.forward(tokens, positions=torch.tensor([[1]]), edits=[HeadEdit(block, (head,))])


def test_a_model_is_left_after_the_last_wanted_block(llama: HuggingFaceEngine) -> None:
    tokens, last = TokenBatch.from_rows([[1, 2, 3]], 0), torch.tensor([[2]])
    reached: list[int] = []
    hooks = [
        block.register_forward_pre_hook(lambda module, args, i=i: reached.append(i))
        for i, block in enumerate(llama.blocks, start=1)
    ]
    early = llama.forward(tokens, positions=last, capture=[0, 1], logits=False)
    assert reached == [1]
    whole = llama.forward(tokens, positions=last, capture=[0, 1])
    for hook in hooks:
        hook.remove()
    assert reached == [1, 1, 2, 3]
    assert all(torch.equal(early.activations[block], whole.activations[block]) for block in (0, 1))
