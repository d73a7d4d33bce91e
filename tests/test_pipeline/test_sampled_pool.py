"""Runs whose candidates are many: a sample stands for them in the scores of strategies that are sums over them."""

import json

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from fidelity_cases import make_run

from pipeline.cli import cli
from pipeline.config import load_config
from pipeline.config.sections import MANY, REFERENCES
from pipeline.run.reading import read_config
from pipeline.run.stages.score import read_scores

SMALL = {
    "model.name": "mlp",
    "query.n_init": 40,
    "query.size": 4,
    "query.subset": 600,
    "train.epochs": 10,
    "query.references": 30,
}


def references(**options):
    return load_config(options={key.replace("__", "."): value for key, value in options.items()}).query.references


@pytest.mark.parametrize(
    ("options", "taken"),
    [
        ({"query__subset": MANY}, REFERENCES),
        ({"query__subset": MANY - 1}, None),
        ({"query__subset": MANY, "query__references": 0}, 0),
        ({"query__subset": MANY, "query__references": 400}, 400),
        ({"query__subset": MANY, "query__strategy": "margin-variance"}, REFERENCES),
        ({"query__subset": MANY, "query__strategy": "entropy"}, None),
        ({"query__subset": MANY, "query__strategy": "mlmoc"}, None),  # measured from the network, it is no such sum
        ({"query__subset": MANY, "query__strategy": "mlmoc", "query__reference": "linearized"}, REFERENCES),
        ({"query__subset": MANY, "query__strategy": "mlmoc-flips", "query__reference": "linearized"}, None),
    ],
)
def test_many_candidates_are_stood_for(options, taken):
    assert references(**options) == taken


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("sampled") / "run", **SMALL)


def test_a_run_of_before_takes_all_as_it_did(run, tmp_path):
    plain = yaml.safe_load((run / "config.yaml").read_text())
    plain["query"]["subset"] = MANY
    del plain["query"]["references"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(plain))
    assert read_config(tmp_path).query.references is None


def test_what_is_asked_is_exact_and_the_rest_says_how_far(run):
    figures = json.loads((run / "cycles/000/score/diagnostics.json").read_text())
    assert figures["references"] == 30
    assert figures["exact_scores"] < 300
    assert 0 < figures["score_error"] < 1
    assert figures["undecided"] >= 0


def test_it_asks_for_what_all_would_ask_for_first(run, tmp_path):
    whole = make_run(tmp_path / "whole", **SMALL | {"query.references": 0})
    one, other = (read_scores(path / "cycles/000/score") for path in (run, whole))
    assert one.scores.argmax() == other.scores.argmax()
    assert one.scores.max() == pytest.approx(other.scores.max(), rel=1e-4)
    assert np.corrcoef(one.scores, other.scores)[0, 1] > 0.8


@pytest.mark.long
def test_again_it_is_the_same(run, tmp_path):
    again = make_run(tmp_path / "again", **SMALL)
    one, other = (read_scores(path / "cycles/000/score") for path in (run, again))
    np.testing.assert_array_equal(one.scores, other.scores)


def test_fewer_than_none_are_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = CliRunner().invoke(cli, ["run", "--dataset", "digits", "--set", "query.references=-1", "--out", "x"])
    assert (ran.exit_code, ran.stderr.count("\n")) == (2, 1)
    assert "references" in ran.stderr
    assert not (tmp_path / "x").exists()
