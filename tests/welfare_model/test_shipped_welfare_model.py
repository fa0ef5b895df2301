"""The welfare model in this repository: it passes its gates, and says where it comes from."""

from __future__ import annotations

import pytest

from jobs.from_scratch import n_steps
from jobs.inference.files import WELFARE_MODEL
from jobs.inference.models import load_engine
from jobs.reference.evaluate import Evaluation
from jobs.welfare_model.gates import AT_LEAST, AT_MOST, evaluate
from jobs.welfare_model.train import WelfareModelConfig
from jobs.welfare_model.vocabulary import build_tokenizer
from tests.from_scratch import MEGABYTE, assert_shipped_tokenizer, cost_of, numbers_in


@pytest.fixture(scope="module")
def found() -> Evaluation:
    return evaluate("welfare", seed=1, n=100, device="cpu")


def test_the_gates_hold(found: Evaluation) -> None:
    assert {row.name for row in found.measures if row.gate} == {*AT_LEAST, *AT_MOST}
    failed = [(row.name, row.value) for row in found.measures if row.passed is False]
    assert not failed and found.passed


def test_the_weights_are_small_and_in_safetensors_alone() -> None:
    files = {path.name: path.stat().st_size for path in WELFARE_MODEL.iterdir()}
    assert {name for name, size in files.items() if size > MEGABYTE / 2} == {"model.safetensors"}
    assert files["model.safetensors"] <= 10 * MEGABYTE
    assert {name.rsplit(".")[-1] for name in files} <= {"safetensors", "json", "md", "jinja"}


def test_they_were_made_by_the_default_configuration() -> None:
    config = WelfareModelConfig()
    cost = cost_of(WELFARE_MODEL, config)
    assert cost["tokens"] > n_steps(config) * 1000 and cost["cpu_seconds"] > 0
    described = load_engine("welfare").describe()
    assert (described.architecture, described.n_blocks) == ("LlamaForCausalLM", config.n_blocks)
    assert (described.d_model, described.dtype) == (config.d_model, "float32")


def test_the_tokenizer_beside_them_is_the_one_in_the_code() -> None:
    assert_shipped_tokenizer("welfare", build_tokenizer())
    assert load_engine("welfare").tokenizer.chat_template == build_tokenizer().chat_template


def test_the_card_says_what_is_measured_here(found: Evaluation) -> None:
    card = (WELFARE_MODEL / "README.md").read_text(encoding="utf-8")
    assert "tdlens train-welfare-model" in card and "seed 0" in card and "Cost" in card
    assert f"{load_engine('welfare').describe().n_parameters:,} parameters" in card
    told = numbers_in(card)
    for row in found.measures:
        assert told.pop(row.name) == pytest.approx(row.value, abs=0.15)  # other items here, and fewer
    assert not told
