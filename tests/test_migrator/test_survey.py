"""The survey: a row for each architecture in a process of its own, kept when it is run again."""

import math
import subprocess

import pytest
import torch
from click.testing import CliRunner

from migrator import cli, survey
from migrator.survey import HEADER, PREAMBLE, Row


def run(*arguments):
    return CliRunner().invoke(cli.cli, ["survey", *map(str, arguments)])


def rows(path):
    text = path.read_text()
    assert text.startswith(PREAMBLE + HEADER)
    lines = text[len(PREAMBLE + HEADER) :].splitlines()
    return {cells[0]: cells[1:] for cells in ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)}


@pytest.mark.long
def test_one_small_architecture_is_measured_and_then_kept(tmp_path):
    table = tmp_path / "tables" / "survey.md"
    result = run("--pattern", "squeezenet1_1", "--input-size", 32, "-o", table)
    assert result.exit_code == 0, result.output
    assert "squeezenet1_1: ok" in result.output
    (name, cells), *rest = rows(table).items()
    assert (name, rest) == ("squeezenet1_1", [])
    size, parameters, operators, seconds, float64, float32, gradients, kernel, outcome = cells
    assert (size, parameters, outcome) == ("32", "1,235,496", "ok")
    assert 5 < int(operators) < 20
    assert float(seconds) > 0
    assert max(float(float64), float(gradients), float(kernel)) < 1e-9
    assert float(float32) < 1e-4
    before = table.read_bytes()
    again = run("--pattern", "squeezenet1_1", "--input-size", 32, "-o", table)
    assert again.exit_code == 0
    assert "0 of 1 measured now" in again.output
    assert table.read_bytes() == before


@pytest.fixture
def processes(monkeypatch):
    """What the processes of some architectures do, without running them."""
    outcomes = {}

    def fake(command, **settings):
        outcome = outcomes[command[3]]
        if isinstance(outcome, Exception):
            raise outcome
        return subprocess.CompletedProcess(command, *outcome)

    monkeypatch.setattr(survey.subprocess, "run", fake)
    return outcomes


def done(name, outcome="ok"):
    return (0, f'noise\n{{"name": "{name}", "outcome": "{outcome}"}}\n', "")


def test_failures_end_no_other_architecture_and_undecided_ones_are_tried_again(processes, tmp_path):
    table = tmp_path / "survey.md"
    processes |= {
        "resnet18": (-9, "", ""),
        "resnet34": subprocess.TimeoutExpired("", 3),
        "resnet50": done("resnet50", "UnsupportedOp: a | b"),
        "resnet101": done("resnet101"),
        "resnet152": (1, "", "Traceback\nMemoryError: big"),
    }
    result = run("--pattern", "resnet*", "--limit-seconds", 3, "-o", table)
    assert result.exit_code == 1
    assert "5 of 5 measured now, 4 not ported" in result.output
    text = table.read_text()
    assert "stopped: process ended with -9: no message; was memory short?" in text
    assert "stopped: not done within 3 s" in text
    assert "MemoryError: big" in text
    assert r"UnsupportedOp: a \| b" in text
    for name in processes:
        processes[name] = done(name)
    with table.open("a") as file:
        file.write("| resnet101 | unfinish")
    result = run("--pattern", "resnet*", "-o", table)
    assert "3 of 5 measured now, 0 not ported" in result.output
    lines = table.read_text().splitlines()
    assert sum(line.startswith("| resnet") for line in lines) == 5
    assert "unfinish" not in table.read_text()


def test_bad_requests(tmp_path):
    result = run("--pattern", "nothing*", "-o", tmp_path / "survey.md")
    assert result.exit_code == 2
    assert "no architecture matches 'nothing*'; torchvision has alexnet" in result.output
    assert not list(tmp_path.iterdir())
    (tmp_path / "thesis.md").write_text("irreplaceable")
    result = run("--pattern", "resnet18", "-o", tmp_path / "thesis.md")
    assert result.exit_code == 2
    assert "not a table" in result.output
    assert (tmp_path / "thesis.md").read_text() == "irreplaceable"


def test_all_eighty_architectures_are_there():
    assert len(survey.architectures()) >= 80


def test_an_error_is_the_outcome(monkeypatch):
    class Random(torch.nn.Module):
        def forward(self, x):
            return x + torch.rand_like(x)

    monkeypatch.setattr(survey, "build", lambda name: Random().eval())
    row = survey.measure("resnet18", 8)
    assert row.outcome.startswith("NonDeterministicForward: ")
    assert math.isnan(row.kernel)


def test_sizes_that_an_architecture_refuses_become_its_own():
    module = survey.build("alexnet")
    assert survey._side("alexnet", module, 8) == 224
    assert survey._side("alexnet", module, 64) == 64
    assert survey._side("alexnet", module, None) == 224
    assert survey._side("inception_v3", torch.nn.Identity(), None) == 299


def test_nothing_is_left_constant_that_would_hide_differences():
    module = survey.build("shufflenet_v2_x0_5")
    assert not module.training
    assert module.conv1[1].running_var.std() > 0.1
    assert module.conv1[1].weight.std() > 0.03
    assert module.fc.weight.std() > 0.01


def test_a_row_is_one_line():
    assert str(Row("a", outcome="x\ny")).count("\n") == 0
