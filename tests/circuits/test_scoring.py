"""Head scores from resumed, batched passes equal those of one whole forward pass for each ablated head."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from envs.circuit_tasks.prompts import Prompts
from envs.head_ablation import ABLATIONS, Ablation
from jobs.circuits import sweep
from jobs.circuits.ablation import mean_values
from jobs.circuits.scoring import HeadScorer, padded
from jobs.inference.base import HeadEdit
from jobs.inference.huggingface import HuggingFaceEngine
from tdlens.errors import UserError
from tests.inference.tiny import CONFIGS, VOCABULARY, tiny_engine

torch.set_num_threads(1)

HEADS = 12
"""Three blocks of four, in every tiny model."""
ONE_ROW, CHUNKS, ALL = 1, 40, 2048
"""Tokens of a pass."""


def some_prompts(seed: int = 0, lengths: tuple[int, ...] = (9, 4, 7, 9, 2)) -> Prompts:
    """Rows of unequal lengths, one to three right and wrong answers."""
    rng = np.random.default_rng(seed)

    def rows() -> tuple[tuple[int, ...], ...]:
        return tuple((1, *rng.integers(2, VOCABULARY, n - 1).tolist()) for n in lengths)

    answers = [rng.choice(VOCABULARY, 6, replace=False).tolist() for _ in lengths]
    return Prompts(
        rows=rows(),
        corrupted=rows(),
        right=tuple(tuple(ids[: 1 + i % 3]) for i, ids in enumerate(answers)),
        wrong=tuple(tuple(ids[3 : 4 + (i + 1) % 3]) for i, ids in enumerate(answers)),
        texts=(),
        roles={},
    )


def some_text(n: int = 4, length: int = 8) -> list[list[int]]:
    rng = np.random.default_rng(1)
    return [[1, *rng.integers(2, VOCABULARY, length - 1).tolist()] for _ in range(n)]


def with_biases(architecture: str) -> HuggingFaceEngine:
    """A tiny model whose biases aren't zero, as fresh weights have them."""
    engine = tiny_engine(architecture)
    generator = torch.Generator().manual_seed(3)
    for name, weight in engine.model.named_parameters():
        if name.endswith("bias"):
            weight.data = torch.randn(weight.shape, generator=generator) * 0.3
    return engine


def plain_logits(engine: HuggingFaceEngine, row: tuple[int, ...] | list[int], edit: HeadEdit | None) -> Any:
    """All logits of one row alone [T, V], float64."""
    tokens = padded([row])
    edits = [] if edit is None else [edit]
    logits = engine.forward(tokens, positions=torch.arange(len(row))[None], edits=edits).logits
    assert logits is not None
    return logits[0].double()


@cache
def plain_heads(engine: HuggingFaceEngine, row: tuple[int, ...], block: int) -> torch.Tensor:
    """What the heads of a block give to its output projection [T, H, d_head]."""
    seen: list[torch.Tensor] = []
    handle = engine.projection(block).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        engine.model(torch.tensor([row]), use_cache=False)
    handle.remove()
    return seen[0][0].unflatten(-1, (engine.n_heads, engine.d_head))


def plain_value(engine: HuggingFaceEngine, ablation: Ablation, head: int, rows: Any, row: int) -> torch.Tensor | None:
    """What a head becomes on one row, [1, d_head] or [1, T, 1, d_head]; ``rows`` are those that it refers to."""
    block, own = head // engine.n_heads + 1, head % engine.n_heads
    attention = next(module for name, module in engine.blocks[block - 1].named_children() if "att" in name)
    if ablation == "value_bias":
        made = getattr(attention, "c_attn", None) or getattr(attention, "v_proj", None)
        if made is None or made.bias is None:
            return None
        if hasattr(attention, "c_attn"):
            start = 2 * engine.d_model + own * engine.d_head
        else:
            start = own * engine.config.num_key_value_heads // engine.n_heads * engine.d_head
        return made.bias.data[start : start + engine.d_head][None]
    if ablation == "zero":
        return None
    if ablation == "resample":
        return plain_heads(engine, tuple(rows[row]), block)[None, :, [own]]
    every = [plain_heads(engine, tuple(other), block)[:, own].double() for other in rows]
    length = len(rows[row])
    means = [torch.stack([z[t] for z in every if len(z) > t]).mean(0) for t in range(length)]
    return torch.stack(means).float()[None, :, None]


def plain_damages(
    engine: HuggingFaceEngine, prompts: Prompts, text: list[list[int]], ablation: Ablation
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Task and control damage of every head: row by row, head by head, as the definitions say."""
    n_text = len(text)

    def metric(head: int | None) -> float:
        total = 0.0
        for i, row in enumerate(prompts.rows):
            value = None if head is None else plain_value(engine, ablation, head, prompts.corrupted, i)
            edit = None if head is None else HeadEdit(head // 4 + 1, (head % 4,), value)
            last = plain_logits(engine, row, edit)[-1]
            right, wrong = (torch.logsumexp(last[list(ids)], 0) for ids in (prompts.right[i], prompts.wrong[i]))
            total += float(right - wrong)
        return total / len(prompts.rows)

    def surprise(head: int | None) -> float:
        total = 0.0
        for i, row in enumerate(text):
            at = (i + 1) % n_text if ablation == "resample" else i
            value = None if head is None else plain_value(engine, ablation, head, text, at)
            edit = None if head is None else HeadEdit(head // 4 + 1, (head % 4,), value)
            scores = plain_logits(engine, row, edit).log_softmax(-1)
            total -= float(sum(scores[t, row[t + 1]] for t in range(len(row) - 1))) / (len(row) - 1)
        return total / n_text

    task = np.array([metric(None) - metric(head) for head in range(HEADS)])
    control = np.array([surprise(head) - surprise(None) for head in range(HEADS)])
    return task, control


@cache
def usual_damages(architecture: str, ablation: Ablation) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same for :func:`some_prompts` and :func:`some_text`."""
    return plain_damages(with_biases(architecture), some_prompts(), some_text(), ablation)


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize(
    ("architecture", "tokens"),
    [("gpt2", ONE_ROW), ("gpt2", CHUNKS), ("gpt2", ALL), ("llama", ONE_ROW), ("llama", CHUNKS), ("qwen2", CHUNKS)],
)
def test_scores_are_those_of_one_whole_pass_for_each_head(
    architecture: str, ablation: Ablation, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sweep.TOKENS, "cpu", tokens)
    engine, prompts, text = with_biases(architecture), some_prompts(), some_text()
    scorer = HeadScorer(engine, prompts, text, ablation=ablation, weight=0.7)
    table = scorer.table()
    task, control = usual_damages(architecture, ablation)
    assert np.abs(task).min() > 1e-4  # or nothing would be compared
    np.testing.assert_allclose(table.task_damage, task, atol=3e-5)
    np.testing.assert_allclose(table.control_damage, control, atol=3e-5)
    np.testing.assert_array_equal(table.scores, table.task_damage - 0.7 * table.control_damage)


@pytest.mark.parametrize("architecture", CONFIGS)
def test_every_architecture_is_resumed_as_it_runs_whole(architecture: str) -> None:
    engine, prompts, text = with_biases(architecture), some_prompts(), some_text()
    resumed = HeadScorer(engine, prompts, text, ablation="zero").table()
    task, control = usual_damages(architecture, "zero")
    np.testing.assert_allclose(resumed.task_damage, task, atol=3e-5)
    np.testing.assert_allclose(resumed.control_damage, control, atol=3e-5)


def test_a_head_without_output_but_its_bias_is_zeroed_where_the_bias_was_folded_into_the_outputs() -> None:
    """TransformerLens folds biases of values into the output bias, and zeroes what is left."""
    engine, folded = with_biases("gpt2"), with_biases("gpt2")
    for block in folded.blocks:
        attention: Any = block.attn
        bias = attention.c_attn.bias.data[2 * folded.d_model :]
        attention.c_proj.bias.data += bias @ attention.c_proj.weight.data
        bias.zero_()
    prompts, text = some_prompts(), some_text()
    own, lens = HeadScorer(engine, prompts, text), HeadScorer(folded, prompts, text, ablation="zero")
    np.testing.assert_allclose(own.baseline, lens.baseline, atol=1e-5)
    np.testing.assert_allclose(own.table().scores, lens.table().scores, atol=3e-5)
    plain_zero = HeadScorer(engine, prompts, text, ablation="zero").table().scores
    assert np.abs(plain_zero - lens.table().scores).max() > 1e-2


def test_each_head_is_run_once_and_counted_as_two_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tiny_engine("gpt2")
    scorer = HeadScorer(engine, some_prompts(), some_text())
    assert scorer.forward_passes == 2
    first = scorer.score([5, 2, 5])
    assert first[0] == first[2]
    assert scorer.forward_passes == 2 + 2 * 2
    calls: list[int] = []
    handle = engine.blocks[-1].register_forward_hook(lambda *_: calls.append(1))
    np.testing.assert_array_equal(scorer.score([2, 5]), first[[1, 0]])
    assert not calls
    told: list[int] = []
    table = scorer.table(told.append)
    handle.remove()
    assert sum(told) == HEADS - 2
    assert scorer.forward_passes == 2 + 2 * HEADS
    np.testing.assert_array_equal(table.scores[[5, 2]], first[:2])
    np.testing.assert_array_equal(scorer.score(range(HEADS)), table.scores)


def test_nothing_before_the_ablated_block_is_run_again() -> None:
    engine = tiny_engine("llama")
    scorer = HeadScorer(engine, some_prompts(), some_text())
    reached: list[int] = []
    for i, block in enumerate(engine.blocks):
        block.input_layernorm.register_forward_hook(lambda *_, i=i: reached.append(i))  # type: ignore[operator]
    scorer.score([9])
    assert set(reached) == {2}


def test_the_mean_of_rows_of_unequal_lengths_leaves_padding_out() -> None:
    z = torch.arange(12, dtype=torch.float32).reshape(2, 3, 1, 2)
    (mean,) = mean_values([z], torch.tensor([[True, True, True], [True, False, False]]))
    np.testing.assert_array_equal(mean[0, :, 0], [[3.0, 4.0], [2.0, 3.0], [4.0, 5.0]])


@pytest.mark.parametrize("head", [-1, HEADS])
def test_a_head_that_is_not_there_has_no_score(head: int) -> None:
    with pytest.raises(UserError, match=f"no head {head}: the model has 3 blocks of 4 heads"):
        HeadScorer(tiny_engine("gpt2"), some_prompts(), some_text()).score([head])


def test_control_text_must_be_rows_of_one_length_and_two_to_resample() -> None:
    engine, prompts = tiny_engine("gpt2"), some_prompts()
    with pytest.raises(ValueError, match="one length"):
        HeadScorer(engine, prompts, [[1, 2, 3], [1, 2]])
    with pytest.raises(ValueError, match="two rows or more"):
        HeadScorer(engine, prompts, [[1, 2, 3]], ablation="resample")


class Elsewhere:
    """An engine whose model is in no process that modules could be reached in."""

    def __init__(self, engine: HuggingFaceEngine) -> None:
        self.forward = engine.forward
        self.describe = engine.describe
        self.n_blocks, self.n_heads, self.place = engine.n_blocks, engine.n_heads, "2 x cpu"


def test_a_model_on_ranks_is_swept_by_whole_passes_to_zero_alone() -> None:
    engine, prompts, text = with_biases("llama"), some_prompts(), some_text()
    elsewhere: Any = Elsewhere(engine)
    whole = HeadScorer(elsewhere, prompts, text, ablation="zero").table()
    resumed = HeadScorer(engine, prompts, text, ablation="zero").table()
    np.testing.assert_allclose(whole.task_damage, resumed.task_damage, atol=3e-5)
    np.testing.assert_allclose(whole.control_damage, resumed.control_damage, atol=3e-5)
    for ablation in set(ABLATIONS) - {"zero"}:
        with pytest.raises(UserError, match="where the model is in one process"):
            HeadScorer(elsewhere, prompts, text, ablation=ablation)
