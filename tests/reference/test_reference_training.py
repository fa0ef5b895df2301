"""Training: reproducible, it learns, and what it leaves is a model folder like any other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import LlamaForCausalLM

from envs.two_step import TwoStep, TwoStepConfig
from jobs.from_scratch import Progress
from jobs.inference.models import load_engine
from jobs.inference.play import play
from jobs.reference.evaluate import evaluate
from jobs.reference.histories import TwoStepHistories, graph_walk, grid_world, two_step
from jobs.reference.train import Phase, ReferenceConfig, llama_config, train
from jobs.reference.vocabulary import build_tokenizer, tokens
from tests.from_scratch import Textbook, Trained, assert_reproducible, cost_of, textbook_nll, train_into

TOKENS = {"two_step": 340, "grid_world": 200, "graph_walk": 200}
TINY = ReferenceConfig(
    d_model=16,
    n_blocks=2,
    n_heads=2,
    d_mlp=32,
    phases=(
        Phase(20, TOKENS, (0.05, 0.1), repeating=True, warm_up=10),
        Phase(40, TOKENS, (0.05, 0.1), weights={"grid_world": 2.0}, decay=0.5),
    ),
    muon_rate=1e-2,
    adamw_rate=1e-2,
    two_step=TwoStepHistories(episodes=6),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train_into(tmp_path_factory.mktemp("reference"), train, TINY, every=20)


def test_the_loss_falls(trained: Trained) -> None:
    _, reports = trained
    assert [report.step for report in reports] == [20, 40, 60]
    assert set(reports[0].nll) == {"two_step", "grid_world", "graph_walk"}
    assert all(reports[-1].nll[task] < 0.9 * reports[0].nll[task] for task in reports[0].nll)
    assert all(report.tokens_per_second > 0 for report in reports)


def test_the_model_predicts_histories_it_has_not_seen(trained: Trained) -> None:
    model = LlamaForCausalLM.from_pretrained(trained[0])
    rng = np.random.default_rng(99)
    for made in (
        two_step.generate(16, rng, TINY.two_step),
        grid_world.generate(4, 32, rng),
        graph_walk.generate(4, 40, rng),
    ):
        ids = torch.from_numpy(made.ids)
        with torch.no_grad():
            nll = F.cross_entropy(model(ids[:, :-1]).logits.transpose(1, 2), ids[:, 1:], reduction="none")
        weights = torch.from_numpy(made.weights[:, 1:])
        assert (nll * weights).sum() / weights.sum() < 0.8 * np.log(len(tokens()))


def test_the_first_steps_are_those_of_the_textbook(tmp_path: Path) -> None:
    """Weighted next-token loss of each task, summed; clipped gradient; Muon for matrices, AdamW for the rest."""
    phase = Phase(4, TOKENS, (0.1,), weights={"grid_world": 2.0}, warm_up=100)
    falling = Phase(4, TOKENS, (0.1,), decay=0.5)
    config = replace(TINY, bf16=False, muon_rate=0.05, adamw_rate=0.5, weight_decay=0.1, phases=(phase, falling))
    reports: list[Progress] = []

    train(config, tmp_path, reports.append, every=1)
    rng = np.random.default_rng(config.seed)
    torch.manual_seed(config.seed)
    model = LlamaForCausalLM(llama_config(config))
    textbook = Textbook(model, [p for p in model.model.layers.parameters() if p.ndim == 2], config)
    factors = [0.01, 0.02, 0.03, 0.04, 1.0, 1.0, 1.0, 0.5]  # warm-up; then the last half of a phase falls
    for report, factor in zip(reports, factors, strict=True):
        rng.integers(1)  # which context
        loss = torch.zeros(())
        for task, made in {
            "two_step": two_step.generate(8, rng, config.two_step),
            "grid_world": grid_world.generate(2, 32, rng),
            "graph_walk": graph_walk.generate(2, 40, rng),
        }.items():
            # task by task as in training: one generator draws for all
            nll = textbook_nll(model, made.ids)
            weights = torch.from_numpy(made.weights[:, 1:])
            share = 2.0 if task == "grid_world" and report.step <= 4 else 1.0
            loss = loss + share * (nll * weights).sum() / weights.sum()
            assert report.nll[task] == pytest.approx(nll[weights == weights.max()].mean().item(), rel=1e-3)
        textbook.learn(loss, factor)


def test_what_it_leaves_says_how_it_came_to_be(trained: Trained) -> None:
    folder, _ = trained
    cost = cost_of(folder, TINY)
    assert cost["tokens"] > 60 * 8 * (2 + 7 * 6)
    assert cost["cpu_seconds"] >= 0 and cost["torch"] == torch.__version__
    assert not list(folder.glob("*.bin"))  # safetensors only


def test_the_saved_folder_loads_and_plays(trained: Trained) -> None:
    folder, _ = trained
    engine = load_engine(str(folder))
    described = engine.describe()
    assert (described.architecture, described.n_blocks, described.d_model) == ("LlamaForCausalLM", 2, 16)
    assert engine.tokenizer.get_vocab() == build_tokenizer().get_vocab()
    games = [TwoStep(TwoStepConfig(episodes=4, random_episodes=1, change_episode=2), seed) for seed in range(3)]
    taken: list[dict[int, torch.Tensor]] = []
    played = play(engine, games, capture=[0, 1, 2], take=taken.append, seed=0)
    assert played.actions.shape == (3, 8)
    assert taken[0][2].shape == (3, 8, 16)


def test_a_configuration_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    short = replace(TINY, phases=(Phase(3, TOKENS, (0.05,), warm_up=2),))
    assert_reproducible(tmp_path, train, short, replace(short, seed=1))


def test_a_model_that_has_not_learned_fails_the_gates(trained: Trained) -> None:
    found = evaluate(str(trained[0]), seed=0, n=8)
    assert not found.passed
    gated = [row for row in found.measures if row.passed is not None]
    failed = {row.name for row in gated if not row.passed}
    assert len(gated) == 6 and {name.split(":")[0] for name in failed} == {"two-step", "grid world", "graph"}
    assert abs(found.value("two-step: reward-swap slope (logits per 10 points)")) < 0.3
