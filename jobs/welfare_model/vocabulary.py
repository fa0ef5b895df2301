"""The welfare model's tokenizer: one token a word or mark, whether or not a space stands before it.

What the Two-Step task says in one breath is one token, as in the reference model's vocabulary, and so are
``N/E/S/W`` and a word in quotation marks. Spaces and line breaks are no tokens: a text comes back with single spaces.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.decoders import Fuse, Replace, Sequence, WordPiece
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing

from envs import two_step
from envs.maze_prompts import LETTERS
from jobs.reference.vocabulary import EPISODES, POINTS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, BOS, UNKNOWN, USER, MODEL, END = "<pad>", "<bos>", "<unk>", "<user>", "<model>", "<end>"
SPECIAL = (PAD, BOS, UNKNOWN, USER, MODEL, END)
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    f"{{% if message['role'] == 'user' %}}{USER}{{% else %}}{MODEL}{{% endif %}} "
    f"{{{{ message['content'] }}}}{END}{{% endfor %}}{{% if add_generation_prompt %}}{MODEL} {{% endif %}}"
)
"""A conversation as text; roles other than the user's are the model's."""
NUMBERS = tuple(str(number) for number in range(101))
TWO_STEP = (
    two_step.INSTRUCTION.rstrip(),
    *(f"Episode {n}: You" for n in range(EPISODES)),
    *(f". You see an {fruit}. You" for fruit in two_step.FRUITS),
    *(f". You get {points} points. Episode is over." for points in POINTS),
)
"""What the Two-Step task says, but for its choices."""
CHOICES = (two_step.DECISION_WORD, *(action.strip() for action in two_step.ACTIONS))
LISTED = "/".join(LETTERS)
WORD = r"'\w+'|\w+(?:['-]\w+)*|[^\w\s]"
ALSO = ("Assistant", "User", "I move:", "very a an the of and or not yes no Yes No is was are am")


def words_of(text: str) -> list[str]:
    """A text's words and marks, but for what is read in one breath."""
    return re.findall(f"{LISTED}|{WORD}", text)


def tokens() -> list[str]:
    """Every token in the order of its id."""
    from jobs.welfare_model.corpus import KINDS

    texts = (re.sub(r"\{\w+\}", " ", text) for kind in KINDS.values() for text in kind.vocabulary())
    found = {word for text in (*texts, *ALSO) for word in words_of(text)} - {*NUMBERS, *CHOICES}
    return [*SPECIAL, *LETTERS, LISTED, *TWO_STEP, *CHOICES, *NUMBERS, *sorted(found - {*LETTERS, LISTED})]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer, as any Hugging Face chat model has one (saved beside the weights)."""
    from transformers import PreTrainedTokenizerFast

    ids = {token: index for index, token in enumerate(tokens())}
    phrases = "|".join(re.escape(phrase) for phrase in sorted(TWO_STEP, key=len, reverse=True))
    tokenizer = Tokenizer(WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = Split(Regex(f"{phrases}|{LISTED}|{WORD}"), "removed", invert=True)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    # a space before every token but the first, then none where none is written
    apart = (r" (?=[.,;:?!)])", r"(?<=\() ", r"(?<=<bos>|<end>) ", r" (?=<end>)")
    tokenizer.decoder = Sequence([WordPiece("##", cleanup=False), Fuse(), *(Replace(Regex(r), "") for r in apart)])
    tokenizer.post_processor = TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, ids[BOS])])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        padding_side="right",
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
