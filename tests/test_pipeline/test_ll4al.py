"""The strategy ll4al: its run trains by the learner that it needs, wherever a run, a comparison or the page begins."""

import dataclasses
import importlib
import json
import sys

import numpy as np
import pytest
import torch
import yaml
from fidelity_cases import LINEAR
from safetensors.torch import load_file
from session_cases import answer, ask, make, opened, say, squares, until

from pipeline.config import load_config, validate
from pipeline.config.run import RunConfig
from pipeline.errors import PipelineError, RunFailedError
from pipeline.queries import QueryState, get_strategy, validated_query
from pipeline.report.provenance import commands
from pipeline.report.results import shared_key
from pipeline.retraining import Retrainer
from pipeline.run.context import check_strategy, open_context
from pipeline.run.pool import Labelled
from pipeline.run.rerun import rerun
from pipeline.run.rundir import read_config, read_events
from pipeline.run.stages.score import query_state, read_scores
from pipeline.run.stages.train import BESIDE, WEIGHTS, read_beside, run_train
from pipeline.sweep.check import mismatches
from pipeline.sweep.grid import GRID, Grid, read_grid
from trainer.checkpoint import load_weights
from trainer.learners.loss_prediction import predicted_losses
from trainer.loop import fit
from trainer.options import TrainOptions
from trainer.predict import predict

LEARNER = "loss-prediction"
LL4AL = {"query__strategy": "ll4al"}


def configured(tiny, *sets, **options):
    named = {name.replace("__", "."): value for name, value in options.items()}
    return load_config(options={**tiny, **named}, sets=sets)


# Configuration --------------------------------------------------------------------------------------------------------


def test_a_run_trains_by_what_its_strategy_needs(tiny):
    config = configured(tiny, **LL4AL)
    assert config.train_options.learner == LEARNER
    assert (config.train.learner, config.query.learner) == (None, LEARNER)
    said = configured(tiny, f"train.learner={LEARNER}", **LL4AL)
    assert said.train_options == config.train_options
    assert configured(tiny, f"train.learner={LEARNER}", query__strategy="random").train_options.learner == LEARNER
    assert configured(tiny, query__strategy="random").train_options.learner == "supervised"


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (
            ["train.learner=supervised"],
            "train.learner: expected 'loss-prediction', which the strategy 'll4al' needs, got",
        ),
        (
            ["query.learner=supervised"],
            "query: learner: expected it to be left out, for train.learner says it; got 'sup",
        ),
    ],
)
def test_another_learner_is_refused_in_one_line(tiny, sets, message):
    with pytest.raises(PipelineError, match=message) as caught:
        configured(tiny, *sets, **LL4AL)
    assert "\n" not in str(caught.value)


def test_what_is_written_is_read_again_without_the_strategy(tiny, tmp_path, monkeypatch):
    config = configured(tiny, **LL4AL)
    assert RunConfig.model_validate(yaml.safe_load(config.to_yaml())) == config
    assert validate(config.model_dump()) == config
    monkeypatch.setattr("pipeline.config.sections.resolve", None)  # of one that is gone since
    again = validate(yaml.safe_load(config.to_yaml()), recorded=True)
    assert (again, again.digest()) == (config, config.digest())
    assert again.train_options.learner == LEARNER


def test_runs_of_other_strategies_are_what_they_were(tiny):
    config = configured(tiny)
    older = yaml.safe_load(config.to_yaml())
    del older["query"]["learner"]
    older["train"]["learner"] = "supervised"  # as versions between wrote it
    assert validate(older, recorded=True).digest() == config.digest()
    del older["train"]["learner"]
    assert validate(older, recorded=True) == config
    plain = config.scientific()
    assert "learner" not in {**plain["query"], **plain["train"]}
    assert configured(tiny, **LL4AL).scientific()["query"]["learner"] == LEARNER


NEEDY = """
from pipeline.queries import select_top


class Needy:
    name, description, source, needs_port = "needy", "smallest predicted loss", "own", False
    needs_learner = "{}"

    def query(self, state, n):
        return select_top(state.candidates, -state.predicted_losses, n)


class Forgetful(Needy):
    needs_learner = None
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module of strategies into the working directory: module(learner) -> its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = "needy_strategy_of_a_test"

    def write(learner):
        sys.modules.pop(name, None)
        (tmp_path / f"{name}.py").write_text(NEEDY.format(learner))
        importlib.invalidate_caches()
        return name

    yield write
    sys.modules.pop(name, None)


def test_a_strategy_of_ones_own_may_need_a_learner(tiny, start, go_on, module):
    own = f"{module(LEARNER)}:Needy"
    path = start(query__strategy=own, cycles=2)
    go_on(path)
    scores = read_scores(path / "cycles/000/score").scores
    assert (path / "cycles/000/train" / BESIDE).is_file()
    same = start("same", **LL4AL, cycles=2)
    go_on(same)
    np.testing.assert_array_equal(scores, -read_scores(same / "cycles/000/score").scores)
    with pytest.raises(RunFailedError, match="no module beside the network predicts its loss: set needs_learner"):
        go_on(start("forgot", query__strategy=own.replace("Needy", "Forgetful"), cycles=2))
    module("supervised")  # what it needs has changed since
    config, data = read_config(path), open_context(configured(tiny)).data
    with pytest.raises(PipelineError, match="train.learner: expected 'supervised', which the strategy .* needs, got"):
        check_strategy(config, data)
    with pytest.raises(PipelineError, match="train.learner must be one of supervised"):
        configured(tiny, query__strategy=f"{module('telepathy')}:Needy")


def test_what_a_strategy_needs_is_one_line_of_text(module):
    for given, shown in (("a\\nb", "'a.nb'"), ("", "''")):
        with pytest.raises(PipelineError, match=f"an attribute 'needs_learner', one line of text; got {shown}"):
            get_strategy(f"{module(given)}:Needy")


# The query ------------------------------------------------------------------------------------------------------------


def by_hand(predicted):
    ids = np.arange(50, 50 + len(predicted))
    known = dict(zip(ids.tolist(), predicted, strict=True))
    return QueryState(
        candidates=ids,
        labelled=Labelled(np.array([0]), np.array([0])),
        num_classes=3,
        loss="l2",
        rng=np.random.default_rng(0),
        inputs=lambda ids: ids,
        evaluate=None,
        embed=None,
        linearize=None,
        predict_losses=lambda ids: np.array([known[i] for i in ids.tolist()], np.float32),
    )


def test_it_ranks_by_predicted_losses_by_hand():
    strategy = get_strategy("ll4al")
    selection = validated_query(strategy, by_hand([0.3, 0.2, 0.6, 0.0]), 3)
    assert selection.indices.tolist() == [52, 50, 51]
    np.testing.assert_allclose(selection.scores, [0.6, 0.3, 0.2], rtol=1e-6)
    tied = validated_query(strategy, by_hand([-1.0, 2.0, -1.0, 2.0]), 4)
    assert tied.indices.tolist() == [51, 53, 50, 52]  # equal ones by their place
    with pytest.raises(RunFailedError, match="expected finite scores"):
        validated_query(strategy, by_hand([0.0, np.nan]), 1)


# A run ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(start, go_on):
    path = start(**LL4AL)
    go_on(path)
    return path


def test_it_asks_for_the_largest_predicted_losses(run, tmp_path):
    context = open_context(read_config(run))
    for cycle in (0, 1):
        folder = run / f"cycles/{cycle:03d}"
        scored = read_scores(folder / "score")
        model = context.network()
        load_weights(model, folder / "train" / WEIGHTS)
        expected = predicted_losses(model, load_file(folder / "train" / BESIDE), context.images(scored.candidates))
        np.testing.assert_array_equal(scored.scores, expected)
        asked = [json.loads(line)["sample_id"] for line in (folder / "query.jsonl").read_text().splitlines()]
        assert asked == scored.candidates[np.argsort(-expected, kind="stable")[:4]].tolist()
        for stage in ("train", "score"):
            into = tmp_path / f"{stage}{cycle}"
            into.mkdir()
            assert rerun(run, stage, cycle, into).same
        assert load_file(tmp_path / f"train{cycle}" / BESIDE).keys() == read_beside(folder / "train").keys()
    assert not (run / "cycles/000/migrate").exists()


def test_a_network_without_features_is_refused_before_anything_is_written(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "linear_of_a_test.py").write_text(LINEAR)
    own = {"model__name": "linear_of_a_test:build", "model__options": {}}
    with pytest.raises(
        PipelineError, match="model: the learner loss-prediction: expected a network with conv"
    ) as caught:
        open_context(configured(tiny, **LL4AL, **own))
    assert "\n" not in str(caught.value)
    assert open_context(configured(tiny, query__strategy="random", **own))
    sys.modules.pop("linear_of_a_test")


def test_a_run_that_is_killed_goes_on_to_the_same_end(run, start, go_on, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(*arguments, **options):
        if arguments[1] == 1:
            raise Killed
        return run_train(*arguments, **options)

    cut = start("cut", **LL4AL)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.run.loop.run_train", killed)
        with pytest.raises(Killed):
            go_on(cut)
    go_on(cut)
    for cycle in range(3):
        for file in (WEIGHTS, BESIDE):
            one, other = (path / f"cycles/{cycle:03d}/train" / file for path in (run, cut))
            assert one.read_bytes() == other.read_bytes()
    asked = [[event["ids"] for event in read_events(path) if event["event"] == "query"] for path in (run, cut)]
    assert asked[0] == asked[1]


@pytest.mark.parametrize("begin", ["warm", "cold"])
def test_the_module_starts_where_the_network_does(tiny, tmp_path, begin):
    context = open_context(configured(tiny, start=begin, **LL4AL))
    labelled = Labelled(np.arange(20), context.data.labels("train", np.arange(20)))
    still = dataclasses.replace(
        context, config=configured(tiny, start=begin, train__max_lr=1e-30, train__weight_decay=0.0, **LL4AL)
    )
    for name in ("first", "second", "again"):
        (tmp_path / name).mkdir()
    run_train(context, 0, labelled, None, tmp_path / "first")
    run_train(still, 1, labelled, tmp_path / "first", tmp_path / "second")
    run_train(still, 1, labelled, None, tmp_path / "again")
    first, second, anew = (read_beside(tmp_path / name) for name in ("first", "second", "again"))

    def close(one, other):
        return all(torch.allclose(one[name], other[name], rtol=0, atol=1e-20) for name in one)

    assert close(first, second) is (begin == "warm")
    assert close(anew, second) is (begin == "cold")


@pytest.mark.parametrize("beside", [None, "given"])
def test_retraining_is_by_the_same_learner(beside):
    rng = np.random.default_rng(0)
    x, pool = (rng.normal(size=(n, 1, 4, 4)).astype(np.float32) for n in (9, 7))
    labels, options = np.arange(9) % 3, TrainOptions(epochs=4, max_lr=0.1, learner=LEARNER, tolerance=0.0)

    def network():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return torch.nn.Sequential(
                torch.nn.Conv2d(1, 3, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(12, 3)
            )

    given = fit(network(), x, labels, 3, options, seed=1).beside if beside else None
    reference = network()
    fit(reference, x, labels, 3, options, seed=5, beside=given)
    found = Retrainer(network(), x, labels, pool, 3, options, "cpu", beside=given)(5)
    np.testing.assert_array_equal(found.outputs, predict(reference, pool))
    plain = Retrainer(network(), x, labels, pool, 3, dataclasses.replace(options, learner="supervised"), "cpu")(5)
    assert not np.array_equal(found.outputs, plain.outputs)


def test_a_state_lends_the_module_to_what_retrains(run):
    context, trained = open_context(read_config(run)), run / "cycles/000/train"
    ids = np.arange(20)
    labelled = Labelled(ids, context.data.labels("train", ids))
    state = query_state(context, 0, labelled, np.arange(30, 40), trained, None)
    beside = read_beside(trained)
    assert all(torch.equal(beside[name], tensor) for name, tensor in state.retrainer.beside.items())
    assert state.predicted_losses is state.predicted_losses


# A comparison ---------------------------------------------------------------------------------------------------------


def grid_of(tiny, strategies, *sets, **options):
    first = {"query__strategy": strategies[0], **options}
    return Grid.of(configured(tiny, *sets, **first), strategies, (0,))


def learners(grid):
    return [cell.config.train_options.learner for cell in grid.cells()]


@pytest.mark.parametrize("strategies", [("random", "ll4al"), ("ll4al", "random")])
def test_each_cell_has_the_learner_that_its_strategy_needs(tiny, strategies, tmp_path):
    grid = grid_of(tiny, strategies)
    expected = [LEARNER if name == "ll4al" else "supervised" for name in strategies]
    assert learners(grid) == expected
    (tmp_path / GRID).write_text(grid.to_yaml())
    assert read_grid(tmp_path) == grid
    kept = dataclasses.replace(grid.with_field("kernel", "memory_budget", 2**30), cpus_per_cell=2)
    assert learners(kept) == expected
    extended = dataclasses.replace(read_grid(tmp_path).extended(grid_of(tiny, ("entropy",)), tmp_path), recorded=False)
    assert learners(extended) == [*expected, "supervised"]
    assert all("--learner" not in line for line in commands([tmp_path]))


def test_a_learner_that_is_said_is_everybodys(tiny, tmp_path):
    for strategies in (("random", "ll4al"), ("ll4al", "random")):
        grid = grid_of(tiny, strategies, f"train.learner={LEARNER}")
        assert learners(grid) == [LEARNER, LEARNER]
        (tmp_path / GRID).write_text(grid.to_yaml())
        assert f"--learner {LEARNER}" in commands([tmp_path])[0]
    with pytest.raises(PipelineError, match="expected 'loss-prediction', which the strategy 'll4al' needs, got 'super"):
        grid_of(tiny, ("random", "ll4al"), "train.learner=supervised")


def test_a_grid_whose_file_says_supervised_goes_on_with_ll4al(tiny, tmp_path):
    grid = grid_of(tiny, ("random",), "train.learner=supervised")  # as every grid of the version between does
    extended = grid.extended(grid_of(tiny, ("ll4al",)), tmp_path)
    assert learners(dataclasses.replace(extended, recorded=False)) == ["supervised", LEARNER]


def test_cells_start_alike_but_for_what_the_learner_does(tiny, start, go_on, tmp_path):
    for name in ("random", "entropy", "ll4al"):
        go_on(start(f"{name}-seed0", query__strategy=name, train__keep_epochs=[0]))
    grid = grid_of(tiny, ("random", "entropy", "ll4al"), train__keep_epochs=[0])
    assert mismatches(tmp_path, grid) == []
    first = [(tmp_path / f"{n}-seed0/cycles/000/train/epoch-0.safetensors").read_bytes() for n in ("random", "ll4al")]
    assert first[0] == first[1]
    configs = [read_config(tmp_path / f"{name}-seed0") for name in ("random", "ll4al")]
    assert shared_key(configs[0], "x") == shared_key(configs[1], "x")
    by_loss = configured(tiny, f"train.learner={LEARNER}", query__strategy="random")
    assert shared_key(by_loss, "x") != shared_key(configured(tiny, query__strategy="random"), "x")
    assert shared_key(by_loss, "x") == shared_key(configured(tiny, f"train.learner={LEARNER}", **LL4AL), "x")


# The page -------------------------------------------------------------------------------------------------------------


def test_the_page_asks_by_it(tmp_path):
    path, warnings = make(tmp_path / "run", **squares(tmp_path), **LL4AL, query__size=3, query__retrain_every=4), []
    with opened(path, warnings) as session:
        asked = say(session, 4)
        until(session, lambda state: state["network"] is not None)
        asked += say(session, 3)  # the first of these may have been asked before
        first = read_scores(path / "cycles/000/score")
        best = first.candidates[np.argsort(-first.scores, kind="stable")].tolist()
        assert asked[5:] == [sample for sample in best if sample not in asked[:5]][:2]
        while ask(session)["kind"] == "question":
            asked += say(session)
            until(session, lambda state: not state["training"])
        assert sorted(asked) == list(range(24))
    assert (path / "cycles/000/train" / BESIDE).is_file()
    assert [warning for warning in warnings if "learning rate" not in warning] == []


def test_the_page_goes_on_when_a_class_is_added(tmp_path):
    path = make(tmp_path / "run", **LL4AL)
    with opened(path) as session:
        answer(session, 12)
        until(session, lambda state: state["network"] is not None)
        session.add_class("other")
        answer(session, 4)
        until(session, lambda state: not state["training"])
    assert read_beside(path / "cycles/000/train") is not None
