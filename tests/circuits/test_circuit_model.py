"""The circuits model: training is reproducible, it learns, and gates measure what they say."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import GPT2LMHeadModel

from envs.circuit_tasks import CIRCUIT_TASKS, Words, ioi
from jobs.circuit_model.corpus import HELD_OUT_NAMES, HELD_OUT_PARAMETERS, KINDS, Corpus
from jobs.circuit_model.gates import (
    GATES,
    Questions,
    answers,
    best_induction_score,
    evaluate,
    parameters,
    people,
    surprise,
)
from jobs.circuit_model.train import CircuitModelConfig, Phase, gpt2_config, train
from jobs.circuit_model.vocabulary import build_tokenizer, tokens
from jobs.circuits.planted import planted_models
from jobs.from_scratch import Progress
from jobs.inference.models import load_engine
from tests.from_scratch import Textbook, Trained, assert_reproducible, cost_of, textbook_nll, train_into

ROWS = {"spans": 2, "periods": 2, "control": 2, "ioi": 4, "docstring": 2, "greater_than": 4}
TOKENS = tokens()
TINY = CircuitModelConfig(
    d_model=16,
    n_blocks=2,
    n_heads=2,
    d_mlp=32,
    phases=(Phase(20, {"spans": 2, "control": 2}, (18, 20)), Phase(60, ROWS, (24,))),
    warm_up=10,
    muon_rate=1e-2,
    adamw_rate=1e-2,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train_into(tmp_path_factory.mktemp("circuits"), train, TINY, every=40)


def test_the_loss_falls(trained: Trained) -> None:
    _, reports = trained
    assert [report.step for report in reports] == [40, 80]
    assert set(reports[0].nll) == set(reports[1].nll) == set(ROWS)
    assert all(reports[1].nll[kind] < reports[0].nll[kind] - 0.1 for kind in ("control", "ioi", "docstring")), reports
    assert all(report.tokens_per_second > 0 for report in reports)


def test_what_it_leaves_says_how_it_came_to_be(trained: Trained) -> None:
    folder, _ = trained
    cost = cost_of(folder, TINY)
    assert cost["tokens"] > 80 * 4 * 64 and cost["torch"] == torch.__version__
    assert not list(folder.glob("*.bin"))  # safetensors only
    engine = load_engine(str(folder))
    described = engine.describe()
    assert (described.architecture, described.n_blocks, described.d_model) == ("GPT2LMHeadModel", 2, 16)
    assert engine.tokenizer.get_vocab() == build_tokenizer().get_vocab()


def test_the_first_steps_are_those_of_the_textbook(tmp_path: Path) -> None:
    """Weighted next-token loss of each kind, summed; clipped gradient; Muon for matrices, AdamW for the rest."""
    phase = Phase(5, {"spans": 2, "ioi": 3}, (20, 40))
    config = replace(TINY, muon_rate=0.05, adamw_rate=0.5, weight_decay=0.1, phases=(phase,), warm_up=2, decay=0.4)
    reports: list[Progress] = []
    train(config, tmp_path, reports.append, every=1)
    corpus, rng = Corpus(config.seed), np.random.default_rng(config.seed)
    torch.manual_seed(config.seed)
    model = GPT2LMHeadModel(gpt2_config(config))
    with torch.no_grad():
        model.transformer.wte.weight *= 5  # from 0.02 to 0.1
        for at in range(config.context):
            for pair in range(config.d_model // 2):
                angle = at * 200 ** (-pair / (config.d_model // 2 - 1))
                model.transformer.wpe.weight[at, pair] = 0.1 * np.sin(angle)
                model.transformer.wpe.weight[at, config.d_model // 2 + pair] = 0.1 * np.cos(angle)
    muons = [
        p
        for block in model.transformer.h
        for p in (block.attn.c_proj.weight, block.mlp.c_fc.weight, block.mlp.c_proj.weight)
    ]
    textbook, near = Textbook(model, muons, config), 1e-3
    for report, factor in zip(reports, (0.5, 1.0, 1.0, 1.0, 0.5), strict=True):
        length = (20, 40)[int(rng.integers(2))]
        loss = torch.zeros(())
        for kind, n in phase.rows.items():
            made = KINDS[kind](corpus, n * 64 // length, length, rng)
            nll = textbook_nll(model, made.ids)
            weights = torch.from_numpy(made.weights[:, 1:])
            loss = loss + (nll * weights).sum() / weights.sum()
            assert report.nll[kind] == pytest.approx(nll[weights == 1].mean().item(), rel=near)
        textbook.learn(loss, factor)
        near = 1e-2  # Muon computes in bfloat16, whose products processors round differently


def test_a_configuration_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    short = replace(TINY, phases=(Phase(3, ROWS, (24,)),))
    assert_reproducible(tmp_path, train, short, replace(short, seed=1))


def test_answers_and_surprise_against_the_model_itself(trained: Trained) -> None:
    engine, model = load_engine(str(trained[0])), GPT2LMHeadModel.from_pretrained(trained[0]).double().eval()
    prompts = CIRCUIT_TASKS["greater_than"].make(engine.tokenizer, 70, 3)
    differences, likeliest = [], []
    for row, right, wrong in zip(prompts.rows, prompts.right, prompts.wrong, strict=True):
        with torch.no_grad():
            p = model(torch.tensor([row])).logits[0, -1].softmax(-1)
        differences.append(float((p[list(right)].sum() / p[list(wrong)].sum()).log()))
        likeliest.append(int(p.argmax()) in right)
    found = answers(engine, Questions.of(prompts))
    assert found.mean == pytest.approx(np.mean(differences), abs=1e-4)
    assert found.right == pytest.approx(np.mean(np.array(differences) > 0), abs=0.02)
    assert found.likeliest == pytest.approx(np.mean(likeliest), abs=0.02)
    rows = prompts.rows[:66]
    with torch.no_grad():
        loss = model(torch.tensor(rows), labels=torch.tensor(rows)).loss
    assert surprise(engine, rows) == pytest.approx(float(loss), abs=1e-4)


def test_a_planted_induction_head_has_the_score() -> None:
    planted = planted_models()["induction"].engine
    assert best_induction_score(planted, 20, seed=0) > 0.9
    prompts = CIRCUIT_TASKS["induction"].make(planted.tokenizer, 40, 0)
    found, habit = answers(planted, Questions.of(prompts)), answers(planted, Questions.corrupted(prompts))
    assert found.right > 0.9 and found.likeliest > 0.8 and abs(habit.mean) < 0.2 * found.mean


def test_a_model_that_has_not_learned_fails_the_gates(trained: Trained) -> None:
    found = evaluate(str(trained[0]), seed=0, n=8)
    gated = {row.name: row for row in found.measures if row.passed is not None}
    assert not found.passed and set(gated) == set(GATES)
    assert all(not row.passed for row in gated.values())
    assert {f"{name}, untrained" for name in GATES} <= {row.name for row in found.measures}


@given(seed=st.integers(0, 2**32), first=st.booleans())
def test_questions_about_what_is_held_out(seed: int, first: bool) -> None:
    words, tokenizer = Words(build_tokenizer()), build_tokenizer()
    asked = people(words, 8, random.Random(seed), subject_first=first)
    for row, (right,), (wrong,) in zip(*asked, strict=True):
        names = [token.strip() for token in tokenizer.convert_ids_to_tokens(row) if token.strip() in ioi.NAMES]
        a, b, subject = names
        io = b if first else a
        assert subject == (a if first else b) and set(names) <= set(HELD_OUT_NAMES)
        assert (TOKENS[right], TOKENS[wrong]) == (f" {io}", f" {subject}")
    for row, (right,), (wrong,) in zip(*parameters(words, 8, random.Random(seed)), strict=True):
        defined, _, described = tokenizer.decode(row).partition("):")
        names = re.findall(r"\w+", defined)[-5:]
        assert set(names) <= set(HELD_OUT_PARAMETERS) and re.findall(r":param (\w+)", described) == names[:4]
        assert TOKENS[right] == f" {names[4]}" and TOKENS[wrong][1:] in names[:4]
