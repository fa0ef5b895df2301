"""Which latents interventions change: against a search in plain loops, for every control."""

from __future__ import annotations

import tomllib
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.sections import InterventionSection
from jobs.selection import CHANCE, Selection, select
from tdlens.errors import UserError

Q = ("q_left", "q_right", "q_max")
RL = ("td_error", "myopic_error", *Q)
SIGNALS = ("td_error", "step", "myopic_error", *Q[:2])
BLOCKS, LATENTS, N_BLOCKS = (2, 3, 5), 16, 6
COLUMNS = {"r": "r_selection", "r_partial": "r_partial_selection"}
"""What a choice looks at: never the half that is held out."""


def section(**settings: Any) -> InterventionSection:
    return InterventionSection(**{"name": "test", "sae": "paper", **settings})


def table(seed: int, dead: float = 0.2, undefined: float = 0.1) -> pd.DataFrame:
    """Correlations at random; some latents never fire, some correlations don't exist."""
    rng = np.random.default_rng(seed)
    rows = []
    for block in BLOCKS:
        for latent in sorted(rng.permutation(50)[:LATENTS]):
            fires = rng.random() > dead
            about = {"frequency": rng.uniform(0.01, 1) if fires else 0.0, "rms": rng.lognormal()}
            for signal in SIGNALS:
                r = {name: rng.uniform(-1, 1) for name in ("r", "r_partial", *COLUMNS.values())}
                r |= {name: rng.uniform(0, 0.3) for name in CHANCE.values()}
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
    column = COLUMNS[wanted.rank_by]
    blocks = BLOCKS[:-1] if wanted.block == "best" else (wanted.block,)
    found = candidates(made, wanted.signal, column, blocks)
    best = found[0][1]
    return best, [latent for _, block, latent in found if block == best]


def choose(wanted: InterventionSection, made: pd.DataFrame) -> Selection:
    (found,) = select(wanted, made, n_blocks=N_BLOCKS, q_signals=Q, rl_signals=RL)
    return found


def column_of(made: pd.DataFrame, wanted: InterventionSection, block: int, signal: str) -> dict[int, float]:
    """What the choice sees of each latent's correlation with one signal."""
    rows = made[(made["block"] == block) & (made["signal"] == signal)]
    return dict(zip(rows["latent"], rows[COLUMNS[wanted.rank_by]], strict=True))


def strongest(
    made: pd.DataFrame, wanted: InterventionSection, block: int, signals: tuple[str, ...]
) -> dict[int, float]:
    """Of each latent the highest |r| with any of the signals, less what chance gives."""
    found: dict[int, float] = {}
    column = COLUMNS[wanted.rank_by]
    for row in made[(made["block"] == block) & made["signal"].isin(signals)].itertuples():
        r = getattr(row, column) - getattr(row, CHANCE[column])
        if r == r:
            found[row.latent] = max(abs(r), found.get(row.latent, 0.0))
    return found


wishes = {
    "seed": st.integers(0, 10**6),
    "rank_by": st.sampled_from(["r", "r_partial"]),
    "count": st.integers(1, 4),
    "block": st.sampled_from(["best", *BLOCKS]),
    "signal": st.sampled_from(["td_error", "q_left"]),
}


@settings(max_examples=40)
@given(**wishes, control=st.sampled_from(["none", "random_direction"]))
def test_the_latents_with_the_highest_signed_correlation_are_chosen(
    seed: int, rank_by: str, count: int, block: Any, signal: str, control: str
) -> None:
    made = table(seed)
    wanted = section(rank_by=rank_by, latents=count, block=block, signal=signal, control=control)
    found = choose(wanted, made)
    best, order = expected(made, wanted)
    assert (found.block, found.latents) == (best, tuple(order[:count]))
    assert signal in found.description and ("partial" in found.description) == (rank_by == "r_partial")


@settings(max_examples=40)
@given(**wishes)
def test_lowest_are_those_nearest_to_no_correlation_in_the_same_block(
    seed: int, rank_by: str, count: int, block: Any, signal: str
) -> None:
    made = table(seed)
    wanted = section(rank_by=rank_by, latents=count, block=block, signal=signal, control="lowest")
    found = choose(wanted, made)
    best, order = expected(made, wanted)
    r = column_of(made, wanted, best, signal)
    assert found.block == best
    assert list(found.latents) == sorted(order, key=lambda latent: abs(r[latent]))[:count]


@settings(max_examples=40)
@given(**wishes, draw=st.integers(0, 1))
def test_matched_are_others_that_follow_no_learner_and_no_closer_set_exists(
    seed: int, rank_by: str, count: int, block: Any, signal: str, draw: int
) -> None:
    count = min(count, 2)
    made = table(seed, dead=0.1)
    wanted = section(rank_by=rank_by, latents=count, block=block, signal=signal, control="matched", draw=draw)
    best, order = expected(made, wanted)
    chosen, others = order[:count], order[count:]
    follows = strongest(made, wanted, best, RL)
    bound = max(0.1, np.quantile([r for latent, r in follows.items() if latent not in chosen], 1 / 3))
    allowed = [latent for latent in others if follows[latent] <= bound]
    if len(allowed) < count * (draw + 1):
        with pytest.raises(UserError, match="too few latents are alive"):
            choose(wanted, made)
        return
    about = {row.latent: row for row in made.itertuples() if row.block == best}

    def closest(candidates: list[int]) -> tuple[int, ...]:
        def distance(target: int, control: int) -> float:
            ratio = [np.log(getattr(about[control], x) / getattr(about[target], x)) for x in ("frequency", "rms")]
            return float(np.hypot(*ratio))

        sets = permutations(candidates, count)
        return min(sets, key=lambda controls: sum(map(distance, chosen, controls)))

    first = closest(allowed)
    found = choose(wanted, made)
    assert found.block == best
    assert found.latents == (closest([x for x in allowed if x not in first]) if draw else first)
    assert str(chosen) in found.description
    assert f"at most {max(follows[x] for x in found.latents):.2f}" in found.description


@settings(max_examples=40)
@given(**wishes)
def test_td_minus_q_leaves_out_latents_that_follow_a_value_more_closely(
    seed: int, rank_by: str, count: int, block: Any, signal: str
) -> None:
    made = table(seed)
    wanted = section(rank_by=rank_by, latents=count, block=block, signal=signal, control="td_minus_q")
    best, order = expected(made, wanted)
    own, q = column_of(made, wanted, best, signal), strongest(made, wanted, best, Q)
    left = [latent for latent in order if abs(own[latent]) >= q.get(latent, 0.0)]
    found = choose(wanted, made)
    assert (found.block, found.latents) == (best, tuple(left[:count]))
    removed = sum(latent not in left for latent in order[:count])
    assert (f"{removed} of {count} removed" if removed else "none was removed") in found.description
    assert (f"{len(left)} left" in found.description) == (len(left) < count)


@settings(max_examples=40)
@given(
    **{key: wish for key, wish in wishes.items() if key != "block"},
    blocks=st.integers(1, 3),
    first=st.sampled_from([None, 2, 3, 0.3, 0.5]),
    control=st.sampled_from(["none", "random_direction", "lowest"]),
)
def test_several_blocks_are_those_with_the_strongest_latents(
    seed: int, rank_by: str, count: int, signal: str, blocks: int, first: Any, control: str
) -> None:
    made = table(seed)
    wanted = section(rank_by=rank_by, latents=count, signal=signal, blocks=blocks, from_block=first, control=control)
    least = {None: 0, 0.3: 2, 0.5: 3}.get(first, first)
    may = tuple(block for block in BLOCKS if block >= least)
    if len(may) < blocks:
        with pytest.raises(UserError, match=f"asks for {blocks} blocks, but paper has live latents only in {len(may)}"):
            select(wanted, made, n_blocks=N_BLOCKS, q_signals=Q, rl_signals=RL)
        return
    if len(may) > blocks:
        may = tuple(block for block in may if block != BLOCKS[-1])
    order = candidates(made, signal, COLUMNS[rank_by], may)
    best = list(dict.fromkeys(block for _, block, _ in order))[:blocks]
    found = select(wanted, made, n_blocks=N_BLOCKS, q_signals=Q, rl_signals=RL)
    assert [one.block for one in found] == sorted(best)
    # in each block they are those of an intervention on that block alone
    for one in found:
        alone = section(rank_by=rank_by, latents=count, signal=signal, block=one.block, control=control)
        assert one == choose(alone, made)


@settings(max_examples=40)
@given(**wishes, least=st.floats(0.05, 0.95))
def test_weaker_latents_than_wanted_are_refused_with_what_there_is(
    seed: int, rank_by: str, count: int, block: Any, signal: str, least: float
) -> None:
    made = table(seed)
    asked = {"rank_by": rank_by, "latents": count, "block": block, "signal": signal}
    best, order = expected(made, section(**asked))
    weakest = column_of(made, section(**asked), best, signal)[order[count - 1]]
    if weakest >= least:
        assert choose(section(**asked, min_r=least), made) == choose(section(**asked), made)
        return
    with pytest.raises(UserError, match=f"the weakest chosen have {weakest:.2f} in block {best}") as caught:
        choose(section(**asked, min_r=least), made)
    assert "intervention.test.min_r" in caught.value.remedy


@settings(max_examples=40)
@given(**wishes, draw=st.integers(0, 1))
def test_step_matched_follow_the_step_as_closely_and_the_signal_hardly(
    seed: int, rank_by: str, count: int, block: Any, signal: str, draw: int
) -> None:
    count = min(count, 2)
    made = table(seed, undefined=0)
    wanted = section(rank_by=rank_by, latents=count, block=block, signal=signal, control="step_matched", draw=draw)
    best, order = expected(made, wanted)
    chosen, others = order[:count], order[count:]
    here = made[made["block"] == best]
    clock = here[here["signal"] == "step"].set_index("latent")
    step = (clock["r_selection"] - clock["r_chance_selection"]).abs()
    own = here[here["signal"] == signal].set_index("latent")
    follows = (own["r_partial_selection"] - own["r_partial_chance_selection"]).abs()
    bound = max(0.1, follows.drop(chosen).quantile(1 / 3))
    allowed = [latent for latent in others if follows[latent] <= bound]
    if len(allowed) < count * (draw + 1):
        with pytest.raises(UserError, match="too few latents are alive"):
            choose(wanted, made)
        return

    def closest(among: list[int]) -> tuple[int, ...]:
        sets = permutations(among, count)
        return min(
            sets, key=lambda controls: sum(abs(step[a] - step[b]) for a, b in zip(chosen, controls, strict=True))
        )

    first = closest(allowed)
    best_left = closest([latent for latent in allowed if latent not in first]) if draw else first
    found = choose(wanted, made)
    assert found.block == best and not set(found.latents) & set(chosen)

    def distance(controls: tuple[int, ...]) -> float:
        return sum(abs(step[a] - step[b]) for a, b in zip(chosen, controls, strict=True))

    if count == 1 or not draw:  # of two sets that fit equally well either may be the first
        assert distance(found.latents) == pytest.approx(distance(best_left))
    assert all(follows[latent] <= bound for latent in found.latents)
    said = f"{', '.join(f'{step[x]:.2f}' for x in found.latents)}, "
    assert f"{said}like" in found.description or f"{said}unlike" in found.description


def test_a_step_matched_control_that_tells_the_time_worse_is_said_to_be_none() -> None:
    signal, step = plain({(1, 0): 0.8, (1, 1): 0.0}), plain({(1, 0): 0.9, (1, 1): 0.8}).assign(signal="step")
    fits = choose(section(control="step_matched"), pd.concat([signal, step]))
    assert fits.latents == (1,) and "0.80, like 0.90 of [0]; " in fits.description
    step.loc[step["latent"] == 1, "r_selection"] = 0.3
    misfit = choose(section(control="step_matched"), pd.concat([signal, step]))
    assert misfit.latents == (1,)
    assert "0.30, unlike 0.90 of [0] by up to 0.60: no control for time; " in misfit.description


def test_settings_that_came_later_leave_identities_alone_until_they_are_set() -> None:
    before = {"name", "sae", "signal", "rank_by", "latents", "block", "operation", "value", "control", "draw"}
    assert set(section().config()) == before
    later = {"blocks": 2, "from_block": 0.5, "min_r": 0.3, "decisions": [0, 3]}
    for key, value in later.items():
        assert section(**{key: value}).config() == section().config() | {key: value}
    assert section(decisions=[2, 5]).edited == range(2, 6) and section().edited is None


def plain(rs: dict[tuple[int, int], float]) -> pd.DataFrame:
    """Latents that all fire, with the given correlation with the TD error by (block, latent)."""
    return pd.DataFrame(
        [
            {"block": b, "latent": x, "signal": "td_error", "frequency": 0.5, "rms": 1.0}
            | dict.fromkeys(("r", "r_partial", *COLUMNS.values()), r)
            | dict.fromkeys(CHANCE.values(), 0.0)
            for (b, x), r in rs.items()
        ]
    )


def test_a_negative_correlation_is_not_a_high_one_and_the_last_block_only_counts_if_asked_for() -> None:
    made = plain({(1, 0): -0.9, (1, 1): 0.2, (2, 0): 0.1, (2, 4): 0.15, (3, 7): 0.99})
    assert choose(section(), made) == Selection(1, (1,), "highest r_selection with td_error in block 1")
    assert choose(section(block=3), made).latents == (7,)
    assert choose(section(), made[made["block"] == 3]).latents == (7,)  # there is no other


def test_after_the_lesions_of_the_grid_the_reference_model_has_a_block_left() -> None:
    written = tomllib.loads((Path(__file__).parents[2] / "studies" / "grid_world.toml").read_text())["intervention"]
    several = [one for one in map(InterventionSection.model_validate, written) if one.blocks > 1]
    made = plain({(block, latent): block / 10 - latent / 100 for block in range(1, 5) for latent in range(3)})
    assert len(several) > 5
    for lesion in several:
        edited = [
            one.block
            for one in select(
                lesion.model_copy(update={"control": "none"}), made, n_blocks=4, q_signals=Q, rl_signals=RL
            )
        ]
        assert edited == [2, 3]


def test_ties_go_to_the_lower_latent() -> None:
    assert choose(section(latents=2), plain({(1, 9): 0.5, (1, 3): 0.5, (1, 5): 0.5})).latents == (3, 5)


def test_the_choice_looks_at_the_selection_half_and_not_at_the_rest() -> None:
    made = plain({(1, x): r for x, r in enumerate((0.5, 0.4, 0.02, 0.01, 0.03))})
    found = {control: choose(section(control=control), made) for control in ("none", "lowest", "matched")}
    made["r"], made["r_partial"] = made["r"][::-1].to_numpy(), 0.7
    assert found == {control: choose(section(control=control), made) for control in found}
    assert found["none"].latents == (0,) and found["lowest"].latents == (3,)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"block": 4}, "no live latent of paper in block 4"),
        ({"latents": 3, "block": 1}, "asks for 3 latents, but only 2 are alive there"),
        ({"latents": 3, "block": 1, "control": "lowest"}, "asks for 3 latents, but only 2 are alive there"),
        ({"latents": 2, "block": 1, "control": "matched"}, "too few latents are alive in block 1 to match"),
        ({"block": 1, "control": "matched", "draw": 1}, "too few latents are alive in block 1 to match"),
        ({"signal": "step"}, "no live latent"),
    ],
)
def test_too_few_live_latents_is_the_users_to_mend(settings: dict[str, Any], said: str) -> None:
    made = plain({(1, 0): 0.5, (1, 1): 0.4, (2, 0): 0.1})
    with pytest.raises(UserError) as caught:
        choose(section(**settings), made)
    assert caught.value.message.startswith("intervention test") and said in caught.value.message
    assert caught.value.remedy


def test_td_minus_q_may_leave_nothing() -> None:
    made = pd.concat([plain({(1, 0): 0.5}), plain({(1, 0): 0.6}).assign(signal="q_left")])
    found = choose(section(control="td_minus_q"), made)
    assert found.latents == () and "1 of 1 removed, 0 left" in found.description


def test_nothing_can_be_matched_where_no_signal_of_a_learner_was_correlated() -> None:
    made = plain({(1, 0): 0.5, (1, 1): 0.4, (1, 2): 0.0}).assign(signal="step")
    with pytest.raises(UserError, match="to match"):
        choose(section(signal="step", control="matched"), made)


def test_matched_controls_fire_where_the_highest_r_over_states_is_chance() -> None:
    made = plain({(1, 0): 0.7, (1, 1): 0.45, (1, 2): 0.4, (1, 3): 0.03, (1, 4): 0.05})
    for column in CHANCE.values():
        made[column] = [0.4, 0.4, 0.4, 0.03, 0.03]
    made.loc[made["latent"] > 2, "frequency"] = 0.002
    found = choose(section(latents=1, control="matched"), made)
    assert found.latents == (1,) and "at most 0.05" in found.description


def test_a_latent_that_never_fires_is_never_chosen() -> None:
    made = plain({(1, 0): 0.9, (1, 1): 0.4, (1, 2): 0.01, (1, 3): 0.02})
    made.loc[made["latent"].isin([0, 2]), "frequency"] = 0.0
    assert choose(section(), made).latents == (1,)
    for control in ("lowest", "matched"):
        assert choose(section(control=control), made).latents == (3,)
