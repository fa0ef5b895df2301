"""A plain reading of the maze's rules: one maze, one player, dictionaries and loops."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

COMPASS = {"N": (0, -1), "E": (1, 0), "S": (0, 1), "W": (-1, 0)}
WORDS = {"N": "north", "E": "east", "S": "south", "W": "west"}
BACK = {"N": "S", "S": "N", "E": "W", "W": "E"}
Cell = tuple[int, int]


@dataclass
class PlainMaze:
    """Cells are "path", "mold" or "gold"; a cell that isn't among them is off the grid."""

    cells: dict[Cell, str]
    at: Cell
    melting: bool
    entered: list[list[str]] = field(default_factory=list)
    told_wind: str = ""

    def beside(self, way: str) -> Cell:
        return self.at[0] + COMPASS[way][0], self.at[1] + COMPASS[way][1]

    def ways(self) -> list[str]:
        return [way for way in "NESW" if self.beside(way) in self.cells]

    def go(self, way: str) -> None:
        to = self.beside(way)
        if self.melting and self.cells[self.at] == "path":
            self.cells[self.at] = "mold"
        self.at = to
        self.entered[-1].append(self.cells[to])
        if self.cells[to] == "gold":
            self.cells[to] = "path"

    def turn(self, way: str, wind_from: str | None) -> None:
        self.entered.append([])
        self.go(way)
        self.told_wind = ""
        if wind_from is not None and self.beside(BACK[wind_from]) in self.cells:
            self.go(BACK[wind_from])
            source, to = WORDS[wind_from].title(), WORDS[BACK[wind_from]].title()
            self.told_wind = f"A strong wind from the {source} blew you {to}! "

    def reward(self, turn: int) -> float:
        worth = {"path": 0.0, "gold": 20.0, "mold": -10.0}
        return -0.1 + sum(worth[tile] for tile in self.entered[turn])

    def total(self) -> float:
        tiles = [tile for turn in self.entered for tile in turn]
        return -0.1 * len(self.entered) + 20 * tiles.count("gold") - 10 * tiles.count("mold")

    def prompt(self, looks: dict[str, str], order: str) -> str:
        parts = []
        for way in order:
            if way in self.ways():
                parts.append("to the " + WORDS[way] + " there is " + looks[self.cells[self.beside(way)]])
        listed = "; ".join(parts).replace("to", "To", 1)
        where = f"You are in a maze. Currently, you're at location ({self.at[0]}, {self.at[1]}). "
        return self.told_wind + where + listed + ". Where do you move? Output only N/E/S/W without punctuation."


def plain_interior(side: int, rng: random.Random) -> set[Cell]:
    """The Mold of a maze's interior, Gold aside."""
    mold = {(x, y) for x in range(side) for y in range(side)}
    at = rng.choice(sorted(mold))
    mold.discard(at)
    for _ in range(rng.randint(5 * side, 15 * side)):
        near = [(at[0] + dx, at[1] + dy) for dx, dy in COMPASS.values()]
        at = rng.choice([(x, y) for x, y in near if 0 <= x < side and 0 <= y < side])
        mold.discard(at)
    if len(mold) > side * side / 2:
        target = rng.choice([n for n in range(side * side) if side * side / 10 < n <= side * side / 2])
        mold = set(rng.sample(sorted(mold), target))
    return mold
