"""Emotion vectors beside plain references, a valence that was planted, and the stage's rows beside what they say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sqlalchemy import select
from torch import Tensor

from jobs import pipeline
from jobs.inference.base import TokenBatch
from jobs.inference.huggingface import HuggingFaceEngine
from jobs.stages import concepts, emotions, train_in_maze
from jobs.welfare import emotion_stories
from jobs.welfare.concept_vectors import read_vectors
from jobs.welfare.emotion_stories import TRIES, read, says, shipped_texts, written_texts
from jobs.welfare.emotion_vectors import (
    best_block,
    emotion_vectors,
    leading_components,
    principal_components,
    random_projection,
    text_activations,
    text_row,
    told_apart,
    word_means,
)
from jobs.welfare.emotions import VALENCE
from jobs.welfare.speaker import Speaker
from jobs.welfare_model.vocabulary import build_tokenizer
from tdlens.errors import UserError
from tdlens.record import Artifact, Job, Record
from tests.jobs.small_study import context_of, fresh_record, run
from tests.welfare.small_welfare import welfare_engine, welfare_study

ONE_TRAINING: dict[str, Any] = {
    "training": [{"name": "primary", "steps": 1, "mazes": 2, "rollouts": 4, "lora_rank": 0}]
}
GENERATOR = np.random.default_rng(5)


def test_long_stories_are_read_from_the_50th_token_on_and_short_ones_in_their_second_half() -> None:
    assert [text_row(range(n)).places[0] for n in (1, 2, 9, 99, 100, 300)] == [0, 1, 4, 49, 50, 50]
    assert all(text_row(range(n)).places[-1] == n - 1 for n in (1, 9, 300))


@pytest.fixture(scope="module")
def engine() -> HuggingFaceEngine:
    return welfare_engine()


def activation(engine: HuggingFaceEngine, ids: Sequence[int]) -> Tensor:
    """By one pass over one story, all tokens of which are captured."""
    every = torch.arange(len(ids))[None]
    tokens = TokenBatch.from_rows([ids], pad_id=0)
    stream = engine.forward(tokens, positions=every, capture=range(engine.n_blocks + 1)).activations
    return torch.stack([stream[block][0, min(50, len(ids) // 2) :].double().mean(0) for block in sorted(stream)])


def test_means_and_separation_are_those_of_stories_read_one_by_one(engine: HuggingFaceEngine) -> None:
    stories = [[GENERATOR.integers(3, 600, size=n).tolist() for n in lengths] for lengths in ((4, 120), (60, 7, 9))]
    rows = [[text_row(ids) for ids in some] for some in stories]
    alone = [torch.stack([activation(engine, ids) for ids in some]) for some in stories]

    means = word_means(engine, rows, 0, batch_size=3)
    assert means.dtype == torch.float64
    torch.testing.assert_close(means, torch.stack([some.mean(0) for some in alone]), rtol=1e-4, atol=1e-5)
    flat = text_activations(engine, [row for some in rows for row in some], 0, batch_size=2)
    torch.testing.assert_close(flat.double(), torch.cat(alone), rtol=1e-4, atol=1e-5)

    directions = torch.from_numpy(GENERATOR.normal(size=means.shape))
    of = np.array([0, 0, 1, 1, 1])
    found = told_apart(engine, directions, rows, 0, batch_size=2)
    for word in range(2):
        for block in range(engine.n_blocks + 1):
            along = torch.cat(alone)[:, block] @ directions[word, block]
            assert found[word, block] == pytest.approx(roc_auc_score(of == word, along.numpy()))


@given(n=st.integers(3, 9), d=st.integers(1, 6), share=st.sampled_from([0.3, 0.5, 0.9, 1.0]), seed=st.integers(0, 99))
def test_the_fewest_components_that_explain_a_share(n: int, d: int, share: float, seed: int) -> None:
    texts = np.random.default_rng(seed).normal(size=(n, d)) * np.arange(1, d + 1)
    basis = leading_components(torch.from_numpy(texts), share).numpy()
    explained = np.cumsum(PCA().fit(texts).explained_variance_ratio_)
    assert explained[len(basis) - 1] >= share - 1e-9
    assert len(basis) == 1 or explained[len(basis) - 2] < share
    np.testing.assert_allclose(basis @ basis.T, np.eye(len(basis)), atol=1e-9)
    reference = PCA(len(basis)).fit(texts).components_
    np.testing.assert_allclose(basis.T @ basis, reference.T @ reference, atol=1e-6)


def test_texts_that_are_all_the_same_have_no_components() -> None:
    assert leading_components(torch.ones(4, 3), 0.5).shape == (0, 3)


def test_vectors_lack_the_common_mean_and_what_neutral_texts_vary_along() -> None:
    means, neutral = GENERATOR.normal(size=(5, 2, 6)), GENERATOR.normal(size=(9, 2, 6)) * np.arange(6)
    found = emotion_vectors(torch.from_numpy(means), torch.from_numpy(neutral)).numpy()
    for block in range(2):
        basis = leading_components(torch.from_numpy(neutral[:, block]), 0.5).numpy()
        assert 1 <= len(basis) < 6
        for word in range(5):
            expected = means[word, block] - means[:, block].mean(0)
            for row in basis:
                expected = expected - (expected @ row) * row
            np.testing.assert_allclose(found[word, block], expected, atol=1e-12)


@pytest.mark.parametrize(("near", "block"), [(1.0, 2), (2.4, 2), (2.6, 3), (4.0, 3)])
def test_of_blocks_that_are_as_good_the_nearest_is_taken_but_never_the_first_or_the_last(
    near: float, block: int
) -> None:
    separation = np.array([[1.0, 0.6, 0.9, 0.7, 0.6, 1.0], [1.0, 0.6, 0.7, 0.885, 0.96, 1.0]])
    assert best_block(separation, near) == block  # 0.78 in block 4 is worse, however near
    with pytest.raises(UserError, match="one block only"):
        best_block(np.ones((3, 2)), near)


@pytest.mark.parametrize("turn", [1.0, -1.0])
def test_a_planted_valence_is_the_first_component_whichever_way_it_points(turn: float) -> None:
    words = list(VALENCE)
    valence = np.array([VALENCE[word] for word in words])
    axis, other = turn * np.eye(8)[2], np.eye(8)[5]
    vectors = 3 * valence[:, None] * axis + GENERATOR.normal(size=(len(words), 1)) * other
    vectors += 0.05 * GENERATOR.normal(size=vectors.shape)
    found = principal_components(torch.from_numpy(vectors), valence.tolist())
    assert found.directions[0] @ axis > 0.99
    assert found.valence_r[0] > 0.99
    assert abs(found.directions[1] @ other) > 0.99
    assert (found.valence_r >= 0).all()
    reference = PCA(3).fit(vectors)
    np.testing.assert_allclose(found.explained, reference.explained_variance_ratio_)
    np.testing.assert_allclose(np.abs(np.sum(found.directions * reference.components_, axis=1)), 1)


def test_there_are_no_more_components_than_the_words_span() -> None:
    vectors = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 2, 0], [0, -2, 0]])
    assert principal_components(vectors, [1, -1, 0.5, 0]).directions.shape == (2, 3)
    with pytest.raises(ValueError, match="all the same"):
        principal_components(torch.ones(4, 3), [1, -1, 0.5, 0])


@pytest.mark.parametrize("d", [2, 3, 50])
def test_random_vectors_of_a_norm_project_within_their_interval(d: int) -> None:
    drawn = np.random.default_rng(d).normal(size=(50_000, d))
    projected = 3 * drawn[:, 0] / np.linalg.norm(drawn, axis=1)
    assert random_projection(3, d) == pytest.approx(np.quantile(np.abs(projected), 0.95), rel=0.02)


def test_a_word_is_said_alone_or_with_an_ending() -> None:
    assert says("He was Sad.", "sad")
    assert says("her sadness", "sad")
    assert says("Hopeful people", "hope")
    assert not says("She made a saddle.", "sad")
    assert not says("made", "mad")
    assert says("finally at ease", "at ease")


@dataclass
class Writer:
    """Writes the word of the first emotion always, that of the second at the first try, that of the third never."""

    chat: Any = field(default_factory=lambda: SimpleNamespace(encode=lambda messages: messages[0]["content"]))
    calls: list[list[tuple[int, ...]]] = field(default_factory=list)

    def generate(self, conversations: Sequence[str], *, luck: Sequence[tuple[int, ...]], **_: Any) -> list[str]:
        self.calls.append(list(luck))
        attempt = len(self.calls)
        return [
            "So sad." if "“sad”" in asked else "Very calm." if "“calm”" in asked and attempt == 1 else f"Try {attempt}."
            for asked in conversations
        ]


def test_stories_with_their_word_are_written_again_with_other_luck() -> None:
    writer: Any = Writer()
    texts = written_texts(writer, ["sad", "calm", "proud"], stories=2, neutral=3, seed=4)
    assert texts.stories == {"sad": [], "calm": ["Try 2."] * 2, "proud": ["Try 1."] * 2}
    assert texts.neutral == [f"Try {TRIES + 1}."] * 3
    every = [luck for call in writer.calls for luck in call]
    assert len(set(every)) == len(every)
    assert [len(call) for call in writer.calls] == [6, 4, *[2] * (TRIES - 2), 3]


def test_the_shipped_corpus_tells_stories_without_the_word_in_words_that_the_tokenizer_knows() -> None:
    tokenizer = build_tokenizer()
    words = ("happy", "grief-stricken", "on edge")
    texts, again = (shipped_texts(words, stories=6, neutral=3, seed=2) for _ in range(2))
    assert texts == again
    assert shipped_texts(words, stories=6, neutral=3, seed=3).stories["happy"] != texts.stories["happy"]
    for word, told in texts.stories.items():
        assert len(told) == 6
        for text in told:
            assert not says(text, word)
            assert tokenizer.unk_token_id not in tokenizer.encode(text)


@pytest.fixture(scope="module")
def these_stages_alone() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "OF_TRAINING", (train_in_maze, concepts, emotions))
        patch.setattr(pipeline, "STAGES", (train_in_maze, concepts, emotions))
        yield


@pytest.fixture(scope="module")
def finished(these_stages_alone: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Record]:
    with fresh_record("sqlite", tmp_path_factory.mktemp("emotions")) as record:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(emotion_stories, "MAX_TOKENS", 24)
            run(welfare_study(tmp_path_factory.getbasetemp(), **ONE_TRAINING), record)
        yield record


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {str(name): None if pd.isna(value) else value for name, value in row.items()}
        for row in table.astype(object).to_dict("records")
    ]


def test_rows_say_what_the_kept_vectors_say(finished: Record, tmp_path_factory: pytest.TempPathFactory) -> None:
    record, study = finished, welfare_study(tmp_path_factory.getbasetemp(), **ONE_TRAINING)
    context = context_of(study, record)
    plan = pipeline.plan_study(context)
    with record.session(read_only=True) as session:
        context.remember({row.identity: row.id for row in session.execute(select(Job.identity, Job.id))})
        (unit,) = plan.of("emotions")
        query = select(Artifact.name, Artifact.blob).where(Artifact.job_id == context.job_id(unit))
        blobs: dict[str, str] = {row.name: row.blob for row in session.execute(query)}
    kept = record.blobs.load_tensors(blobs["emotion vectors"])
    words = study.concepts.emotions or ()

    stories = record.blobs.load_table(blobs["stories"])
    counts = stories.groupby("emotion").size().to_dict()
    assert counts == dict.fromkeys(words, 2) | {"": 8}
    speaker = Speaker(context.engine, 8)
    told = [
        [text_row(read(speaker.chat, text).ids) for text in stories.text[stories.emotion == word]] for word in words
    ]
    neutral = [text_row(read(speaker.chat, text).ids) for text in stories.text[stories.emotion == ""]]
    made = word_means(context.engine, [some[:1] for some in told], speaker.chat.pad_id, 5)
    again = emotion_vectors(made, text_activations(context.engine, neutral, speaker.chat.pad_id, 5))
    torch.testing.assert_close(kept["emotions"].double(), again, rtol=1e-3, atol=1e-4)

    cosines = record.query("select * from emotion_cosine")
    (block,) = cosines.block.unique()
    assert len(cosines) == 2 * 2 * len(words)  # the training and the naive model, Mold and Gold
    assert set(cosines.training.dropna()) == {"primary"}
    of = {unit.config["training"]: read_vectors(context, unit) for unit in unit.parents_of("concepts")}
    for row in rows_of(cosines):
        vector = of[row["training"]].of(row["concept"])[block]
        emotion = kept["emotions"][words.index(row["emotion"]), block]
        assert row["cosine"] == pytest.approx(float(torch.cosine_similarity(vector, emotion, dim=0)), abs=1e-5)
        assert row["valence"] == VALENCE[row["emotion"]]

    components = record.query("select * from emotion_component")
    assert len(components) == 2 * 2 * 3
    for row in rows_of(components):
        vector = of[row["training"]].of(row["concept"])[block]
        direction = kept["components"][row["component"] - 1]
        assert row["projection"] == pytest.approx(float(vector @ direction), abs=1e-5)
        assert row["cosine"] == pytest.approx(float(torch.cosine_similarity(vector, direction, dim=0)), abs=1e-5)
        assert 0 < row["null_high"] == -row["null_low"] < float(vector.norm())
    metric = record.query("select name, value, n from model_metric where name like 'emotion AUROC%'")
    assert metric.n.tolist() == [len(words)] * (context.engine.n_blocks + 1)
    inner = metric.set_index("name").value[[f"emotion AUROC, block {b}" for b in range(1, context.engine.n_blocks)]]
    assert inner.idxmax() == f"emotion AUROC, block {block}"


@pytest.mark.usefixtures("these_stages_alone")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"emotions": ["happy", "sad", "calm", "zzz"]}, r"'zzz' isn't among the emotion words\."),
        ({"emotions": ["hapy", "sad", "calm", "proud"]}, r"'hapy' isn't .* \(did you mean happy\?\)"),
        ({"emotions": ["happy", "sad", "calm"]}, "4 words at least"),
        ({"emotions": ["joyful", "happy", "ecstatic", "elated"]}, "more pleasant than others"),
        ({"emotion_stories": 1}, "2 stories of each emotion"),
    ],
)
def test_too_little_of_anything_is_refused_before_anything_runs(
    finished: Record, changes: dict[str, Any], message: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    study = welfare_study(tmp_path_factory.getbasetemp(), concepts=changes)
    with pytest.raises(UserError, match=message):
        pipeline.plan_study(context_of(study, finished))
