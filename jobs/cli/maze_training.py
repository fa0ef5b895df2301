"""``tdlens train-in-maze``: reinforcement learning of a language model among tiles that mean nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from jobs.cli.console import messages
from jobs.cli.from_scratch import training_bars

if TYPE_CHECKING:
    from jobs.maze_training.run import Point

Learning = Literal["dr_grpo", "reinforce", "sft"]
Tiles = Literal["standard", "swap", "shuffle", "custom"]
Exchange = Literal["no", "group", "batch"]
Conversation = Literal["auto", "chat", "plain"]


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("train-in-maze")(train_in_maze)


def train_in_maze(
    model: Annotated[str, typer.Argument(help="A folder or Hugging Face id.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for model, checkpoints and curve.", show_default=False)],
    algorithm: Annotated[Learning, typer.Option(help="What it learns by.")] = "dr_grpo",
    steps: Annotated[int, typer.Option(min=1, help="Batches of rollouts, or optimiser steps of sft.")] = 100,
    decay_steps: Annotated[
        int | None, typer.Option(min=1, help="Steps until the rates have fallen to zero; default: all.")
    ] = None,
    mazes: Annotated[int, typer.Option(min=1, help="Fresh mazes in each step.")] = 8,
    rollouts: Annotated[int, typer.Option(min=1, help="Rollouts of each maze.")] = 16,
    minibatches: Annotated[int, typer.Option(min=1, help="Optimiser steps of a batch of rollouts.")] = 1,
    learning_rate: Annotated[float, typer.Option(min=0, help="AdamW's, at first; it falls as a cosine.")] = 1e-3,
    entropy: Annotated[
        float, typer.Option(min=0, help="Weight, at first, of the entropy among directions that look the same.")
    ] = 0.01,
    temperature: Annotated[float, typer.Option(min=0, help="Of the policy.")] = 0.7,
    shuffled_rewards: Annotated[
        Exchange, typer.Option(help="Control: rollouts of a maze, or of a step, exchange their rewards at random.")
    ] = "no",
    examples: Annotated[int, typer.Option(min=1, help="Trajectories of a step of sft.")] = 16,
    epochs: Annotated[int, typer.Option(min=1, help="Times that sft sees each trajectory.")] = 1,
    lora_rank: Annotated[
        int, typer.Option(min=0, help="Rank of adapters on all linear maps; 0 trains all weights.")
    ] = 0,
    lora_alpha: Annotated[int, typer.Option(min=1, help="Adapters count alpha / rank times.")] = 64,
    size: Annotated[int, typer.Option(min=4, help="Cells along each side of a maze.")] = 31,
    turns: Annotated[int, typer.Option(min=1, help="Moves of a rollout.")] = 15,
    gold_ratio: Annotated[float, typer.Option(min=0, max=1, help="Gold for each Mold.")] = 0.2,
    variant: Annotated[Tiles, typer.Option(help="What the tiles look like.")] = "standard",
    path_tile: Annotated[str, typer.Option(help="What Path looks like, if custom.")] = "",
    mold_tile: Annotated[str, typer.Option(help="What Mold looks like, if custom.")] = "",
    gold_tile: Annotated[str, typer.Option(help="What Gold looks like, if custom.")] = "",
    layout: Annotated[
        Conversation, typer.Option(help="Turns as chat (where the tokenizer has a template), or as plain text.")
    ] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Seed of mazes, moves and adapters.")] = 0,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps from one checkpoint to the next.")] = 25,
    batch_size: Annotated[int, typer.Option(min=1, help="Rollouts that the model reads at a time.")] = 64,
    bf16: Annotated[bool, typer.Option("--bf16", help="Compute in bfloat16; weights stay float32.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """
    Train a language model in a maze of tiles that mean nothing: one is rewarded, one is punished.

    Han, Chalmers & Izmailov (2026). Each turn the model is told what lies in each direction, and answers with N, E, S
    or W; Gold brings 20, Mold -10, a turn -0.1. **dr_grpo** raises the moves of rollouts that did better than others
    in the same maze; **reinforce** judges each move by what came after it; **sft** imitates trajectories with the most
    Gold. The defaults suit a model of some million parameters on a processor.

    The folder is a Hugging Face model at the end, for **--model**; each of its **checkpoints/** is one, too. Its
    **curve.jsonl** has a line for each step: return, Gold and Mold of a rollout, entropy, loss. After an interruption
    the same command goes on from the last checkpoint, with the same numbers.

    **Example**

    $ tdlens train-in-maze my-model --out trained --steps 200

    **A control, in which rewards say nothing of the moves**

    $ tdlens train-in-maze my-model --out control --steps 200 --shuffled-rewards batch

    **As in the paper, on a large GPU**

    $ tdlens train-in-maze Qwen/Qwen3-4B-Instruct-2507 --out qwen --size 100 --rollouts 64 --steps 95
    --decay-steps 500 --learning-rate 3e-6 --lora-rank 32 --bf16 --batch-size 8 --checkpoint-every 5
    """
    from tdlens.errors import UserError

    try:
        from envs.maze import MazeConfig, Variant
        from jobs.maze_training.config import Algorithm, Layout, Shuffled, TrainingConfig

        maze = MazeConfig(
            variant=Variant(variant),
            size=size,
            turns=turns,
            gold_ratio=gold_ratio,
            path_tile=path_tile,
            mold_tile=mold_tile,
            gold_tile=gold_tile,
        )
        config = TrainingConfig(
            algorithm=Algorithm(algorithm),
            maze=maze,
            layout=Layout(layout),
            steps=steps,
            decay_steps=decay_steps,
            mazes=mazes,
            rollouts=rollouts,
            minibatches=minibatches,
            learning_rate=learning_rate,
            entropy=entropy,
            temperature=temperature,
            shuffled=Shuffled(shuffled_rewards),
            examples=examples,
            epochs=epochs,
            lora_rank=lora_rank,
            lora_alpha=lora_alpha,
            bf16=bf16,
            batch_size=batch_size,
            checkpoint_every=checkpoint_every,
            seed=seed,
        )
    except ValueError as error:
        raise UserError(f"These settings don't fit: {error}.", "See tdlens train-in-maze --help.") from error

    from jobs.cores import use_available_cores
    from jobs.inference.files import find_model
    from jobs.maze_training.run import train

    use_available_cores()
    files = find_model(model)
    with _bars(steps, mazes * rollouts * turns) as (on_step, on_moves):
        trained = train(files, out, config, device=device, on_step=on_step, on_moves=on_moves)
    said = f"Saved in {out}." if trained else f"The training in {out} is finished already."
    messages().print(f"{said} Use it: --model {out}", soft_wrap=True, highlight=False)


@contextmanager
def _bars(steps: int, moves: int) -> Iterator[tuple[Any, Any]]:
    """Shows how far a training is: its steps, with what the last one was, and the moves of this one."""
    with training_bars() as bars:
        training = bars.add_task("training", total=steps)
        playing = bars.add_task("moves of this step", total=moves)

        def on_step(point: Point) -> None:
            if point.mean_return is None:
                said = f"loss {point.loss:.3f} nats"
            else:
                said = f"return {point.mean_return:.2f}  Gold {point.golds:.2f}  Mold {point.molds:.2f}"
            bars.update(training, completed=point.step, description=said)
            bars.update(playing, completed=0)

        def on_moves(more: int) -> None:
            bars.advance(playing, more)

        yield on_step, on_moves
