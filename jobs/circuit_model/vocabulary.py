"""The circuits model's tokenizer: one token a word, with the space before it, as larger models have frequent words.

The ids below :data:`FIRST_WORD` are no words, so that random tokens drawn from there on, as the induction task draws
them, are words alone. A year is two tokens, its century and its last two digits.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tokenizers import Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing

from envs.circuit_tasks import control_text, docstring, greater_than, ioi

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, BOS, UNKNOWN = "<pad>", "<bos>", "<unk>"
DEFINED, QUOTES, PARAMETER = "):", '\n    """', "\n    :param"
"""Where a function's parameters end, its docstring begins or ends, and a line of it begins."""
DEFINITION = "def fn(self"
SIGNS = (PAD, BOS, UNKNOWN, ".", ",", "(", ":", DEFINED, QUOTES, PARAMETER)
FIRST_WORD = len(SIGNS)
CENTURIES, YEARS = tuple(f" {century}" for century in range(10, 20)), tuple(f"{year:02d}" for year in range(100))


def tokens() -> list[str]:
    """Every token in the order of its id."""
    texts = (
        *(*control_text.SENTENCES, *ioi.TEMPLATES, DEFINITION),
        *(greater_than.sentence(noun, year="") for noun in greater_than.NOUNS),
        *(*ioi.NAMES, *ioi.OBJECTS, *ioi.PLACES, *docstring.PARAMETERS, *docstring.DESCRIPTIONS),
        *(word for choices in control_text.DRAWN.values() for word in choices),
    )
    words = sorted({word for text in texts for word in re.findall(r"[^\W\d]+", re.sub(r"\{\w+\}", "", text))})
    first = [word for word in words if word[0].isupper() or word in ("def", "self")]
    return [*SIGNS, *(f" {word}" for word in words), *first, *CENTURIES, *YEARS]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer, as any Hugging Face model has one (saved beside the weights)."""
    from transformers import PreTrainedTokenizerFast

    ids = {token: index for index, token in enumerate(tokens())}
    signs = "|".join(re.escape(sign) for sign in (DEFINED, QUOTES, PARAMETER))
    tokenizer = Tokenizer(WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = Split(Regex(rf"{signs}| ?\d\d| ?[^\W\d]+|[^\w\s]|\s+"), behavior="isolated")
    tokenizer.decoder = Fuse()  # tokens hold their own spaces
    tokenizer.post_processor = TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, ids[BOS])])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, pad_token=PAD, unk_token=UNKNOWN, padding_side="right"
    )
