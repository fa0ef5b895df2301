"""The model that plays or reads, and what is kept of its activations."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt, model_validator

from jobs.inference.parallel import Parallel
from jobs.sections.base import Section, distinct


class ParallelSection(Section):
    """How ``--engine deepspeed`` spreads the model over processes. It changes speed and rounding, nothing else."""

    ranks: int | None = Field(None, ge=1)
    """Processes, one a GPU; all GPUs if left out, one process where there are none."""
    layout: Literal["auto", "single", "zero3", "tensor", "hf_tensor"] = "auto"
    """``single``: one process; ``zero3``: each rank its own prompts; ``tensor``: DeepSpeed's AutoTP; ``hf_tensor``:
    Hugging Face's. Auto: from the model's size, the GPUs and the job; said when the model is loaded."""
    offload: Literal["auto", "none", "cpu", "nvme"] = "auto"
    """Where ZeRO-3 keeps weights that aren't needed at the moment."""
    nvme: str | None = None
    """A folder on a fast local disk, for weights that fit neither GPUs nor main memory."""
    launcher: Literal["deepspeed", "torchrun"] = "deepspeed"
    """What starts the processes."""
    timeout: float = Field(30.0, gt=0)
    """Minutes after which ranks that give no answer are given up."""

    def settings(self) -> Parallel:
        """As the engine takes it."""
        return Parallel(**self.model_dump())


class ModelSection(Section):
    """The language model that plays or reads."""

    name: str = "reference"
    """``reference`` (shipped), a folder, or a Hugging Face hub id."""
    revision: str = Field("main", min_length=1)
    """Of a hub model: a branch, a tag, or, so that the study stays what it is, a commit hash."""
    engine: Literal["hf", "deepspeed"] = "hf"
    """``hf``: in this process, on one device; ``deepspeed``: on several GPUs of a node."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the forward pass."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:1``."""
    batch_size: int = Field(100, ge=1)
    """Rollouts played side by side, and the most whole texts read at once."""
    parallel: ParallelSection = Field(default_factory=ParallelSection)
    """How the engine deepspeed spreads the model over processes."""


class CaptureSection(Section):
    """What is kept of the residual stream at the decision tokens."""

    blocks: Literal["all"] | tuple[NonNegativeInt, ...] = "all"
    """Blocks as indices into hidden states (0 = embedding, i = output of the i-th decoder block); all: 1 to last."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the shards; they are centred first and the mean is kept in float32."""

    @model_validator(mode="after")
    def _some_once(self) -> CaptureSection:
        if self.blocks == ():
            raise ValueError("blocks is empty: name some, or all")
        if self.blocks != "all":
            distinct(self.blocks)
        return self
