"""Look-ahead criteria of users: MODULE:OBJECT is a strategy in every mode, judged and hashed as one of ours."""

import importlib
import re
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from common.files import sha256_of
from linearize import Criterion, LinearizeError
from pipeline.cli import cli
from pipeline.errors import PipelineError
from pipeline.fidelity.ranking_target import ranking_target
from pipeline.queries import strategy_sha256
from pipeline.queries.registry import resolve
from pipeline.run.rundir import read_config, read_events

SOURCE = """
import numpy as np

from linearize import Criterion


def by_variance(posterior, request):
    return np.where(posterior.redundant, 0.0, posterior.u)


MINE = Criterion("widest", "A(x') = u(x')", "of which least is known", "own", by_variance, ranking_target="direction")
TAKEN = Criterion("mlmoc", "A(x') = u(x')", "of which least is known", "own", by_variance, ranking_target="direction")
SHORT = Criterion("short", "A(x') = 1", "none", "own", lambda posterior, request: np.ones(2), ranking_target="size")
NAN = Criterion("nan", "A(x') = 0/0", "none", "own", lambda posterior, _: posterior.u * np.nan, ranking_target="size")
RAISES = Criterion("raises", "A(x') = 1/0", "none", "own", lambda posterior, request: 1 / 0, ranking_target="size")
"""
TINY = [
    "--model", "linear", "--n-init", "12", "--query-size", "4", "--subset-size", "30", "--cycles", "2",
    "--epochs", "8", "--device", "cpu",
]  # fmt: skip


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    """A module in the working directory that has criteria."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "criteria_of_a_test.py").write_text(SOURCE)
    importlib.invalidate_caches()
    yield tmp_path / "criteria_of_a_test.py"
    sys.modules.pop("criteria_of_a_test", None)


def run(strategy, out):
    return CliRunner().invoke(cli, ["run", *TINY, "--strategy", f"criteria_of_a_test:{strategy}", "--out", str(out)])


@pytest.mark.parametrize(("suffix", "mode"), [("", "top"), ("-greedy", "greedy"), ("-sequential", "sequential")])
def test_a_criterion_is_a_strategy_in_every_mode(module, suffix, mode):
    found = resolve(f"criteria_of_a_test:MINE{suffix}")
    assert (found.mode, found.strategy.name, found.strategy.needs_port) == (mode, "widest", True)
    assert strategy_sha256(found.strategy) == sha256_of(module)


def test_a_run_asks_for_what_it_scores_highest(tmp_path):
    result = run("MINE", tmp_path / "run")
    assert result.exit_code == 0, result.output
    query = next(one for one in read_events(tmp_path / "run") if one["event"] == "query" and one["cycle"] == 0)
    with np.load(tmp_path / "run" / "cycles" / "000" / "score" / "scores.npz") as kept:
        candidates, u = kept["candidates"], kept["scores"]
    assert query["ids"] == candidates[np.argsort(-u, kind="stable")[:4]].tolist()
    target = ranking_target(read_config(tmp_path / "run"), ("network", "linearized"))
    assert (target.criterion.name, target.by) == ("widest", "direction")
    assert target.to_json()["criterion"] == "widest"


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("SHORT", r"criterion short: expected a score a candidate, \[30\]; got \[2\]"),
        ("RAISES", "failed: ZeroDivisionError: division by zero .criteria_of_a_test.py, line"),
        ("NAN", "criterion nan: expected a score a candidate, .30.; got some that are no numbers"),
    ],
)
def test_one_that_scores_wrongly_is_blamed_in_one_line(tmp_path, strategy, message):
    result = run(strategy, tmp_path / "run")
    assert result.exit_code == 1
    assert re.search(message, result.output), result.output
    assert "Traceback" not in result.output


def test_the_name_of_one_of_ours_is_refused():
    with pytest.raises(PipelineError, match="calls itself 'mlmoc', as a built-in does: rename it"):
        resolve("criteria_of_a_test:TAKEN")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": None}, "criterion own: score: expected a function"),
        ({"needs": "all"}, "criterion own: needs: expected one of mean, covariance; got 'all'"),
        ({"ranking_target": "best"}, "criterion own: ranking_target: expected one of size, flips, direction, training"),
    ],
)
def test_a_record_that_is_none_is_refused(change, message):
    own = Criterion("own", "A = 1", "none", "own", lambda posterior, request: posterior.u, ranking_target="size")
    ((field, value),) = change.items()
    object.__setattr__(own, field, value)  # which the tests' own check of types would refuse
    with pytest.raises(LinearizeError, match=message):
        own.__post_init__()
