"""Names that there are not: which one was meant, wherever one can be given."""

import pytest
from click.testing import CliRunner

from common.naming import FEW, close_to, did_you_mean, one_of
from linearize.cli import cli as linearize
from pipeline.cli import cli as pipeline
from trainer.cli import cli as trainer


def test_near_names_are_named():
    assert close_to("margn", ["entropy", "margin", "margin-lin"]) == ["margin", "margin-lin"]
    assert close_to("MARGIN", ["margin"]) == ["margin"]
    assert close_to("zzz", ["margin"]) == []
    assert close_to(3, ["3"]) == close_to(None, ["None"]) == close_to("x" * 10**6, ["x" * 10**6]) == []
    assert did_you_mean("dgo", ["cat", "dog"]) == ": did you mean dog?"


def test_many_names_are_listed_where_none_is_near():
    many = [f"name-{letter}" for letter in "abcdefghijklmnop"]
    assert len(many) > FEW
    assert one_of("zzz", many, ", or X:Y") == f"expected one of {', '.join(many)}, or X:Y; got 'zzz'"
    assert one_of("nam-c", many).startswith("expected one of 16 names; got 'nam-c': did you mean name-c")
    assert one_of("cta", ["cat", "dog"]) == "expected one of cat, dog; got 'cta': did you mean cat?"
    assert one_of(3, ["cat"]) == "expected one of cat; got 3"


FIT = ["fit", "--n-labelled", "20", "--out", "o"]


@pytest.mark.parametrize(
    ("program", "arguments", "meant"),
    [
        (pipeline, ["run", "--strategy", "margn"], "margin"),
        (pipeline, ["run", "--strategy", "margin-influence-sequental"], "margin-influence-sequential"),
        (pipeline, ["compare", "--strategies", "random,entrpy"], "entropy"),
        (pipeline, ["run", "--dataset", "digit"], "digits"),
        (pipeline, ["run", "--dataset", "cifar-10"], "cifar10"),
        (pipeline, ["run", "--model", "resnet"], "resnet18"),
        (pipeline, ["run", "--set", "model.options.widht=3"], "width"),
        (pipeline, ["run", "--set", "train.epoch=3"], "train.epochs"),
        (pipeline, ["run", "--set", "epochs=3"], "train.epochs"),
        (pipeline, ["run", "--set", "trian.epochs=3"], "train"),
        (pipeline, ["run", "--set", "start=wram"], "warm"),
        (pipeline, ["run", "--set", "query.mode=greeedy"], "greedy"),
        (pipeline, ["run", "--set", "train.loss=cross-entropie"], "cross-entropy"),
        (pipeline, ["run", "--set", "train.optimizer=addam"], "adam"),
        (pipeline, ["run", "--kernel", "sum-of-logit"], "sum-of-logits"),
        (pipeline, ["run", "--annotator", "simulatd"], "simulated"),
        (pipeline, ["run", "--strateg", "margin"], "--strategy"),
        (pipeline, ["rnu"], "run"),
        (pipeline, ["list", "model"], "models"),
        (pipeline, ["stage", "trian", "r", "--cycle", "0"], "train"),
        (pipeline, ["experiments", "show", "lookahead-mnist-width4"], "lookahead-mnist-width40"),
        (trainer, [*FIT, "--model", "cn"], "cnn"),
        (trainer, [*FIT, "--option", "widht=3"], "width"),
        (trainer, [*FIT, "--learner", "supervisd"], "supervised"),
        (trainer, [*FIT, "--set", "data.mod=rgb"], "data.mode"),
        (trainer, [*FIT, "--dataset", "digit"], "digits"),
        (linearize, ["score", "p", "--labelled", "a", "--pool", "b", "-o", "c", "--criterion", "mlmc"], "mlmoc"),
    ],
)
def test_a_mistyped_name_is_answered_with_what_was_meant(tmp_path, monkeypatch, program, arguments, meant):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(program, arguments)
    assert result.exit_code == 2
    said = result.stderr.lower()
    assert "did you mean" in said
    assert meant in said.partition("did you mean")[2]
    assert len(result.stderr.splitlines()) == 1
    assert len(said) < 900
    assert not any(tmp_path.iterdir())
