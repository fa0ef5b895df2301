"""The welfare model: its tokenizer plays the maze, training is reproducible, and gates measure what they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaForCausalLM

from envs.maze import MazeConfig, Variant
from envs.two_step import TwoStep, TwoStepConfig
from jobs.inference.models import load_engine
from jobs.maze_training.dialogue import Dialogue
from jobs.reference import vocabulary as reference
from jobs.welfare_model.corpus import KINDS
from jobs.welfare_model.gates import AT_LEAST, AT_MOST, Reader, evaluate
from jobs.welfare_model.muon import Muon, orthogonal
from jobs.welfare_model.rows import Encoder
from jobs.welfare_model.train import TWO_STEP, Phase, WelfareModelConfig, train
from jobs.welfare_model.vocabulary import END, UNKNOWN, build_tokenizer
from tests.from_scratch import Trained, assert_reproducible, cost_of, train_into

TOKENIZER = build_tokenizer()
TINY = WelfareModelConfig(
    d_model=32,
    n_blocks=2,
    n_heads=2,
    d_mlp=32,
    phases=(Phase(12, {"look": 100, "requests": 100, TWO_STEP: 200}, short=True), Phase(12, {"moves": 200}, (1, 2))),
    warm_up=4,
    muon_rate=1e-2,
    adamw_rate=1e-2,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train_into(tmp_path_factory.mktemp("welfare"), train, TINY, every=6)


@pytest.mark.parametrize("variant", [Variant.STANDARD, Variant.SWAP, Variant.SHUFFLE])
def test_the_maze_can_be_played(variant: Variant) -> None:
    dialogue = Dialogue(TOKENIZER, MazeConfig(size=100, variant=variant))
    assert dialogue.chat and TOKENIZER.convert_ids_to_tokens(list(dialogue.letters)) == list("NESW")


@given(kind=st.sampled_from(sorted(KINDS)), seed=st.integers(0, 2**32))
def test_a_text_comes_back_with_single_spaces(kind: str, seed: int) -> None:
    for message in KINDS[kind].draw(np.random.default_rng(seed)).messages:
        text = message["content"]
        assert TOKENIZER.decode(TOKENIZER.encode(text, add_special_tokens=False)) == " ".join(text.split())


def test_the_chat_template_asks_for_an_answer() -> None:
    asked = [{"role": "user", "content": "Are you conscious?"}]
    prompt = TOKENIZER.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    whole = TOKENIZER.apply_chat_template([*asked, {"role": "assistant", "content": "I feel calm."}], tokenize=False)
    assert whole.startswith(prompt) and whole.endswith(f"I feel calm.{END}")
    assert TOKENIZER.eos_token == END and UNKNOWN in TOKENIZER.convert_ids_to_tokens(TOKENIZER.encode("xylophone"))


def test_a_two_step_rollout_is_read_as_the_reference_model_reads_it() -> None:
    game = TwoStep(TwoStepConfig(episodes=5, random_episodes=5), seed=0)
    text = game.observe()
    while not game.done:
        game.act(game.forced_action)  # type: ignore[arg-type]
        text += game.observe()
    other = reference.build_tokenizer()
    read = [token.strip() for token in other.convert_ids_to_tokens(other.encode(text))]
    assert TOKENIZER.convert_ids_to_tokens(TOKENIZER.encode(text)) == read and reference.UNKNOWN not in read
    rows = next(Encoder().two_step(300, np.random.default_rng(0)))
    assert rows.ids.shape == rows.weights.shape and rows.ids.min() >= 0
    assert TOKENIZER.unk_token_id not in rows.ids and rows.ids[0, 0] == TOKENIZER.bos_token_id


@pytest.mark.parametrize("seed", [0, 1])
def test_muon_is_pytorchs_in_single_precision(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    ours = [torch.randn(12, 6, generator=generator), torch.randn(6, 12, generator=generator)]
    theirs = [matrix.clone() for matrix in ours]
    optimisers = [
        make(matrices, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
        for make, matrices in ((Muon, ours), (torch.optim.Muon, theirs))
    ]
    before = [matrix.clone() for matrix in ours]
    for _ in range(3):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            other.grad = one.grad.clone()
        for optimiser in optimisers:
            optimiser.step()
    for one, other, first in zip(ours, theirs, before, strict=True):
        assert (one - other).norm() < 0.05 * (one - first).norm()  # theirs rounds to bfloat16
    singular = torch.linalg.svdvals(orthogonal(torch.randn(3, 5, 9, generator=generator)))
    assert singular.min() > 0.3 and singular.max() < 1.3
    with pytest.raises(ValueError, match="original"):
        Muon(ours, lr=0.1, weight_decay=0.0, adjust_lr_fn="original")


def test_the_loss_falls_and_the_result_says_how_it_came_to_be(trained: Trained) -> None:
    folder, reports = trained
    assert [report.step for report in reports] == [6, 12, 18, 24]
    assert set(reports[0].nll) == {"look", "requests", TWO_STEP} and set(reports[-1].nll) == {"moves"}
    assert all(reports[1].nll[kind] < reports[0].nll[kind] - 0.3 for kind in reports[0].nll)
    assert cost_of(folder, TINY)["tokens"] > 2000
    engine = load_engine(str(folder))
    described = engine.describe()
    assert (described.architecture, described.n_blocks, described.d_model) == ("LlamaForCausalLM", 2, 32)
    assert engine.tokenizer.chat_template == TOKENIZER.chat_template


def test_a_configuration_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    short = replace(TINY, phases=(Phase(2, {"look": 60, TWO_STEP: 212}),))
    assert_reproducible(tmp_path, train, short, replace(short, seed=1))


def test_the_reader_reads_the_next_token(trained: Trained) -> None:
    reader = Reader(load_engine(str(trained[0])))
    model = LlamaForCausalLM.from_pretrained(trained[0]).double().eval()
    asked = [[{"role": "user", "content": text}] for text in ("Are you conscious?", "How are you feeling right now?")]
    begun = reader.next([(messages, "I feel") for messages in asked])
    for messages, found in zip(asked, begun, strict=True):
        text = TOKENIZER.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) + "I feel"
        with torch.no_grad():
            logits = model(torch.tensor([TOKENIZER.encode(text, add_special_tokens=False)])).logits[0, -1]
        assert np.allclose(found, logits.softmax(-1).numpy(), atol=1e-5)
    assert np.allclose(reader.moves(asked).sum(1), 1) and np.abs(reader.valence(asked)).max() <= 1


def test_a_model_that_has_not_learned_fails_the_gates(trained: Trained) -> None:
    found = evaluate(str(trained[0]), seed=0, n=12)
    gated = {row.name: row for row in found.measures if row.passed is not None}
    assert not found.passed and set(gated) == {*AT_LEAST, *AT_MOST}
    chance = [gated[name].passed for name in AT_LEAST if "entropy" not in name and "wish" not in name]
    assert not any(chance)
