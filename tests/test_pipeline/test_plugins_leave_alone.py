"""What a user's code may not do to the rest of the program: end it, change how it computes, write to its arrays."""

import importlib
import os
import random
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from common.settings import SettingsChanged, kept
from pipeline.annotators.base import Answer, Item, Question
from pipeline.annotators.plugins import Blamed
from pipeline.cli import cli
from pipeline.errors import TheirCodeError
from pipeline.run.rundir import read_events

SOURCE = """
import os, signal, sys, warnings
import numpy as np
import torch
from torch import nn
from pipeline.annotators import Answer
from pipeline.queries import select_top


class Plain:
    name = description = source = "own"
    needs_port = False

    def query(self, state, n):
        self.do(state)
        return select_top(state.candidates, state.outputs.max(1), n)

    def do(self, state):
        {strategy}


class Named(Plain):
    @property
    def name(self):
        {name}


class Made(Plain):
    def __init__(self):
        {made}


class Net(nn.Module):
    calls = 0

    def __init__(self, num_classes):
        super().__init__()
        self.last = nn.Linear(64, num_classes)

    def forward(self, x):
        Net.calls += 1
        if self.training:
            {network}
        if Net.calls > 6:
            {later}
        return self.last(x.flatten(1))


class Person:
    def ask(self, question):
        yield [Answer(item.sample, item.sample % 10, "me") for item in question.items]
        {annotator}
"""
TINY = [
    "--model", "mlp", "--set", "model.options.width=16", "--n-init", "12", "--query-size", "4", "--subset-size", "30",
    "--cycles", "2", "--epochs", "4", "--device", "cpu", "--threads", "1",
]  # fmt: skip
PLACES = ("strategy", "name", "made", "network", "later", "annotator")
NAME = "code_of_a_test"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run with somebody's code: run(*options, strategy="sys.exit(0)") -> (exit code, what was said, run)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def call(*options, code=1, **code_at):
        (tmp_path / f"{NAME}.py").write_text(SOURCE.format(**dict.fromkeys(PLACES, "pass") | code_at))
        importlib.invalidate_caches()
        sys.modules.pop(NAME, None)
        result = CliRunner().invoke(cli, ["run", *TINY, *options, "--out", "run"], prog_name="pipeline")
        assert result.exit_code == code, (result.output, result.exception)
        lines = [line for line in result.stderr.splitlines() if line.startswith(("error: ", "failed: "))]
        assert len(lines) == (code != 0)
        return lines[0] if lines else ""

    yield call
    sys.modules.pop(NAME, None)


OWN = ("--strategy", f"{NAME}:Plain")
CHANGES = {
    "torch.set_default_dtype(torch.float64)": "torch.set_default_dtype (torch.float32 -> torch.float64)",
    "torch.set_num_threads(2)": "torch.set_num_threads (1 -> 2)",
    "torch.set_grad_enabled(not torch.is_grad_enabled())": "torch.set_grad_enabled",
    "torch.use_deterministic_algorithms(True)": "torch.use_deterministic_algorithms",
    "np.seterr(all='ignore')": "numpy.seterr",
    "os.chdir('/')": "os.chdir",
    "signal.signal(signal.SIGINT, signal.SIG_IGN)": "signal.signal",
    "__import__('jax').config.update('jax_enable_x64', True)": "jax.config.update('jax_enable_x64')",
    "__import__('jax').config.update('jax_debug_nans', True)": "jax.config.update('jax_debug_nans')",
    "torch.backends.mkldnn.enabled = False": "torch.backends.mkldnn.enabled (True -> False)",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_strategy_that_changes_what_the_rest_computes_with(run, change):
    said = run(*OWN, strategy=change)
    assert "cycle 0: strategy 'own' failed: it changed " in said
    assert CHANGES[change] in said
    assert torch.get_default_dtype() == torch.float32
    assert torch.get_num_threads() == 1


WRITES = ["state.candidates", "state.outputs", "state.probabilities", "state.features", "state.labelled.labels",
          "state.labelled.ids", "state.labelled_features", "state.inputs.images"]  # fmt: skip


@pytest.mark.parametrize("array", WRITES)
def test_arrays_that_a_strategy_is_given_cannot_be_written_to(run, array):
    said = run(*OWN, strategy=f"{array}[:] = {array}[::-1].copy()")
    assert "strategy 'own' failed: ValueError: assignment destination is read-only (code_of_a_test.py, line 19)" in said


def test_seeding_and_filters_of_warnings_change_nothing(run, tmp_path):
    run(*OWN, code=0)
    plain = [event["hash"] for event in read_events(tmp_path / "run") if event["event"] == "stage_done"]
    (tmp_path / "run").rename(tmp_path / "plain")
    before = [torch.get_rng_state().tolist(), np.random.get_state()[2], random.getstate(), list(warnings.filters)]  # noqa: NPY002
    run(*OWN, code=0, strategy="torch.manual_seed(1); np.random.seed(1); warnings.simplefilter('error')")
    assert before[-1] == list(warnings.filters)
    done = [event for event in read_events(tmp_path / "run") if event["event"] == "stage_done"]
    theirs = [event for event in read_events(tmp_path / "plain") if event["event"] == "stage_done"]
    assert len(plain) == len(done)
    assert [event["sha256"] for event in done] == [event["sha256"] for event in theirs]


@pytest.mark.parametrize(
    ("options", "code_at", "code", "said"),
    [
        (OWN, {"strategy": "sys.exit(0)"}, 1, "failed: cycle 0: strategy 'own' failed: SystemExit: 0, which ends the"),
        (("--strategy", f"{NAME}:Named"), {"name": "sys.exit(0)"}, 2, "cannot be read: SystemExit: 0, which ends the"),
        (("--strategy", f"{NAME}:Named"), {"name": "raise ValueError('no')"}, 2, "cannot be read: ValueError: no"),
        (
            ("--strategy", f"{NAME}:Made"),
            {"made": "sys.exit(0)"},
            2,
            "calling it failed: SystemExit: 0, which ends the",
        ),
        (("--model", f"{NAME}:Net"), {"network": "sys.exit(0)"}, 1, "cycle 0: stage train: SystemExit: 0, which ends"),
        (("--model", f"{NAME}:Net"), {"network": "raise KeyError(3)"}, 1, "KeyError: 3 (code_of_a_test.py, line 43)"),
        (
            ("--model", f"{NAME}:Net"),
            {"network": "torch.set_default_dtype(torch.float64)"},
            1,
            "cycle 0: stage train: it changed torch.set_default_dtype (torch.float32 -> torch.float64) for the whole",
        ),
        (
            ("--model", f"{NAME}:Net"),
            {"later": "sys.exit(0)"},
            2,
            f"--model {NAME}:Net cannot be asked in eval mode (Sys",
        ),
        (
            ("--model", f"{NAME}:Net"),
            {"later": "torch.set_default_dtype(torch.float64)"},
            2,
            f"--model {NAME}:Net cannot be asked in eval mode (SettingsChanged: it changed torch.set_default_dtype",
        ),
        (
            ("--annotator", f"{NAME}:Person"),
            {"annotator": "sys.exit(0)"},
            1,
            "annotator 'code_of_a_test:Person' failed: SystemExit: 0",
        ),
        (
            ("--annotator", f"{NAME}:Person"),
            {"annotator": "torch.set_default_dtype(torch.float64)"},
            1,
            "annotator 'code_of_a_test:Person' failed: it changed torch.set_default_dtype",
        ),
    ],
)
def test_what_ends_the_program_or_raises_is_named(run, options, code_at, code, said):
    learner = () if "--strategy" in options else ("--strategy", "random")
    model = [] if "--model" not in options else ["--set", "model.options={}"]
    assert said in run(*options, *learner, *model, code=code, **code_at)
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize(
    ("raised", "line"),
    [
        (
            "raise GeneratorExit('x')",
            "GeneratorExit: x, which ends the program: return or raise an error instead (code",
        ),
        ("raise type('Odd', (BaseException,), {})('x')", "Odd: x, which ends the program: return or raise an error"),
        ("raise StopIteration", "StopIteration (code_of_a_test.py, line "),
        ("raise type('Mute', (Exception,), {'__str__': lambda e: 1 / 0})", "Mute (code_of_a_test.py, line "),
    ],
)
def test_what_is_raised_and_is_no_ordinary_error_is_named_with_what_to_do(run, raised, line):
    said = run(*OWN, strategy=raised)
    assert f"failed: cycle 0: strategy 'own' failed: {line}" in said
    assert said.endswith("; mend it and go on with: pipeline resume run --trust-code")


@pytest.mark.parametrize(
    ("portion", "line"),
    [
        (
            "[Answer(question.items[0].sample, np.int64(1), 'me')]",
            "an int (of an array: int(x)), the position of a class",
        ),
        ("[Answer(float(question.items[0].sample), 1, 'me')]", "an int (of an array: int(x)) as sample, got "),
        (
            "[Answer(question.items[0].sample, 1, None)]",
            "a name, one line of 1 to 200 printable characters as annotator",
        ),
        (
            "[Answer(question.items[0].sample, 1, 'x' * 10**6)]",
            "a name, one line of 1 to 200 printable characters as a",
        ),
        (
            "[Answer(question.items[0].sample, 1, 'me', float('nan'))]",
            "None or a number of seconds as seconds, got nan",
        ),
        ("Answer(question.items[0].sample, 1, 'me')", "portions, lists of answers, skips or undos, got Answer(sample="),
        ("[{'label': 1}]", "answers, skips or undos, got {'label': 1}"),
    ],
)
def test_an_annotator_says_what_a_record_can_hold(portion, line):
    said = {"Answer": Answer, "np": np, "question": Question(-1, (Item(7, "seven"),), ("cat", "dog"))}
    with pytest.raises(TheirCodeError) as error:
        list(
            Blamed("annotator 'own'", SimpleNamespace(ask=lambda question: [eval(portion, said)])).ask(said["question"])
        )
    assert str(error.value).startswith(f"annotator 'own': expected {line}")


def test_an_annotator_that_contradicts_itself_is_named_as_a_failure(run):
    twice = "[Answer(question.items[0].sample, (question.items[0].sample + 1) % 10, 'me')]"
    said = run("--strategy", "random", "--annotator", f"{NAME}:Person", annotator=f"yield {twice}")
    assert "failed: annotator: sample " in said
    assert "of the initial round has two labels, " in said
    assert said.endswith("; mend it and go on with: pipeline resume run --trust-code")


@pytest.mark.filterwarnings("ignore:os.fork")
def test_a_copy_of_the_process_that_a_strategy_makes_does_not_go_on_with_the_run(run, tmp_path):
    run(
        *OWN,
        code=0,
        strategy="here = os.getpid(); made = os.fork(); made and open(f'copy{os.waitpid(made, 0)}', 'w').close()",
    )
    assert len(list(tmp_path.glob("copy*, 256)"))) == 1, list(tmp_path.iterdir())
    assert [event["seq"] for event in read_events(tmp_path / "run")] == list(range(len(read_events(tmp_path / "run"))))


def test_a_stream_that_is_closed_is_opened_anew_so_that_this_can_be_said(tmp_path, monkeypatch):
    mine = (tmp_path / "said").open("w")
    monkeypatch.setattr(sys, "stdout", mine)
    with (
        pytest.raises(SettingsChanged, match=r"^it changed sys\.stdout\.close \(False -> True\) for the whole"),
        kept(),
    ):
        sys.stdout.close()
    assert not sys.stdout.closed
    assert sys.stdout.fileno() == 1


def test_how_the_process_speaks_and_writes_is_put_back_without_a_word():
    before = sys.stdout, sys.getrecursionlimit(), os.umask(0o022), 5e-324 * float("1")
    os.umask(before[2])
    with kept():
        sys.stdout = None
        sys.setrecursionlimit(9000)
        os.umask(0o777)
        torch.set_flush_denormal(True)
    mask = os.umask(before[2])
    assert (sys.stdout, sys.getrecursionlimit(), mask, 5e-324 * float("1")) == before


def test_what_was_changed_is_put_back_before_it_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = tmp_path.cwd()
    with pytest.raises(SettingsChanged, match=r"^it changed os\.chdir \(.*\) for the whole program: leave"), kept():
        __import__("os").chdir("/")
    assert tmp_path.cwd() == here
    with kept():
        pass
