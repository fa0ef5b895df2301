"""The model that learns: which of its weights do, and how it chooses directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from envs.maze_prompts import turn_text
from jobs.inference.base import TokenBatch
from jobs.inference.huggingface import Cache, HuggingFaceEngine
from jobs.inference.models import find_device
from jobs.inference.weights import trained_model, unloadable
from jobs.maze_training.config import TrainingConfig
from jobs.maze_training.dialogue import Dialogue
from tdlens.errors import UserError

ADAPTER = "default"
"""What peft calls an adapter without a name."""


@dataclass(frozen=True)
class Policy:
    """A model that chooses directions by the logits of their letters.

    It stays in evaluation mode when it learns, so that dropout doesn't make it another policy than the one that plays.
    """

    engine: HuggingFaceEngine
    dialogue: Dialogue
    bf16: bool = False

    @property
    def model(self) -> Any:
        """The Hugging Face model."""
        return self.engine.model

    @property
    def learned(self) -> dict[str, nn.Parameter]:
        """The weights that learn, by name; tied ones once."""
        return {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}

    def autocast(self) -> torch.autocast:
        """What the model computes in, in playing and in learning."""
        return torch.autocast(self.engine.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    def next_logits(self, chunks: Sequence[Sequence[int]], cache: Cache) -> Tensor:
        """Logits of the letters behind each conversation, which a chunk of tokens continues [n, 4]; no gradient."""
        # padded on the right every slot has a token to attend to, so no row of the attention is empty
        tokens = TokenBatch.from_rows(chunks, self.dialogue.pad_id, side="right")
        last = torch.tensor([[len(chunk) - 1] for chunk in chunks])
        letters = torch.tensor(self.dialogue.letters).expand(len(chunks), -1)
        with self.autocast():
            logits = self.engine.forward(tokens, positions=last, cache=cache, choices=letters).logits
        assert logits is not None
        return logits[:, 0].float()

    def logits(self, rows: Sequence[Sequence[int]], positions: Sequence[Sequence[int]]) -> Tensor:
        """Logits of all tokens behind some positions of whole conversations, with gradients [n, turns, vocabulary].

        Args:
            rows: tokens of the conversations.
            positions: of each as many, indices into its tokens.
        """
        device = self.engine.device
        # padded on the right no token sees any padding, and without a mask attention leaves out what is in the future
        ids = TokenBatch.from_rows(rows, self.dialogue.pad_id, side="right").ids.to(device)
        where = torch.tensor(positions, device=device)
        each = torch.arange(len(rows), device=device)[:, None]
        with self.engine.head_at(each, where), self.autocast():
            logits: Tensor = self.model(input_ids=ids, use_cache=False).logits
        return logits.float()

    def letter_logits(self, rows: Sequence[Sequence[int]], positions: Sequence[Sequence[int]]) -> Tensor:
        """Those of the letters alone [n, turns, 4]."""
        return self.logits(rows, positions)[..., list(self.dialogue.letters)]

    def save(self, folder: Path, tokenizer: Any) -> None:
        """Write the model, adapters added to its weights, and its tokenizer; the policy itself doesn't change."""
        self.model.save_pretrained(folder, state_dict=_whole_weights(self.model))
        tokenizer.save_pretrained(folder)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in a model's folder.

    Raises:
        UserError: there is none that ``transformers`` can load.
    """
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise unloadable(folder, error) from error


def load_policy(folder: Path, tokenizer: Any, config: TrainingConfig, device: str = "auto") -> Policy:
    """A model, ready to learn: all of its weights, or fresh adapters drawn with the configured seed.

    Raises:
        UserError: the model can't be loaded, doesn't fit the tokenizer or the maze, or has no place for adapters.
    """
    disable_progress_bar()
    dialogue = Dialogue(tokenizer, config.maze, config.layout)
    place = find_device(device)
    model = trained_model(folder, torch.float32)
    embedded = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > embedded:
        raise UserError(
            f"The tokenizer in {folder} has {len(tokenizer)} tokens, more than the model's {embedded}.",
            "Put the model's own tokenizer beside its weights.",
        )
    _refuse_short_context(model, dialogue, config)
    if config.lora_rank:
        _adapt(model, config)
    engine = HuggingFaceEngine(model.to(place), tokenizer, fingerprint="")
    return Policy(engine, dialogue, config.bf16)


def _refuse_short_context(model: Any, dialogue: Dialogue, config: TrainingConfig) -> None:
    far = config.maze.size - 2
    text = turn_text(config.maze.glyphs, far, far, [0, 1, 2, 0])
    row, _ = dialogue.whole([text] * config.maze.turns, [0] * config.maze.turns)
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if limit is not None and len(row) > limit:
        raise UserError(
            f"{config.maze.turns} turns are {len(row)} tokens and more, and the model's context is {limit}.",
            "Play fewer turns (--turns), or take a model with a longer context.",
        )


def _adapt(model: Any, config: TrainingConfig) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    adapters = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=0.0,
        bias="none",
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    # peft initialises from the global generator: lend it one, and put everything back
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        try:
            inject_adapter_in_model(adapters, model, adapter_name=ADAPTER)
        except ValueError as error:
            raise UserError(
                f"Adapters don't fit {type(model).__name__}: {error}",
                "Train all weights: leave --lora-rank out.",
            ) from error


def _whole_weights(model: Any) -> dict[str, Tensor]:
    """The weights that the model would have without adapters and with what they learned, by its own names."""
    learned = {
        f"{name}.weight": module.get_delta_weight(ADAPTER)
        for name, module in model.named_modules()
        if hasattr(module, "get_delta_weight")
    }
    weights = {}
    for name, weight in model.state_dict().items():
        if ".lora_" not in name:
            plain = name.replace(".base_layer.", ".")
            weights[plain] = weight + learned[plain] if plain in learned else weight
    return weights
