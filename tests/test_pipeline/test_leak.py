"""Strategies get no pool labels: withheld by code, not by convention."""

import dataclasses
import functools
import types

import numpy as np
import pytest
from all_strategies import NAMES, gaussian_kernel, sampled

from pipeline.annotators import SimulatedAnnotator
from pipeline.config import load_config
from pipeline.queries import QueryStrategy, select_top
from pipeline.run.context import RunContext, open_context
from pipeline.run.pool import Labelled
from pipeline.run.stages import score
from pipeline.run.stages.migrate import run_migrate
from pipeline.run.stages.train import run_train
from trainer.data import DataSet, Split

FORBIDDEN = (DataSet, Split, RunContext, SimulatedAnnotator)


def reachable(root):
    """Everything that code holding ``root`` can get at: attributes, bound objects, closures, containers."""
    seen, queue = {}, [root]
    while queue:
        thing = queue.pop()
        if id(thing) in seen or isinstance(thing, type | types.ModuleType | str | bytes | int | float | np.ndarray):
            continue
        seen[id(thing)] = thing
        queue += list(getattr(thing, "__dict__", {}).values())
        queue += [getattr(thing, "__self__", None)]
        queue += [cell.cell_contents for cell in getattr(thing, "__closure__", None) or ()]
        if isinstance(thing, functools.partial):
            queue += [thing.func, thing.args, thing.keywords]
        if isinstance(thing, dict):
            queue += thing.values()
        elif isinstance(thing, list | tuple | set):
            queue += thing
    return list(seen.values())


def test_the_walk_finds_what_is_hidden_in_closures_and_methods():
    context = open_context(load_config())
    for hiding_place in (
        context.data.inputs,
        lambda: context.config,
        {"a": [context]},
        functools.partial(print, context),
        functools.partial(print, b=context.data),
    ):
        assert any(isinstance(thing, FORBIDDEN) for thing in reachable(hiding_place))


def test_nothing_that_a_strategy_is_given_leads_to_a_pool_label(tiny, tmp_path, monkeypatch):
    seen = []

    class Spy(QueryStrategy):
        name = description = source = "spy"
        needs_port = True

        def query(self, state, n):
            seen.append(state)
            return select_top(state.candidates, state.candidates, n)

    context = open_context(load_config(options=tiny))
    vars(context)["strategy"] = Spy()
    labelled = Labelled(np.arange(12), context.data.labels("train", np.arange(12)))
    run_train(context, 0, labelled, None, tmp_path)
    monkeypatch.setattr(score, "figures_of", lambda *_: {})
    state = score.query_state(context, 0, labelled, np.arange(12, 40), tmp_path, tmp_path)
    score.run_score(context, 0, state, tmp_path)
    found = reachable(seen[0])
    assert len(found) > 20
    assert not [thing for thing in found if isinstance(thing, FORBIDDEN)]


def test_no_strategy_reads_a_pool_label(tiny, tmp_path, monkeypatch):
    context = open_context(load_config(options={**tiny, "train.learner": "loss-prediction"}))  # as ll4al needs it
    labelled = Labelled(np.arange(12), context.data.labels("train", np.arange(12)))
    train, migrate = tmp_path / "train", tmp_path / "migrate"
    train.mkdir()
    migrate.mkdir()
    run_train(context, 0, labelled, None, train)
    run_migrate(context, labelled, train, migrate)

    def refuse(*_, **__):
        raise AssertionError("labels were read")

    monkeypatch.setattr(DataSet, "labels", refuse)
    monkeypatch.setattr(Split, "labels", property(refuse), raising=False)
    for read in (lambda: context.data.labels("train"), lambda: context.data.train.labels):
        with pytest.raises(AssertionError, match="labels were read"):
            read()
    for name in NAMES:
        mine = dataclasses.replace(context, config=load_config(options={**tiny, "query.strategy": name}))
        state = score.query_state(mine, 0, labelled, np.arange(12, 40), train, migrate)
        if mine.strategy.needs_infinite:  # the real one takes an optional package
            state = dataclasses.replace(state, infinite=gaussian_kernel)
        if mine.strategy.needs_dropout:  # which this network has not
            state = dataclasses.replace(state, sample=sampled(10))
        score.run_score(mine, 0, state, tmp_path)
        assert len(score.read_scores(tmp_path).scores) == 28
