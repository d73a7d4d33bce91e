"""Runs of networks trained with cross-entropy: look-ahead in every mode, resumed, and judged by real retraining."""

import numpy as np
import pytest
from fidelity_cases import Quiet, make_run

from linearize import CRITERIA, LookAhead, Measure
from pipeline.annotators import SimulatedAnnotator
from pipeline.config import load_config
from pipeline.fidelity.changes import predicted_changes
from pipeline.fidelity.measure import _finished, measure
from pipeline.fidelity.setting import open_setting
from pipeline.fidelity.verdict import verdict
from pipeline.run.context import open_context
from pipeline.run.events import EventLog
from pipeline.run.pool import Pool
from pipeline.run.rundir import read_events
from pipeline.run.stages.diagnostics import read_diagnostics
from pipeline.run.stages.score import draw_candidates, query_state
from reference import naive_softmax
from trainer.targets import one_hot

RUN = {"train__loss": "cross-entropy", "train__epochs": 20, "cycles": 2, "query__subset": 24}


def asked(path):
    return [list(event["ids"]) for event in read_events(path) if event["event"] == "query" and event["cycle"] == 0]


def opened(path):
    """The first cycle's service as the library gives it to anyone, its candidates and the run's own diagnostics."""
    config = load_config(path / "config.yaml")
    context = open_context(config)
    before = [event for event in read_events(path) if event.get("cycle", -1) < 0 or event["event"] == "start"]
    pool = Pool(len(context.data.train), before)
    labelled, candidates = pool.labelled(0), draw_candidates(config, pool, 0)
    cycle = path / "cycles/000"
    network = query_state(context, 0, labelled, candidates, cycle / "train", cycle / "migrate").look_ahead.network
    data = context.images(labelled.ids), one_hot(labelled.labels, 10), context.images(candidates)
    return (
        LookAhead.fit(*network, *data, config.kernel_options, ids=candidates, loss="cross-entropy"),
        SimulatedAnnotator(context.data.labels("train"), 10),
        read_diagnostics(cycle / "score"),
    )


@pytest.mark.parametrize(
    ("strategy", "more"),
    [
        ("margin-influence-sequential", {}),
        ("mlmoc-flips-greedy", {}),
        ("emoc", {"query__distance": "simplex", "query__reference": "linearized"}),
        ("margin", {"query__on": "linearized", "query__mode": "sequential"}),
        ("mlmoc-sequential", {"kernel__head": "full", "query__subset": 8, "kernel__ridge": 1e-4}),
    ],
)
def test_a_run_asks_what_the_service_would(start, go_on, strategy, more):
    path = start(**RUN | {"query__strategy": strategy} | more)
    assert len(go_on(path).rows) == 2
    service, annotator, figures = opened(path)
    query = load_config(path / "config.yaml").query
    name = query.strategy.removesuffix("-sequential").removesuffix("-greedy")
    measured = Measure(query.reference, query.distance or "outputs")
    R = service.data.Y - naive_softmax(np.asarray(service.network.apply_fn(service.network.variables, service.data.X)))
    assert figures["residual_norm"] == pytest.approx(np.linalg.norm(R), rel=1e-4)
    rounds = asked(path)
    if len(rounds) == 1:
        mode = "greedy" if strategy.endswith("greedy") else "top"
        assert rounds[0] == service.query(4, name, mode, measured).tolist()
        return
    for ids in rounds:
        assert ids == service.query(1, name, "sequential", measured).tolist()
        [sample] = ids
        service.observe(sample, annotator.truth(sample))


def test_solving_afresh_ranks_as_the_block_update_does(start, go_on):
    scores = {}
    for strategy in ("mlmoc", "ntk-no-block"):
        path = start(strategy, **RUN | {"query__strategy": strategy, "kernel__precision": "float64"})
        go_on(path)
        with np.load(path / "cycles/000/score/scores.npz") as arrays:
            scores[strategy] = arrays["scores"]
    np.testing.assert_allclose(scores["ntk-no-block"], scores["mlmoc"], rtol=1e-5)


class Killed(BaseException):
    """Stands for SIGKILL: nothing above it handles it."""


def test_a_run_goes_on_after_a_crash_within_its_sequential_query(start, go_on, monkeypatch):
    options = RUN | {"query__strategy": "margin-influence-sequential"}
    whole, path = start("whole", **options), start("crashed", **options)
    go_on(whole)
    append = EventLog.append

    def crashing(self, event, **fields):
        logged = append(self, event, **fields)
        if event == "label" and sum(e["event"] == "label" for e in self.events) == 3:
            raise Killed
        return logged

    monkeypatch.setattr(EventLog, "append", crashing)
    with pytest.raises(Killed):
        go_on(path)
    monkeypatch.setattr(EventLog, "append", append)
    go_on(path)
    assert asked(path) == asked(whole)
    assert (path / "metrics.csv").read_text().splitlines()[-1].split(",")[:3] == (
        (whole / "metrics.csv").read_text().splitlines()[-1].split(",")[:3]
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    options = {"model.name": "mlp", "model.options": {"width": 16}, "train.epochs": 60, "query.strategy": "entropy"}
    return make_run(tmp_path_factory.mktemp("ce") / "run", **options | {"train.loss": "cross-entropy"})


def test_fidelity_retrains_and_predicts_with_this_loss(run):
    setting = open_setting(run, 0, 8)
    posterior, step = setting.posterior, setting.loss.scale
    label = int(posterior.f[2].argmax())
    r = step * (np.eye(10)[label] - naive_softmax(posterior.mean[[2]])[0])
    change = predicted_changes(setting, 2, label)["linearized"]
    np.testing.assert_allclose(
        change.after - change.before, (posterior.S[:, 2] / posterior.u[2])[:, None] * r[None], atol=1e-9
    )
    measured = measure(setting, 8, "predicted", 1, Quiet())
    assert measured.agreement["linearized"]["mlmoc"].spearman.value > 0.5  # with the labels themselves: about 0
    assert all(0 <= row.unlearned < 2 for row in measured.rows)
    assert "judged: " in verdict(setting, measured)


@pytest.mark.parametrize("criterion", ["margin-lin", "entropy-lin"])
def test_half_way_criteria_are_judged_on_softmax(run, criterion):
    setting = open_setting(run, 0, 8)
    still = _finished(setting, CRITERIA[criterion], setting.posterior.mean, np.random.default_rng(0))
    assert still.spearman.value == pytest.approx(1)
