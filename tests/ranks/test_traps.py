"""Where a library would be silently wrong, or wait for ever, we say so. The ranks' own traps: test_same_numbers."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from jobs.inference.base import TokenBatch
from jobs.inference.edits import LatentEdit
from jobs.inference.models import load_engine
from jobs.inference.parallel import Parallel
from jobs.inference.ranks.join import Rank, prepare
from jobs.inference.ranks.loading import _refuse_other_dtypes, _refuse_wrong_rotations
from jobs.inference.ranks.model import ModelProgram
from jobs.inference.ranks.nvme import refuse_locked_build
from jobs.inference.ranks.packing import pack
from jobs.inference.scratch import Scratch
from tdlens.errors import UserError
from tests.inference.test_offload import Accelerator
from tests.inference.tiny import Sparse
from tests.ranks.models import Saved, saved_model


def test_torchruns_environment_is_completed_for_deepspeed() -> None:
    environment = {"LOCAL_WORLD_SIZE": "4"}
    prepare(environment)
    assert environment["LOCAL_SIZE"] == "4"
    environment = {"LOCAL_SIZE": "2"}
    prepare(environment)
    assert environment["LOCAL_WORLD_SIZE"] == "2"


def test_rotary_frequencies_that_are_not_the_configurations_are_refused(tmp_path: Path) -> None:
    model = saved_model("llama3", tmp_path).plain.model
    _refuse_wrong_rotations(model)
    model.model.rotary_emb.inv_freq[3] *= 1.0001
    with pytest.raises(RuntimeError, match="inv_freq in LlamaRotaryEmbedding holds other rotary frequencies"):
        _refuse_wrong_rotations(model)


def test_weights_of_another_dtype_are_refused(tmp_path: Path) -> None:
    model = saved_model("gpt2", tmp_path).plain.model
    _refuse_other_dtypes(model, torch.float32)
    model.transformer.h[1].mlp.c_fc.half()
    with pytest.raises(RuntimeError, match=r"transformer\.h\.1\.mlp\.c_fc\.weight was loaded as torch\.float16"):
        _refuse_other_dtypes(model, torch.float32)


class Dropout:
    """Draws its own random numbers, which would be others on each rank."""

    block = 1

    def __call__(self, x: Tensor) -> Tensor:
        return x * (torch.rand_like(x) > 0.5)


@pytest.mark.parametrize("edit", [Dropout(), LatentEdit(1, Sparse(32, 8), [1], "zero")], ids=["random", "unknown SAE"])
def test_an_edit_that_is_not_data_is_refused(edit: Dropout | LatentEdit) -> None:
    with pytest.raises(UserError, match=f"{type(edit).__name__} can't be sent"):
        pack(edit)


@pytest.mark.parametrize("place", ["async_io", "py311_cu130/async_io"])
def test_a_lock_that_a_killed_build_left_is_named_instead_of_waited_for(
    saved: Callable[[str], Saved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    refuse_locked_build()
    lock = tmp_path / place / "lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    nvme = Parallel(layout="zero3", offload="nvme", nvme=str(tmp_path))
    with pytest.raises(UserError, match=f"left its lock: {lock}"):
        load_engine(str(saved("llama3").folder), engine="deepspeed", parallel=nvme)


def test_what_cannot_be_split_is_refused_before_any_rank_starts(saved: Callable[[str], Saved]) -> None:
    for architecture, layout, message in (
        ("gpt2", "tensor", "doesn't split GPT2LMHeadModel"),
        ("gpt2", "hf_tensor", "no tensor parallel plan for GPT2LMHeadModel"),
    ):
        with pytest.raises(UserError, match=message):
            load_engine(
                str(saved(architecture).folder),
                engine="deepspeed",
                parallel=Parallel(ranks=2, layout=layout),  # type: ignore[arg-type]
            )
    with pytest.raises(UserError, match=r"names one GPU|has 0 GPUs"):
        load_engine(str(saved("gpt2").folder), engine="deepspeed", device="cuda:0")


def test_the_layout_is_said_and_chosen_by_job(saved: Callable[[str], Saved]) -> None:
    said: list[str] = []
    folder, two = str(saved("llama3").folder), Parallel(ranks=2)
    kinds = [
        load_engine(folder, engine="deepspeed", parallel=two, job=job, note=said.append).place  # type: ignore[arg-type]
        for job in ("play", "read")
    ]
    assert kinds == ["2 x cpu, deepspeed tensor", "2 x cpu, deepspeed zero3"]
    assert "tensor parallel" in said[0] and "ZeRO-3" in said[1]
    assert all(line.endswith("(change it: --set model.parallel.layout=…).") for line in said)


def test_what_is_still_on_its_way_to_the_host_is_waited_for(saved: Callable[[str], Saved]) -> None:
    llama = saved("llama3")
    about = {"layout": "single", "folder": str(llama.folder), "dtype": "float32", "offload": {}, "block": 1}
    program = ModelProgram(Rank(0, 1, torch.device("cpu")), about, {}, lambda said: None)
    program._offload = Accelerator().offload(slots=2, capacity=1 << 16)
    message = {"capture": [1, 3], "edits": [], "new_edits": {}, "cache": None, "logits": False}
    tokens = {"ids": torch.tensor([[5, 6, 7]]), "mask": torch.ones(1, 3, dtype=torch.bool)}
    positions = torch.tensor([[0, 2]])
    _, found = program.answer(message | {"forget_caches": [], "forget_edits": []}, tokens | {"positions": positions})
    wanted = llama.plain.forward(TokenBatch(**tokens), positions=positions, capture=[1, 3])
    assert all(torch.equal(found[f"block {block}"], wanted.activations[block]) for block in (1, 3))


def test_sixteen_bits_hold_weights_and_not_the_rotary_frequencies(saved: Callable[[str], Saved]) -> None:
    folder = str(saved("llama3").folder)
    tokens = TokenBatch.from_rows([torch.arange(1500).remainder(400).tolist()], 0)
    for options in ({}, {"untrained_seed": 0}):
        exact, half = (load_engine(folder, dtype=dtype, **options) for dtype in ("float32", "bfloat16"))  # type: ignore[arg-type]
        x, y = (e.forward(tokens, positions=torch.tensor([[1499]]), capture=[4]).activations[4] for e in (exact, half))
        assert y.dtype == torch.bfloat16
        assert float((x - y.float()).norm() / x.norm()) < 0.1


def test_made_weights_of_a_dead_process_are_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os; from jobs.inference.scratch import Scratch\n"
            "print(Scratch('untrained').folder, flush=True); os._exit(9)",
        ],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    assert Path(left).is_dir()
    mine = Scratch("untrained")
    assert not Path(left).exists()
    other = Scratch("untrained")
    assert mine.folder.is_dir() and other.folder.is_dir()
    mine.remove()
    other.remove()
    assert not mine.folder.exists()
