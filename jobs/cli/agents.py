"""``tdlens train-agent`` and ``evaluate-agent``: deep Q networks that play the rook endgame, or Ms. Pac-Man."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from jobs.cli.console import messages, output, table
from jobs.cli.from_scratch import refuse_a_folder_in_use, training_bars

Opponent = Literal["smart", "uniform"]
Trained = Literal["rook_endgame", "ms_pacman"]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("train-agent")(train_agent)
    app.command("evaluate-agent")(evaluate_agent)


def train_agent(
    out: Annotated[Path, typer.Option(help="Folder for weights, configuration and curve.", show_default=False)],
    task: Annotated[Trained, typer.Option(help="What it plays.")] = "rook_endgame",
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of weights, games and replay.")] = 0,
    moves: Annotated[
        int | None,
        typer.Option(min=1, help="Moves of all games together; default: 1,000,000, or 200,000 of Ms. Pac-Man."),
    ] = None,
    hidden: Annotated[
        list[int] | None,
        typer.Option(
            min=1, help="Units of a hidden layer, once for each layer; default: 128, twice, or 512 for Ms. Pac-Man."
        ),
    ] = None,
    opponent: Annotated[
        Opponent | None, typer.Option(help="How Black answers: by his rule (the default), or at random.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an agent in that folder.")] = False,
) -> None:
    """
    Train a deep Q network to checkmate with king and rook on a board of 5 times 5 squares (DuPlessie 2024).

    It learns by stable-baselines3's DQN from its own games. With the defaults this made the shipped agent, rook_128;
    with the same seed it makes the same weights again, to the bit, on the same machine. The folder's **training.json**
    says what went in, what it cost and how the return rose.

    With **--task ms_pacman** it learns Ms. Pac-Man from the screen instead, which needs the emulator
    (pip install 'tdlens[atari]') and 1 GB for its replay memory. The published agents played 20,000 games, some
    12 million moves: that takes days without a GPU. No such agent ships.

    **Example**

    $ tdlens train-agent --out my-agent --seed 1

    $ tdlens evaluate-agent my-agent

    **A small network, a short training**

    $ tdlens train-agent --out small-agent --hidden 64 --hidden 64 --moves 100000

    **Ms. Pac-Man**

    $ tdlens train-agent --task ms_pacman --out ms-pacman-agent --moves 200000
    """
    from tdlens.errors import UserError

    refuse_a_folder_in_use(out, force)
    given: dict[str, Any] = {"seed": seed}
    if moves is not None:
        given["moves"] = moves
    if hidden:
        given["hidden"] = tuple(hidden)
    if task == "rook_endgame":
        _train_rook(out, given | {"variant": opponent or "smart"})
    elif opponent is not None:
        raise UserError("--opponent is for the rook endgame: Ms. Pac-Man has no Black.", "Leave it out.")
    else:
        _train_ms_pacman(out, given)


def _train_rook(out: Path, given: dict[str, Any]) -> None:
    from jobs.networks import train as training

    config = training.AgentConfig(**given)
    with _bar(config.moves) as show:
        training.train_into(out, config, lambda progress: show(progress.moves, progress.mean_return))
    messages().print(f"Saved in {out}. Judge it: tdlens evaluate-agent {out}", soft_wrap=True)


def _train_ms_pacman(out: Path, given: dict[str, Any]) -> None:
    from envs import TASKS
    from jobs.networks import train_ms_pacman as training
    from jobs.networks.player import require_extra

    require_extra(training.TASK, TASKS[training.TASK])
    config = training.PacmanAgentConfig(**given)
    with _bar(config.moves) as show:
        training.train_into(out, config, lambda progress: show(progress.moves, progress.mean_return))
    messages().print(
        f"Saved in {out}. Study it: tdlens run studies/ms_pacman.toml --model {out}",
        soft_wrap=True,
        highlight=False,
    )


@contextmanager
def _bar(moves: int) -> Iterator[Callable[[int, float | None], None]]:
    """Shows how far a training is: its moves, and the return, if there is one yet."""
    with training_bars() as bars:
        bar = bars.add_task("training", total=moves)

        def show(done: int, mean_return: float | None) -> None:
            said = "training" if mean_return is None else f"return {mean_return:.1f}"
            bars.update(bar, completed=min(done, moves), description=said)

        yield show


def evaluate_agent(
    agent: Annotated[str, typer.Argument(help="A folder, or rook_128: the agent that ships.")] = "rook_128",
    games: Annotated[int, typer.Option(min=2, help="Games to play, each to its end.")] = 3000,
    opponent: Annotated[Opponent, typer.Option(help="How Black answers: by his rule, or at random.")] = "smart",
    seed: Annotated[int, typer.Option(min=0, help="Seed of starting boards and Black's choices.")] = 0,
) -> None:
    """
    Let an agent play the rook endgame, and compare it with the best possible play and with random play.

    All three play the same games. The agent always takes its best move. A game brings 100 points for checkmate, -100
    for anything else that ends it, and -1 for every other move; the interval is 95 %, over games. **exact** is the
    expected return over all starting boards, which needs no games.

    **Example**

    $ tdlens evaluate-agent rook_128 --opponent uniform
    """
    from envs.rook_endgame import Outcome, Variant
    from jobs.networks.evaluate import compare
    from jobs.networks.files import find_agent

    with messages().status(f"Playing {games} games"):
        players = compare(find_agent(agent), Variant(opponent), games, seed)
    ends = [outcome for outcome in reversed(Outcome) if outcome is not Outcome.ORDINARY]
    columns = ("player", "return", "95 %", *(end.name.lower().replace("_", "-") for end in ends), "moves", "exact")
    rows = [
        (
            name,
            f"{played.returns.mean():.1f}",
            f"± {played.half_width():.1f}",
            *(f"{played.share(end):.1%}" for end in ends),
            f"{played.moves.mean():.1f}",
            "" if exact is None else f"{exact:.2f}",
        )
        for name, played, exact in players
    ]
    output().print(table(columns, rows, numeric=columns[1:]))
