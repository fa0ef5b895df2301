"""Attention patterns and what is read off them, held to attention computed by hand and to heads that were written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from envs.circuit_tasks import CIRCUIT_TASKS
from envs.circuit_tasks.prompts import Prompts
from jobs.circuits import detectors, sweep
from jobs.circuits.detectors import ANY_TASK, ATTENTION, LABELS, Labelled, head_measures, labels, repeated_scores
from jobs.circuits.direct_effect import direct_effect, final_norm
from jobs.circuits.patterns import attention_patterns
from jobs.circuits.planted import planted_models
from jobs.circuits.scoring import padded
from jobs.inference.huggingface import HuggingFaceEngine
from tdlens.errors import UserError
from tests.inference.tiny import CONFIGS, VOCABULARY, tiny_engine

torch.set_num_threads(1)

ROWS = ((1, 9, 200, 31, 7, 7, 350), (1, 3, 120), (1, 8, 61, 90, 17))


def prompts(right: tuple[tuple[int, ...], ...], wrong: tuple[tuple[int, ...], ...]) -> Prompts:
    return Prompts(ROWS, ROWS, right, wrong, (), {"io": (1, 1, 2), "end": (6, 2, 4), "s1": (3, 1, 1), "s2": (4, 2, 3)})


@pytest.mark.parametrize("architecture", CONFIGS)
def test_patterns_weigh_what_the_heads_give(architecture: str) -> None:
    """In the first block a head's output is its pattern times the values, which a pattern of one row tells."""
    engine = tiny_engine(architecture)
    before = engine.config._attn_implementation
    patterns = attention_patterns(engine, padded(ROWS))
    assert engine.config._attn_implementation == before
    assert not any(module._forward_hooks for module in engine.model.modules())
    assert patterns.shape == (3, 3, 4, 7, 7)
    torch.testing.assert_close(patterns.sum(-1)[0], torch.ones(3, 4, 7))
    assert not patterns.triu(1).any()
    for index, row in enumerate(ROWS):
        alone = attention_patterns(engine, padded([row]))
        torch.testing.assert_close(patterns[index, :, :, : len(row), : len(row)], alone[0], atol=1e-6, rtol=1e-4)


def test_patterns_are_the_softmax_of_queries_and_keys() -> None:
    engine = tiny_engine("gpt2")
    row = torch.tensor(ROWS[:1])
    found = attention_patterns(engine, padded(ROWS[:1]))[0]
    with torch.no_grad():
        hidden = engine.model(row, output_hidden_states=True).hidden_states
        for index, block in enumerate(engine.blocks):
            own: Any = block
            q, k, _ = own.attn.c_attn(own.ln_1(hidden[index][0])).view(7, 3, 4, 8).unbind(1)
            scores = torch.einsum("ihd,jhd->hij", q, k) / 8**0.5
            scores = scores.masked_fill(torch.ones(7, 7).triu(1).bool(), float("-inf"))
            torch.testing.assert_close(found[index], scores.softmax(-1), atol=1e-6, rtol=1e-4)


def test_scores_of_a_repeated_block_are_read_off_the_right_diagonals() -> None:
    n = 5
    heads = {
        "induction_score": {i: i - n + 1 for i in range(n + 1, 2 * n + 1)},
        "duplicate_token": {i: i - n for i in range(n + 1, 2 * n + 1)},
        "previous_token": {i: i - 1 for i in range(2, 2 * n + 1)},
        "": {},
    }
    patterns = torch.zeros(2, 1, 4, 2 * n + 1, 2 * n + 1)
    for head, looks in enumerate(heads.values()):
        for i in range(2 * n + 1):
            at = looks.get(i, 0)
            patterns[0, 0, head, i, at] += 1
            patterns[1, 0, head, i, at] += 0.5  # and half to BOS
            patterns[1, 0, head, i, 0] += 0.5
    scores = repeated_scores(patterns)
    for head, name in enumerate(heads):
        for measure, found in scores.items():
            assert found.shape == (2, 1, 4)
            expected = [1, 0.5] if measure == name else [0, 0]
            np.testing.assert_allclose(found[:, 0, head], expected, err_msg=f"{measure} of {name or 'none'}")


@pytest.mark.parametrize("tokens", [1, 2048])
def test_attention_between_roles_is_taken_row_by_row(tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sweep.TOKENS, "cpu", tokens)
    monkeypatch.setitem(ATTENTION, "ioi", (("end", "io"), ("end", "s2"), ("s2", "s1")))
    engine = tiny_engine("llama")
    found = detectors.role_attention(engine, "ioi", prompts(((1,),) * 3, ((2,),) * 3))
    patterns = attention_patterns(engine, padded(ROWS)).double().numpy()
    places = {"end_to_io": ((6, 1), (2, 1), (4, 2)), "end_to_s2": ((6, 4), (2, 2), (4, 3))}
    places |= {"s2_to_s1": ((4, 3), (2, 1), (3, 1))}
    assert set(found) == set(places)
    for name, pairs in places.items():
        by_hand = np.mean([patterns[row, :, :, i, j] for row, (i, j) in enumerate(pairs)], axis=0)
        np.testing.assert_allclose(found[name], by_hand, atol=1e-6)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_the_direct_effect_is_what_a_head_writes_along_the_answers(architecture: str) -> None:
    engine = tiny_engine(architecture)
    generator = torch.Generator().manual_seed(3)
    for name, weight in engine.model.named_parameters():
        if name.endswith("bias"):
            weight.data = torch.randn(weight.shape, generator=generator) * 0.3
    right, wrong = ((5, 6), (7,), (8,)), ((9,), (10, 11), (12,))
    found = direct_effect(engine, prompts(right, wrong))
    expected = np.zeros((3, 4))
    norm: Any = final_norm(engine)
    unembedding = engine.head.weight.data.double()
    for row, good, bad in zip(ROWS, right, wrong, strict=True):
        seen: dict[int, torch.Tensor] = {}
        handles = [
            engine.projection(block).register_forward_pre_hook(
                lambda _, args, block=block, seen=seen: seen.__setitem__(block, args[0][0, -1].double())
            )
            for block in (1, 2, 3)
        ]
        with torch.no_grad():
            logits = engine.model(torch.tensor([row]), use_cache=False).logits[0, -1].double()
        for handle in handles:
            handle.remove()
        tokens, last = padded([row]), torch.tensor([[len(row) - 1]])
        x = engine.forward(tokens, positions=last, capture=[3], logits=False).activations[3][0, 0].double()
        answer = sum(logits[list(good)].softmax(0)[i] * unembedding[id_] for i, id_ in enumerate(good))
        answer = answer - sum(logits[list(bad)].softmax(0)[i] * unembedding[id_] for i, id_ in enumerate(bad))
        for block, z in seen.items():
            weight = engine.projection(block).weight.data.double()
            rows = weight if architecture == "gpt2" else weight.T  # [H * d_head, d]
            bias: Any = 0
            if architecture == "gpt2":
                bias = engine.blocks[block - 1].attn.c_attn.bias.data[64:].double()  # type: ignore[union-attr, index]
            for head in range(4):
                own = slice(head * 8, head * 8 + 8)
                written = (z - bias)[own] @ rows[own]
                if architecture == "gpt2":
                    written = (written - written.mean()) / (x.var(correction=0) + norm.eps).sqrt()
                else:
                    written = written / (x.square().mean() + norm.variance_epsilon).sqrt()
                expected[block - 1, head] += float(written * norm.weight.data.double() @ answer) / 3
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(expected).min() > 1e-5


@pytest.mark.parametrize("architecture", CONFIGS)
def test_the_final_norm_of_every_architecture_is_known(architecture: str) -> None:
    engine = tiny_engine(architecture)
    generator = torch.Generator().manual_seed(4)
    norm: Any = final_norm(engine)
    for weight in norm.parameters():  # fresh weights are ones and zeros
        weight.data = torch.randn(weight.shape, generator=generator)
    effect = direct_effect(engine, prompts(((5,),) * 3, ((9,),) * 3))
    swapped = direct_effect(engine, prompts(((9,),) * 3, ((5,),) * 3))
    assert (effect != 0).all()
    np.testing.assert_allclose(swapped, -effect, rtol=1e-4, atol=1e-7)


def test_a_model_whose_final_norm_is_not_there_is_refused() -> None:
    engine = tiny_engine("gpt2")
    engine.model.transformer.ln_f = torch.nn.Identity()
    with pytest.raises(UserError, match="Can't tell which module of GPT2LMHeadModel is the norm"):
        direct_effect(engine, prompts(((5,),) * 3, ((9,),) * 3))


def test_heads_that_were_written_are_labelled_and_the_one_that_answers_writes_most() -> None:
    model = planted_models(0)["induction"]
    tasks = {"induction": CIRCUIT_TASKS["induction"].make(model.engine.tokenizer, 8, 0)}
    measures = head_measures(model.engine, tasks, rows=4, length=20)
    previous, induction = model.heads
    found = {(label.label, (label.block - 1) * model.engine.n_heads + label.head) for label in labels(measures)}
    assert {("induction", induction), ("previous_token", previous)} <= found
    assert ("induction", previous) not in found and ("previous_token", induction) not in found
    assert measures[ANY_TASK]["previous_token"].flat[previous] > 0.99
    assert set(measures["induction"]) == {"a2_to_b", "a2_to_a1", "b_to_a1", "direct_effect"}
    # decoys look where the circuit's heads look, and write something else
    effect = measures["induction"]["direct_effect"].flatten()
    assert effect.argmax() == induction
    assert effect[induction] > 10 * np.delete(effect, induction).max()


def test_labels_take_all_their_bounds() -> None:
    zeros = {name: np.zeros((2, 2)) for name in ("end_to_io", "end_to_s2", "direct_effect")}
    zeros["end_to_io"][1] = 0.9
    zeros["direct_effect"][:, 0] = 0.5
    zeros["direct_effect"][:, 1] = -0.5
    assert labels({"ioi": zeros}) == [
        Labelled("ioi", "name_mover", 2, 0),
        Labelled("ioi", "negative_name_mover", 2, 1),
    ]


def test_every_label_and_role_is_one_that_prompts_and_measures_have() -> None:
    measured = {task: {f"{one}_to_{other}" for one, other in pairs} for task, pairs in ATTENTION.items()}
    measured = {task: names | {"direct_effect"} for task, names in measured.items()}
    measured[ANY_TASK] = set(repeated_scores(torch.zeros(1, 1, 1, 7, 7)))
    for label in LABELS:
        assert {condition.measure for condition in label.conditions} <= measured[label.task]
    assert set(ATTENTION) == set(CIRCUIT_TASKS)


def test_a_block_that_does_not_fit_into_the_context_is_refused() -> None:
    engine = tiny_engine("llama")
    assert isinstance(engine, HuggingFaceEngine) and len(engine.tokenizer) <= VOCABULARY
    with pytest.raises(UserError, match="601 tokens is longer than the model's context of 512"):
        head_measures(engine, {}, rows=1, length=300)
