"""Which latents interventions change: against a search in plain loops, for every control."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.selection import CANDIDATES, CONTROL_MAX_R, Selection
from jobs.selection import select as choose
from jobs.study import InterventionSection
from tdlens.errors import UserError

Q = ("q_left", "q_right", "q_max")
RL = ("td_error", *Q)
SIGNALS = ("td_error", "step", *Q[:2])
BLOCKS, LATENTS = (2, 3, 5), 16
COLUMN = {"r": "r_selection", "r_partial": "r_partial_selection"}


def section(**settings: Any) -> InterventionSection:
    return InterventionSection(**{"name": "test", "sae": "paper", **settings})


def select(wanted: InterventionSection, made: pd.DataFrame, q: tuple[str, ...] = Q) -> Selection:
    return choose(wanted, made, q_signals=q, rl_signals=RL)


def closest(made: pd.DataFrame, block: int, signals: tuple[str, ...], column: str) -> dict[int, float]:
    """Highest |r| of each latent of a block with any of the signals."""
    found: dict[int, float] = {}
    for row in made.itertuples():
        value = abs(getattr(row, column))
        if row.block == block and row.signal in signals and value == value:
            found[row.latent] = max(value, found.get(row.latent, 0.0))
    return found


def table(seed: int, dead: float = 0.2, undefined: float = 0.1) -> pd.DataFrame:
    """Correlations at random; some latents never fire, some correlations don't exist."""
    rng = np.random.default_rng(seed)
    rows = []
    for block in BLOCKS:
        for latent in sorted(rng.permutation(50)[:LATENTS]):
            fires = rng.random() > dead
            about = {"frequency": rng.uniform(0.01, 1) if fires else 0.0, "rms": rng.lognormal()}
            for signal in SIGNALS:
                r = {name: rng.uniform(-1, 1) for name in ("r", "r_selection", "r_partial_selection")}
                if rng.random() < undefined:
                    r = dict.fromkeys(r, np.nan)
                rows.append({"block": block, "latent": int(latent), "signal": signal, **r, **about})
    return pd.DataFrame(rows).sample(frac=1, random_state=seed, ignore_index=True)


def candidates(made: pd.DataFrame, signal: str, column: str, blocks: tuple[int, ...]) -> list[tuple[float, int, int]]:
    """(−value, block, latent) of everything that may be chosen, best first."""
    found = []
    for row in made.itertuples():
        value = getattr(row, column)
        if row.signal == signal and row.frequency > 0 and value == value and row.block in blocks:
            found.append((-value, row.block, row.latent))
    return sorted(found)


def expected(made: pd.DataFrame, wanted: InterventionSection) -> tuple[int, list[int]]:
    """Block, and all its latents in order of preference."""
    column = COLUMN[wanted.rank_by]
    blocks = BLOCKS[:-1] if wanted.block == "best" else (wanted.block,)
    found = candidates(made, wanted.signal, column, blocks)
    best = found[0][1]
    return best, [latent for _, block, latent in found if block == best]


wishes = {
    "seed": st.integers(0, 10**6),
    "rank_by": st.sampled_from(["r", "r_partial"]),
    "count": st.integers(1, 4),
    "block": st.sampled_from(["best", *BLOCKS]),
    "signal": st.sampled_from(["td_error", "q_left"]),
}


@given(**wishes, control=st.sampled_from(["none", "random_direction"]))
def test_the_latents_with_the_highest_signed_correlation_are_chosen(
    seed: int, rank_by: str, count: int, block: Any, signal: str, control: str
) -> None:
    made = table(seed)
    wanted = section(rank_by=rank_by, latents=count, block=block, signal=signal, control=control)
    found = select(wanted, made)
    best, order = expected(made, wanted)
    assert (found.block, found.latents) == (best, tuple(order[:count]))
    assert signal in found.description and ("r_partial" in found.description) == (rank_by == "r_partial")


@given(**wishes)
def test_lowest_are_those_nearest_to_no_correlation_in_the_same_block(
    seed: int, rank_by: str, count: int, block: Any, signal: str
) -> None:
    made = table(seed)
    wanted = section(rank_by=rank_by, latents=count, block=block, signal=signal, control="lowest")
    found = select(wanted, made)
    best, order = expected(made, wanted)
    r = {
        row.latent: getattr(row, COLUMN[rank_by])
        for row in made.itertuples()
        if (row.block, row.signal) == (best, signal)
    }
    assert found.block == best
    assert list(found.latents) == sorted(order, key=lambda latent: abs(r[latent]))[:count]


@given(**wishes)
def test_matched_are_uncorrelated_others_and_no_closer_set_exists(
    seed: int, rank_by: str, count: int, block: Any, signal: str
) -> None:
    count = min(count, 2)
    made = table(seed, dead=0.1, undefined=0.0)
    wanted = section(rank_by=rank_by, latents=count, block=block, signal=signal, control="matched")
    found = select(wanted, made)
    best, order = expected(made, wanted)
    about = {row.latent: row for row in made.itertuples() if (row.block, row.signal) == (best, signal)}
    follows = closest(made, best, RL, COLUMN[rank_by])
    others = [value for latent, value in follows.items() if latent not in order[:count]]
    bound = max(CONTROL_MAX_R, float(np.quantile(others, CANDIDATES)))
    allowed = [latent for latent in order[count:] if follows[latent] <= bound]
    assert found.block == best and set(found.latents) <= set(allowed) and len(set(found.latents)) == count

    def distance(target: int, control: int) -> float:
        ratio = [np.log(getattr(about[control], x) / getattr(about[target], x)) for x in ("frequency", "rms")]
        return float(np.hypot(*ratio))

    pairs = [(control,) for control in allowed] if count == 1 else [(a, b) for a in allowed for b in allowed if a != b]
    least = min(sum(map(distance, order[:count], pair)) for pair in pairs)
    assert sum(map(distance, order[:count], found.latents)) == pytest.approx(least)


@given(**wishes)
def test_td_minus_q_leaves_out_latents_that_follow_a_value_more_closely(
    seed: int, rank_by: str, count: int, block: Any, signal: str
) -> None:
    made = table(seed)
    wanted = section(rank_by=rank_by, latents=count, block=block, signal=signal, control="td_minus_q")
    best, order = expected(made, wanted)
    own = closest(made, best, (signal,), COLUMN[rank_by])
    values = closest(made, best, Q, COLUMN[rank_by])
    left = [latent for latent in order if own[latent] >= values.get(latent, 0.0)]
    found = select(wanted, made)
    assert (found.block, found.latents) == (best, tuple(left[:count]))
    removed = len(set(order[:count]) - set(left[:count]))
    assert (f"({removed} of {count} removed" if removed else "(none was removed") in found.description


def test_td_minus_q_may_leave_nothing() -> None:
    made = plain({(1, 0): 0.5, (1, 1): 0.4})
    found = select(section(block=1, control="td_minus_q"), pd.concat([made, made.assign(signal="q_left", **HIGH)]))
    assert found.latents == () and "1 of 1 removed, 0 left" in found.description


HIGH = {"r_selection": 0.9, "r_partial_selection": 0.9}


def plain(rs: dict[tuple[int, int], float]) -> pd.DataFrame:
    """Latents that all fire, with the given correlation with the TD error by (block, latent)."""
    return pd.DataFrame(
        [
            {"block": b, "latent": x, "signal": "td_error", "r": r, "r_selection": r, "r_partial_selection": r}
            | {"frequency": 0.5, "rms": 1.0}
            for (b, x), r in rs.items()
        ]
    )


def test_a_negative_correlation_is_not_a_high_one_and_the_last_block_only_counts_if_asked_for() -> None:
    made = plain({(1, 0): -0.9, (1, 1): 0.2, (2, 0): 0.1, (2, 4): 0.15, (3, 7): 0.99})
    assert select(section(), made) == Selection(1, (1,), "highest r_selection with td_error in block 1")
    assert select(section(block=3), made).latents == (7,)
    assert select(section(), made[made["block"] == 3]).latents == (7,)  # there is no other


def test_ties_go_to_the_lower_latent() -> None:
    assert select(section(latents=2), plain({(1, 9): 0.5, (1, 3): 0.5, (1, 5): 0.5})).latents == (3, 5)


def test_the_choice_looks_at_the_selection_half_and_not_at_the_rest() -> None:
    made = plain({(1, 0): 0.5, (1, 1): 0.4})
    made["r"] = [0.0, 0.9]
    assert select(section(), made).latents == (0,)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"block": 4}, "no live latent of paper in block 4"),
        ({"latents": 3, "block": 1}, "asks for 3 latents, but only 2 are alive there"),
        ({"latents": 3, "block": 1, "control": "lowest"}, "asks for 3 latents, but only 2 are alive there"),
        ({"latents": 2, "block": 1, "control": "matched"}, "too few latents are alive in block 1 to match"),
        ({"signal": "step"}, "no live latent"),
    ],
)
def test_too_few_live_latents_is_the_users_to_mend(settings: dict[str, Any], said: str) -> None:
    made = plain({(1, 0): 0.5, (1, 1): 0.4, (2, 0): 0.1})
    with pytest.raises(UserError) as caught:
        select(section(**settings), made, ("td_error",))
    assert caught.value.message.startswith("intervention test") and said in caught.value.message
    assert caught.value.remedy


def test_a_latent_that_never_fires_is_never_chosen() -> None:
    made = plain({(1, 0): 0.9, (1, 1): 0.4, (1, 2): 0.01, (1, 3): 0.02})
    made.loc[made["latent"].isin([0, 2]), "frequency"] = 0.0
    assert select(section(), made).latents == (1,)
    for control in ("lowest", "matched"):
        assert select(section(control=control), made).latents == (3,)


def test_draws_are_different_matched_sets_the_best_first() -> None:
    made = plain({(1, x): 0.5 if x == 0 else 0.01 * x for x in range(9)})
    made["rms"] = [1.0 + 0.1 * x for x in range(9)]
    assert [select(section(control="matched", draw=d), made).latents for d in (0, 1)] == [(1,), (2,)]
