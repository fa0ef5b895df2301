"""Studies as files: what is accepted, how a mistake is named, and what --set does."""

from __future__ import annotations

import copy
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs import TASKS
from jobs.sections import TaskSection
from jobs.study import Study, load, validate
from tdlens.errors import UserError
from tdlens.identity import digest

ROOT = Path(__file__).parents[2]
GOOD: dict[str, Any] = {
    "name": "small",
    "task": {"settings": {"episodes": 10}},
    "sae": [
        {"name": "paper", "options": {"l1": 1e-4}},
        {"name": "topk", "architecture": "topk", "options": {"k": 4}},
    ],
    "intervention": [{"name": "td", "sae": "paper"}, {"name": "q", "sae": "topk", "signal": "q_left"}],
}
TOML = """
name = "small"
task = { settings = { episodes = 10 } }

[[sae]]
name = "paper"
options = { l1 = 1e-4 }
[[sae]]
name = "topk"
architecture = "topk"
options = { k = 4 }

[[intervention]]
name = "td"
sae = "paper"
[[intervention]]
name = "q"
sae = "topk"
signal = "q_left"
"""


def with_value(path: str, value: Any) -> dict[str, Any]:
    """The good study with one value set; ``sae.0.lr`` goes into the first entry of a list."""
    data = copy.deepcopy(GOOD)
    *parts, last = path.split(".")
    place: Any = data
    for part in parts:
        place = place[int(part)] if part.isdigit() else place.setdefault(part, {})
    place[last] = value
    return data


def refused(data: dict[str, Any]) -> str:
    """What the one error says; it names the file and has a remedy."""
    with pytest.raises(UserError) as caught:
        validate(data, "small.toml")
    assert caught.value.message.startswith("small.toml: ") and caught.value.remedy
    return caught.value.message


def test_the_good_study_is_accepted_and_the_file_means_the_same(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(TOML)
    assert load(tmp_path / "small.toml") == validate(GOOD, "here")


def test_the_studies_of_this_repository_are_accepted() -> None:
    files = sorted((ROOT / "studies").glob("*.toml"))
    assert files
    assert len({load(file).name for file in files}) == len(files)


def test_the_demo_is_the_papers_study() -> None:
    study = load(ROOT / "studies" / "two_step_demo.toml")
    assert study.task.variants == ("standard", "reward_disruption", "transition_disruption")
    assert study.task.rollouts == 100
    assert study.task.settings == {"episodes": 30, "random_episodes": 7, "change_episode": 15}
    assert (study.signals.alpha, study.signals.gamma, study.signals.window) == (0.1, 0.99, 4)
    paper = study.sae[0].autoencoder(8192)
    assert (paper.architecture, paper.d_latents, paper.l1_squared, paper.mse_reduction) == ("relu", 16384, True, "mean")
    training = study.sae[0].training()
    assert (training.batch_size, training.epochs) == (256, 30)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("sed", "unknown key sed (did you mean seed?)"),
        ("task.rolouts", "unknown key task.rolouts (did you mean rollouts?)"),
        ("model.dtyp", "unknown key model.dtyp (did you mean dtype?)"),
        ("sae.1.epohs", "unknown key sae.1.epohs (did you mean epochs?)"),
        ("intervention.0.signl", "unknown key intervention.0.signl (did you mean signal?)"),
        ("capture.zzz", "unknown key capture.zzz"),
        ("task.settings.episods", "unknown setting of two_step 'episods' (did you mean episodes?)"),
        ("task.settings.variant", "unknown setting of two_step 'variant'"),
        ("sae.0.options.l1_sqared", "unknown autoencoder option 'l1_sqared'; did you mean 'l1_squared'?"),
    ],
)
def test_an_unknown_key_is_named_with_its_neighbour(path: str, said: str) -> None:
    message = refused(with_value(path, 1))
    assert said in message
    assert ("did you mean" in message) == ("did you mean" in said)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("name", "Not A Name", "name: String should match pattern"),
        ("seed", -1, "seed: Input should be greater than or equal to 0"),
        ("task.name", "two_stp", "unknown task 'two_stp' (did you mean two_step?)"),
        ("task.variants", ["standrd"], "unknown variant of two_step 'standrd' (did you mean standard?)"),
        ("task.variants", [], "task.variants: Tuple should have at least 1 item"),
        ("task.variants", ["standard", "standard"], "task.variants: 'standard' occurs twice"),
        ("task.rollouts", 1, "task.rollouts: Input should be greater than or equal to 4"),
        ("task.rollouts", "many", "task.rollouts: Input should be a valid integer"),
        ("task.settings", {"episodes": 5, "random_episodes": 6}, "random_episodes (6) must lie between 0 and episodes"),
        ("task.settings", {"episodes": 5, "random_episodes": 5}, "every decision is forced"),
        ("task.settings", {"episodes": "many"}, "episodes: Input should be a valid integer"),
        ("task.controls", ["standrd"], "unknown variant of two_step 'standrd' (did you mean standard?)"),
        ("task.controls", ["standard"], "'standard' occurs twice"),
        ("task.further_rollouts", -1, "task.further_rollouts"),
        ("model.dtype", "int8", "model.dtype: Input should be 'float32', 'bfloat16' or 'float16'"),
        ("model.batch_size", 0, "model.batch_size"),
        ("capture.blocks", [-1], "capture.blocks"),
        ("capture.blocks", [], "blocks is empty"),
        ("capture.blocks", [2, 2], "2 occurs twice"),
        ("capture.blocks", "al", "capture.blocks"),
        ("signals.alpha", 0, "signals.alpha: Input should be greater than 0"),
        ("signals.alpha", 1.1, "signals.alpha"),
        ("signals.gamma", float("nan"), "signals.gamma: Input should be a finite number"),
        ("signals.window", 0, "signals.window"),
        ("signals.window", "al", "signals.window"),
        ("signals.agents", ["myopc"], "unknown agent 'myopc' (did you mean myopic?)"),
        ("sae.0.architecture", "rlu", "unknown autoencoder architecture 'rlu'; did you mean 'relu'?"),
        ("sae.0.options", {}, "needs the option l1"),
        ("sae.0.options.l1", "strong", "option l1 must be a value of type float | None, not 'strong'"),
        ("sae.0.options.scale", 1, "option scale must be a value of type bool, not 1"),
        ("sae.1.options.k", 2.5, "option k must be a value of type int | None, not 2.5"),
        ("sae.1.options.k", True, "option k must be a value of type int | None, not True"),
        ("sae.0.options.d_in", 8, "d_in is not among the options"),
        ("sae.0.options.d_latents", 8, "d_latents is not among the options"),
        ("sae.0.expansion", 0, "sae.0.expansion"),
        ("sae.0.lr", -1.0, "sae.0.lr"),
        ("sae.0.epochs", 0, "sae.0.epochs"),
        ("correlate.alpha", 1.0, "correlate.alpha"),
        ("correlate.permutations", 18, "correlate.permutations"),
        ("correlate.top", 0, "correlate.top"),
        ("correlate.controls", ["rw"], "correlate.controls"),
        ("correlate.controls", ["raw", "raw"], "'raw' occurs twice"),
        ("correlate.signals", [], "correlate.signals"),
        ("correlate.signals", ["step", "step"], "'step' occurs twice"),
        ("correlate.signals", ["td_eror"], "'td_eror' (did you mean td_error?)"),
        ("correlate.covariates", ["stp"], "'stp' (did you mean step?)"),
        ("correlate.traced", ["log_step"], "'log_step'"),
        ("bootstrap", 99, "bootstrap"),
        ("intervention.0.operation", "clamp", "operation 'clamp' needs value"),
        ("intervention.0.value", 3.0, "operation 'zero' takes no value"),
        ("intervention.0.draw", -1, "intervention.0.draw"),
        ("intervention.0.latents", 0, "intervention.0.latents"),
        ("intervention.0.control", "none_at_all", "intervention.0.control"),
        ("intervention.0.sae", "papr", "unknown [[sae]] for td 'papr' (did you mean paper?)"),
        (
            "intervention.0.signal",
            "td_eror",
            "unknown signal in [correlate] signals 'td_eror' (did you mean td_error?)",
        ),
        ("sae.1.name", "paper", "two [[sae]] sections are called 'paper'"),
        ("intervention.1.name", "td", "two [[intervention]] sections are called 'td'"),
        ("task", "two_step", "task: Input should be a valid dictionary"),
        ("sae", {"name": "paper"}, "sae: Input should be a valid tuple"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(path: str, value: Any, said: str) -> None:
    assert said in refused(with_value(path, value))


def test_signals_must_come_from_the_agents_that_replay() -> None:
    assert "'myopic_error'" in refused(with_value("signals.agents", ["q_learning", "context", "best_episode"]))


@pytest.mark.parametrize("task", sorted(TASKS))
def test_a_study_that_names_no_more_than_its_task_has_what_fits_it(task: str) -> None:
    study = validate({"name": "bare", "task": {"name": task}}, "here")
    every = TASKS[task].heads  # circuit tasks are searched together, some held out
    assert study.task.variants == TASKS[task].variants[: None if every else 1]
    assert study.signals.agents == TASKS[task].agents
    assert study.correlate.traced == study.correlate.signals[:1]


def test_learning_rates_and_windows_are_the_papers_for_each_task() -> None:
    found = {}
    # a network that sees has learned before; heads are no states, and a model in a maze learns by its weights
    for task in (name for name, task in TASKS.items() if task.seen is None and task.make):
        signals = validate({"name": "bare", "task": {"name": task}}, "here").signals
        found[task] = (signals.alpha, signals.gamma, signals.window)
    assert found == {"two_step": (0.1, 0.99, 4), "grid_world": (0.1, 0.99, "all"), "graph_walk": (0.05, 0.99, 1)}


def test_settings_that_came_later_leave_the_identity_of_signals_as_it_was() -> None:
    plain = validate({"name": "bare"}, "here").signals
    assert plain.config() == {
        "alpha": 0.1,
        "gamma": 0.99,
        "window": 4,
        "agents": ["q_learning", "myopic", "repetition", "best_episode", "context"],
    }
    changed = validate({"name": "bare", "signals": {"sr_initial": 1.0}}, "here").signals
    assert changed.config() == {**plain.config(), "sr_initial": 1.0}


def of_task(name: str, **sections: Any) -> dict[str, Any]:
    task = {"name": name, **sections.pop("task", {})}
    return {"name": "small", "task": task, **sections}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            of_task("graph_walk", correlate={"signals": ["td_error"]}),
            "unknown signal of the [signals] agents 'td_error'",
        ),
        (of_task("graph_walk", correlate={"covariates": ["last_reward"]}), "'last_reward'"),
        (of_task("grid_world", correlate={"signals": ["q_lft"]}), "'q_lft' (did you mean q_left?)"),
        (of_task("grid_world", task={"variants": ["tru"]}), "unknown variant of grid_world 'tru' (did you mean true?)"),
        (of_task("grid_world", task={"controls": ["true"]}), "'true' occurs twice"),
        (
            of_task("grid_world", task={"settings": {"capp": 3}}),
            "unknown setting of grid_world 'capp' (did you mean cap?)",
        ),
        (of_task("grid_world", task={"settings": {"epsilon": "half"}}), "epsilon: Input should be a valid number"),
        (of_task("grid_world", task={"settings": {"goal_x": 7}}), "goal_x (7) lies outside a grid of 5 cells a side"),
        (of_task("grid_world", task={"settings": {"closed_loop": True}}), "grid_world is read, not played"),
        (
            of_task("graph_walk", task={"settings": {"words": ["ice"] * 20}}),
            "15 nodes need as many different words, not 1",
        ),
        (
            of_task("maze", training=[{"name": "one"}, {"name": "two", "temperature": 1.0}]),
            "training two: temperature must be that of one, which has the same tiles",
        ),
    ],
)
def test_what_does_not_fit_the_task_is_refused(data: dict[str, Any], said: str) -> None:
    assert said in refused(data)


@pytest.mark.parametrize("task", sorted(TASKS))
def test_the_help_names_every_setting_of_every_task(task: str) -> None:
    shown = re.search(rf"{task}: ([a-z_, \n]+)", TaskSection.model_fields["settings"].description or "")
    assert shown is not None
    # a task that is read leaves no choice to the model: closed_loop has one value in a study
    known = {field.name for field in fields(TASKS[task].config)} - {"variant", "closed_loop"}
    assert set(re.split(r"\W+", shown[1].strip())) == known


def test_settings_of_every_type_come_to_the_task() -> None:
    words = [f"w{i}" for i in range(15)]
    grid = validate(of_task("grid_world", task={"settings": {"epsilon": 1, "cap": 9}}), "here").task.settings
    graph = validate(of_task("graph_walk", task={"settings": {"words": words}}), "here").task.settings
    assert (grid, graph) == ({"epsilon": 1.0, "cap": 9}, {"words": tuple(words)})


def test_every_mistake_is_named_at_once() -> None:
    data = with_value("seed", -1)
    data["task"]["rollouts"], data["modle"] = 0, {}
    message = refused(data)
    assert "seed" in message and "task.rollouts" in message and "unknown key modle (did you mean model?)" in message


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text('title = "Small"\n' + TOML)
    return path


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("seed=7", lambda s: s.seed == 7),
        ("task.rollouts = 20", lambda s: s.task.rollouts == 20),
        ("signals.alpha=0.5", lambda s: s.signals.alpha == 0.5),
        ("title=Another one", lambda s: s.title == "Another one"),
        ('title="Quoted = too"', lambda s: s.title == "Quoted = too"),
        ("title=", lambda s: s.title == ""),
        ("model.name=meta-llama/Meta-Llama-3-8B", lambda s: s.model.name == "meta-llama/Meta-Llama-3-8B"),
        ("model.dtype=bfloat16", lambda s: s.model.dtype == "bfloat16"),
        ("capture.blocks=[1, 3]", lambda s: s.capture.blocks == (1, 3)),
        ('task.variants=["reward_disruption"]', lambda s: s.task.variants == ("reward_disruption",)),
        ("task.settings.change_episode=3", lambda s: s.task.settings == {"episodes": 10, "change_episode": 3}),
        ("correlate.controls=[]", lambda s: s.correlate.controls == ()),
        ("sae.topk.epochs=5", lambda s: [x.epochs for x in s.sae] == [30, 5]),
        ("sae.paper.options.l1_squared=false", lambda s: s.sae[0].autoencoder(8).l1_squared is False),
        ("intervention.q.latents=3", lambda s: [x.latents for x in s.intervention] == [1, 3]),
    ],
)
def test_set_changes_one_value(file: Path, change: str, found: Any) -> None:
    before, after = load(file), load(file, [change])
    assert found(after) and after != before
    assert not found(before)


QUICK = """
[quick]
task.rollouts = 8
"sae.paper.epochs" = 2
correlate.controls = ["raw"]
sae.topk = { options = { k = 2 } }
"""


def test_quick_makes_the_study_small_where_it_is_asked_to(file: Path) -> None:
    plain = load(file)
    file.write_text(file.read_text() + QUICK)
    assert load(file) == plain
    small = load(file, quick=True)
    changes = ["task.rollouts=8", "sae.paper.epochs=2", 'correlate.controls=["raw"]', "sae.topk.options.k=2"]
    assert small == load(file, changes) and small != plain
    assert load(file, ["task.rollouts=9"], quick=True).task.rollouts == 9  # what is asked for goes before


@pytest.mark.parametrize(
    ("quick", "said"),
    [
        ("[quick]\ntask.rolouts = 8", "with [quick]: unknown key task.rolouts (did you mean rollouts?)"),
        ("[quick]\ntask.rollouts = 1", "with [quick]: task.rollouts: Input should be greater than or equal to 4"),
        ("[quick]\nsae.papr.epochs = 1", "quick.sae.papr.epochs: no entry is called 'papr' (did you mean paper?)"),
        ("[quick]\nsae.epochs = 1", "quick.sae.epochs names a list"),
        ("[quick]\ntitle.more = 1", "quick.title.more: title is a value, not a section"),
        ("quick = true", "quick is not a table"),
    ],
)
def test_a_mistake_in_quick_is_one_even_if_nobody_asks_for_it(tmp_path: Path, quick: str, said: str) -> None:
    path = tmp_path / "small.toml"
    path.write_text('title = "x"\n' + (TOML + quick if quick.startswith("[") else quick + TOML))
    with pytest.raises(UserError) as caught:
        load(path)
    assert said in caught.value.message and str(path) in caught.value.message


def test_set_applies_in_order_and_nowhere_else(file: Path) -> None:
    assert load(file, ["seed=7", "seed=9", "task.rollouts=5"]).seed == 9
    changed = load(file, ["sae.paper.epochs=3"])
    assert changed.model_copy(update={"sae": load(file).sae}) == load(file)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("seed", "'seed' is not key=value"),
        ("=7", "'=7' is not key=value"),
        ("sae.epochs=5", "names a list"),
        ("sae.papr.epochs=5", "no entry is called 'papr' (did you mean paper?)"),
        ("sae.paper=5", "names a list"),
        ("seed.more=5", "seed is a value, not a section"),
        ("sae.paper.name.more=5", "name is a value, not a section"),
        ("task.rolouts=5", "unknown key task.rolouts (did you mean rollouts?)"),
        ("seed=seven", "seed: Input should be a valid integer"),
        ("task.variants.standard.more=5", "standard is no entry of a list of values"),
    ],
)
def test_a_mistaken_set_says_what_is_wrong(tmp_path: Path, change: str, said: str) -> None:
    path = tmp_path / "small.toml"
    path.write_text('title = "x"\nseed = 3\n' + TOML.replace("settings =", 'variants = ["standard"], settings ='))
    with pytest.raises(UserError) as caught:
        load(path, [change])
    assert said in caught.value.message


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no study file"):
        load(tmp_path / "none.toml")
    with pytest.raises(UserError, match="is not a TOML file"):
        load(tmp_path)
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="is not a TOML file"):
        load(tmp_path / "bad.toml")
    (tmp_path / "bad.toml").write_text("seed = \n")
    with pytest.raises(UserError, match=r"is not a TOML file.*line 1"):
        load(tmp_path / "bad.toml")


def test_text_is_utf_8_whatever_the_locale(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_bytes(f'title = "Überraschung → δ"\n{TOML}'.encode())
    read = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda self, encoding=None: read(self, encoding or "ascii"))
    assert load(file).title == "Überraschung → δ"


@given(seed=st.integers(0, 2**32 - 1), rollouts=st.integers(4, 10**6), alpha=st.floats(1e-6, 1.0))
def test_a_study_survives_its_record(seed: int, rollouts: int, alpha: float) -> None:
    data = {**GOOD, "seed": seed, "signals": {"alpha": alpha}, "task": {"rollouts": rollouts}}
    study = validate(data, "here")
    dumped = study.model_dump(mode="json")
    assert Study.model_validate(dumped) == study
    assert digest(dumped) == digest(Study.model_validate(dumped).model_dump(mode="json"))
