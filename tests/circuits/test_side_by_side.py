"""Passes side by side give what one after another gives, and leave nothing behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from envs.head_ablation import ABLATIONS, Ablation
from jobs.circuits import sweep
from jobs.circuits.ablation import value_biases
from jobs.circuits.scoring import control_sweep, control_values, task_sweep, task_values
from jobs.circuits.side_by_side import side_by_side
from jobs.inference.huggingface import HuggingFaceEngine
from jobs.inference.onednn import use_onednn
from tests.circuits.test_scoring import HEADS, some_prompts, some_text, with_biases
from tests.inference.tiny import CONFIGS, tiny_engine


@pytest.fixture
def threads() -> Iterator[None]:
    yield
    torch.set_num_threads(1)


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_scores_are_the_same_to_the_bit_whatever_runs_at_once(
    ablation: Ablation, monkeypatch: pytest.MonkeyPatch, threads: None
) -> None:
    monkeypatch.setitem(sweep.TOKENS, "cpu", 20)  # many chunks
    engine, prompts, text = with_biases("gpt2"), some_prompts(), some_text()
    kinds = task_values(engine, prompts, ablation), control_values(engine, text, ablation)
    alone, found = [(head,) for head in range(HEADS)], []
    for n in (1, 2, 5):
        torch.set_num_threads(n)
        sweeps = task_sweep(engine, prompts), control_sweep(engine, text)
        found.append([(each.untouched, each.run(alone, kind)) for each, kind in zip(sweeps, kinds, strict=True)])
        assert torch.get_num_threads() == n
    for other in found[1:]:
        for one, same in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one[0], same[0])
            np.testing.assert_array_equal(one[1], same[1])


def test_two_really_run_at_once_each_with_modules_of_its_own_and_one_thread(threads: None) -> None:
    engine = tiny_engine("llama")
    torch.set_num_threads(2)
    both = threading.Barrier(2, timeout=20)

    def run(own: HuggingFaceEngine, number: int) -> tuple[int, int, int]:
        both.wait()
        return number, id(own.model), torch.get_num_threads()

    found = list(side_by_side(engine, run, range(6)))
    assert [number for number, *_ in found] == [0, 1, 2, 3, 4, 5]
    assert {used for *_, used in found} == {1}
    models = {model for _, model, _ in found}
    assert len(models) == 2 and id(engine.model) not in models


def test_the_weights_are_shared_and_the_engine_is_left_as_it_was(threads: None) -> None:
    engine = tiny_engine("gpt2")
    weights = {id(each) for each in [*engine.model.parameters(), *engine.model.buffers()]}

    def run(own: HuggingFaceEngine, _: int) -> bool:
        assert own.tokenizer is engine.tokenizer
        assert own.head is own.model.get_output_embeddings() and own.blocks[0] in set(own.model.modules())
        return {id(each) for each in [*own.model.parameters(), *own.model.buffers()]} == weights

    assert list(side_by_side(engine, run, [0])) == [True]
    task_sweep(engine, some_prompts()).run([(0,), (HEADS - 1,)], value_biases(engine))
    for module in engine.model.modules():
        assert "forward" not in vars(module)
        assert not module._forward_pre_hooks and not module._forward_hooks


def test_what_a_pass_raises_comes_out_and_no_thread_stays(threads: None) -> None:
    engine = tiny_engine("gpt2")
    torch.set_num_threads(2)
    before = threading.active_count()
    begun: list[int] = []

    def run(own: HuggingFaceEngine, number: int) -> int:
        begun.append(number)
        if number == 1:
            raise ArithmeticError("pass 1")
        return number

    with pytest.raises(ArithmeticError, match="pass 1"):
        for number in side_by_side(engine, run, range(1000)):
            assert number == 0
    assert len(begun) < 1000
    assert threading.active_count() == before
    assert torch.get_num_threads() == 2


def test_whoever_is_told_may_stop_the_sweep(threads: None) -> None:
    engine = tiny_engine("gpt2")
    torch.set_num_threads(2)
    before = threading.active_count()

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    swept = task_sweep(engine, some_prompts())
    with pytest.raises(KeyboardInterrupt):
        swept.run([(head,) for head in range(HEADS)], value_biases(engine), stop)
    assert threading.active_count() == before
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("architecture", CONFIGS)
@torch.no_grad()
def test_onednn_gives_the_same_logits(architecture: str) -> None:
    engine = with_biases(architecture)
    ids = torch.tensor(some_text(3, 7))
    expected = engine.model(ids, use_cache=False).logits
    use_onednn(engine.model)
    replaced = [module for module in engine.model.modules() if "forward" in vars(module)]
    assert len(replaced) > 3 * engine.n_blocks
    torch.testing.assert_close(engine.model(ids, use_cache=False).logits, expected, atol=1e-5, rtol=1e-5)


def test_onednn_leaves_other_dtypes_and_replaced_forwards_alone() -> None:
    half: Any = torch.nn.Linear(2, 2, dtype=torch.bfloat16)
    taken: Any = torch.nn.Linear(2, 2)
    taken.forward = lambda x: x
    own = taken.forward
    use_onednn(torch.nn.ModuleList([half, taken]))
    assert "forward" not in vars(half) and taken.forward is own
