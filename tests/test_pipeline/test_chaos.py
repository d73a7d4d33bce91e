"""A few scenarios of `benchmarks/chaos.py`: kills, damage, exchanges; none ends in a wrong state without saying so."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmark_scripts import benchmark

ROOT = Path(__file__).parents[2]


def scenarios(*arguments):
    """What the script says; it runs by itself, since it copies its process, which tests have used."""
    command = [sys.executable, str(ROOT / "benchmarks" / "chaos.py"), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.long
def test_scenarios_of_every_kind_end_right():
    done = scenarios("--scenarios", 12, "--seed", 4)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 ended wrong; " in done.stdout


def test_an_end_that_is_wrong_is_noticed(tmp_path, monkeypatch):
    """The judge itself, on an end that a command calls good."""
    chaos = benchmark(monkeypatch, "chaos")
    whole, run = tmp_path / "whole", tmp_path / "run"
    for path in (whole, run):
        (path / "cycles").mkdir(parents=True)
        (path / "cycles/weights").write_text("right")
        (path / "metrics.csv").write_text("0,0,12,test,accuracy,0.5,1.234,,\n")
    kind = SimpleNamespace(whole=whole)
    good, blow = chaos.Ended(0, ""), chaos.Blow("flip", (run / "cycles/weights",))
    monkeypatch.setattr(chaos, "call", lambda *_: good)
    (run / "metrics.csv").write_text("0,0,12,test,accuracy,0.5,9.876,,\n")  # another time alone
    assert chaos._judge(kind, run, blow, good, good) == "same"
    (run / "cycles/weights").write_text("wrong")
    assert chaos._judge(kind, run, blow, good, good) == "WRONG: another end in silence: cycles/weights"
    named = chaos.Ended(2, f"error: {run}/cycles/weights is damaged\n")
    assert chaos._judge(kind, run, blow, chaos.Ended(1, ""), named) == "refused"
    assert chaos._judge(kind, run, blow, good, named) == "WRONG: resume refuses what verify finds no fault with"
    assert chaos._judge(kind, run, None, None, named) == "WRONG: a kill alone made it fail with 2"
    vague = chaos.Ended(2, "error: something\n")
    assert chaos._judge(kind, run, blow, chaos.Ended(1, ""), vague).startswith("WRONG: refused without a line")
    assert chaos._judge(kind, run, blow, good, chaos.Ended(1, "Traceback ...")) == "WRONG: a traceback"
