"""First-order estimates equal finite differences of the ablations they estimate; pairs equal joint edits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from envs.circuit_tasks.prompts import Prompts
from envs.head_ablation import ABLATIONS, Ablation
from jobs.circuits import sweep
from jobs.circuits.attribution import attribution
from jobs.circuits.pairs import pair_damage
from jobs.circuits.scoring import HeadScorer, control_sweep, control_values, task_sweep, task_values
from jobs.inference.base import HeadEdit
from jobs.inference.huggingface import HuggingFaceEngine
from tdlens.errors import UserError
from tests.inference.tiny import VOCABULARY, tiny_engine

torch.set_num_threads(1)


def case(architecture: str) -> tuple[HuggingFaceEngine, Prompts, list[list[int]]]:
    """A tiny model in float64 with biases, prompts of unequal lengths with several answers, and control text."""
    tiny = tiny_engine(architecture)
    generator = torch.Generator().manual_seed(3)
    for name, weight in tiny.model.named_parameters():
        if name.endswith("bias"):
            weight.data = torch.randn(weight.shape, generator=generator) * 0.3
    engine = HuggingFaceEngine(tiny.model.double(), tiny.tokenizer, "")
    rng = np.random.default_rng(0)

    def rows(*lengths: int) -> tuple[tuple[int, ...], ...]:
        return tuple((1, *rng.integers(2, VOCABULARY, n - 1).tolist()) for n in lengths)

    lengths = (9, 4, 7)
    prompts = Prompts(rows(*lengths), rows(*lengths), ((5, 6), (7,), (8,)), ((9,), (10, 11), (12,)), (), {})
    return engine, prompts, [list(row) for row in rows(8, 8)]


def moved(engine: HuggingFaceEngine, swept: Any, values: Any, share: float) -> NDArray[np.float64]:
    """The measure's mean where each head in turn is moved by a share of the way to its value [H]."""
    found = []
    for head in range(engine.n_blocks * engine.n_heads):
        start, own = swept.starts[head // engine.n_heads], head % engine.n_heads
        z, value = start.heads[:, :, [own]], values[start.block - 1]
        target = torch.zeros_like(z) if value is None else value[..., [own], :].expand_as(z)
        edit = HeadEdit(start.block, (own,), z + share * (target - z))
        tokens = swept.tokens
        everywhere = torch.arange(tokens.ids.shape[1]).expand(len(tokens.ids), -1)
        logits = engine.forward(tokens, positions=everywhere, edits=[edit]).logits
        assert logits is not None
        read = logits[torch.arange(len(logits))[:, None], swept.read_at]
        found.append(float(swept.measure(read, torch.arange(len(logits))).mean()))
    return np.array(found)


@pytest.mark.parametrize("tokens", [1, 2048], ids=["row by row", "at once"])
@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize(("architecture", "step", "close"), [("gpt2", 1e-5, 1e-6), ("llama", 5e-3, 1e-3)])
def test_estimates_are_the_slope_of_scores_on_the_way_to_the_ablation(
    architecture: str, step: float, close: float, ablation: Ablation, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Llama's norms round to float32 whatever the model's dtype, so its steps must be larger
    monkeypatch.setitem(sweep.TOKENS, "cpu", tokens)
    engine, prompts, text = case(architecture)
    estimated = attribution(engine, prompts, text, ablation=ablation, weight=0.6)
    task, control = task_sweep(engine, prompts), control_sweep(engine, text)
    slopes = []
    for swept, values in (
        (task, task_values(engine, prompts, ablation)),
        (control, control_values(engine, text, ablation)),
    ):
        there, back = (moved(engine, swept, values, share) for share in (step, -step))
        slopes.append((there - back) / (2 * step))
    np.testing.assert_allclose(estimated, -slopes[0] - 0.6 * slopes[1], atol=close)
    assert np.abs(estimated).min() > 1e-4


def test_where_the_answer_is_linear_in_a_heads_output_the_estimate_is_the_damage() -> None:
    engine, prompts, text = case("gpt2")
    single = Prompts(prompts.rows, prompts.corrupted, ((5,), (7,), (8,)), ((9,), (10,), (12,)), (), {})
    engine.model.transformer.ln_f = torch.nn.Identity()
    engine.model.transformer.h[-1].mlp.c_proj.weight.data.zero_()
    damage = HeadScorer(engine, single, text).table().task_damage
    estimated = attribution(engine, single, text, weight=0.0)
    np.testing.assert_allclose(estimated[-4:], damage[-4:], atol=1e-9)
    assert np.abs(estimated[:4] - damage[:4]).max() > 1e-3  # earlier heads go through what bends


def test_estimating_leaves_weights_without_gradients_and_the_model_without_hooks() -> None:
    engine, prompts, text = case("llama")
    attribution(engine, prompts, text)
    assert all(weight.grad is None for weight in engine.model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in engine.model.modules())


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_pairs_are_joint_edits_of_one_pass(architecture: str, ablation: Ablation) -> None:
    engine, prompts, _ = case(architecture)
    heads = [7, 1, 2, 11]  # of three blocks, two of them of one
    found = pair_damage(engine, prompts, heads, ablation=ablation)
    swept: Any = task_sweep(engine, prompts)
    values = task_values(engine, prompts, ablation)
    tokens = swept.tokens
    everywhere = torch.arange(tokens.ids.shape[1]).expand(len(tokens.ids), -1)

    def damage(*ablated: int) -> float:
        edits = []
        for head in ablated:
            value = values[head // 4]
            edits.append(HeadEdit(head // 4 + 1, (head % 4,), None if value is None else value[..., [head % 4], :]))
        logits = engine.forward(tokens, positions=everywhere, edits=edits).logits
        assert logits is not None
        read = logits[torch.arange(len(logits))[:, None], swept.read_at]
        return float(swept.untouched.mean() - swept.measure(read, torch.arange(len(logits))).mean())

    np.testing.assert_allclose(found.alone, [damage(head) for head in heads], atol=1e-5)
    assert found.pairs == ((7, 1), (7, 2), (7, 11), (1, 2), (1, 11), (2, 11))
    np.testing.assert_allclose(found.together, [damage(*pair) for pair in found.pairs], atol=1e-5)
    expected = [damage(*pair) - damage(pair[0]) - damage(pair[1]) for pair in found.pairs]
    np.testing.assert_allclose(found.excess, expected, atol=3e-5)


def test_pairs_need_heads_that_are_there_once() -> None:
    engine, prompts, _ = case("llama")
    for heads in ([1], [1, 1, 2]):
        with pytest.raises(ValueError, match="two heads or more"):
            pair_damage(engine, prompts, heads)
    with pytest.raises(UserError, match="no head 12"):
        pair_damage(engine, prompts, [1, 12])
