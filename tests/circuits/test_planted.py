"""Models whose circuit was written into their weights: ablations and searches find it, and nothing else."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from envs.circuit_tasks import CIRCUIT_TASKS, Prompts, Words, control_rows
from envs.circuit_tasks.control_text import control_text
from envs.head_ablation import ABLATIONS, CONTROL_SEED, Ablation, TableScores, evaluation_seed
from jobs.circuits.attribution import attribution
from jobs.circuits.pairs import PairDamage, pair_damage
from jobs.circuits.planted import Planted, planted_models
from jobs.circuits.planted.writing import CODE, CONSTANT, HALF, LOGIT, WIDTHS
from jobs.circuits.policy import PolicySearcher
from jobs.circuits.ppo import train_policy
from jobs.circuits.scoring import HeadScorer, padded
from jobs.circuits.search_config import SearchConfig
from jobs.circuits.searchers import search

torch.set_num_threads(1)

NAMES = ("induction", "backup")


@cache
def planted(seed: int = 0) -> dict[str, Planted]:
    return planted_models(seed)


@cache
def prompts(name: str, seed: int = 0, n: int = 5) -> Prompts:
    return CIRCUIT_TASKS["induction"].make(planted()[name].engine.tokenizer, n, seed)


@cache
def text(name: str) -> tuple[int, ...]:
    return tuple(Words(planted()[name].engine.tokenizer).text(control_text(150, seed=1)))


def scorer(model: Planted, name: str, seed: int, ablation: Ablation = "value_bias") -> HeadScorer:
    control = control_rows(text(name), model.engine.tokenizer.bos_token_id, 2, 30, seed + CONTROL_SEED)
    return HeadScorer(model.engine, prompts(name, seed), control, ablation=ablation)


@cache
def table(name: str, seed: int) -> TableScores:
    return scorer(planted()[name], name, seed).table()


def names_of_parts() -> dict[str, slice]:
    ends = np.cumsum(list(WIDTHS.values())).tolist()
    return {part: slice(end - width, end) for (part, width), end in zip(WIDTHS.items(), ends, strict=True)}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ablation", ABLATIONS)
def test_the_circuits_heads_alone_matter_whatever_takes_their_place(name: str, ablation: Ablation) -> None:
    model = planted()[name]
    scores = scorer(model, name, seed=3, ablation=ablation)
    damage = scores.table().task_damage
    assert scores.baseline.metric > 10
    assert set(damage.argsort()[::-1][: len(model.heads)]) == set(model.heads)
    assert min(damage[list(model.heads)]) > 0.9 * scores.baseline.metric
    others = [head for head in range(len(damage)) if model.role(head) == "other"]
    assert len(others) == len(damage) - 2 - (name == "backup")
    np.testing.assert_allclose(damage[others], 0, atol=0.02)
    # its mean, or its value elsewhere, still says that it has answered, and so keeps its twin from answering
    for head in model.hidden:
        assert abs(damage[head]) < (0.02 if ablation in ("zero", "value_bias") else 2)


@pytest.mark.parametrize("seed", [1, 2, 30])
def test_every_seed_plants_another_model_with_the_same_circuit_elsewhere(seed: int) -> None:
    for name, model in planted(seed).items():
        assert model.engine.describe().fingerprint != planted()[name].engine.describe().fingerprint
        scores = scorer(model, name, seed).table().scores
        found = scores.argsort()[::-1]
        assert set(found[: len(model.heads)]) == set(model.heads)
        assert scores[found[len(model.heads)]] < 0.05 < 8 < scores[found[len(model.heads) - 1]]
        assert [head // 8 for head in (*model.heads, *model.hidden)] == list(range(model.engine.n_blocks))


def some_pairs(name: str) -> PairDamage:
    """The circuit's heads, its twins and a few others."""
    model = planted()[name]
    others = [head for head in range(8 * model.engine.n_blocks) if model.role(head) == "other"]
    return pair_damage(model.engine, prompts(name), [*model.heads, *model.hidden, *others[::5]])


def test_twins_hide_each_other_from_single_ablations_and_not_from_a_joint_one() -> None:
    model, found = planted()["backup"], some_pairs("backup")
    assert len(found.heads) >= 7
    np.testing.assert_allclose(found.alone[1:], 0, atol=0.02)
    assert found.alone[0] > 10
    excess = dict(zip(found.pairs, found.excess, strict=True))
    assert excess.pop(model.hidden) == pytest.approx(found.alone[0], abs=0.02)
    np.testing.assert_allclose(list(excess.values()), 0, atol=0.02)


def test_heads_of_one_chain_are_not_redundant() -> None:
    model, found = planted()["induction"], some_pairs("induction")
    excess = dict(zip(found.pairs, found.excess, strict=True))
    assert excess.pop(model.heads) == pytest.approx(-found.alone[0], abs=0.02)  # once it is broken, it is broken
    np.testing.assert_allclose(list(excess.values()), 0, atol=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_heads_attend_as_they_were_written_to(name: str) -> None:
    model = planted()[name]
    rows = [row for row in prompts(name, n=60).rows if row.count(row[1]) == 2][:10]  # A only where the task has it
    model.engine.model.set_attn_implementation("eager")
    try:
        attentions = model.engine.model(torch.tensor(rows), output_attentions=True, use_cache=False).attentions
    finally:
        model.engine.model.set_attn_implementation("sdpa")
    previous, *looking = (attentions[head // 8][:, head % 8] for head in (*model.heads, *model.hidden))
    assert previous.diagonal(-1, dim1=1, dim2=2).min() > 0.99
    assert looking[0][:, -1, 2].min() > 0.99  # from the last A to B
    assert looking[0][:, 1, 0].min() > 0.99  # from the first A to BOS
    if name == "backup":
        assert looking[1][:, -1, 0].min() > 0.99  # to BOS, since the other has answered


@pytest.mark.parametrize("name", NAMES)
def test_the_stream_holds_what_heads_were_to_write(name: str) -> None:
    model, parts = planted()[name], names_of_parts()
    rows = [row for row in prompts(name, n=60).rows if row.count(row[1]) == 2][:10]
    tokens = padded(rows)
    last = torch.full((len(rows), 1), tokens.ids.shape[1] - 1)
    streams = model.engine.forward(tokens, positions=last, capture=[0, 1, model.engine.n_blocks], logits=False)
    for stream in streams.activations.values():
        torch.testing.assert_close(stream[..., :HALF], -stream[..., HALF:])
        norms = stream[:, 0, :HALF].norm(dim=1)
        assert (norms / CONSTANT - 1).abs().max() < 1e-3
    embedding = model.engine.model.transformer.wte.weight[:, parts["token"]]
    assert embedding.shape[1] == CODE
    after = {block: stream[:, 0, :HALF] for block, stream in streams.activations.items()}
    assert not after[0][:, parts["previous"]].any() and not after[1][:, parts["answer"]].any()
    torch.testing.assert_close(after[1][:, parts["previous"]], embedding[[row[-2] for row in rows]], atol=0.01, rtol=0)
    answer = after[model.engine.n_blocks][:, parts["answer"]]
    torch.testing.assert_close(answer, embedding[[row[2] for row in rows]], atol=0.01, rtol=0)
    logits = model.engine.forward(tokens, positions=last).logits
    assert logits is not None
    assert logits[:, 0].argmax(dim=1).tolist() == [row[2] for row in rows]
    torch.testing.assert_close(logits[:, 0].amax(dim=1), torch.full((len(rows),), LOGIT), atol=0.1, rtol=0)


def test_planting_draws_from_its_own_seed_alone() -> None:
    state = torch.random.get_rng_state()
    again = planted_models(0)
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, model in planted().items():
        assert again[name].engine.describe() == model.engine.describe()
        assert (again[name].heads, again[name].hidden) == (model.heads, model.hidden)


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_learns_to_try_exactly_the_circuits_heads(name: str) -> None:
    model = planted()[name]
    steps = len(model.heads)
    trained = train_policy(
        SearchConfig(transitions=800 * steps, episodes=32, minibatches=2, learning_rate=2e-3, entropy=0.01),
        lambda task, seed: table(name, seed),
        model.engine.n_blocks,
        model.engine.n_heads,
        steps,
        tasks=["induction"],
        pool={"induction": range(4)},
    )
    fresh = [table(name, evaluation_seed(0, episode)) for episode in range(3)]
    found = search(PolicySearcher(trained.policy, (1.0,)), fresh, steps, seeds=range(3))
    for episode, scores in zip(found, fresh, strict=True):
        assert set(episode.heads.tolist()) == set(model.heads)
        assert episode.best_score == scores.oracle


@pytest.mark.parametrize("name", NAMES)
def test_first_order_estimates_credit_who_writes_the_answer_and_not_whom_saturated_attention_needs(name: str) -> None:
    model = planted()[name]
    control = control_rows(text(name), model.engine.tokenizer.bos_token_id, 2, 30, seed=0)
    estimate = attribution(model.engine, prompts(name), control, ablation="value_bias", weight=1.0)
    needed, writes = (*model.heads, *model.hidden)[:2]
    assert estimate.argmax() == writes and estimate[writes] > 10
    assert abs(estimate[needed]) < 0.2  # though without it the whole task is lost
