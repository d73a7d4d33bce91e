"""A training that is killed goes on from its last checkpoint, to the same bits."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from semi_cases import CLASSES, made_up, network, regime

from trainer import cli
from trainer.errors import Diverged
from trainer.keeping import Tried
from trainer.learners import LEARNERS
from trainer.loop import fit
from trainer.regimes import OPTIMIZERS, SCHEDULES
from trainer.resumable import Checkpoint, digest_of, pack, unpack

TESTS = Path(__file__).parent.parent


class Killed(Exception):
    """What ends a training here as a kill would: nothing is tidied up."""


def trained(options, checkpoint=None, kill_at=None, *, seed=3, batch_norm=True, dropout=0.3, labelled=6, start=0):
    """Train, and return (network, result); with ``kill_at`` only so many steps of all attempts."""
    x, labels = made_up(labelled)
    model, steps = network(start, batch_norm, dropout), []

    def step(done, total):
        steps.append((done, total))
        if len(steps) == kill_at:
            raise Killed

    unlabelled = made_up(9, seed=1)[0] if LEARNERS[options.learner].needs_unlabelled else None
    more = {"unlabelled": unlabelled, "on_step": step, "checkpoint": checkpoint}
    result = fit(model, x, labels, CLASSES, options, seed=seed, **more)
    return model, result, steps


def same(one, other):
    first, second = one[0].state_dict(), other[0].state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    for a, b in zip((one[1].student, one[1].beside), (other[1].student, other[1].beside), strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) for name in a)
    assert one[1].snapshots.keys() == other[1].snapshots.keys()
    for epoch, weights in one[1].snapshots.items():
        assert all(torch.equal(weights[name], other[1].snapshots[epoch][name]) for name in weights)
    assert replace(one[1], **PLAIN) == replace(other[1], **PLAIN)


PLAIN = {"seconds": 0, "student": {}, "beside": {}, "snapshots": {}}

REGIMES = {
    "fixmatch": regime("fixmatch"),
    "mean-teacher": regime("mean-teacher", perturb="noise", loss="l2", augment="flip-crop"),
    "pi-model": regime("pi-model"),
    "rand-augment": regime("fixmatch", perturb="rand-augment", epochs=2, epoch_steps=3),
    "restated": regime("fixmatch", batch_norm="restated", keep_epochs=(0, 1, 3), decayed="weights"),
    "held out": regime("mean-teacher", holdout=0.5, patience=3, epochs=12, schedule="constant", max_lr=0.05),
    "supervised": regime("supervised", epoch_steps=None, epochs=12, batch_size=2, augment="flip-crop", tolerance=0.0,
                         max_lr=0.05),
    "loss-prediction": regime("loss-prediction", max_lr=0.05, tolerance=0.0),
    **{f"schedule {name}": regime("supervised", schedule=name, tolerance=0.0, max_lr=0.05,
                                  milestones=(0.4,) if name == "multi-step" else None) for name in SCHEDULES},
    **{f"optimizer {name}": regime("fixmatch", optimizer=name, max_lr=0.02) for name in OPTIMIZERS if name != "exact"},
    "cycled": regime("supervised", cycle_momentum=True, optimizer="adam", tolerance=0.0),
}  # fmt: skip


@pytest.mark.parametrize("name", REGIMES)
def test_what_is_killed_at_any_step_goes_on_to_the_same_bits(name, tmp_path):
    options = REGIMES[name]
    whole = trained(options)
    total = len(whole[2])
    for kill_at in sorted({1, total // 3, total // 2, total}):
        checkpoint = Checkpoint(tmp_path / "kept", every=0)
        with pytest.raises(Killed):
            trained(options, checkpoint, kill_at)
        again = Checkpoint(tmp_path / "kept", every=1e9)
        gone_on = trained(options, again)
        same(whole, gone_on)
        assert again.went_on_from == whole[2][kill_at - 1][0]
        assert gone_on[2] == whole[2][kill_at:]
        (tmp_path / "kept").unlink()


def test_what_is_killed_again_and_again_comes_to_the_same_bits(tmp_path):
    options = REGIMES["fixmatch"]
    whole, steps = trained(options), 0
    while steps is not None:
        try:
            last = trained(options, Checkpoint(tmp_path / "kept", every=0), kill_at=2)
            steps = None
        except Killed:
            steps += 2
            assert steps <= 12
    same(whole, last)


def test_what_was_killed_in_writing_leaves_nothing_beside_a_checkpoint(tmp_path, monkeypatch):
    def killed(*_):
        raise Killed

    path, other = tmp_path / "kept[1]", tmp_path / ".kept.tmp-0"
    other.touch()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", killed)
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        with pytest.raises(Killed):
            Checkpoint(path).write("a", {})
    assert len(list(tmp_path.iterdir())) == 2  # one was begun
    Checkpoint(path).read("a")
    assert list(tmp_path.iterdir()) == [other]


def test_attempts_before_the_one_that_was_killed_are_not_made_again(tmp_path):
    options = regime("supervised", epoch_steps=None, epochs=12, max_lr=30.0, tolerance=0.0, restarts=8)
    plain = {"batch_norm": False, "dropout": 0.0}
    whole = trained(options, **plain)
    assert len(whole[1].restarts) > 1
    starts = [n for n, (done, _) in enumerate(whole[2]) if done == 1]
    for kill_at in (starts[1] + 2, starts[-1] + 5):
        with pytest.raises(Killed):
            trained(options, Checkpoint(tmp_path / "kept", every=0), kill_at, **plain)
        gone_on = trained(options, Checkpoint(tmp_path / "kept"), **plain)
        same(whole, gone_on)
        assert gone_on[2] == whole[2][kill_at:]
        (tmp_path / "kept").unlink()


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("options", {"options": regime("fixmatch", confidence=0.9)}),
        ("seed", {"seed": 4}),
        ("labels", {"labelled": 7}),
        ("start", {"start": 1}),
    ],
)
def test_a_checkpoint_of_another_training_is_passed_over(tmp_path, what, change):
    options = REGIMES["fixmatch"]
    with pytest.raises(Killed):
        trained(options, Checkpoint(tmp_path / "kept", every=0), 5)
    more = {"options": options, **change}
    checkpoint = Checkpoint(tmp_path / "kept", every=1e9)
    found = trained(checkpoint=checkpoint, **more)
    assert (checkpoint.went_on_from, len(found[2])) == (0, 12)
    assert "of another training" in checkpoint.passed_over
    same(trained(**more), found)


@pytest.mark.parametrize("content", [b"", b"torn", "half"])
def test_a_damaged_checkpoint_is_passed_over_and_replaced(tmp_path, content):
    options = REGIMES["fixmatch"]
    with pytest.raises(Killed):
        trained(options, Checkpoint(tmp_path / "kept", every=0), 5)
    whole = (tmp_path / "kept").read_bytes()
    (tmp_path / "kept").write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    checkpoint = Checkpoint(tmp_path / "kept", every=0)
    same(trained(options), trained(options, checkpoint))
    assert "is damaged" in checkpoint.passed_over
    checkpoint.remove()
    assert not list(tmp_path.iterdir())


def test_it_stays_until_the_result_is_kept(tmp_path):
    """Killed after its last step, a training goes on from there, and has nothing to do."""
    options = REGIMES["fixmatch"]
    whole = trained(options, Checkpoint(tmp_path / "kept", every=0))
    again = trained(options, Checkpoint(tmp_path / "kept"))
    assert again[2] == []
    same(whole, again)


def test_of_a_training_that_diverged_nothing_stays(tmp_path):
    options = regime("supervised", max_lr=1e8, tolerance=0.0)
    with pytest.raises(Diverged):
        trained(options, Checkpoint(tmp_path / "kept", every=0))
    assert not list(tmp_path.iterdir())


def test_nothing_is_written_before_its_time(tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr("trainer.resumable.write_bytes", refuse)
    trained(REGIMES["fixmatch"], Checkpoint(tmp_path / "kept", every=1e9))
    assert not list(tmp_path.iterdir())


def test_global_generators_are_left_as_they_were(tmp_path):
    with pytest.raises(Killed):
        trained(REGIMES["fixmatch"], Checkpoint(tmp_path / "kept", every=0), 5)
    before = torch.get_rng_state()
    trained(REGIMES["fixmatch"], Checkpoint(tmp_path / "kept"))
    assert torch.equal(before, torch.get_rng_state())


def test_what_is_packed_comes_back():
    tree = {
        "a": [1, 2.5, None, True, "text", float("inf")],
        "b": {"c": torch.arange(3), "d": [np.ones((2, 1), np.float32)]},
        "e": (1e-300, 0.1),
        "empty": {},
    }
    found = unpack(pack(tree))
    assert found["a"] == tree["a"]
    assert torch.equal(found["b"]["c"], torch.arange(3))
    assert found["b"]["d"][0].tolist() == [[1], [1]]
    assert found["e"] == [1e-300, 0.1]
    assert found["empty"] == {}
    assert Tried().state() == {"failed": [], "kept": None}


def test_a_digest_tells_what_differs():
    x = np.arange(4, dtype=np.float32)
    ones = {"w": torch.ones(2)}
    found = [digest_of(*parts) for parts in ((x, ones), (x + 1, ones), (x[:3], ones), (x, {"v": torch.ones(2)}), (x,))]
    assert len(set(found)) == 5
    assert digest_of(x.copy(), {"w": torch.ones(2)}) == found[0]


KILLED = """
import os, signal, sys
sys.path[:0] = sys.argv[2:]
from semi_cases import CLASSES, made_up, network, regime
from trainer.loop import fit
from trainer.resumable import Checkpoint

def step(done, total):
    if done == 7:
        os.kill(os.getpid(), signal.SIGKILL)

x, labels = made_up(6)
options = regime("fixmatch", perturb="rand-augment", augment="flip-crop")
fit(network(0, True, 0.3), x, labels, CLASSES, options, seed=3, unlabelled=made_up(9, seed=1)[0], on_step=step,
    checkpoint=Checkpoint(__import__("pathlib").Path(sys.argv[1]), every=0))
"""


def test_a_process_that_is_really_killed_leaves_what_the_next_goes_on_from(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(TESTS.parent), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-c", KILLED, str(tmp_path / "kept"), str(TESTS)]
    ended = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    options = regime("fixmatch", perturb="rand-augment", augment="flip-crop")
    checkpoint = Checkpoint(tmp_path / "kept")
    gone_on = trained(options, checkpoint)
    assert (checkpoint.went_on_from, len(gone_on[2])) == (7, 5)
    same(trained(options), gone_on)


# The command ----------------------------------------------------------------------------------------------------------

FIT = ["fit", "--n-labelled", "12", "--option", "width=4", "--learner", "fixmatch", "--epochs", "2"]
WAYS = ("out", "whole")
SHORT = ["--epoch-steps", "4", "--batch-size", "4", "--unlabelled-ratio", "2"]


def invoke(*arguments):
    return CliRunner().invoke(cli.cli, [*FIT, *SHORT, *map(str, arguments)])


def test_the_command_goes_on_where_it_was_killed(tmp_path, monkeypatch):
    whole = invoke("--out", tmp_path / "whole")
    assert whole.exit_code == 0, whole.output
    monkeypatch.setattr("trainer.resumable.EVERY", 0)
    steps = []
    stepping = cli_lines(steps, 5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainer.watched.Lines.step", stepping)
        killed = invoke("--out", tmp_path / "out")
    assert isinstance(killed.exception, Killed)
    kept = tmp_path / "out.checkpoint.safetensors"
    assert kept.exists()
    assert not (tmp_path / "out").exists()
    again = invoke("--out", tmp_path / "out")
    assert again.exit_code == 0, again.output
    assert "goes on after step 5 of 8" in again.output
    assert not kept.exists()
    for name in ("weights.safetensors", "student.safetensors"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    one, other = (
        json.loads((tmp_path / run / "metrics.jsonl").read_text().splitlines()[-1]) for run in ("out", "whole")
    )
    assert {**one, "seconds": 0} == {**other, "seconds": 0}


def cli_lines(steps, kill_at):
    def step(self, done, total):
        steps.append(done)
        if done == kill_at:
            raise Killed

    return step


def test_the_command_leaves_both_networks_and_says_which_is_which(tmp_path):
    result = invoke("--out", tmp_path / "out")
    assert "weights.safetensors holds the averages over the steps; student.safetensors the last ones" in result.output
    assert "ended after 2 epochs" in result.output
    averaged, student = (load_file(tmp_path / "out" / f"{name}.safetensors") for name in ("weights", "student"))
    assert averaged.keys() == student.keys()
    assert any(not torch.equal(averaged[name], student[name]) for name in averaged)
    summary = json.loads((tmp_path / "out/metrics.jsonl").read_text().splitlines()[-1])
    assert summary["weights"] == "averaged"
    assert {"test_accuracy", "student_test_accuracy"} <= summary.keys()
