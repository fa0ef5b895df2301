"""Codes of positions: all different, and one matrix leads from each to another at some distance."""

from __future__ import annotations

import torch

from jobs.position_codes import position_codes, shift


def test_positions_within_the_longest_period_differ_and_the_next_one_repeats() -> None:
    found = position_codes(2**5 + 1, 5)
    assert found.shape == (2**5 + 1, 10)
    similar = found[:-1] @ found[:-1].T
    similar.fill_diagonal_(0)
    assert similar.max() < 5 - 0.01  # each has itself as product 5, one for each wave
    torch.testing.assert_close(found[-1], found[0], atol=1e-5, rtol=0)


def test_a_shift_leads_from_each_position_to_the_one_so_far_on() -> None:
    found = position_codes(32, 5)
    for by in (-3, 0, 1, 7):
        here, there = (found[3:29], found[3 + by : 29 + by]) if by < 3 else (found[:25], found[by : 25 + by])
        torch.testing.assert_close(here @ shift(by, 5), there, atol=1e-5, rtol=0)
