"""What a strategy remembers from cycle to cycle, and networks that are sampled: in whole runs and resumed ones."""

import importlib
import json
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from fidelity_cases import make_run
from killed import kill_before
from session_cases import answer, make, network, opened, until

from pipeline.annotators import Answer, Skip
from pipeline.cli import cli
from pipeline.config import load_config
from pipeline.errors import PipelineError, RunFailedError
from pipeline.run.context import open_context
from pipeline.run.events import EventLog
from pipeline.run.rerun import rerun
from pipeline.run.rundir import read_config, read_events
from pipeline.run.stages.score import SCORES, read_scores, run_score
from pipeline.run.stages.store import read_manifest, seal

ALBL = {
    "query__strategy": "albl",
    "query__n_init": 12,
    "query__size": 4,
    "query__subset": 30,
    "cycles": 4,
    "train__epochs": 4,
    "model__name": "mlp",
    "model__options": {"width": 16},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of ``albl``, which no test changes."""
    return make_run(tmp_path_factory.mktemp("albl") / "run", **ALBL)


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of it that a test may spoil."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def score(path, cycle):
    return path / f"cycles/{cycle:03d}/score"


def log(path):
    return (path / "events.jsonl").read_bytes()


def done(stage, cycle):
    return lambda event: (event["event"], event.get("stage"), event.get("cycle")) == ("stage_done", stage, cycle)


class Killed(BaseException):
    """Stands for SIGKILL: nothing above it handles it."""


def killed_after(go_on, path, monkeypatch, at):
    append = EventLog.append

    def crashing(self, event, **fields):
        logged = append(self, event, **fields)
        if len(self.events) == at:
            raise Killed
        return logged

    with monkeypatch.context() as patch:
        patch.setattr(EventLog, "append", crashing)
        with pytest.raises(Killed):
            go_on(path)


def test_each_query_is_given_what_the_one_before_remembered(finished, tmp_path):
    memories = [read_scores(score(finished, cycle)).remembered for cycle in range(3)]
    asked = [event["ids"] for event in read_events(finished) if event["event"] == "query"][1:]
    for cycle, memory in enumerate(memories):
        assert [query["ids"] for query in memory["queries"]] == asked[: cycle + 1]
    made_from = [read_manifest(score(finished, cycle)).binding.made_from for cycle in range(3)]
    assert ["memory" in one for one in made_from] == [False, True, True]
    for cycle in (1, 2):
        assert made_from[cycle]["memory"] == read_manifest(score(finished, cycle - 1)).files[SCORES]
    again = rerun(finished, "score", 2, tmp_path)
    assert again.same
    assert score(finished, 1) in again.read
    figures = json.loads((score(finished, 2) / "diagnostics.json").read_text())
    assert {"arm", "reward", "probability_coreset", "probability_least-confidence"} <= set(figures)


def test_nothing_changes_for_strategies_that_do_not_remember(start, go_on):
    path = start(query__strategy="margin", train__epochs=4)
    go_on(path)
    for cycle in range(2):
        with np.load(score(path, cycle) / SCORES) as arrays:
            assert sorted(arrays) == ["candidates", "pseudo_labels", "scores"]
        assert sorted(read_manifest(score(path, cycle)).binding.made_from) == ["labelled", "train"]
        assert read_scores(score(path, cycle)).remembered is None


@pytest.mark.parametrize("last", [("train", 1), ("score", 1), ("train", 2)])
def test_killed_and_resumed_it_asks_identically(finished, start, go_on, monkeypatch, last):
    path = start(**ALBL)
    at = next(number for number, event in enumerate(read_events(finished), start=1) if done(*last)(event))
    killed_after(go_on, path, monkeypatch, at)
    go_on(path)
    asked = [[event["ids"] for event in read_events(one) if event["event"] == "query"] for one in (path, finished)]
    assert asked[0] == asked[1]
    assert log(path) == log(finished)


def test_a_damaged_memory_is_made_again_and_all_stays(copied, go_on):
    before = log(copied)
    content = bytearray((score(copied, 0) / SCORES).read_bytes())
    content[-400] ^= 1
    (score(copied, 0) / SCORES).write_bytes(bytes(content))
    warnings = go_on(copied).warnings
    assert [warning for warning in warnings if "cycles/000/score is damaged: set aside" in warning]
    assert log(copied) == before


def test_a_memory_that_was_not_logged_is_made_again(copied, go_on):
    """A whole stage, but not the one that the log says: what it remembers counts like its scores."""
    before, manifest = log(copied), read_manifest(score(copied, 1))
    memory = read_scores(score(copied, 1)).remembered | {"weights": [1.0, 0.5]}
    with np.load(score(copied, 1) / SCORES) as arrays:
        changed = dict(arrays) | {"memory": np.frombuffer(json.dumps(memory).encode(), np.uint8)}
    np.savez(score(copied, 1) / SCORES, **changed)
    (score(copied, 1) / "manifest.json").unlink()
    seal(score(copied, 1), manifest.seconds, manifest.binding)
    warnings = go_on(copied).warnings
    assert [warning for warning in warnings if "its scores.npz is not the one that the log says" in warning]
    assert log(copied) == before


def test_scores_made_from_another_memory_are_made_again(copied, go_on):
    before = log(copied)
    kill_before(copied, done("score", 2))
    manifest = json.loads((score(copied, 2) / "manifest.json").read_text())
    manifest["binding"]["made_from"]["memory"] = "0" * 64
    (score(copied, 2) / "manifest.json").write_text(json.dumps(manifest))
    warnings = go_on(copied).warnings
    assert [warning for warning in warnings if "(it was made from another memory): set aside" in warning]
    assert log(copied) == before


@pytest.mark.parametrize("habits", [{"late": 0.4, "missing": 0.3}, {"noise": 0.5, "skip": 0.3}], ids=str)
def test_answers_that_are_late_or_do_not_come_break_nothing(start, go_on, tmp_path, habits):
    path = start(**ALBL, **{f"annotator__{name}": share for name, share in habits.items()})
    go_on(path)
    figures = [json.loads((score(path, cycle) / "diagnostics.json").read_text()) for cycle in range(3)]
    assert all(np.isfinite(one.get("reward", 0)) for one in figures)
    (tmp_path / "again").mkdir()
    assert rerun(path, "score", 2, tmp_path / "again").same


def test_without_any_answer_nothing_is_learned(start, go_on):
    class Silent:
        def ask(self, question):
            yield [
                Answer(item.sample, n % 3, "anna") if question.round < 0 else Skip(item.sample, "anna")
                for n, item in enumerate(question.items)
            ]

    path = start(**ALBL)
    go_on(path, Silent())
    figures = [json.loads((score(path, cycle) / "diagnostics.json").read_text()) for cycle in range(3)]
    assert [one["probability_coreset"] for one in figures] == [0.5] * 3
    assert not any("reward" in one for one in figures)


def test_where_nothing_is_left_to_rank_it_is_still_remembered(finished, tmp_path):
    memory = read_scores(score(finished, 0)).remembered
    state = SimpleNamespace(candidates=np.empty(0, np.int64), memory=memory)
    run_score(open_context(read_config(finished)), 1, state, tmp_path)
    assert read_scores(tmp_path).remembered == memory
    assert len(read_scores(tmp_path).candidates) == 0


def test_on_a_page_the_next_network_remembers_too(tmp_path):
    path = make(tmp_path / "run", query__strategy="albl", query__size=3)
    with opened(path) as session:
        answer(session, 12)
        until(session, network(0))
        answer(session, 3)
        until(session, network(1))
    first, second = (read_scores(score(path, cycle)).remembered for cycle in range(2))
    assert second["queries"][0] == first["queries"][0]
    assert len(second["queries"]) == 2
    assert read_manifest(score(path, 1)).binding.made_from["memory"] == read_manifest(score(path, 0)).files[SCORES]
    with opened(path) as session:  # opened again, what is there is verified and stands
        until(session, network(1))
    assert len([event for event in read_events(path) if done("score", 1)(event)]) == 1


# --- plug-ins

COUNTING = """
import numpy as np

from pipeline.queries import select_top


class Counting:
    name, description, source, needs_port, remembers = "counting", "asks for what its memory says", "own", False, True

    def query(self, state, n):
        before = state.memory or {"cycles": 0, "of": state.queries}
        scores = np.arange(len(state.candidates)) * (-1) ** before["cycles"]
        memory = {"cycles": before["cycles"] + 1, "of": state.queries}
        return select_top(state.candidates, scores, n)._replace(memory=memory)
"""
DROPPING = """
from torch import nn

from pipeline.queries import select_top


class Dropping:
    name, description, source, needs_port, needs_dropout = "dropping", "most varied passes", "own", False, True

    def query(self, state, n):
        assert state.sampled_probabilities.shape == (7, 30, 10)
        return select_top(state.candidates, state.sampled_probabilities.var(axis=0).sum(axis=1), n)


def build(input_shape, num_classes, p=0.25):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Dropout(p), nn.Linear(24, num_classes))
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module of a name of its own into the working directory: module(source) -> its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = "own_memory_of_a_test"

    def write(source):
        (tmp_path / f"{name}.py").write_text(source)
        importlib.invalidate_caches()
        return name

    yield write
    sys.modules.pop(name, None)


@pytest.mark.parametrize("after", [8, 15])
def test_one_from_outside_may_remember(module, start, go_on, monkeypatch, after):
    options = {"query__strategy": f"{module(COUNTING)}:Counting", "cycles": 4, "train__epochs": 2}
    whole, path = start("whole", **options), start("killed", **options)
    go_on(whole)
    scores = [read_scores(score(whole, cycle)) for cycle in range(3)]
    assert [one.remembered for one in scores] == [{"cycles": n, "of": 3} for n in (1, 2, 3)]
    assert [bool(one.scores[-1] > 0) for one in scores] == [True, False, True]
    killed_after(go_on, path, monkeypatch, after)
    go_on(path)
    assert log(path) == log(whole)


def test_one_that_returns_a_memory_must_say_so(module, start, go_on):
    name = module(COUNTING.replace(", remembers =", ", needs_features =").replace("False, True", "False, False"))
    with pytest.raises(RunFailedError, match="strategy 'counting': memory: expected remembers = True with it"):
        go_on(start(query__strategy=f"{name}:Counting", train__epochs=2))
    sys.modules.pop(name)
    name = module(COUNTING.replace("False, True", "False, 1"))
    with pytest.raises(PipelineError, match="expected an attribute 'remembers', True or False; got 1"):
        start("other", query__strategy=f"{name}:Counting")


# --- networks with dropout


def own(module, strategy="own_memory_of_a_test:Dropping", **options):
    name = module(DROPPING)
    return {"model__name": f"{name}:build", "model__options": {}, "query__strategy": strategy, **options}


@pytest.mark.parametrize("strategy", ["bald", "batchbald", "epig", "own_memory_of_a_test:Dropping"])
def test_a_run_of_a_network_with_dropout(module, start, go_on, monkeypatch, strategy, tmp_path):
    options = own(module, strategy, query__dropout_passes=7, train__epochs=4, cycles=3)
    whole, path = start("whole", **options), start("killed", **options)
    go_on(whole)
    assert len(np.unique(read_scores(score(whole, 0)).scores)) > 4
    killed_after(go_on, path, monkeypatch, 9)
    go_on(path)
    assert log(path) == log(whole)
    (tmp_path / "again").mkdir()
    assert rerun(whole, "score", 1, tmp_path / "again", trust_code=True).same


@pytest.mark.parametrize("strategy", ["bald", "batchbald", "epig", "own_memory_of_a_test:Dropping"])
@pytest.mark.parametrize("network", ["mlp", "own"])
def test_a_network_without_dropout_is_refused_before_the_run_begins(module, tmp_path, strategy, network):
    name = module(DROPPING)
    model = ["mlp"] if network == "mlp" else [f"{name}:build", "--set", "model.options.p=0.0"]
    options = ["--model", *model, "--strategy", strategy, "--n-init", "12", "--query-size", "4", "--out", "run"]
    refused = CliRunner().invoke(cli, ["run", *options])
    assert refused.exit_code == 2, (refused.output, refused.exception)
    assert refused.stderr.startswith("error: model: dropout: expected a network in which dropout layers")
    assert "--set model.options.dropout=0.25" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_grid_of_which_one_strategy_needs_dropout_is_refused_as_a_whole(command, tmp_path):
    options = ["--strategies", "random,bald", "--seeds", "0", "--model", "mlp", "--n-init", "12", "--query-size", "4"]
    refused = command("compare")(*options, "--out", "grid", code=2)
    assert "error: model: dropout: expected a network in which dropout layers" in refused.stderr
    assert not (tmp_path / "grid").exists()


def test_a_number_of_passes(module, start):
    with pytest.raises(PipelineError, match="dropout_passes"):
        start(**own(module, query__dropout_passes=1))
    config = load_config(options={"query.dropout_passes": 9})
    assert config.scientific()["query"]["dropout_passes"] == 9
    assert "dropout_passes" not in load_config().scientific()["query"]
    assert open_context(load_config()).config.query.dropout_passes is None
