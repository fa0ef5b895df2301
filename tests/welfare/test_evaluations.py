"""What is asked, and what evaluations make of a tiny model's replies."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from jobs.sections.welfare import EVALUATED
from jobs.welfare.data import Item, items_of, read_items, sentiment_items
from jobs.welfare.doses import doses, matched, rotated
from jobs.welfare.emotions import VALENCE
from jobs.welfare.evaluations import EVALUATIONS, Asking
from jobs.welfare.evaluations.confidence import answered, is_right
from jobs.welfare.judges import RulesJudge
from jobs.welfare.probe import ValenceProbe, learn_probe
from jobs.welfare.speaker import Speaker
from tdlens.errors import UserError
from tests.welfare.small_welfare import CHOICES, REQUESTS, WIDTH, data_files, welfare_engine

SPEAKER = Speaker(welfare_engine(), batch_size=64)
VECTOR = torch.arange(WIDTH, dtype=torch.float32)


def test_files_are_read_and_drawn_from_in_equal_shares(tmp_path: Path) -> None:
    files = data_files(tmp_path)
    items = read_items(Path(files["refusal"]), "refusal")
    assert [(item.prompt, item.kind) for item in items] == [(one["prompt"], one["kind"]) for one in REQUESTS]
    some = items_of("refusal", 6, 1, file=files["refusal"], small_world=False)
    assert [item.kind for item in some].count("benign") == 3
    assert [item for item in items if item in some] == some
    assert some == items_of("refusal", 6, 1, file=files["refusal"], small_world=False)
    assert some != items_of("refusal", 6, 2, file=files["refusal"], small_world=False)
    assert items_of("refusal", 99, 1, file=files["refusal"], small_world=True) == items
    (choice,) = [
        item for item in read_items(Path(files["confidence"]), "confidence") if item.prompt == CHOICES[0]["prompt"]
    ]
    assert choice == Item(str(CHOICES[0]["prompt"]), "sums", ("A",), ("A", "B"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2: no JSON"),
        ("[]", 'no object with a text "prompt"'),
        ('{"prompt": " "}', 'no object with a text "prompt"'),
        ('{"prompt": "a", "answers": "b"}', "unknown key 'answers'"),
        ('{"prompt": "a"}', 'no "answer"'),
        ('{"prompt": "a", "answer": 3}', "answer is no text"),
        ('{"prompt": "a", "answer": "C", "choices": ["A", "B"]}', "the answer one of them"),
        ('{"prompt": "a", "answer": "b", "kind": 1}', "kind is no text"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps({"prompt": "a", "answer": ["b", "c"]}) + "\n" + line)
    with pytest.raises(UserError, match=said):
        read_items(path, "confidence")


def test_a_file_must_be_there_where_nothing_is_built_in(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="can't be read"):
        read_items(tmp_path / "none.jsonl", "refusal")
    with pytest.raises(UserError, match="nothing to ask this model"):
        items_of("refusal", 8, 0, file=None, small_world=False)
    sentiment = items_of("sentiment", 100, 0, file=None, small_world=False)
    assert sentiment == sentiment_items() and [item.kind for item in sentiment].count("welfare") == 15
    assert len(sentiment) == 38 and len({item.prompt for item in sentiment}) == 38


def test_the_shipped_models_world_has_items_of_every_evaluation() -> None:
    for name in EVALUATIONS:
        items = items_of(name, 12, 3, file=None, small_world=True)
        assert len({item.prompt for item in items}) > 6
        assert items == items_of(name, 12, 3, file=None, small_world=True)
    questions = items_of("confidence", 12, 3, file=None, small_world=True)
    assert {item.choices for item in questions} == {(), ("A", "B", "C", "D")}
    assert all(len(item.answers) == 1 for item in questions)


def test_right_answers_have_the_words_of_an_accepted_one() -> None:
    free = Item("?", answers=("New York", "NYC"))
    assert is_right("It is new york.", free) and is_right("NYC", free)
    assert not is_right("York, the new one", free) and not is_right("", free)
    assert not is_right("70", Item("?", answers=("7",)))
    assert is_right("B", Item("?", "k", ("B",), ("A", "B"))) and not is_right("B.", Item("?", "k", ("B",), ("A", "B")))


def test_choices_are_answered_by_the_likeliest() -> None:
    items = [Item(str(one["prompt"]), "sums", ("B",), ("A", "B")) for one in CHOICES]
    for found in answered(SPEAKER, items, 4):
        talk = SPEAKER.chat.encode([{"role": "user", "content": found.item.prompt}])
        with torch.no_grad():
            logits = SPEAKER.engine.model(input_ids=torch.tensor([talk.ids])).logits[0, -1]  # type: ignore[attr-defined]
        a, b = (logits[list(tokens)].exp().sum() for tokens in SPEAKER.chat.openings(["A", "B"]))
        assert found.answer == ("A" if a > b else "B") and found.right == (found.answer == "B")


def test_doses_are_multiples_of_the_vector_and_of_the_stream() -> None:
    curve = doses(VECTOR, 10.0, [-2.0, 0.0], [0.5])
    assert [(dose.kind, dose.size) for dose in curve] == [("alpha", -2.0), ("alpha", 0.0), ("unit", 0.5)]
    torch.testing.assert_close(curve[0].vector, -2 * VECTOR)
    assert not curve[1].vector.any() and curve[2].norm == pytest.approx(5.0)
    control = matched(torch.ones(WIDTH), VECTOR)
    assert control.norm().item() == pytest.approx(VECTOR.norm().item()) and control.std() == 0
    for zero in (lambda: doses(torch.zeros(4), 1.0, [1.0], []), lambda: matched(torch.zeros(4), torch.ones(4))):
        with pytest.raises(UserError, match="no direction"):
            zero()


@pytest.mark.parametrize("other", [torch.ones(WIDTH), -0.5 * VECTOR])
def test_a_pair_is_turned_as_a_whole(other: torch.Tensor) -> None:
    pair = torch.stack([VECTOR, other])
    drawn = [rotated(pair, (1, draw)) for draw in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.allclose(drawn[0], drawn[2], atol=1.0)
    for each in drawn:
        torch.testing.assert_close(each @ each.T, pair @ pair.T)


def test_no_direction_is_preferred() -> None:
    """The first of a turned pair lies anywhere on its sphere: mean 0, variance 1 / d in every direction."""
    pair = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.6, 0.8, 0.0, 0.0]])
    found = torch.stack([rotated(pair, (0, draw)) for draw in range(2000)]).double()
    for vector in found.unbind(1):
        assert vector.mean(0).abs().max() < 4.5 / (4 * 2000) ** 0.5
        torch.testing.assert_close(vector.T @ vector / 2000, torch.eye(4).double() / 4, atol=0.02, rtol=0)


@pytest.fixture(scope="module")
def probe() -> ValenceProbe:
    return learn_probe(SPEAKER, list(VALENCE), seed=2)


def test_the_probe_is_a_regression_on_the_last_tokens_stream(probe: ValenceProbe) -> None:
    assert probe.block == 2 and 0.3 < probe.accuracy < 1
    texts = ["I feel happy.", "", "I am sad."]
    found = probe.valence(texts)
    assert np.isnan(found).tolist() == [False, True, False]
    scaler, regression = probe._regression
    assert isinstance(regression, LogisticRegression)
    for text, value in zip(texts[::2], found[::2], strict=True):
        ids = SPEAKER.engine.tokenizer.encode(text)
        with torch.no_grad():
            states = SPEAKER.engine.model(torch.tensor([ids]), output_hidden_states=True).hidden_states  # type: ignore[attr-defined]
        p = regression.predict_proba(scaler.transform(states[2][0, -1:].double().numpy()))[0, 1]
        assert value == pytest.approx(2 * p - 1, abs=1e-4)


@pytest.mark.parametrize("name", list(EVALUATIONS))
def test_items_are_asked_under_every_dose_with_the_same_luck(name: str, probe: ValenceProbe) -> None:
    evaluation = EVALUATIONS[name]
    items = items_of(name, 3, 5, file=None, small_world=True)
    curve = doses(0.3 * VECTOR, 1.0, [-1.0, 0.0, 1.0], [0.0])
    asking = Asking(SPEAKER, 2, curve, RulesJudge(), 2, 5, 0.7, 0.9, 1, probe)
    scored = evaluation.evaluate(asking, items)
    samples = 2 if evaluation.JUDGED else 1
    assert [(one.dose, one.item, one.sample) for one in scored] == [
        (dose, item, sample) for dose in range(4) for item in range(3) for sample in range(samples)
    ]
    by_dose = [[(one.text, one.values) for one in scored if one.dose == dose] for dose in range(4)]
    assert by_dose[1] == by_dose[3] != by_dose[2]
    for one in scored:
        assert one.values.keys() == evaluation.MEASURES.keys() and one.prompt == items[one.item].prompt
        assert all((value is None) == one.incoherent for value in one.values.values())
        assert items[one.item].kind in one.parts


def test_what_a_study_can_ask_is_what_there_is() -> None:
    assert sorted(EVALUATED) == sorted(EVALUATIONS)
