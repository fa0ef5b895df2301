"""How the agent plays, as it is and with its layer replaced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jobs.report.latents_in_use import read_saes
from jobs.report.reader import NotRecorded, Reader, StudyFacts
from jobs.report.verdicts import Interval, mean_interval
from tdlens.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILION

OUTCOMES = {
    "checkmate": GREEN,
    "time_out": ORANGE,
    "illegal": PURPLE,
    "blunder": VERMILION,
    "stalemate": GREY,
}
"""How a game ends, and its colour."""
SPLICE, KILL, CONTROL = "splice", "kill_infrequent", "kill_frequent"
AGENT = BLUE
NAN = float("nan")


@dataclass(frozen=True)
class Played:
    """Whole games of one player."""

    returns: Interval
    shares: dict[str, float]
    """Of the games, by how they end."""
    games: int


def read_metrics(reader: Reader, facts: StudyFacts) -> dict[str, Interval]:
    """How well the agent plays, by metric; an exact one has no interval.

    Raises:
        NotRecorded: its games weren't played.
    """
    found = {
        row["metric"]: Interval(
            *(NAN if row[name] is None else float(row[name]) for name in ("value", "ci_low", "ci_high"))
        )
        for row in _metric_rows(reader, facts)
    }
    if "return" not in found:
        raise NotRecorded("the agent's whole games (stage games)")
    return found


def n_games(reader: Reader, facts: StudyFacts) -> int:
    """How many whole games the agent's return is a mean of; 0 if none is recorded."""
    return next((int(row["n"]) for row in _metric_rows(reader, facts) if row["metric"] == "return"), 0)


def _metric_rows(reader: Reader, facts: StudyFacts) -> list[dict[str, Any]]:
    return reader.rows(
        """
        SELECT metric, value, ci_low, ci_high, n FROM v_model_metric
        WHERE study = :study AND model = :model ORDER BY metric
        """,
        model=facts.model,
    )


def read_yardsticks(reader: Reader) -> dict[str, Played]:
    """Games of random and of best play."""
    rows = reader.ask(
        """
        SELECT policy, outcome, "return" FROM v_episode
        WHERE study = :study AND policy IN ('random', 'optimal') ORDER BY policy, rollout_index
        """
    )
    found = {}
    for policy, games in rows.groupby("policy"):
        returns = mean_interval(games["return"].tolist())
        if returns is not None:
            shares = games["outcome"].value_counts(normalize=True)
            found[str(policy)] = Played(
                returns, {str(name): float(share) for name, share in shares.items()}, len(games)
            )
    return found


@dataclass(frozen=True)
class Effects:
    """What replacing the layer's output does to a metric, by intervention and metric."""

    rows: dict[tuple[str, str], dict[str, float]]
    """value, baseline, difference, ci_low and ci_high (of the difference), n_rollouts"""

    @property
    def interventions(self) -> set[str]:
        """Their names."""
        return {name for name, _ in self.rows}

    @property
    def games(self) -> int:
        """The fewest games that any of them has."""
        return int(min((row["n_rollouts"] for (_, metric), row in self.rows.items() if metric == "return"), default=0))

    def intact(self, metric: str) -> float | None:
        """The metric in the same games as they were."""
        return next((row["baseline"] for (_, name), row in self.rows.items() if name == metric), None)

    def value(self, intervention: str, metric: str) -> float | None:
        """A metric under an intervention."""
        row = self.rows.get((intervention, metric))
        return None if row is None else row["value"]

    def level(self, intervention: str, metric: str) -> Interval:
        """A metric under an intervention, NaN if unknown; the interval is that of the change, about the value."""
        row = self.rows.get((intervention, metric))
        if row is None:
            return Interval(NAN, NAN, NAN)
        return Interval(row["value"], row["baseline"] + row["ci_low"], row["baseline"] + row["ci_high"])

    def change(self, intervention: str, metric: str) -> Interval | None:
        """What an intervention does to a metric, paired by game."""
        row = self.rows.get((intervention, metric))
        return None if row is None else Interval(row["difference"], row["ci_low"], row["ci_high"])


def read_effects(reader: Reader) -> Effects:
    """What every replacement of the layer does.

    Raises:
        NotRecorded: nothing was replaced.
    """
    rows = reader.rows(
        """
        SELECT intervention, metric, value, baseline, difference, ci_low, ci_high, n_rollouts
        FROM v_intervention_effect WHERE study = :study ORDER BY intervention, metric
        """
    )
    if not rows:
        raise NotRecorded("games with the layer replaced (stage splice)")
    numbers = ("value", "baseline", "difference", "ci_low", "ci_high", "n_rollouts")
    return Effects(
        {
            (row["intervention"], row["metric"]): {
                name: NAN if row[name] is None else float(row[name]) for name in numbers
            }
            for row in rows
        }
    )


def paired_returns(reader: Reader, facts: StudyFacts, first: str, second: str) -> Interval | None:
    """Mean return under one intervention minus that under another, paired by game."""
    rows = reader.ask(
        """
        SELECT intervention, seed, "return" FROM v_episode
        WHERE study = :study AND model = :model AND intervention IN :pair ORDER BY intervention, seed
        """,
        model=facts.model,
        pair=(first, second),
    )
    table = rows.pivot(index="seed", columns="intervention", values="return")
    if first not in table or second not in table:
        return None
    return mean_interval((table[first] - table[second]).dropna().tolist())


@dataclass(frozen=True)
class Trained:
    """One of the study's autoencoders."""

    name: str
    k: int | None
    """None unless it is TopK."""
    active: float
    """Latents active on a board, on average."""
    latents: int

    @property
    def plain(self) -> bool:
        """Whether it is one of those that differ in k alone."""
        return self.name == f"k{self.k}"


def read_trained(reader: Reader, facts: StudyFacts) -> list[Trained]:
    """The autoencoders in the order of the study's file.

    Raises:
        NotRecorded: there is none.
    """
    saes = {str(row["sae"]): row for row in read_saes(reader, facts).to_dict("records")}
    found = []
    for section in facts.config["sae"]:
        row = saes.get(section["name"])
        if row is not None:
            k = (section.get("options") or {}).get("k") if section["architecture"] == "topk" else None
            found.append(Trained(section["name"], k, float(row["l0"]), int(row["d_latents"])))
    return found
