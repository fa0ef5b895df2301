"""Edits as data: what a rank needs to make the same change as the process that asks for it.

An edit that is not one of these is refused rather than guessed at: code that draws random numbers, say, would do
something else on each rank, and the residual stream would fall apart between them without an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from jobs.inference.base import Edit, HeadEdit
from jobs.inference.edits import DirectionEdit, LatentEdit, SteerEdit, WithinEdit
from sae.autoencoder import Autoencoder
from sae.checkpoint import from_bytes, to_bytes
from tdlens.errors import UserError

Packed = tuple[dict[str, Any], dict[str, Tensor]]


def pack(edit: Edit) -> Packed:
    """An edit as JSON values and tensors.

    Raises:
        UserError: an edit that can't be sent.
    """
    match edit:
        case HeadEdit() if edit.rows is not None or (edit.values is not None and edit.values.ndim > 2):
            raise UserError(
                "An edit of heads that differs between rows or positions can't be sent to the ranks of a model.",
                "Give each head one value, as zero ablation does; or --engine hf.",
            )
        case HeadEdit():
            values = {} if edit.values is None else {"values": edit.values}
            return {"kind": "heads", "block": edit.block, "heads": list(edit.heads)}, values
        case SteerEdit():
            return {"kind": "steer", "block": edit.block}, {"vector": edit.vector}
        case DirectionEdit():
            about, tensors = pack(edit.like)
            return {"kind": "direction", "seed": edit.seed, "like": about}, tensors
        case WithinEdit():
            about, tensors = pack(edit.edit)
            decisions = {"first": edit.decisions.start, "end": edit.decisions.stop}
            return {"kind": "within", **decisions, "edit": about}, tensors
        case LatentEdit() if isinstance(edit.sae, Autoencoder):
            about = {
                "kind": "latents",
                "block": edit.block,
                "latents": edit.latents,
                "operation": edit.operation,
                "value": edit.value,
                "means": edit.means,
            }
            return about, {"sae": torch.frombuffer(bytearray(to_bytes(edit.sae)), dtype=torch.uint8)}
    raise UserError(
        f"An edit of the kind {type(edit).__name__} can't be sent to the ranks of a model.",
        "Use a LatentEdit of one of sae's autoencoders, a DirectionEdit, SteerEdit or HeadEdit; or --engine hf.",
    )


def unpack(about: Mapping[str, Any], tensors: Mapping[str, Tensor], device: torch.device) -> Edit:
    """The edit that was packed, on a rank's device."""
    match about["kind"]:
        case "heads":
            return HeadEdit(about["block"], tuple(about["heads"]), tensors.get("values"))
        case "steer":
            return SteerEdit(about["block"], tensors["vector"].to(device))
        case "direction":
            like = unpack(about["like"], tensors, device)
            assert isinstance(like, LatentEdit)
            return DirectionEdit(like, about["seed"])
        case "within":
            within = unpack(about["edit"], tensors, device)
            assert not isinstance(within, HeadEdit)
            return WithinEdit(within, range(about["first"], about["end"]))
        case "latents":
            return LatentEdit(
                about["block"],
                from_bytes(tensors["sae"].numpy().tobytes()).to(device),
                about["latents"],
                about["operation"],
                value=about["value"],
                means=about["means"],
            )
    raise ValueError(f"no such edit: {about['kind']!r}")
