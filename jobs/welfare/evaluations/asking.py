"""What all evaluations share: items asked under every dose, with the same luck under each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import torch

from jobs.welfare.chat import Conversation, user
from jobs.welfare.data import Item
from jobs.welfare.doses import Dose
from jobs.welfare.judges.judge import NONSENSICAL, Judge, Verdict
from jobs.welfare.probe import ValenceProbe
from jobs.welfare.speaker import Speaker, Steering


@dataclass(frozen=True)
class Asking:
    """How it is asked."""

    speaker: Speaker
    """Of the model that is steered."""
    block: int
    """Where the vectors are added."""
    doses: Sequence[Dose]
    judge: Judge
    samples: int
    """Replies to each item under each dose."""
    max_tokens: int
    temperature: float
    top_p: float
    seed: int
    """Of the replies' luck."""
    probe: ValenceProbe | None = None
    """For sentiment."""

    def steering(self, of_row: Sequence[int]) -> Steering:
        """What is added in each row, by the index of its dose."""
        return Steering(self.block, torch.stack([self.doses[dose].vector for dose in of_row]))


@dataclass(frozen=True)
class Scored:
    """One reply, or one answer, under one dose."""

    dose: int
    """Index among the doses."""
    item: int
    sample: int
    label: str
    values: dict[str, float | None]
    """By measure; None where there is none, as of incoherent replies."""
    prompt: str
    text: str
    parts: tuple[str, ...] = ()
    """Groups to which the item belongs beside all of them."""

    @property
    def incoherent(self) -> bool:
        """Whether it was left out as such."""
        return self.label == NONSENSICAL


Judging = Callable[[Sequence[str], Sequence[str]], list[Verdict]]


def judged_replies(
    asking: Asking,
    items: Sequence[Item],
    measure: str,
    judging: Judging,
    more: Callable[[Sequence[str]], dict[str, Sequence[float | None]]] = lambda texts: {},
) -> list[Scored]:
    """Sampled replies to every item under every dose, as a judge scores them.

    Args:
        asking: how.
        items: what the user says.
        measure: what the judge's score is called.
        judging: of prompts and replies.
        more: further measures of replies; they are left out where the judge's score is.
    """
    read = [asking.speaker.chat.encode([user(item.prompt)]) for item in items]
    rows = list(product(range(len(asking.doses)), range(len(items)), range(asking.samples)))
    conversations: list[Conversation] = [read[item] for _, item, _ in rows]
    texts = asking.speaker.generate(
        conversations,
        max_tokens=asking.max_tokens,
        luck=[(asking.seed, item, sample) for _, item, sample in rows],
        temperature=asking.temperature,
        top_p=asking.top_p,
        steering=asking.steering([dose for dose, _, _ in rows]),
    )
    prompts = [items[item].prompt for _, item, _ in rows]
    verdicts = judging(prompts, texts)
    further = more(texts)
    scored = []
    for index, ((dose, item, sample), verdict) in enumerate(zip(rows, verdicts, strict=True)):
        others = {name: values[index] if verdict.score is not None else None for name, values in further.items()}
        scored.append(
            Scored(
                dose,
                item,
                sample,
                verdict.label,
                {measure: verdict.score, **others},
                prompts[index],
                texts[index],
                (items[item].kind,),
            )
        )
    return scored
