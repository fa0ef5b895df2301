"""Does the circuits model do its tasks, with names and parameters that it never met in their sentences?

How well is measured as a study measures it: the logit of the right answer less that of the wrong one at the end of a
prompt, in nats. A habit, such as to repeat the last name or the first, can't pass: people come in both orders, and the
worse one counts. In a corrupted prompt only habits are left; the difference there says how strong they are.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean as mean
from typing import NamedTuple, Self

import torch
from torch import Tensor

from envs.circuit_tasks import (
    CIRCUIT_TASKS,
    Prompts,
    UnsuitableTokenizer,
    Words,
    control_rows,
    docstring,
    ioi,
)
from envs.circuit_tasks.control_text import control_text
from jobs.circuit_model.corpus import HELD_OUT_NAMES, HELD_OUT_PARAMETERS
from jobs.circuit_model.vocabulary import FIRST_WORD
from jobs.circuits.patterns import attention_patterns
from jobs.inference.base import Engine, TokenBatch
from jobs.inference.models import load_engine
from jobs.reference.evaluate import Evaluation
from jobs.reference.gates.measure import Measure, at_least
from tdlens.errors import UserError

GATES = {
    "induction: attention of the best head to what came next": 0.5,
    "induction: logit difference": 3.0,
    "ioi: logit difference, held-out names, worse order": 2.0,
    "docstring: logit difference, held-out parameters": 2.0,
    "greater-than: log-odds": 2.0,
}
"""What must be reached at least."""
BLOCK = 25
"""Random words that come twice in a row of the induction score."""
CONTROL_LENGTH, CONTROL_SENTENCES = 60, 4000
AT_ONCE = 64


class Questions(NamedTuple):
    """Prompts that end where a token is asked for, as ids; the right answers of each, and the wrong ones."""

    rows: Sequence[Sequence[int]]
    right: Sequence[Sequence[int]]
    wrong: Sequence[Sequence[int]]

    @classmethod
    def of(cls, prompts: Prompts) -> Self:
        """A task's prompts."""
        return cls(prompts.rows, prompts.right, prompts.wrong)

    @classmethod
    def corrupted(cls, prompts: Prompts) -> Self:
        """Its corrupted ones, with the answers of those that they were made of."""
        return cls(prompts.corrupted, prompts.right, prompts.wrong)


def evaluate(
    model: str, *, seed: int = 0, n: int = 200, device: str = "auto", note: Callable[[str], None] = lambda line: None
) -> Evaluation:
    """Measure the gates and what they are to be compared with, an untrained model of the same architecture too.

    Args:
        model: ``circuits``, a folder or a hub id.
        seed: draws prompts, control text and the untrained model's weights.
        n: prompts of each task.
        device: where the model runs.
        note: told which model is being measured.

    Raises:
        UserError: the model can't be loaded, or its tokenizer splits what a task asks about.
    """
    values = {}
    for name, untrained_seed in (("trained", None), ("untrained", seed)):
        note(name)
        engine = load_engine(model, device=device, untrained_seed=untrained_seed)
        try:
            values[name] = measure(engine, seed=seed, n=n)
        except UnsuitableTokenizer as error:
            raise UserError(
                f"The tasks can't be put to {model}: {error}.",
                "Give a model of tdlens train-circuit-model, or circuits.",
            ) from error
    measures = [
        at_least(name, value, GATES[name]) if name in GATES else Measure(name, value)
        for name, value in values["trained"].items()
    ]
    untrained = (Measure(f"{name}, untrained", value) for name, value in values["untrained"].items() if name in GATES)
    return Evaluation((*measures, *untrained))


def measure(engine: Engine, *, seed: int, n: int) -> dict[str, float]:
    """Every measure of one model, by name.

    Raises:
        UnsuitableTokenizer: the tokenizer splits what a task asks about, or lacks it.
    """
    words, rng = Words(engine.tokenizer), random.Random(seed)
    made = {name: task.make(engine.tokenizer, n, seed) for name, task in CIRCUIT_TASKS.items()}
    known = {name: answers(engine, Questions.of(prompts)) for name, prompts in made.items()}
    habit = {name: answers(engine, Questions.corrupted(prompts)).mean for name, prompts in made.items()}
    orders = [answers(engine, people(words, n, rng, subject_first=first)) for first in (True, False)]
    described = answers(engine, parameters(words, n, rng))
    text = words.text(control_text(CONTROL_SENTENCES, seed))
    return {
        "induction: attention of the best head to what came next": best_induction_score(engine, n, seed),
        "induction: logit difference": known["induction"].mean,
        "induction: share of the right sign": known["induction"].right,
        "induction: share where the answer is the likeliest token": known["induction"].likeliest,
        "induction: logit difference, corrupted": habit["induction"],
        "ioi: logit difference, held-out names, worse order": min(order.mean for order in orders),
        "ioi: share of the right sign, held-out names, subject first": orders[0].right,
        "ioi: share of the right sign, held-out names, subject second": orders[1].right,
        "ioi: share where the answer is the likeliest token, held-out names": mean(one.likeliest for one in orders),
        "ioi: logit difference": known["ioi"].mean,
        "ioi: logit difference, corrupted": habit["ioi"],
        "docstring: logit difference, held-out parameters": described.mean,
        "docstring: share of the right sign, held-out parameters": described.right,
        "docstring: share where the answer is the likeliest token, held-out parameters": described.likeliest,
        "docstring: logit difference": known["docstring"].mean,
        "docstring: logit difference, corrupted": habit["docstring"],
        "greater-than: log-odds": known["greater_than"].mean,
        "greater-than: share of the right sign": known["greater_than"].right,
        "greater-than: log-odds, corrupted": habit["greater_than"],
        "control text: nats a token": surprise(engine, control_rows(text, words.bos, n, CONTROL_LENGTH, seed)),
    }


class Answers(NamedTuple):
    """What a model answers to some prompts."""

    mean: float
    """By how much the right answers' logits exceed the wrong ones', in nats, the mean over prompts."""
    right: float
    """Share of prompts in which they do exceed them."""
    likeliest: float
    """Share of prompts in which of all tokens a right answer has the highest logit."""


def answers(engine: Engine, questions: Questions) -> Answers:
    """What the model answers at the end of each prompt."""
    differences, likeliest = [], []
    for batch, logits in _forward(engine, questions.rows, last=True):
        for index, scores in zip(batch, logits[:, 0], strict=True):
            right, wrong = (scores[list(ids[index])].logsumexp(0) for ids in (questions.right, questions.wrong))
            differences.append(float(right - wrong))
            likeliest.append(int(scores.argmax()) in questions.right[index])
    return Answers(mean(differences), mean(one > 0 for one in differences), mean(likeliest))


def surprise(engine: Engine, rows: Sequence[Sequence[int]]) -> float:
    """Mean cross-entropy of the tokens after the first, in nats; all rows are equally long."""
    total = 0.0
    for batch, logits in _forward(engine, rows, last=False):
        ids = torch.tensor([rows[index] for index in batch])
        total += float(-logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).sum())
    return total / (len(rows) * (len(rows[0]) - 1))


def best_induction_score(engine: Engine, n: int, seed: int) -> float:
    """The largest of all heads' mean attention, in the second copy of a random block, to what came next in the first.

    As of Olsson et al. (2022, arXiv 2209.11895): from position i to i - N + 1, a block having N tokens.
    """
    block = torch.randint(FIRST_WORD, len(engine.tokenizer), (n, BLOCK), generator=torch.Generator().manual_seed(seed))
    bos = torch.full((n, 1), Words(engine.tokenizer).bos)
    rows = torch.cat([bos, block, block], dim=1)
    at = torch.arange(BLOCK + 1, 2 * BLOCK + 1)
    patterns = attention_patterns(engine, TokenBatch(rows, torch.ones_like(rows, dtype=torch.bool)))
    return float(patterns[..., at, at - BLOCK + 1].double().mean(dim=(0, 3)).max())


def _forward(engine: Engine, rows: Sequence[Sequence[int]], *, last: bool) -> Iterator[tuple[range, Tensor]]:
    """Indices of some rows and their logits, float64: at each row's last token, or everywhere."""
    for start in range(0, len(rows), AT_ONCE):
        batch = range(start, min(start + AT_ONCE, len(rows)))
        tokens = TokenBatch.from_rows([rows[index] for index in batch], pad_id=0, side="right")
        length = tokens.ids.shape[1]
        positions = tokens.mask.sum(1, keepdim=True) - 1 if last else torch.arange(length).expand(len(batch), length)
        logits = engine.forward(tokens, positions=positions).logits
        assert logits is not None
        yield batch, logits.double().cpu()


def people(words: Words, n: int, rng: random.Random, *, subject_first: bool) -> Questions:
    """Indirect-object sentences about two people whom training never showed in one.

    Args:
        words: the model's tokenizer.
        n: how many.
        rng: draws them.
        subject_first: who gives was named before who is given to, or after.
    """
    drawn = []
    for _ in range(n):
        first, second = rng.sample(HELD_OUT_NAMES, 2)
        place, object_, template = rng.choice(ioi.PLACES), rng.choice(ioi.OBJECTS), rng.choice(ioi.TEMPLATES)
        drawn.append(ioi.Sentence(template, first, second, first if subject_first else second, place, object_))
    right = [[word] for word in words.words([f" {sentence.indirect_object}" for sentence in drawn])]
    wrong = [[word] for word in words.words([f" {sentence.subject}" for sentence in drawn])]
    return Questions(words.read([sentence.text for sentence in drawn]).rows, right, wrong)


def parameters(words: Words, n: int, rng: random.Random) -> Questions:
    """Functions all of whose parameters training never showed in one; wrong is one of those described already."""
    drawn = []
    for _ in range(n):
        names = tuple(rng.sample(HELD_OUT_PARAMETERS, docstring.DESCRIBED + 1))
        described = names[: docstring.DESCRIBED]
        texts = tuple(rng.choice(docstring.DESCRIPTIONS) for _ in described)
        drawn.append(docstring.Function(names, rng.choice(described), texts, described))
    right = [[word] for word in words.words([f" {function.parameters[-1]}" for function in drawn])]
    wrong = [[word] for word in words.words([f" {function.wrong}" for function in drawn])]
    return Questions(words.read([function.text for function in drawn]).rows, right, wrong)
