"""Edits in delta form: exact sizes, exact no-ops, and controls of equal size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import Sparse

from jobs.inference.base import Engine, TokenBatch
from jobs.inference.edits import DirectionEdit, LatentEdit

D, LATENTS = 32, 40
SAE = Sparse(D, LATENTS)
X = torch.randn(3, 5, D, generator=torch.Generator().manual_seed(1))
ROWS = [[5, 9, 200, 31, 7, 7, 350], [11, 3, 120]]
POSITIONS = torch.tensor([[6], [6]])


def test_ablation_moves_the_stream_by_minus_z_times_the_decoder_row(llama: Engine) -> None:
    tokens = TokenBatch.from_rows(ROWS, pad_id=0)
    before = llama.forward(tokens, positions=POSITIONS, capture=[2]).activations[2]
    z = SAE.encode(before)
    alive = int(z.amin(dim=(0, 1)).argmax())
    assert float(z[..., alive].min()) > 0
    edit = LatentEdit(2, SAE, [alive], "zero")
    after = llama.forward(tokens, positions=POSITIONS, capture=[2], edits=[edit]).activations[2]
    assert torch.equal(after, before + -z[..., alive, None] * SAE.rows[alive])


@pytest.mark.parametrize("operation", ["zero", "clamp", "multiply", "mean"])
def test_edits_equal_the_difference_of_two_reconstructions(operation: Any) -> None:
    latents = [3, 7, 12]
    value = {"clamp": -10.0, "multiply": -2.0}.get(operation)
    means = [0.5, 0.0, 2.0] if operation == "mean" else None
    z = SAE.encode(X)
    wanted = z.clone()
    for index, latent in enumerate(latents):
        target = {"zero": 0.0, "clamp": -10.0, "mean": (means or [0.0] * 3)[index]}.get(operation)
        wanted[..., latent] = z[..., latent] * -2 if target is None else target
    edited = LatentEdit(1, SAE, latents, operation, value=value, means=means)(X)
    torch.testing.assert_close(edited, X + SAE.decode(wanted) - SAE.decode(z), atol=1e-4, rtol=1e-5)


def test_edits_that_change_no_latent_leave_the_logits_equal_to_the_bit(llama: Engine) -> None:
    tokens = TokenBatch.from_rows(ROWS, pad_id=0)
    before = llama.forward(tokens, positions=POSITIONS, capture=[1])
    z = SAE.encode(before.activations[1])
    dead = int(z.amax(dim=(0, 1)).argmin())
    assert float(z[..., dead].max()) == 0
    same = LatentEdit(1, SAE, [0, 1, 2], "multiply", value=1.0)
    for edit in (same, LatentEdit(1, SAE, [dead], "zero"), DirectionEdit(same, seed=0)):
        after = llama.forward(tokens, positions=POSITIONS, edits=[edit])
        assert after.logits is not None
        assert before.logits is not None
        assert torch.equal(after.logits, before.logits)


@given(seed=st.integers(0, 10_000), dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
def test_a_no_op_keeps_every_bit_in_every_dtype(seed: int, dtype: torch.dtype) -> None:
    x = torch.randn(2, 4, D, generator=torch.Generator().manual_seed(seed)).to(dtype)
    x[0, 0, :4] = torch.tensor([0.0, -0.0, 1e-30, -1e-30])
    edited = LatentEdit(1, SAE, range(LATENTS), "multiply", value=1.0)(x)
    assert edited.dtype == dtype
    assert torch.equal(edited.view(torch.uint8), x.view(torch.uint8))


def test_random_direction_moves_each_token_as_far_as_the_latent_edit() -> None:
    latent = LatentEdit(1, SAE, [3, 7], "clamp", value=5.0)
    control = DirectionEdit(latent, seed=4)
    moved = control(X) - X
    torch.testing.assert_close(moved.norm(dim=-1), latent.delta(X).norm(dim=-1), rtol=1e-4, atol=1e-5)
    along = (moved @ control.direction) / moved.norm(dim=-1)
    torch.testing.assert_close(along, torch.ones_like(along), rtol=1e-4, atol=0)
    assert control.block == latent.block
    assert torch.equal(control.direction, DirectionEdit(latent, seed=4).direction)
    assert not torch.equal(control.direction, DirectionEdit(latent, seed=5).direction)


def test_random_directions_are_uniform_over_the_sphere() -> None:
    latent = LatentEdit(1, SAE, [0], "zero")
    directions = torch.stack([DirectionEdit(latent, seed).direction for seed in range(2000)])
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(2000))
    covariance = directions.T @ directions / 2000
    assert float((covariance - torch.eye(D) / D).abs().max()) < 0.006


@pytest.mark.parametrize(
    "arguments",
    [
        {"latents": [], "operation": "zero"},
        {"latents": [1], "operation": "clamp"},
        {"latents": [1], "operation": "zero", "value": 1.0},
        {"latents": [1, 2], "operation": "mean", "means": [1.0]},
        {"latents": [1], "operation": "zero", "means": [1.0]},
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"latent|fit"):
        LatentEdit(1, SAE, **arguments)
