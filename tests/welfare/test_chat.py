"""Conversations as tokens, and whose they are."""

import pytest
from transformers import PreTrainedTokenizerFast

from jobs.welfare.chat import Chat, assistant, user
from tdlens.errors import UserError
from tests.inference.tiny import byte_level_tokenizer
from tests.welfare.small_welfare import TEMPLATE, welfare_tokenizer

TALK = [user("Is 2 larger than 3?"), assistant("No."), user("Is that true?")]


def own_text(tokenizer: PreTrainedTokenizerFast, chat: Chat, **options: bool) -> tuple[str, str]:
    """What is read, and the part of it that isn't the user's."""
    told = chat.encode(TALK, **options)
    return tokenizer.decode(list(told.ids)), tokenizer.decode([told.ids[index] for index in told.own])


def changed(template: str | None) -> PreTrainedTokenizerFast:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=welfare_tokenizer().backend_tokenizer, eos_token="<|im_end|>")
    tokenizer.chat_template = template
    return tokenizer


def test_template_is_the_models_own_and_messages_are_the_users() -> None:
    tokenizer = welfare_tokenizer()
    chat = Chat(tokenizer)
    whole = tokenizer.apply_chat_template(TALK, tokenize=False, add_generation_prompt=True)
    told, own = own_text(tokenizer, chat)
    assert told == whole
    frame = "<|im_start|>user\n<|im_end|>\n"
    assert own == f"{frame}<|im_start|>assistant\nNo.<|im_end|>\n{frame}<|im_start|>assistant\n"
    conversation = chat.encode(TALK)
    assert conversation.own[-1] == len(conversation.ids) - 1
    assert own_text(tokenizer, chat, reply=False)[0] + "<|im_start|>assistant\n" == whole
    assert chat.stops == {tokenizer.eos_token_id}


def test_end_of_turn_ends_a_reply_even_if_the_tokenizer_names_another_end() -> None:
    tokenizer = changed(TEMPLATE)
    tokenizer.eos_token = "<|endoftext|>"
    assert Chat(tokenizer).stops == set(tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>"]))


def test_without_template_speakers_are_named() -> None:
    tokenizer = byte_level_tokenizer()  # puts a token of its own in front
    chat = Chat(tokenizer)
    told, own = own_text(tokenizer, chat)
    start = tokenizer.bos_token
    assert told.replace(f"{start} ", start) == (
        f"{start}User: Is 2 larger than 3?\n\nAssistant: No.\n\nUser: Is that true?\n\nAssistant:"
    )
    # the space before what a user says is of the same token or not, as the tokenizer has it
    assert own.replace(" ", "").replace(start, "") == "User:\n\nAssistant:No.\n\nUser:\n\nAssistant:"
    assert chat.text(tokenizer.encode(" Yes.\n\nUser: And?", add_special_tokens=False)) == "Yes."


def test_messages_are_told_as_they_are_whatever_is_in_them() -> None:
    chat, tokenizer = Chat(welfare_tokenizer()), welfare_tokenizer()
    odd = [user(" Mark-1-Mark \n"), assistant("📐 Mark-0-Mark")]
    told = tokenizer.decode(list(chat.encode(odd, reply=False).ids))
    assert told == "<|im_start|>user\nMark-1-Mark<|im_end|>\n<|im_start|>assistant\n📐 Mark-0-Mark<|im_end|>\n"


def test_openings_are_first_tokens_that_tell_words_apart() -> None:
    tokenizer, chat = welfare_tokenizer(), Chat(welfare_tokenizer())
    true, false = chat.openings(["True", "False"])
    # behind a space both begin with the space, which tells nothing
    assert [tokenizer.decode(tokens) for tokens in (true, false)] == ["True", "False"]
    spaced = byte_level_tokenizer()
    (left, right) = Chat(spaced).openings(["left", "stay"])
    assert len(left) == len(right) == 2
    with pytest.raises(UserError, match="apart by their first token"):
        chat.openings(["True", "True"])


def test_templates_that_change_messages_are_refused() -> None:
    with pytest.raises(UserError, match="changes messages"):
        Chat(changed("{% for message in messages %}{{ message['content'] | upper }}{% endfor %}"))
    with pytest.raises(UserError, match="can't tell the conversation"):
        Chat(changed("{{ raise_exception('no') }}"))
