"""Write attention heads into the weights of a GPT-2 by hand.

The residual stream is cut into named parts, and heads read some and write others. Two things make the layer norms
leave it as it is: every number is stored twice, with opposite signs, so that the mean is zero; and one part is a
constant so large that what heads write changes the norm by less than a thousandth. The MLPs are zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from jobs.inference.fingerprint import hash_weights
from jobs.inference.huggingface import HuggingFaceEngine
from jobs.position_codes import position_codes

D_HEAD, N_HEADS = 36, 8
HALF = D_HEAD * N_HEADS // 2
CODE, WAVES = 32, 8
"""Numbers of a token's code, and waves of a position's, two numbers each."""
NAMED = {"token": CODE, "place": 2 * WAVES, "bos": 1, "word": 1, "constant": 1} | {
    "previous": CODE,
    "answer": CODE,
    "answered": 1,
}
"""Widths of what the embeddings write (a token's code, its position's, whether it is BOS or a word, a constant) and of
what heads write for others."""
WIDTHS = {**NAMED, "rest": HALF - sum(NAMED.values())}
"""The rest is read by nobody."""
CONSTANT = 200.0
CONTEXT = 128
LOGIT = 12.0
"""Logit of a token when its code is the answer."""


@dataclass(frozen=True, eq=False)
class Head:
    """The four maps of a head, each number of the stream counted once."""

    query: Tensor
    """[HALF, D_HEAD]; scores aren't divided by anything."""
    key: Tensor
    """[HALF, D_HEAD]."""
    value: Tensor
    """[HALF, D_HEAD]."""
    output: Tensor
    """[D_HEAD, HALF]."""


Term = tuple[str, int, Tensor | float]
"""A part of the stream, the first of the head's numbers that it meets, and how: [width, k], or so many times itself."""


def reading(*terms: Term) -> Tensor:
    """A map from parts of the stream to numbers of a head [HALF, D_HEAD]; without terms zero."""
    found = torch.zeros(HALF, D_HEAD)
    for part, first, how in terms:
        place = _place(part)
        matrix = how if isinstance(how, Tensor) else how * torch.eye(WIDTHS[part])
        found[place, first : first + matrix.shape[1]] += matrix
    return found


def writing(*terms: Term) -> Tensor:
    """A map from numbers of a head to parts of the stream [D_HEAD, HALF]; matrices are [k, width]."""
    return reading(*((part, first, how.T if isinstance(how, Tensor) else how) for part, first, how in terms)).T


def _place(part: str) -> slice:
    names = list(WIDTHS)
    start = sum(WIDTHS[name] for name in names[: names.index(part)])
    return slice(start, start + WIDTHS[part])


def codes(n: int, bos: int, generator: torch.Generator) -> Tensor:
    """Codes of the tokens, random directions of length 1 [n, CODE]; BOS has none."""
    found = torch.nn.functional.normalize(torch.randn(n, CODE, generator=generator), dim=1)
    found[bos] = 0
    return found


def written(layers: Sequence[Sequence[Head]], tokenizer: PreTrainedTokenizerFast, code: Tensor) -> HuggingFaceEngine:
    """A GPT-2 with these heads, ``N_HEADS`` in each layer, that predicts what ``answer`` holds the code of.

    Args:
        layers: the heads.
        tokenizer: has a BOS token.
        code: of each of its tokens [n, CODE].
    """
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=CONTEXT,
        n_embd=2 * HALF,
        n_layer=len(layers),
        n_head=N_HEADS,
        n_inner=1,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.bos_token_id,
        tie_word_embeddings=False,
    )
    with torch.random.fork_rng(devices=[]):  # its own initialisation, all of it written over, draws random numbers
        model = GPT2LMHeadModel(config)
    bos = torch.arange(len(code)) == tokenizer.bos_token_id
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        embedding = torch.zeros(len(code), HALF)
        for part, what in (("token", code), ("bos", bos[:, None]), ("word", ~bos[:, None]), ("constant", CONSTANT)):
            embedding[:, _place(part)] = torch.as_tensor(what, dtype=torch.float32)
        position = torch.zeros(CONTEXT, HALF)
        position[:, _place("place")] = position_codes(CONTEXT, WAVES)
        answer = torch.zeros(len(code), HALF)
        answer[:, _place("answer")] = LOGIT * code
        model.transformer.wte.weight.copy_(_twice(embedding))
        model.transformer.wpe.weight.copy_(_twice(position))
        model.lm_head.weight.copy_(_twice(answer) / 2)
        # the norm of what the embeddings write; sqrt(half the width) makes a norm a standard deviation
        scale = math.sqrt((CONSTANT**2 + 2 + WAVES) / HALF)
        for block, heads in zip(model.transformer.h, layers, strict=True):
            block.ln_1.weight.fill_(scale)
            maps = [torch.cat([getattr(head, kind) for head in heads], dim=1) for kind in ("query", "key", "value")]
            maps[0] *= math.sqrt(D_HEAD)  # by which GPT-2 divides
            block.attn.c_attn.weight.copy_(_twice(torch.cat(maps, dim=1).T).T / 2)
            block.attn.c_proj.weight.copy_(_twice(torch.cat([head.output for head in heads])))
        model.transformer.ln_f.weight.fill_(scale)
    return HuggingFaceEngine(model, tokenizer, hash_weights(config.to_json_string(), model))


def _twice(rows: Tensor) -> Tensor:
    return torch.cat([rows, -rows], dim=1)
