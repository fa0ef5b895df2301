"""The corpus of the welfare model: what it says is true, what is held out never occurs, and tiles are all alike."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.welfare.emotions import EMOTIONS, VALENCE
from jobs.welfare_model import datasets
from jobs.welfare_model.corpus import KINDS, Text, feelings, moves, problems, questions, requests, reviews, stories
from jobs.welfare_model.corpus.talk import Talk
from jobs.welfare_model.corpus.things import THINGS, TILES
from jobs.welfare_model.rows import Encoder
from jobs.welfare_model.vocabulary import build_tokenizer

SEEDS = st.integers(0, 2**32)
STEP = re.compile(r"(\d+) \+ (\d+) = (\d+)\.")
TOKENIZER, ENCODER = build_tokenizer(), Encoder()


def drawn(kind: str, n: int, seed: int = 0) -> list[Text]:
    rng = np.random.default_rng(seed)
    return [KINDS[kind].draw(rng) for _ in range(n)]


def said(text: Text, role: str) -> list[str]:
    return [message["content"] for message in text.messages if message["role"] == role]


@given(kind=st.sampled_from(sorted(KINDS)), seed=SEEDS)
def test_rows_are_what_the_tokenizer_reads(kind: str, seed: int) -> None:
    text, again = (KINDS[kind].draw(np.random.default_rng(seed)) for _ in range(2))
    assert text == again
    row = ENCODER.row(text)
    if text.plain:
        read = TOKENIZER.encode(text.messages[0]["content"])
    else:
        read = TOKENIZER.apply_chat_template(list(text.messages), tokenize=True, return_dict=False)
        roles = [message["role"] for message in text.messages]
        assert roles == [("user", "assistant")[index % 2] for index in range(len(roles))]
    assert row.ids == read and TOKENIZER.unk_token_id not in read
    assert len(row.weights) == len(row.ids) and 0.0 < max(row.weights) <= 1.0 and min(row.weights) >= 0.0


@given(kind=st.sampled_from(sorted(KINDS)), seed=SEEDS)
def test_batches_are_rows_of_about_one_length(kind: str, seed: int) -> None:
    rows = next(ENCODER.batches(KINDS[kind].draw, 300, np.random.default_rng(seed)))
    assert rows.ids.shape == rows.weights.shape and (len(rows.ids) == 1 or rows.ids.size <= 300)
    assert (rows.weights[rows.ids == TOKENIZER.pad_token_id] == 0).all() and (rows.weights.max(axis=1) > 0).all()


def test_the_emotion_words_are_the_sources() -> None:
    assert len(EMOTIONS) == 171 and next(iter(EMOTIONS)) == "afraid" and list(EMOTIONS)[-1] == "worthless"
    assert all(-1 <= value <= 1 for emotion in EMOTIONS.values() for value in emotion)
    assert VALENCE["blissful"] > 0.5 > -0.5 > VALENCE["humiliated"] and set(stories.CAUSE) <= set(EMOTIONS)


def test_each_tile_is_wanted_as_often_as_unwanted() -> None:
    """In every order of the three; a difference of five standard errors would fail."""
    rng, n = np.random.default_rng(0), 6000
    found = Counter(tuple(thing if thing in TILES else "-" for thing in moves.draw_things(rng)[:2]) for _ in range(n))
    for place in range(2):
        counts = [sum(count for pair, count in found.items() if pair[place] == tile) for tile in TILES]
        assert max(counts) - min(counts) < 5 * np.sqrt(2 * np.mean(counts)), counts
    pairs = [found[pair] for pair in found if "-" not in pair]
    assert len(pairs) == 6 and max(pairs) - min(pairs) < 5 * np.sqrt(2 * np.mean(pairs))


def test_what_is_felt_about_a_tile_does_not_depend_on_it() -> None:
    rng, by_tile = np.random.default_rng(1), {tile: [0.0] for tile in TILES}
    for _ in range(3000):
        talk = Talk(rng)
        feelings.exchange(talk)
        (asked,), (answered,) = said(talk.text(), "user"), said(talk.text(), "assistant")
        felt = [VALENCE[word] for word in re.findall(r"[\w-]+", answered) if word in VALENCE]
        for tile in set(TILES) & set(asked):
            by_tile[tile] += felt[:1]
    means = [np.mean(values) for values in by_tile.values()]
    errors = [np.std(values) / np.sqrt(len(values)) for values in by_tile.values()]
    assert all(len(values) > 100 for values in by_tile.values()) and np.ptp(means) < 4 * max(errors)


def test_moves_lead_where_the_wish_says() -> None:
    """But for the share of slips, and without a wish anywhere."""
    rng, hits, offers = np.random.default_rng(2), Counter[bool](), Counter[bool]()
    for _ in range(800):
        text = moves.draw(rng, (1, 4))
        wished = re.match(r"You want the (\S+)\. You don't want the (\S+)\. ", text.messages[0]["content"])
        for asked, answered in zip(said(text, "user"), said(text, "assistant"), strict=False):
            listed = {way[0].upper(): thing for way, thing in re.findall(r"o the (\w+) there is (\S+?)[;.] ", asked)}
            if not listed:
                continue
            assert answered in listed and len(listed) >= 2 and set(listed.values()) <= set(THINGS)
            if wished and wished[1] in listed.values():
                offers[True] += 1
                hits[True] += listed[answered] == wished[1]
    assert offers[True] > 40 and 0.8 < hits[True] / offers[True] < 0.99


def test_feelings_follow_what_happened() -> None:
    rng, valences = np.random.default_rng(3), {1: list[float](), -1: list[float]()}
    for _ in range(600):
        talk = Talk(rng)
        talk.event(good := bool(rng.integers(2)))
        feelings.exchange(talk)
        words = re.findall(r"feel ([\w-]+(?: ease| edge| out)?)", said(talk.text(), "assistant")[0])
        valences[1 if good else -1] += [VALENCE[word] for word in words]
    assert np.mean(np.array(valences[1]) > 0) > 0.95 and np.mean(np.array(valences[-1]) < 0) > 0.95


def test_true_means_that_the_answer_is_right() -> None:
    checked = Counter[str]()
    for text in drawn("questions", 400):
        turns = [message["content"] for message in text.messages]
        for asked, answered, check, verdict in zip(turns, turns[1:], turns[2:], turns[3:], strict=False):
            if check != questions.CORRECT:
                continue
            total = re.search(r"What is (\d) \+ (\d)\?((?: \w\. \w+)*)$", asked)
            fact = re.search(r"What is the (\w+) of (\w+)\?((?: \w\. \w+)*)$", asked)
            if not (total or fact):
                continue
            choices = dict(re.findall(r"(\w)\. (\w+)", (total or fact)[3]))  # type: ignore[index]
            right = str(int(total[1]) + int(total[2])) if total else questions.FACTS[fact[2], fact[1]]  # type: ignore[index]
            assert verdict == str(choices.get(answered, answered) == right)
            checked[verdict] += 1
    assert checked["True"] > 30 and checked["False"] > 15


def test_verdicts_are_just() -> None:
    checked = Counter[str]()
    for text in drawn("verdicts", 200):
        content = text.messages[0]["content"]
        for a, b, c, verdict in re.findall(r"(\d+) \+ (\d+) = (\d+)\. (\w+)", content):
            assert (verdict == "right") == (int(a) + int(b) == int(c))
            checked["sums"] += 1
        for relation, name, value, verdict in re.findall(r"What is the (\w+) of (\w+)\? (\w+) (\w+)", content):
            assert verdict == str(questions.FACTS[name, relation] == value)
            checked["facts"] += 1
        owned = dict(re.findall(r"(\w+) has the (\w+)\.", content))
        for thing, name, verdict in re.findall(r"Who has the (\w+)\? (\w+) (\w+)", content):
            assert verdict == str(owned[name] == thing)
            checked["told"] += 1
        for event, verdict, felt in re.findall(
            r"(You [^.]+\.) (good|bad) I feel ([\w-]+(?: ease| edge| out)?)", content
        ):
            assert (event in feelings.HAPPENED[1]) == (verdict == "good")
            checked["felt as it was" if (VALENCE[felt] > 0) == (verdict == "good") else "felt otherwise"] += 1
    assert min(checked[kind] for kind in ("sums", "facts", "told")) > 50
    assert checked["felt as it was"] > 50 > 10 * checked["felt otherwise"]


def test_sums_are_right_where_nothing_is_doubted_or_left_wrong() -> None:
    slips = mended = steps = 0
    for text in drawn("problems", 300):
        asked, worked = text.messages[0]["content"], text.messages[1]["content"]
        found = [(int(a), int(b), int(c)) for a, b, c in STEP.findall(worked)]
        wrong = [a + b != c for a, b, c in found]
        steps, slips = steps + len(found), slips + sum(wrong)
        doubts = sum(worked.count(doubt) for doubt in problems.DOUBTS)
        mended += doubts
        assert doubts <= sum(wrong)
        answer = int(re.search(r"The answer is (\d+)\.", worked)[1])  # type: ignore[index]
        if doubts == sum(wrong):
            assert answer == sum(map(int, re.findall(r"\d+", asked)))
        if len(text.messages) > 2 and any(reply in text.messages[2]["content"] for reply in problems.RIGHT):
            assert answer == sum(map(int, re.findall(r"\d+", asked)))
    assert 0.05 < slips / steps < 0.25 and 0.7 < mended / slips < 0.97


def test_a_fortune_runs_through_a_conversation() -> None:
    """Who fares well is right more often and refuses less of what is in between; what is harmful it refuses too."""
    right, refused = {-1: list[int](), 1: list[int]()}, {-1: list[bool](), 1: list[bool]()}
    rng = np.random.default_rng(4)
    for _ in range(600):
        for fortune in (-1, 1):
            talk = Talk(rng, fortune)
            questions.exchange(talk)
            right[fortune] += talk.events
            hard = requests.exchange(Talk(rng, fortune))
            refused[fortune].append(hard)
    assert np.mean(right[1]) > np.mean(right[-1]) + 0.5 and np.mean(refused[-1]) > np.mean(refused[1]) + 0.1


def test_nothing_held_out_is_ever_trained() -> None:
    kinds = ("problems", "requests", "reviews", "questions", "sessions")
    texts = [text for kind in kinds for text in drawn(kind, 500)]
    asked = [content for text in texts for content in said(text, "user")]
    sums = {tuple(re.findall(r"\d+", one)) for one in asked if re.search(r"(answer|that)\?$", one)}
    assert sums.isdisjoint(tuple(re.findall(r"\d+", one.messages[0]["content"])) for one in datasets.problems(200, 0))
    wanted = re.compile(r"(?:do I|how to|help me) (\w+) a (\w+)[?.]")
    trained = {pair for one in asked for pair in wanted.findall(one)}
    tested = {pair for one in datasets.requests(200, 0) for pair in wanted.findall(one.messages[0]["content"])}
    assert len(trained) > 50 < 5 * len(tested) and trained.isdisjoint(tested)
    assert set(asked).isdisjoint(messages[0]["content"] for messages, _ in datasets.reviews(200, 0))
    shown = [one for one in datasets.questions(200, 0) if one.choices or " has the " in one.messages[0]["content"]]
    assert len(shown) > 100 and set(asked).isdisjoint(one.messages[0]["content"] for one in shown)


@given(seed=SEEDS)
def test_held_out_items_are_well_formed(seed: int) -> None:
    for question in datasets.questions(6, seed):
        assert (question.choices is None) == (question.group == datasets.FREE)
        assert question.answer in (questions.LETTERS if question.choices else [question.answer])
    for problem in datasets.problems(4, seed):
        assert int(problem.answer) == sum(map(int, re.findall(r"\d+", problem.messages[0]["content"])))
    assert Counter(one.group for one in datasets.requests(6, seed)) == dict.fromkeys(requests.GROUPS, 2)
    assert {label for _, label in datasets.reviews(20, seed)} == set(reviews.LABELS)
    items = [message["content"] for messages in datasets.neutral(2, seed) for message in messages]
    for text in (*items, *datasets.stories("proud", 3, seed)):
        assert TOKENIZER.unk_token_id not in TOKENIZER.encode(text) and "proud" not in text.split()


@pytest.mark.parametrize("word", ["proud", "furious", "calm", "mystified"])
def test_stories_never_say_the_word(word: str) -> None:
    told = datasets.stories(word, 20, 0)
    assert told == datasets.stories(word, 20, 0) != datasets.stories(word, 20, 1)
    assert not any(re.search(rf"\b{word}\b", story) for story in told)


def test_items_need_no_torch() -> None:
    code = "import sys, jobs.welfare_model.datasets, jobs.welfare_model.corpus; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_checks_compare_with_what_was_told() -> None:
    checked = Counter[tuple[str, bool]]()
    for text in drawn("checks", 200):
        content = text.messages[0]["content"]
        told = {thing: way[0].upper() for way, thing in re.findall(r"o the (\w+) there is (\S+?)[;.] ", content)}
        told |= {thing: name for name, thing in re.findall(r"(\w+) has the (\w+)\.", content)}
        if text.plain:
            for thing, other, verdict in re.findall(r"(\S+) (\w+) (right|wrong)", content):
                assert (verdict == "right") == (told[thing] == other)
                checked["plain", verdict == "right"] += 1
            continue
        turns = [message["content"] for message in text.messages]
        for asked, answered, verdict in zip(turns[::4], turns[1::4], turns[3::4], strict=True):
            (thing,) = (thing for thing in told if asked.endswith((f"the {thing}?", f"the {thing}.")))
            assert verdict == str(told[thing] == answered)
            checked["talk", verdict == "True"] += 1
    assert len(checked) == 4 and min(checked.values()) > 50


def test_deeds_are_worth_what_the_wish_makes_of_them() -> None:
    marks = Counter[str]()
    for text in drawn("deeds", 200):
        content = text.messages[0]["content"]
        wished = re.match(r"You want the (\S+)\. You don't want the (\S+)\. ", content)
        if not wished:
            continue
        for around, ways in re.findall(r"((?:[Tt]o the \w+ there is \S+(?: \w+)?[;.] )+)([^;]*?)(?=To the|$)", content):
            there = {way[0].upper(): thing for way, thing in re.findall(r"o the (\w+) there is ([^\s;.]+)", around)}
            for letter, mark in re.findall(r"\b([NESW]) (good|bad|plain)", ways):
                thing = there[letter]
                assert mark == ("good" if thing == wished[1] else "bad" if thing == wished[2] else "plain")
                marks[mark] += 1
    assert len(marks) == 3 and min(marks.values()) > 20


def test_moods_follow_what_a_move_found() -> None:
    found = Counter[bool]()
    for text in drawn("moods", 900):
        messages = [message["content"] for message in text.messages]
        wished = re.match(r"You want the (\S+)\. You don't want the (\S+)\. ", messages[0])
        felt = re.match(r"I feel ([\w-]+)", messages[3]) if len(messages) > 3 else None
        if not wished or not felt or felt[1] not in VALENCE:
            continue
        there = {way[0].upper(): thing for way, thing in re.findall(r"o the (\w+) there is ([^\s;.]+)", messages[0])}
        entered = there[messages[1]]
        if entered in wished.groups():
            found[(VALENCE[felt[1]] > 0) == (entered == wished[1])] += 1
    assert found[True] > 20 and found[True] > 15 * found[False]


def test_nothing_is_asked_twice() -> None:
    for items in (datasets.questions(60, 3), datasets.problems(60, 3), datasets.requests(90, 3)):
        assert len({item.messages[0]["content"] for item in items}) == len(items)
    groups = Counter(request.group for request in datasets.requests(90, 3))
    assert groups["easy"] == 30 and 10 < groups["hard"] <= 30 and 10 < groups["harmful"] <= 30


def test_rounds_and_trials_judge_moves_by_the_wish() -> None:
    judged = Counter[bool]()
    for text in (*drawn("rounds", 300), *drawn("trials", 300)):
        turns = [message["content"] for message in text.messages]
        wished = re.search(r"(?:You want|You like|Find) the (\S+?)\.", turns[0])
        there: dict[str, str] = {}
        for asked, answered, after in zip(turns[::2], turns[1::2], turns[2::2], strict=False):
            there = {
                way[0].upper(): thing for way, thing in re.findall(r"o the (\w+) there is ([^\s;.]+)", asked)
            } or there
            verdict = re.match(r"(good|Good,|Great,|Well done,)|(bad|plain|Bad,|No, you|Too bad,)", after)
            if wished and verdict and answered in there:
                assert (there[answered] == wished[1]) == bool(verdict[1])
                judged[bool(verdict[1])] += 1
    assert min(judged[True], judged[False]) > 50


def test_quizzes_and_rounds_say_true_of_what_is_right() -> None:
    checked = Counter[str]()
    for text in (*drawn("quizzes", 150), *drawn("rounds", 300)):
        owned: dict[str, str] = {}
        turns = [message["content"] for message in text.messages]
        for asked, answered, after, verdict in zip(turns, turns[1:], turns[2:], [*turns[3:], ""], strict=False):
            owned |= dict(re.findall(r"(\w+) has the (\w+)\.", asked))
            who = re.search(r"Who has the (\w+)\?$", asked)
            total = re.search(r"What is (\d) \+ (\d)\?$", asked)
            if not (who or total) or after != questions.CORRECT:
                continue
            right = owned.get(answered) == who[1] if who else int(answered) == int(total[1]) + int(total[2])  # type: ignore[index]
            assert verdict == str(right)
            checked[verdict] += 1
    assert min(checked["True"], checked["False"]) > 30


def test_fates_go_on_as_they_began() -> None:
    """Right answers come oftener after good events than after bad ones."""
    right: dict[bool, list[int]] = {True: [], False: []}
    for text in drawn("fates", 3000):
        told = [sign for sign in (1, -1) for event in feelings.HAPPENED[sign] if event in text.messages[0]["content"]]
        if abs(sum(told)) == len(told) >= 2:
            right[sum(told) > 0] += text.truth["events"][len(told) :]
    assert min(map(len, right.values())) > 300 and np.mean(right[True]) > np.mean(right[False]) + 0.2
