"""What images drawn at random would have given: a second curve, of which the run's record knows nothing."""

import numpy as np
import pytest

from pipeline import cli
from pipeline.config import load_config
from pipeline.errors import PipelineError, RunFailedError
from pipeline.run import beside
from pipeline.run.beside import random_config, require_comparable
from pipeline.run.summary import RANDOM, accuracy_curve, read_random, read_rows

SMALL = [
    "--model", "mlp", "--n-init", "12", "--query-size", "4", "--subset-size", "30", "--cycles", "3", "--epochs", "8",
    "--device", "cpu", "--threads", "1", "--set", "model.options.width=16",
]  # fmt: skip


@pytest.fixture
def run(command):
    return command("run")


def test_the_second_curve_is_that_of_the_strategy_random_and_no_record_changes(tmp_path, run, command):
    said = run(*SMALL, "--out", "with", "--beside-random").stdout
    run(*SMALL, "--out", "without")
    run(*SMALL, "--out", "random", "--strategy", "random")
    expected = accuracy_curve(read_rows(tmp_path / "random"))
    assert read_random(tmp_path / "with") == expected
    assert f"as many images drawn at random: {expected[-1][1]:.2%}, area " in said
    assert (tmp_path / "with/events.jsonl").read_bytes() == (tmp_path / "without/events.jsonl").read_bytes()
    assert {path.name for path in (tmp_path / "with/report").iterdir()} == {"learning_curve.png", RANDOM}
    assert read_random(tmp_path / "without") == []
    pictures = [(tmp_path / name / "report/learning_curve.png").read_bytes() for name in ("with", "without")]
    assert pictures[0] != pictures[1]
    command("resume")("with")
    assert (tmp_path / "with/report/learning_curve.png").read_bytes() == pictures[0]
    (tmp_path / "with/report" / RANDOM).write_text("n_labeled,test_accuracy\nx,y\n")
    assert read_random(tmp_path / "with") == []


@pytest.mark.parametrize(
    ("arguments", "drawn"),
    [
        ([], True),
        (["--seed", "3", "--threads", "1", "--device", "cpu"], True),
        (["--no-beside-random"], False),
        (["--cycles", "2"], False),
        (["--set", "train.epochs=3"], False),
        (["--cycles", "2", "--beside-random"], True),
    ],
)
def test_it_is_drawn_for_the_demo_and_for_who_asks(run, monkeypatch, arguments, drawn):
    asked = []
    monkeypatch.setattr(cli, "_go_on", lambda path, context_of, beside_random=False: asked.append(beside_random))
    run(*arguments)
    assert asked == [drawn]


def test_it_is_refused_where_it_cannot_be_had(run, tmp_path):
    for arguments in (["--strategy", "random"], ["--annotator", "files"]):
        said = run("--beside-random", *arguments, code=2).stderr
        assert "--beside-random: expected another strategy and the simulated annotator" in said
    assert not list(tmp_path.iterdir())
    with pytest.raises(PipelineError):
        require_comparable(load_config(options={"query.strategy": "random"}))


def test_what_the_second_run_shares(tiny):
    config = load_config(options={**tiny, "query.retrain_every": 8, "query.mode": "greedy", "train.loss": "l2"})
    other = random_config(config, 3)
    assert (other.query.strategy, other.query.answers, other.threads) == ("random", 8, 3)
    assert other.train_options == config.train_options
    assert other.seed == config.seed


def test_a_second_run_that_fails_costs_nothing_but_its_curve(run, tmp_path, monkeypatch):
    def fail(*_):
        raise RunFailedError("it diverged")

    kept = beside.ActiveLearningLoop.__call__
    calls = []

    def call(self):
        calls.append(self.config.query.strategy)
        return kept(self) if calls[-1] != "random" else fail()

    monkeypatch.setattr(beside.ActiveLearningLoop, "__call__", call)
    result = run(*SMALL, "--cycles", "2", "--out", "one", "--beside-random")
    assert calls[-1] == "random"
    assert "warning: there is no curve of images drawn at random beside: it diverged" in result.stderr
    assert "final test accuracy" in result.stdout
    assert np.isfinite([row.test_accuracy for row in read_rows(tmp_path / "one")]).all()
