"""The circuits model in this repository: it passes its gates, no untrained one does, and says where it comes from."""

from __future__ import annotations

import pytest

from jobs.circuit_model.corpus import HELD_OUT_NAMES, HELD_OUT_PARAMETERS
from jobs.circuit_model.gates import GATES, evaluate
from jobs.circuit_model.train import CircuitModelConfig
from jobs.circuit_model.vocabulary import build_tokenizer
from jobs.from_scratch import n_steps
from jobs.inference.files import CIRCUITS_MODEL
from jobs.inference.models import load_engine
from jobs.reference.evaluate import Evaluation
from tests.from_scratch import assert_shipped_tokenizer, assert_small_and_in_safetensors, cost_of, numbers_in


@pytest.fixture(scope="module")
def found() -> Evaluation:
    return evaluate("circuits", seed=1, n=100, device="cpu")


def test_the_gates_hold(found: Evaluation) -> None:
    assert {row.name: row.gate for row in found.measures if row.gate} == {
        "induction: attention of the best head to what came next": "≥ 0.5",
        "induction: logit difference": "≥ 3",
        "ioi: logit difference, held-out names, worse order": "≥ 2",
        "docstring: logit difference, held-out parameters": "≥ 2",
        "greater-than: log-odds": "≥ 2",
    }
    failed = [(row.name, row.value) for row in found.measures if row.passed is False]
    assert not failed and found.passed


def test_it_answers_prompt_by_prompt(found: Evaluation) -> None:
    shares = {row.name: row.value for row in found.measures if "share of the right sign" in row.name}
    assert len(shares) == 5 and min(shares.values()) > 0.85


def test_neither_habit_nor_an_untrained_model_would_pass(found: Evaluation) -> None:
    assert all(found.value(f"{name}, untrained") < bound / 4 for name, bound in GATES.items())
    habits = [row.value for row in found.measures if row.name.endswith(", corrupted")]
    assert len(habits) == 4 and max(map(abs, habits)) < 1


def test_the_weights_are_small_and_in_safetensors_alone() -> None:
    assert_small_and_in_safetensors(CIRCUITS_MODEL)


def test_they_were_made_by_the_default_configuration() -> None:
    config = CircuitModelConfig()
    cost = cost_of(CIRCUITS_MODEL, config)
    assert cost["tokens"] > n_steps(config) * 1000 and cost["cpu_seconds"] > 0
    engine = load_engine("circuits")
    described = engine.describe()
    assert (described.architecture, described.n_blocks) == ("GPT2LMHeadModel", config.n_blocks)
    assert (described.d_model, described.dtype) == (config.d_model, "float32")


def test_the_tokenizer_beside_them_is_the_one_in_the_code() -> None:
    assert_shipped_tokenizer("circuits", build_tokenizer())


def test_the_card_says_what_is_measured_here(found: Evaluation) -> None:
    card = (CIRCUITS_MODEL / "README.md").read_text(encoding="utf-8")
    assert "tdlens train-circuit-model" in card and "seed 0" in card and "Cost" in card
    assert f"{load_engine('circuits').describe().n_parameters:,} parameters" in card
    assert all(word in card for word in (*HELD_OUT_NAMES, *HELD_OUT_PARAMETERS))
    told = numbers_in(card)
    for row in found.measures:
        # other prompts here, and fewer
        assert told.pop(row.name) == pytest.approx(row.value, abs=0.15 if "share" in row.name else 0.8)
    assert not told
