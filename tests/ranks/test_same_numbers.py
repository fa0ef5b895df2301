"""A model on two ranks gives what it gives in one process: to the bit with ZeRO-3, to rounding where it is split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from envs.two_step import ACTIONS
from jobs.inference.base import Edit, Forward, HeadEdit, TokenBatch
from jobs.inference.edits import DirectionEdit, LatentEdit, SteerEdit, WithinEdit
from jobs.inference.huggingface import HuggingFaceEngine
from jobs.inference.layout import Kind
from jobs.inference.models import load_engine
from jobs.inference.play import play, replay
from jobs.inference.ranks.engine import RankedEngine, dealt
from jobs.inference.ranks.group import RanksFailed
from jobs.inference.ranks.wire import Payload
from sae.architectures import build
from sae.config import SAEConfig
from tdlens.errors import UserError
from tests.inference.tiny import VOCABULARY, small_games
from tests.ranks.models import Saved
from tests.ranks.several import N, Ranks

ARCHITECTURES = {
    "zero3": ("llama3", "gpt2", "qwen2", "qwen3"),
    "tensor": ("llama3", "qwen2", "qwen3"),
    "hf_tensor": ("llama3", "qwen2", "qwen3"),
}
CASES = [(kind, architecture) for kind, names in ARCHITECTURES.items() for architecture in names]
LENGTHS = (37, 5, 21)
"""Tokens of each row: one more than the ranks, so that they are dealt out unevenly."""


@pytest.fixture(scope="module")
def ranks() -> Iterator[Callable[[Kind], Ranks]]:
    """Two processes of each layout, started when first needed."""
    groups: dict[Kind, Ranks] = {}

    def get(kind: Kind) -> Ranks:
        if kind not in groups:
            groups[kind] = Ranks(kind)
        return groups[kind]

    yield get
    for one in groups.values():
        one.group.close()


@pytest.fixture
def both(
    ranks: Callable[[Kind], Ranks], saved: Callable[[str], Saved], kind: Kind, architecture: str
) -> tuple[RankedEngine, HuggingFaceEngine]:
    return ranks(kind).engine(saved(architecture)), saved(architecture).plain


every_case = pytest.mark.parametrize(("kind", "architecture"), CASES)
llama_alone = pytest.mark.parametrize(("kind", "architecture"), [(kind, "llama3") for kind in ARCHITECTURES])


def batch(lengths: tuple[int, ...] = LENGTHS, side: Any = "left") -> TokenBatch:
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randint(0, VOCABULARY, (n,), generator=generator).tolist() for n in lengths]
    return TokenBatch.from_rows(rows, 0, side)


def ends(tokens: TokenBatch) -> Tensor:
    """The last two tokens of each left-padded row."""
    return torch.tensor([[tokens.ids.shape[1] - 3, tokens.ids.shape[1] - 1]]).expand(len(tokens.ids), -1)


def in_one_process(ranked: RankedEngine, plain: HuggingFaceEngine, tokens: TokenBatch, **options: Any) -> Forward:
    """What the plain engine gives of the same rows in the same batches: their size alone can change the last bit."""
    if ranked.layout.kind != "zero3":
        return plain.forward(tokens, **options)
    parts = []
    for rows in dealt(len(tokens.ids), N):
        if rows:
            own = slice(rows.start, rows.stop)
            part = TokenBatch(tokens.ids[own], tokens.mask[own])
            cut = {name: options[name][own] for name in ("positions", "choices") if name in options}
            parts.append(plain.forward(part, **options | cut))
    activations = {block: torch.cat([part.activations[block] for part in parts]) for block in parts[0].activations}
    logits = None if parts[0].logits is None else torch.cat([part.logits for part in parts])  # type: ignore[misc]
    return Forward(logits, activations)


def assert_same(ranked: RankedEngine, found: Tensor, wanted: Tensor) -> None:
    if ranked.layout.kind == "zero3":
        assert torch.equal(found, wanted)
    else:
        torch.testing.assert_close(found, wanted, atol=1e-3, rtol=0)


def assert_same_forward(both: tuple[RankedEngine, HuggingFaceEngine], tokens: TokenBatch, **options: Any) -> Forward:
    ranked, plain = both
    found = ranked.forward(tokens, **options)
    wanted = in_one_process(ranked, plain, tokens, **options)
    assert found.activations.keys() == wanted.activations.keys()
    for block, x in wanted.activations.items():
        assert_same(ranked, found.activations[block], x)
    assert (found.logits is None) == (wanted.logits is None)
    if wanted.logits is not None and found.logits is not None:
        assert_same(ranked, found.logits, wanted.logits)
    return found


def edits_of(change: str, d: int) -> list[Edit]:
    config = SAEConfig.from_dict({"architecture": "relu", "d_in": d, "d_latents": 2 * d, "l1": 1e-3})
    sae = build(config, torch.Generator().manual_seed(2)).requires_grad_(False)
    sae.fit_scaling(torch.randn(64, d, generator=torch.Generator().manual_seed(3)) * 4 + 1)
    zero = LatentEdit(1, sae, [3, 7, 11], "zero")
    changes: dict[str, list[Edit]] = {
        "zero": [zero],
        "clamp": [LatentEdit(1, sae, [3, 7, 11], "clamp", value=30.0)],
        "multiply": [LatentEdit(2, sae, [5], "multiply", value=-8.0)],
        "mean": [LatentEdit(2, sae, [5, 6], "mean", means=[4.0, 9.0])],
        "direction": [DirectionEdit(zero, seed=5)],
        "within": [WithinEdit(LatentEdit(1, sae, [3, 7, 11], "clamp", value=30.0), range(1, 2))],
        "steer": [SteerEdit(1, 5 * torch.randn(d, generator=torch.Generator().manual_seed(4)))],
        "heads": [HeadEdit(2, (0, 3)), HeadEdit(1, (2,), torch.full((1, 8), 3.0)), zero],
    }
    return changes[change]


@every_case
def test_logits_and_the_residual_stream_of_every_block(both: Any) -> None:
    tokens, plain = batch(), both[1]
    found = assert_same_forward(both, tokens, positions=ends(tokens), capture=range(plain.n_blocks + 1))
    assert set(found.activations) == set(range(plain.n_blocks + 1))
    # as many logits as were asked for
    choices = torch.tensor([[7, 3], [1, 2], [9, 9]])
    chosen = assert_same_forward(both, tokens, positions=ends(tokens), choices=choices)
    assert chosen.logits is not None and chosen.logits.shape == (3, 2, 2)


@every_case
@pytest.mark.parametrize("change", ["zero", "clamp", "multiply", "mean", "direction", "within", "steer", "heads"])
def test_edits(both: Any, change: str) -> None:
    tokens, (ranked, plain) = batch(), both
    edits = edits_of(change, plain.d_model)
    blocks = range(plain.n_blocks + 1)
    edited = assert_same_forward(both, tokens, positions=ends(tokens), capture=blocks, edits=edits)
    untouched = ranked.forward(tokens, positions=ends(tokens), capture=blocks)
    assert not torch.allclose(edited.activations[plain.n_blocks], untouched.activations[plain.n_blocks], atol=1e-2)


@pytest.mark.parametrize(("kind", "architecture"), [("zero3", "llama3")])
@pytest.mark.parametrize(
    "edit",
    [HeadEdit(1, (2,), torch.zeros(3, 2, 1, 8)), HeadEdit(1, (2,), rows=slice(0, 1))],
    ids=["values of each row", "some rows"],
)
def test_edits_of_heads_that_differ_between_rows_are_refused(both: Any, edit: HeadEdit) -> None:
    tokens = batch()
    with pytest.raises(UserError, match="differs between rows or positions"):
        both[0].forward(tokens, positions=ends(tokens), edits=[HeadEdit(2, (0,)), edit])
    assert_same_forward(both, tokens, positions=ends(tokens), edits=[HeadEdit(2, (0,))])


@llama_alone
@pytest.mark.parametrize("lengths", [(9,), (9, 4), (30, 2, 17, 8, 25)], ids=["fewer than ranks", "two", "five"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_numbers_of_rows_and_sides_of_padding(both: Any, lengths: tuple[int, ...], side: Any) -> None:
    tokens = batch(lengths, side)
    last = torch.tensor([[max(lengths) - 1 if side == "left" else n - 1] for n in lengths])
    assert_same_forward(both, tokens, positions=last, capture=[1, 4])


@llama_alone
def test_leaving_the_model_early_and_then_running_all_of_it(both: Any) -> None:
    tokens = batch()
    for blocks, logits in (((1, 2), False), ((4,), True), ((0,), False), ((3, 4), False)):
        found = assert_same_forward(both, tokens, positions=ends(tokens), capture=blocks, logits=logits)
        assert set(found.activations) == set(blocks)


@llama_alone
def test_a_text_beyond_deepspeeds_own_limit_of_1024_tokens(both: Any) -> None:
    tokens = batch((1100, 40))
    assert_same_forward(both, tokens, positions=ends(tokens), capture=[4])


@every_case
def test_closed_loop_and_reading(both: Any) -> None:
    plain = both[1]
    edits = edits_of("clamp", plain.d_model)
    for chosen in ([], edits):
        found, wanted = (play(engine, small_games(5), edits=chosen, seed=1, batch_size=3) for engine in both)
        np.testing.assert_array_equal(found.actions, wanted.actions)
        np.testing.assert_allclose(found.probabilities, wanted.probabilities, atol=1e-4)
        assert found.transcripts == wanted.transcripts
    found, wanted = (replay(engine, wanted.transcripts, ACTIONS, edits=edits, batch_size=4) for engine in both)
    np.testing.assert_allclose(found.probabilities, wanted.probabilities, atol=1e-4)


def test_ranks_forget_caches_and_edits_that_nobody_holds(ranks: Any, saved: Any) -> None:
    llama = saved("llama3")
    engine, tokens = ranks("tensor").engine(llama), batch((4, 4))
    for _ in range(3):
        cache, edits = engine.new_cache(), edits_of("steer", engine.d_model)
        engine.forward(tokens, positions=ends(tokens), edits=edits, cache=cache)
    held = ranks("tensor").tell(llama, inspect=True)[0]
    del cache, edits
    engine.forward(tokens, positions=ends(tokens))
    after = ranks("tensor").tell(llama, inspect=True)[0]
    assert min(held["caches"], held["edits"]) > 0
    assert (after["caches"], after["edits"]) == (0, 0)


def test_the_model_is_really_shared_out_and_its_heads_dealt(ranks: Any, saved: Any) -> None:
    llama = saved("llama3")
    ranks("tensor").engine(llama)
    told = ranks("tensor").tell(llama, inspect=True)
    whole = llama.plain.describe().n_parameters
    assert [about["heads"] for about in told] == [[0, 8], [4, 8]]
    assert all(about["parameters"] < 0.75 * whole for about in told)
    # the operation that sums over all ranks whatever the group, and the size without which it writes into nothing
    assert [(about["local_size"], about["shared_memory"]) for about in told] == [("2", False)] * N


@pytest.mark.parametrize("kind", ["tensor", "hf_tensor"])
def test_a_residual_stream_that_differs_between_ranks_is_an_error(
    ranks: Any, saved: Any, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    llama, tokens = saved("llama3"), batch()
    engine = ranks(kind).engine(llama)
    options = {"positions": ends(tokens), "capture": [1], "logits": kind == "tensor"}
    monkeypatch.setattr(engine, "close", lambda: None)  # the group serves other tests
    ranks(kind).tell(llama, noise=True)
    try:
        with pytest.raises(RanksFailed, match="isn't the same on all ranks"):
            engine.forward(tokens, **options | {"capture": [3]})
    finally:
        ranks(kind).tell(llama, noise=False)
    engine.forward(tokens, **options)


def test_different_prompts_on_ranks_that_split_a_model_are_an_error(
    ranks: Any, saved: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, one, other = ranks("tensor").engine(saved("llama3")), batch((8, 8)), batch((8, 3))
    monkeypatch.setattr(engine, "close", lambda: None)

    def different(sent: dict[str, Tensor], shared: dict[str, Tensor]) -> list[Payload]:
        return [Payload.of(sent), Payload.of(sent | {"ids": other.ids})]

    monkeypatch.setattr(engine, "_payloads", different)
    with pytest.raises(RanksFailed, match="isn't the same on all ranks"):
        engine.forward(one, positions=ends(one))


@pytest.mark.parametrize("kind", ["zero3", "tensor"])
def test_bfloat16_stays_bfloat16_and_near_float32(ranks: Any, saved: Any, kind: Kind, tmp_path: Path) -> None:
    llama, tokens = saved("llama3"), batch((1500, 40))  # long: positions are what bfloat16 loses first
    half = replace(llama, folder=tmp_path / "half", plain=load_engine(str(llama.folder), dtype="bfloat16"))
    half.folder.symlink_to(llama.folder)
    options = {"positions": ends(tokens), "capture": range(5)}
    found = ranks(kind).engine(half).forward(tokens, **options)
    own, exact = half.plain.forward(tokens, **options), llama.plain.forward(tokens, **options)

    def distance(one: Forward) -> list[float]:
        pairs = [(one.logits, exact.logits), *((one.activations[b], exact.activations[b]) for b in range(5))]
        return [float((x.float() - y).norm() / y.norm()) for x, y in pairs if x is not None and y is not None]

    assert found.logits is not None and found.logits.dtype == torch.bfloat16
    assert all(x.dtype == torch.bfloat16 for x in found.activations.values())
    assert max(distance(own)) < 0.1
    # as far from float32 as bfloat16 is in one process, and not the same rounding where sums are split
    np.testing.assert_array_less(distance(found), 1.5 * np.array(distance(own)) + 1e-3)
