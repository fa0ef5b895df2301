"""Sizes from the configuration against the model itself, and which models DeepSpeed splits."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch
from transformers import (
    AutoModelForCausalLM,
    MambaConfig,
    MixtralConfig,
    Olmo2Config,
    Phi3Config,
    PretrainedConfig,
    T5Config,
)

from jobs.inference.blocks import decoder_blocks
from jobs.inference.shapes import ModelShape, shipped_config, shipped_names
from tdlens.errors import UserError
from tests.inference.tiny import CONFIGS, tiny_model

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 64, "intermediate_size": 64, "pad_token_id": 0}
OTHERS = {
    "mixtral": lambda: MixtralConfig(**SMALL, num_attention_heads=4, num_key_value_heads=2, num_local_experts=2),
    "olmo2": lambda: Olmo2Config(**SMALL, num_attention_heads=4, num_key_value_heads=2),
    "phi3": lambda: Phi3Config(**SMALL, num_attention_heads=4, num_key_value_heads=2),
}


@pytest.mark.parametrize("architecture", CONFIGS)
def test_counts_are_those_of_the_real_model(architecture: str) -> None:
    model = tiny_model(architecture)
    shape = ModelShape.of(model.config)
    blocks = decoder_blocks(model)
    assert shape.architecture == type(model).__name__
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    assert shape.block_parameters == tuple(sum(p.numel() for p in block.parameters()) for block in blocks)
    assert shape.embedding == model.get_input_embeddings().weight.numel()
    assert shape.tied == (model.get_output_embeddings().weight is model.get_input_embeddings().weight)
    assert (shape.n_blocks, shape.d_model, shape.context) == (3, 32, 512)


def test_weights_are_the_bytes_of_the_file() -> None:
    model = tiny_model("llama").to(torch.bfloat16)
    file = safetensors.torch.save(model.state_dict())
    header = 8 + int.from_bytes(file[:8], "little")
    assert len(file) - header == 2 * ModelShape.of(model.config).parameters


def test_keys_and_values_are_those_of_the_cache() -> None:
    model = tiny_model("llama")
    cache = model(torch.zeros(1, 7, dtype=torch.int64), use_cache=True).past_key_values
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert held == 7 * ModelShape.of(model.config).kv_bytes(4)


def test_counting_takes_no_memory() -> None:
    """A model of 282 GB in float32."""
    config = shipped_config("meta-llama/Meta-Llama-3-70B")
    assert config is not None
    assert ModelShape.of(config).parameters * 4 > 280e9


def test_shipped_configurations() -> None:
    assert set(shipped_names()) == {"meta-llama/Meta-Llama-3-8B", "meta-llama/Meta-Llama-3-70B"}
    assert shipped_config("meta-llama/Meta-Llama-3-7B") is None
    config = shipped_config("meta-llama/Meta-Llama-3-8B")
    assert config is not None
    assert ModelShape.of(config).parameters == 8_030_261_248
    assert config.rope_parameters["rope_theta"] == 500_000


@pytest.mark.parametrize("architecture", [*CONFIGS, *OTHERS])
def test_what_is_called_splittable_is_what_deepspeed_splits_by_heads_and_neurons(architecture: str) -> None:
    from deepspeed.module_inject.auto_tp import AutoTP

    config = (CONFIGS | OTHERS)[architecture]()
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    expected = {"llama": True, "qwen2": True, "qwen3": True}.get(architecture, False)
    shape = ModelShape.of(config)
    assert shape.autotp == expected
    if expected:
        ((block, reduced),) = AutoTP.tp_parser(model)
        assert block is type(decoder_blocks(model)[0])
        assert set(reduced) == {"self_attn.o_proj", "mlp.down_proj"}


def test_deepspeed_refuses_gpt2() -> None:
    from deepspeed.module_inject.auto_tp import AutoTP

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(CONFIGS["gpt2"]())
    assert not AutoTP.supported(model)


@pytest.mark.parametrize(("ranks", "even"), [(1, True), (2, True), (3, False), (4, False)])
def test_even_shares_are_those_that_deepspeed_makes(ranks: int, even: bool) -> None:
    from deepspeed.module_inject.tp_shard import AutoTPMeta, get_shard_size_list

    config = CONFIGS["llama"]()
    config.intermediate_size = 256
    meta = AutoTPMeta.from_model_config(config, tp_grain_size=64)
    shares = [
        get_shard_size_list(config.hidden_size, ranks, meta, "self_attn.q_proj"),
        get_shard_size_list(config.intermediate_size, ranks, meta, "mlp.up_proj"),
    ]
    assert all(len(set(share)) == 1 for share in shares) == even
    assert ModelShape.of(config).splits_evenly(ranks) == even


def test_hugging_face_has_a_plan_or_not() -> None:
    plans = {
        name: ModelShape.of((CONFIGS | OTHERS)[name]()).hf_tensor for name in ("llama", "gpt_neox", "gpt2", "mixtral")
    }
    assert plans == {"llama": True, "gpt_neox": True, "gpt2": False, "mixtral": False}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (MambaConfig(hidden_size=32, num_hidden_layers=2, vocab_size=64), "no attention heads"),
        (T5Config(d_model=32, num_layers=1, vocab_size=64), "T5Config describes no causal language model"),
    ],
)
def test_models_of_another_kind_are_refused(config: PretrainedConfig, message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        ModelShape.of(config)
    assert "Llama" in refused.value.remedy
