"""A rank that fails ends its group, with one message that says which and why."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from jobs.inference.base import TokenBatch
from jobs.inference.models import load_engine
from jobs.inference.parallel import Parallel
from jobs.inference.ranks.group import Failure, GroupSettings, RankGroup, RanksFailed, command
from jobs.inference.ranks.rank import describe
from jobs.inference.ranks.wire import Payload
from tdlens.errors import UserError
from tests.ranks.models import Saved

X = torch.arange(6.0).reshape(2, 3)


def started(timeout: float = 60) -> RankGroup:
    settings = GroupSettings(2, "cpu", "torchrun", timeout)
    return RankGroup("tests.ranks.faulty:Faulty", {}, settings, deepspeed=False)


def ask(group: RankGroup, what: str) -> list[float]:
    replies = group.ask([{"do": what}] * 2, [Payload.of({"x": X})] * 2)
    assert [message["rank"] for message, _ in replies] == [0, 1]
    return [float(tensors["twice"].sum()) for _, tensors in replies]


def test_a_rank_that_is_killed() -> None:
    group = started()
    assert ask(group, "nothing") == [30.0, 30.0]
    with pytest.raises(RanksFailed, match=r"Rank 1 of 2 died of signal 9 \(SIGKILL\); out of host memory\?"):
        ask(group, "die")
    assert not group.alive
    assert_gone(group.pids)


def test_a_rank_that_runs_out_of_memory_while_others_wait_for_it() -> None:
    group = started()
    with pytest.raises(RanksFailed, match=r"Rank 1 of 2 ran out of memory: OutOfMemoryError: CUDA out of memory. Tri"):
        ask(group, "memory")
    assert_gone(group.pids)


def test_a_collective_that_hangs_is_an_error_when_its_time_is_up() -> None:
    group = started(timeout=12)
    with pytest.raises(RanksFailed, match=r"waited in vain|gave no answer for 12 s"):
        ask(group, "hang")  # for an hour
    assert_gone(group.pids)


def test_ranks_end_with_the_process_that_asked_for_them() -> None:
    group = started()
    for connection in group._connections:  # as the kernel does when a process is killed
        connection.close()
    assert_gone(group.pids)
    group.close()


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (UserError("That can't be.", "Do something else."), UserError, "That can't be."),
        (ZeroDivisionError("division by zero"), RanksFailed, "Rank 1 of 2 failed: ZeroDivisionError: division by"),
        (RuntimeError("[1] Timed out waiting 25000ms"), RanksFailed, "Rank 1 of 2 waited in vain for the others"),
        (RuntimeError("CUDA error: out of memory\nmore"), RanksFailed, "Rank 1 of 2 ran out of memory: RuntimeError"),
        (MemoryError(), RanksFailed, "Rank 1 of 2 ran out of memory: MemoryError"),
    ],
)
def test_what_is_said_of_an_error(error: Exception, kind: type[UserError], message: str) -> None:
    explained = Failure(1, **describe(error)).explained(GroupSettings(2, "cpu"), Path("/there/ranks.log"))
    assert type(explained) is kind and explained.message.startswith(message)
    assert explained.remedy


def test_damaged_weights_are_one_message(saved: Callable[[str], Saved], tmp_path: Path) -> None:
    for path in saved("llama3").folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.layers.2.self_attn.o_proj.weight"]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    one = Parallel(ranks=1, launcher="torchrun")
    engine = load_engine(str(tmp_path), engine="deepspeed", parallel=one)
    tokens = TokenBatch.from_rows([[1, 2]], 0)
    with pytest.raises(UserError, match=r"the weights lack 1 parameters, model\.layers\.2\.self_attn\.o_proj"):
        engine.forward(tokens, positions=torch.tensor([[1]]))
    (tmp_path / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0 no header ")
    with pytest.raises(UserError, match="can't be loaded"):
        load_engine(str(tmp_path), engine="deepspeed", parallel=one).forward(tokens, positions=torch.tensor([[1]]))


@pytest.mark.parametrize(
    ("launcher", "visible", "left", "told"),
    [
        ("deepspeed", None, None, ["deepspeed.launcher.runner", "--num_gpus"]),
        ("deepspeed", "4,5,6,7", "4,5", ["deepspeed.launcher.runner"]),
        ("deepspeed", "GPU-3f,GPU-4a,GPU-5b", "GPU-3f,GPU-4a", ["torch.distributed.run", "--nproc-per-node=2"]),
        ("torchrun", "4,5,6,7", "4,5", ["torch.distributed.run", "--nproc-per-node=2"]),
    ],
)
def test_launchers_take_the_gpus_that_are_visible(
    launcher: str, visible: str | None, left: str | None, told: list[str]
) -> None:
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    argv = command(GroupSettings(2, "cuda", launcher), Path("/there"), environment)  # type: ignore[arg-type]
    assert environment.get("CUDA_VISIBLE_DEVICES") == left
    assert all(word in argv for word in told)
    assert ("--num_gpus" in argv) == ("--num_gpus" in told)


def assert_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 60
    for pid in pids:
        while time.monotonic() < deadline:
            with suppress(ProcessLookupError, psutil.NoSuchProcess):
                os.kill(pid, 0)
                if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                    time.sleep(0.1)
                    continue
            break
        else:
            pytest.fail(f"process {pid} is still there")
