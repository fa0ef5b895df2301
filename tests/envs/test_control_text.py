"""Control text: the same for the same seed, plain sentences, and nothing of what the tasks ask about."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from envs.circuit_tasks import docstring, ioi
from envs.circuit_tasks.control_text import SENTENCES, control_text

TEXT = control_text(6000, seed=1)


@given(n=st.integers(1, 60), more=st.integers(0, 60), seed=st.integers(0, 2**32))
def test_as_many_sentences_as_asked_for_and_a_longer_text_goes_on(n: int, more: int, seed: int) -> None:
    text = control_text(n, seed)
    assert text.count(".") == n and text.endswith(".")
    assert text == control_text(n, seed) and control_text(n + more, seed).startswith(text)
    assert text != control_text(n, seed + 1)


def test_sentences_are_well_formed() -> None:
    for sentence in re.findall(r"[^.]+\.", TEXT):
        assert re.fullmatch(r" ?[A-Z][a-zA-Z]*(,? [a-zA-Z]+)+\.", sentence), sentence


def test_every_form_and_every_word_of_the_tasks_occurs() -> None:
    for form in SENTENCES:
        assert re.search(re.sub(r"\{\w+\}", r"[\\w ]+", re.escape(form).replace(r"\{", "{").replace(r"\}", "}")), TEXT)
    words = set(re.findall(r"\w+", TEXT))
    assert {*ioi.NAMES, *ioi.OBJECTS, *ioi.PLACES, *docstring.PARAMETERS} <= words
    assert all(description in TEXT for description in docstring.DESCRIPTIONS)


def test_nobody_is_given_anything() -> None:
    assert not set(re.findall(r"\w+", TEXT)) & {"to", "gave", "handed", "passed"}


def test_people_and_things_recur_within_a_tale() -> None:
    sentences = re.findall(r"[^.]+\.", TEXT)
    names = [set(re.findall(r"\w+", sentence)) & set(ioi.NAMES) for sentence in sentences]
    both = [(here, after) for here, after in pairwise(names) if here and after]
    # by chance one of 26 in common: about 1 in 13 to 1 in 7
    assert sum(bool(here & after) for here, after in both) / len(both) > 0.4
