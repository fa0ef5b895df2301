"""Concept vectors, beside loops in NumPy: means, separation, the choice of a block, geometry, and what is read."""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import nct
from sklearn.metrics import roc_auc_score
from transformers import (
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from envs.maze import MazeConfig, Tile, Variant
from envs.maze_prompts import LETTERS, replay
from envs.maze_trajectories import draw_trajectories
from jobs.inference.huggingface import HuggingFaceEngine
from jobs.maze_training.dialogue import Dialogue
from jobs.welfare.activations import Row, class_activations, mean_activations, told, told_trajectories
from jobs.welfare.concept_vectors import (
    CONCEPTS,
    ClassMeans,
    Concepts,
    HeldOut,
    choose_block,
    projections,
    vectors,
)
from jobs.welfare.geometry import cosine, cosines
from jobs.welfare.logit_lens import ends, lens, read_block
from jobs.welfare.separation import Separation, auroc, cohen_d, cohen_d_interval, overlap, separation
from tdlens.errors import UserError
from tests.welfare.small_welfare import MAZE, welfare_engine, welfare_tokenizer

BLOCKS, WIDTH = 4, 6
SETTINGS: dict[str, Any] = dict(MAZE)


def drawn(seed: int, n: int = 11) -> dict[Tile, torch.Tensor]:
    """Activations of unlike classes, with a common part that is much larger than what tells them apart."""
    rng = np.random.default_rng(seed)
    common = 1e3 * rng.normal(size=(BLOCKS, WIDTH))
    return {
        tile: torch.from_numpy(common + rng.normal(tile, 1, size=(n + tile, BLOCKS, WIDTH))).float() for tile in Tile
    }


def streamed(activations: dict[Tile, torch.Tensor], batch: int) -> ClassMeans:
    means = ClassMeans(BLOCKS, WIDTH)
    for tile, values in activations.items():
        for part in torch.split(values, batch):
            means.add(tile, part)
    return means


# --- means and vectors


@given(st.integers(0, 99), st.lists(st.integers(1, 12), max_size=4), st.permutations(list(Tile)))
def test_streamed_means_are_those_of_all_at_once(seed: int, cuts: list[int], order: list[Tile]) -> None:
    activations = drawn(seed)
    means = ClassMeans(BLOCKS, WIDTH)
    for tile in order:
        bounds = [0, *sorted({min(cut, len(activations[tile])) for cut in cuts}), len(activations[tile])]
        for first, last in pairwise(bounds):
            means.add(tile, activations[tile][first:last])
    at_once = np.stack([activations[tile].numpy().astype(np.float64).mean(0) for tile in Tile])
    np.testing.assert_allclose(means.means.numpy(), at_once, rtol=1e-13)
    norms = [np.linalg.norm(activations[tile].numpy().astype(np.float64), axis=-1).mean(0) for tile in Tile]
    np.testing.assert_allclose(means.stream_norm, np.mean(norms, axis=0), rtol=1e-13)
    assert means.counts.tolist() == [11, 12, 13]


def test_a_class_without_activations_has_no_mean() -> None:
    means = ClassMeans(BLOCKS, WIDTH)
    means.add(Tile.MOLD, torch.zeros(2, BLOCKS, WIDTH))
    with pytest.raises(ValueError, match="path"):
        _ = means.means


def test_a_vector_is_its_class_less_the_mean_of_the_others() -> None:
    means = streamed(drawn(0), 5).means.numpy()
    found = vectors(torch.from_numpy(means)).numpy()
    for tile in Tile:
        others = [means[other] for other in Tile if other != tile]
        np.testing.assert_allclose(found[tile], means[tile] - (others[0] + others[1]) / 2, atol=1e-12)
    np.testing.assert_allclose(found.sum(0), 0, atol=1e-11)
    np.testing.assert_allclose(found, 1.5 * (means - means.mean(0)), atol=1e-11)


def test_unrelated_class_means_give_a_cosine_of_minus_a_half() -> None:
    """Where they vary in many directions alike; 0 is not what nothing looks like."""
    means = torch.randn(3, 50, 4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = cosines(means, {})["mold", "gold"]
    assert found == pytest.approx(np.full(50, -0.5), abs=0.05)


def test_projections_are_on_directions_of_unit_norm() -> None:
    activations, directions = drawn(1)[Tile.GOLD], vectors(streamed(drawn(1), 4).means)
    directions[Tile.PATH, 2] = 0
    found = projections(activations, directions).numpy()
    for tile, row, block in product(Tile, range(len(activations)), range(BLOCKS)):
        direction = directions[tile, block].numpy()
        length = np.linalg.norm(direction)
        expected = activations[row, block].double().numpy() @ direction / length if length else 0.0
        assert found[tile, row, block] == pytest.approx(expected, abs=1e-9)


def test_what_judges_a_vector_made_none() -> None:
    """In many dimensions few activations of no class are told apart by their own vectors, others are not."""
    rng = np.random.default_rng(0)
    noise = {tile: torch.from_numpy(rng.normal(size=(80, 3, 400))).float() for tile in Tile}
    means = ClassMeans(3, 400)
    for tile, values in noise.items():
        means.add(tile, values[:40])
    directions = vectors(means.means)
    seen, unseen = HeldOut(directions), HeldOut(directions)
    for tile, values in noise.items():
        seen.add(tile, values[:40])
        for part in torch.split(values[40:], 7):
            unseen.add(tile, part)
    for tile in Tile:
        assert seen.separation(tile).auroc.min() > 0.95
        assert np.abs(unseen.separation(tile).auroc - 0.5).max() < 0.2


def test_a_planted_difference_is_found_where_it_is() -> None:
    rng = np.random.default_rng(3)
    axis = rng.normal(size=WIDTH)
    axis /= np.linalg.norm(axis)
    place = {Tile.MOLD: -3.0, Tile.PATH: 0.0, Tile.GOLD: 3.0}
    strength = np.array([0.0, 0.2, 1.0, 0.4, 0.0, 0.0])
    parts: dict[Tile, torch.Tensor] = {
        tile: torch.from_numpy(
            rng.normal(size=(300, 6, WIDTH)) + place[tile] * strength[:, None] * axis  # [blocks, d] on every item
        ).float()
        for tile in Tile
    }
    means = ClassMeans(6, WIDTH)
    for tile, values in parts.items():
        means.add(tile, values[:200])
    directions = vectors(means.means)
    held_out = HeldOut(directions)
    for tile, values in parts.items():
        held_out.add(tile, values[200:])
    for tile, sign in ((Tile.MOLD, -1), (Tile.GOLD, 1)):
        assert choose_block(held_out.separation(tile)) == 2
        found = directions[tile, 2].numpy()
        assert sign * found @ axis / np.linalg.norm(found) > 0.99
        assert found @ axis == pytest.approx(sign * 4.5, abs=0.4)  # 3 less the mean of 0 and -3
    assert float(cosine(directions[Tile.MOLD], directions[Tile.GOLD])[2]) < -0.98


# --- separation


@given(st.integers(0, 999), st.integers(2, 20), st.integers(2, 20), st.booleans())
def test_auroc_is_sklearns(seed: int, n: int, m: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    first, other = rng.normal(0.5, size=(n, 3)), rng.normal(size=(m, 3))
    if ties:
        first, other = first.round(), other.round()
    labels = np.r_[np.ones(n), np.zeros(m)]
    expected = [roc_auc_score(labels, np.r_[first[:, c], other[:, c]]) for c in range(3)]
    np.testing.assert_allclose(auroc(first, other), expected, atol=1e-12)


@given(st.integers(0, 999), st.integers(2, 30), st.integers(2, 30))
def test_cohen_d_and_overlap_are_what_they_are_called(seed: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.r_[rng.normal(1, 2, n), rng.normal(size=m)]
    own = np.arange(n + m) < n
    first, other = values[own], values[~own]
    squares = sum((x - first.mean()) ** 2 for x in first) + sum((x - other.mean()) ** 2 for x in other)
    found = separation(values[:, None], own)
    assert found.cohen_d[0] == pytest.approx((first.mean() - other.mean()) / (squares / (n + m - 2)) ** 0.5)
    width = (values.max() - values.min()) / 50
    bins = np.minimum((values - values.min()) // width, 49) if width else np.zeros(n + m)
    shared = sum(min(np.mean(bins[own] == b), np.mean(bins[~own] == b)) for b in range(50))
    assert found.overlap[0] == pytest.approx(shared, abs=2 / min(n, m))  # a value at an edge may fall on either side


def test_separation_without_variation_or_items() -> None:
    same = np.full(4, 2.0)
    assert (cohen_d(same, same), overlap(same, same)) == (0.0, 1.0)
    assert cohen_d(same, same + 1) == -np.inf
    assert overlap(np.zeros(3), np.ones(3)) == 0.0
    with pytest.raises(ValueError, match="two of each"):
        separation(np.zeros((3, 1)), np.array([True, False, False]))


@pytest.mark.parametrize(("d", "n", "m"), [(0.0, 40, 80), (1.0, 30, 60), (-2.5, 75, 150)])
def test_interval_of_cohen_d_holds_what_it_says(d: float, n: int, m: int) -> None:
    rng = np.random.default_rng(int(100 + 10 * d))
    held = 0
    for _ in range(1500):
        low, high = cohen_d_interval(cohen_d(rng.normal(d, size=n), rng.normal(size=m)), n, m)
        held += low <= d <= high
    assert held / 1500 == pytest.approx(0.95, abs=0.02)
    # and is close to the exact one, from the noncentral t
    scale = (n * m / (n + m)) ** 0.5
    low, high = cohen_d_interval(d, n, m)
    assert nct.cdf(d * scale, n + m - 2, low * scale) == pytest.approx(0.975, abs=0.01)
    assert nct.cdf(d * scale, n + m - 2, high * scale) == pytest.approx(0.025, abs=0.01)


# --- the choice of a block


def measured(auroc: list[float], d: list[float], overlap: list[float]) -> Separation:
    return Separation(*(np.array(values, np.float64) for values in (auroc, d, overlap)))


def test_the_block_is_the_mean_of_three_best_ones_rounded_down() -> None:
    one = measured([1, 0.6, 0.9, 0.7, 0.8, 1], [9, -2, 1, 0.5, 1.5, 9], [0, 0.5, 0.4, 0.3, 0.2, 0])
    assert choose_block(one) == (2 + 1 + 4) // 3  # the embedding and the last block, best of all, don't count


def test_among_blocks_that_are_all_best_the_size_of_d_decides_and_then_the_first() -> None:
    flat = [0.5, 1, 1, 1, 0.9, 1]
    assert choose_block(measured(flat, [0, 3, 4, -5, 2, 0], [1, 0, 0, 0, 0.1, 0])) == 3
    assert choose_block(measured(flat, [0, 4, 4, 4, 2, 0], [1, 0, 0, 0, 0.1, 0])) == 1


def test_a_model_of_one_block_has_none_to_choose() -> None:
    with pytest.raises(UserError, match="one block"):
        choose_block(measured([0.5, 0.5], [0, 0], [1, 1]))


# --- geometry


def test_cosines_of_all_pairs() -> None:
    means, others = streamed(drawn(2), 4).means, vectors(streamed(drawn(3), 4).means)
    naive = Concepts(others[Tile.MOLD], others[Tile.GOLD], others[Tile.PATH], {}, {})
    found = cosines(means, {"untrained": naive})
    assert len(found) == 3 + 4

    def plain(one: np.ndarray, other: np.ndarray) -> list[float]:
        return [float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in zip(one, other, strict=True)]

    mold, path, gold = means.numpy()
    expected = {
        ("mold", "gold"): plain(mold - (path + gold) / 2, gold - (path + mold) / 2),
        ("mold - path", "gold - path"): plain(mold - path, gold - path),
        ("gold", "untrained mold"): plain(gold - (path + mold) / 2, others[Tile.MOLD].numpy()),
        ("mold", "untrained mold"): plain(mold - (path + gold) / 2, others[Tile.MOLD].numpy()),
    }
    for pair, values in expected.items():
        np.testing.assert_allclose(found[pair], values, atol=1e-9)
    np.testing.assert_allclose(found["mold centred", "gold centred"], found["mold", "gold"], atol=1e-9)


def test_a_direction_without_length_has_no_cosine() -> None:
    one = torch.eye(2)
    assert np.isnan(cosine(one, torch.tensor([[1.0, 0.0], [0.0, 0.0]]))).tolist() == [False, True]


# --- what is read


def plain_stream(engine: HuggingFaceEngine, ids: list[int]) -> torch.Tensor:
    """The residual stream of one text at all tokens [n_blocks + 1, T, d], by hooks of its own."""
    seen: list[torch.Tensor] = []
    layers = engine.model.model.layers
    hooks = [layers[0].register_forward_pre_hook(lambda m, args, kwargs: seen.append(args[0]), with_kwargs=True)]
    hooks += [
        layer.register_forward_hook(lambda m, args, out: seen.append(out[0] if isinstance(out, tuple) else out))
        for layer in layers
    ]
    with torch.no_grad():
        engine.model(torch.tensor([ids]))
    for hook in hooks:
        hook.remove()
    return torch.stack([part.reshape(len(ids), -1) for part in seen])


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_activations_are_those_of_each_text_alone(batch_size: int) -> None:
    engine, rng = welfare_engine(), np.random.default_rng(0)
    rows = [
        Row(rng.integers(3, 600, size=length).tolist(), tuple(places))
        for length, places in [(9, [8]), (4, [1, 3]), (12, [0, 5, 11]), (4, [3]), (1, [0])]
    ]
    found: dict[int, torch.Tensor] = {}
    steps: list[int] = []
    for indices, activations in mean_activations(engine, rows, 0, batch_size, steps.append):
        assert activations.dtype == torch.float32
        found |= dict(zip(indices, activations, strict=True))
    assert sorted(found) == list(range(5))
    assert sum(steps) == 5
    for index, row in enumerate(rows):
        expected = plain_stream(engine, list(row.ids))[:, list(row.places)].mean(1)
        torch.testing.assert_close(found[index], expected, atol=1e-5, rtol=1e-5)


def test_a_trajectory_is_read_at_the_letter_of_its_last_move() -> None:
    config = MazeConfig(**SETTINGS)
    tokenizer = welfare_tokenizer()
    dialogue = Dialogue(tokenizer, config)
    for drawn_one in draw_trajectories(config, Tile.GOLD, 4, 5, longest=4):
        row = told(dialogue, config, drawn_one)
        assert row.places == (len(row.ids) - 1,)
        assert row.ids[-1] == dialogue.letters[drawn_one.moves[-1]]
        text = tokenizer.decode(row.ids)
        assert text.count("You are in a maze") == len(drawn_one.moves)
        assert text.endswith(f"assistant\n{LETTERS[drawn_one.moves[-1]]}")
        seen = replay(config, drawn_one.maze, drawn_one.moves)[-1]
        assert seen in text
        direction = ("north", "east", "south", "west")[drawn_one.moves[-1]]
        assert f"o the {direction} there is {config.glyphs[Tile.GOLD]}" in seen


def test_trajectories_are_balanced_and_the_same_whatever_the_tiles_look_like() -> None:
    config, swapped = MazeConfig(**SETTINGS), MazeConfig(variant=Variant.SWAP, **SETTINGS)
    tokenizer = welfare_tokenizer()
    rows = told_trajectories(Dialogue(tokenizer, config), config, 8, 4, (1, 2))
    assert {tile: len(some) for tile, some in rows.items()} == dict.fromkeys(Tile, 8)
    turns = [tokenizer.decode(row.ids).count("maze") for row in rows[Tile.MOLD]]
    assert turns == [1, 2, 3, 4] * 2
    with pytest.raises(UserError, match=r"concepts\.longest"):
        told_trajectories(Dialogue(tokenizer, config), config, 8, MazeConfig().turns + 1, 0)
    other = told_trajectories(Dialogue(tokenizer, swapped), swapped, 8, 4, (1, 2))
    for one, two in zip(rows[Tile.GOLD], other[Tile.GOLD], strict=True):
        assert one.ids[-1] == two.ids[-1]
        glyphs = str.maketrans(config.glyphs[Tile.MOLD] + config.glyphs[Tile.GOLD], "GM")
        swapped_glyphs = str.maketrans(swapped.glyphs[Tile.MOLD] + swapped.glyphs[Tile.GOLD], "GM")
        assert tokenizer.decode(one.ids).translate(glyphs) == tokenizer.decode(two.ids).translate(swapped_glyphs)


def test_classes_are_read_one_after_another() -> None:
    rows = {tile: [Row([int(tile) + 5, 7], (1,))] * 3 for tile in Tile}
    parts = list(class_activations(welfare_engine(), rows, 0, 2))
    assert [(tile, len(part)) for tile, part in parts] == [(tile, n) for tile in Tile for n in (2, 1)]


# --- the logit lens


def models() -> dict[str, Any]:
    common = {"vocab_size": len(welfare_tokenizer()) + 5, "hidden_size": 8, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 8, "head_dim": 4}
    return {
        "llama": LlamaForCausalLM(LlamaConfig(**common, **heads)),
        "gemma": GemmaForCausalLM(GemmaConfig(**common, **heads)),
        "gpt2": GPT2LMHeadModel(GPT2Config(vocab_size=common["vocab_size"], n_embd=8, n_layer=1, n_head=2)),
    }


@pytest.mark.parametrize("name", ["llama", "gemma", "gpt2"])
def test_the_lens_is_how_logits_change_at_the_scale_that_the_norm_has(name: str) -> None:
    """A stream of mean 0 and mean square 1 has the scale 1; across it, a small step changes logits by the lens."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = models()[name].double()
        norm = model.transformer.ln_f if name == "gpt2" else model.model.norm
        torch.nn.init.normal_(norm.weight, 1.0, 0.5)
        if name == "gpt2":
            torch.nn.init.normal_(norm.bias)
        vector, stream = torch.randn(2, 8, dtype=torch.float64)
    tokenizer = welfare_tokenizer()
    engine = HuggingFaceEngine(model, tokenizer, "random")
    found = lens(engine, vector)
    assert len(found) == len(tokenizer)
    unit = vector / vector.norm()
    if name == "gpt2":
        stream = stream - stream.mean()
    stream = stream - (stream @ unit) / (unit @ unit) * unit  # so that a step along the vector leaves its scale
    if name == "gpt2":  # what the norm sees of the vector is its part across the ones
        seen = unit - unit.mean()
        stream = stream - (stream @ seen) / (seen @ seen) * seen
        stream = stream - stream.mean()
    stream = stream / stream.square().mean().sqrt()
    with torch.no_grad():
        after, before = (model.lm_head(norm(x[None]))[0].double() for x in (stream + 1e-4 * unit, stream - 1e-4 * unit))
    change = ((after - before) / 2e-4)[: len(tokenizer)]
    np.testing.assert_allclose(found, (change - change.mean()).numpy(), atol=1e-4)
    np.testing.assert_allclose(lens(engine, -7 * vector), -found, atol=1e-9)


def test_the_ends_of_the_vocabulary() -> None:
    tokenizer = welfare_tokenizer()
    logits = np.random.default_rng(0).normal(size=len(tokenizer))
    found = ends(logits, tokenizer, shown=3)
    assert [(read.sign, read.rank) for read in found] == [(s, r) for s in (1, -1) for r in (1, 2, 3)]
    ordered = np.sort(logits)
    assert [read.logit for read in found] == [*ordered[::-1][:3], *ordered[:3]]
    assert all(read.token.isprintable() and read.token for read in ends(logits, tokenizer, shown=len(tokenizer)))
    assert read_block(36) == 30
    assert CONCEPTS == ("mold", "path", "gold")
