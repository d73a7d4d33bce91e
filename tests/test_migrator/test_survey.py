"""The survey: a row for each architecture in a process of its own, kept when it is run again."""

import importlib.util
import math
import os

import pytest
import torch
from click.testing import CliRunner

from migrator import MigratorError, cli, survey
from migrator.survey import Row, of_torchvision
from migrator.survey.subject import Subject, images, shorten
from migrator.survey.table import HEADER, PREAMBLE, Table


def run(*arguments):
    return CliRunner().invoke(cli.cli, ["survey", *map(str, arguments)])


def rows(path):
    text = path.read_text()
    assert text.startswith(PREAMBLE)
    lines = text.partition(HEADER)[2].splitlines()
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
    """What becomes of some architectures, without running them."""
    outcomes = {}
    monkeypatch.setattr(
        survey.run, "isolated", lambda package, name, size, limit: Row(name, outcome=outcomes.get(name, "ok"))
    )
    return outcomes


def test_failures_end_no_other_architecture_and_undecided_ones_are_tried_again(processes, tmp_path):
    table = tmp_path / "survey.md"
    processes |= {
        "resnet18": "stopped: process ended with -9; was memory short?",
        "resnet34": "stopped: not done within 3 s",
        "resnet50": "UnsupportedOp: a | b",
    }
    result = run("--pattern", "resnet*", "--limit-seconds", 3, "-o", table)
    assert result.exit_code == 1
    assert "5 of 5 measured now, 3 not ported" in result.output
    text = table.read_text()
    assert "stopped: process ended with -9; was memory short?" in text
    assert "stopped: not done within 3 s" in text
    assert r"UnsupportedOp: a \| b" in text
    processes.clear()
    with table.open("a") as file:
        file.write("| resnet101 | unfinish")
    result = run("--pattern", "resnet*", "-o", table)
    assert "2 of 5 measured now, 0 not ported" in result.output
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

    monkeypatch.setattr(of_torchvision, "build", lambda name, side: Subject(Random().eval(), (images(8),), 8))
    row = survey.measure("resnet18", 8)
    assert row.outcome.startswith("NonDeterministicForward: ")
    assert math.isnan(row.kernel)


def test_sizes_that_an_architecture_refuses_become_its_own():
    assert [of_torchvision.build("alexnet", side).size for side in (8, 64, None)] == [224, 64, 224]
    assert of_torchvision.native_side("inception_v3", torch.nn.Identity()) == 299


def test_nothing_is_left_constant_that_would_hide_differences():
    module = of_torchvision.build("shufflenet_v2_x0_5", None).module
    assert not module.training
    assert module.conv1[1].running_var.std() > 0.1
    assert module.conv1[1].weight.std() > 0.03
    assert module.fc.weight.std() > 0.01


@pytest.mark.long
def test_a_process_that_takes_too_long_or_dies(monkeypatch):
    monkeypatch.setattr(survey.run, "PRELOADED", [])
    monkeypatch.setattr(survey.run, "_measure_into", os._exit)  # which takes no such arguments
    assert survey.run.isolated("torchvision", "a", None, 0).outcome == "stopped: not done within 0 s"
    assert survey.run.isolated("torchvision", "a", None, 60).outcome.startswith("stopped: process ended with 1")


def test_sections_of_several_packages(tmp_path):
    path = tmp_path / "t.md"
    Table(path).add("timm", "Of timm.", Row("b"))
    Table(path).add("timm", "Of timm.", Row("a"))
    Table(path).add("torchvision", "Of torchvision.", Row("a"))
    table = Table(path)
    assert (table.names("timm"), table.names("torchvision"), table.names("x")) == ({"a", "b"}, {"a"}, set())
    text = path.read_text()
    assert text.index("Of timm.") < text.index("| a |") < text.index("| b |") < text.index("Of torchvision.")
    table.write()
    assert path.read_text() == text


def test_blocks_that_repeat_are_left_out():
    rows = [torch.nn.Linear(4, 4) for _ in range(5)]
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), *rows, torch.nn.Linear(4, 2)).eval()
    x = torch.randn(5, 3).numpy()
    shorten(module, (x,))
    assert [layer.out_features for layer in module] == [4, 4, 4, 2]

    class Counted(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rows = torch.nn.ModuleList(torch.nn.Linear(3, 3) for _ in range(4))

        def forward(self, x):
            return self.rows[3](x)

    module = Counted().eval()
    shorten(module, (x,))
    assert len(module.rows) == 4


def test_packages_of_the_extra():
    for package in ("timm", "transformers"):
        if importlib.util.find_spec(package) is not None:
            assert len(survey.architectures(package=package)) > 60
        else:
            with pytest.raises(MigratorError, match=f"needs {package}; install it"):
                survey.architectures(package=package)


def test_a_row_is_one_line():
    assert str(Row("a", outcome="x\ny")).count("\n") == 0
