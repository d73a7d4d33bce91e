"""`trainer pretrain`: what it writes, that it goes on bit for bit wherever it was ended, and what it refuses."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from folder_cases import put
from marks import some_long

from trainer import cli
from trainer.checkpoint import load_weights, read_weights, state_bytes
from trainer.data import load
from trainer.features import embed
from trainer.models import ModelSpec, build
from trainer.pretraining import METHODS, base, folder, session, training
from trainer.pretraining.probe import neighbours_accuracy
from trainer.pretraining.training import Pixels, Regime, Training, rate
from trainer.pretraining.views import ViewOptions

TINY = ["--dataset", "digits", "--model", "cnn", "--option", "width=2", "--batch-size", "64"]
SHORT = [*TINY, "--epochs", "1"]  # 20 steps
WITH_ALL = {"width": 2, "batch_norm": True, "dropout": 0.2}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(base, "HIDDEN", 16)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(cli.cli, ["pretrain", *map(str, arguments)])


@pytest.fixture(scope="module")
def pixels():
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 8, 8), np.uint8)
    return Pixels(images, 255, (0.5, 0.5, 0.5), (0.3, 0.3, 0.3))


def begun(pixels, method, steps=12, seed=0):
    net = build(ModelSpec("cnn", (3, 8, 8), 2, WITH_ALL), seed=seed)
    net[-1] = torch.nn.Identity()
    regime = Regime(method, 16, 2e-3, 1e-4, ViewOptions(0.2, True, 1.0), False, seed)
    return Training(net, 16, pixels, regime, steps)


def steps(training, count):
    return [training.step() for _ in range(count)]


def weights(out):
    return (out / "weights.safetensors").read_bytes()


def stop_in(monkeypatch, step, do):
    """Let something happen in the midst of a step."""
    whole = Training.step

    def stopped(self):
        if self.done == step:
            do()
        return whole(self)

    monkeypatch.setattr(Training, "step", stopped)


def test_it_writes_a_network_and_what_it_is(run, tmp_path):
    result = run(*SHORT, "--out", "made/here")
    assert result.exit_code == 0, result.output
    out = tmp_path / "made/here"
    assert {path.name for path in out.iterdir()} == {"backbone.json", "pretrain.json", "weights.safetensors"}
    record, data = json.loads((out / "backbone.json").read_text()), load("digits")
    assert record["name"] == "cnn"
    assert record["options"] == {"width": 2, "batch_norm": False, "dropout": 0.0}
    assert (tuple(record["mean"]), tuple(record["std"])) == (data.mean, data.std)
    assert record["method"] in METHODS
    assert (record["epochs"], record["steps"], len(record["losses"])) == (1, 20, 1)
    assert "all 1,297 training images, without their labels; the 500 for testing are not looked at" in result.output
    net = build(ModelSpec(record["name"], record["input_shape"], record["num_classes"], record["options"]))
    untrained = embed(net, data.inputs("train", range(9))).features
    load_weights(net, out / "weights.safetensors")  # strictly
    learned = embed(net, data.inputs("train", range(9)))
    assert not learned.outputs.any()  # until there are labels
    assert not np.allclose(untrained, learned.features)
    last = record["neighbours"][-1]
    assert last["step"] == 20
    assert f"neighbours agree for {last['accuracy']:.1%} of 1,000" in result.output


@pytest.mark.parametrize("method", ["vicreg", "byol", *some_long("barlow-twins", "simclr")])
def test_going_on_from_any_step_gives_the_same_bits(pixels, method):
    whole = begun(pixels, method)
    losses = steps(whole, 12)
    for cut in (1, 5):
        first, second = begun(pixels, method), begun(pixels, method, seed=0)
        before = steps(first, cut)
        torch.rand(3)  # what else draws random numbers does not matter
        kept = training_state(first)
        second.go_on_from(kept)
        assert before + steps(second, 12 - cut) == losses
        assert state_bytes(second.state()) == state_bytes(whole.state())


def training_state(training):
    """What is kept, as a file keeps it."""
    from safetensors.torch import load as parse

    return parse(state_bytes(training.state()))


def test_a_step_draws_from_its_own_streams(pixels):
    training = begun(pixels, "simclr")
    assert training.steps_per_epoch == 3
    seen = [training.chosen(step) for step in range(6)]
    assert len(np.unique(np.concatenate(seen[:3]))) == 48  # none twice in an epoch
    assert not np.array_equal(seen[0], seen[3])
    assert all(np.array_equal(training.chosen(step), seen[step]) for step in (4, 0, 2))
    assert torch.equal(training.views(2), begun(pixels, "byol").views(2))
    one, other = training.views(2).chunk(2)
    assert not torch.equal(one, other)
    assert not torch.equal(training.views(2), training.views(5))


def test_the_rate_rises_and_falls():
    assert [rate(step, 40) for step in (0, 3)] == pytest.approx([0.25, 0.5 * (1 + np.cos(np.pi * 3 / 40))], abs=1e-6)
    assert rate(39, 40) < 0.01
    assert rate(0, 1) == 1


def test_ctrl_c_keeps_what_was_done_and_the_same_command_goes_on(run, tmp_path, monkeypatch):
    assert run(*SHORT, "--out", "whole").exit_code == 0
    with monkeypatch.context() as patch:
        stop_in(patch, 7, lambda: os.kill(os.getpid(), signal.SIGINT))
        result = run(*SHORT, "--out", "cut")
    assert result.exit_code == 130
    assert "interrupted after step 8; the same command goes on from there" in result.output
    assert not (tmp_path / "cut/backbone.json").exists()
    result = run(*SHORT, "--out", "cut")
    assert "goes on after step 8 of 20" in result.output
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")
    assert (tmp_path / "cut/backbone.json").read_bytes() == (tmp_path / "whole/backbone.json").read_bytes()
    assert not (tmp_path / "cut/checkpoint.safetensors").exists()


def test_a_kill_at_any_time_changes_nothing(run, tmp_path, monkeypatch):
    monkeypatch.setattr(base, "HIDDEN", 512)  # as in the process of its own
    arguments = [*SHORT, "--out", "cut"]
    code = (
        "import time, trainer.cli, trainer.pretraining.session as s\n"
        "s.KEPT_EVERY, step = 0, s.Training.step\n"
        "s.Training.step = lambda t: (time.sleep(0.1 * (t.done > 2)), step(t))[1]\n"
        "trainer.cli.main()"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", code, "pretrain", *arguments], env=environment)
    until = time.monotonic() + 120
    while not (tmp_path / "cut/checkpoint.safetensors").exists() and time.monotonic() < until:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = int(read_weights(tmp_path / "cut/checkpoint.safetensors")["done"])
    assert 0 < done < 20
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    result = run(*arguments)
    assert f"goes on after step {done} of 20" in result.output
    assert run(*arguments[:-1], "whole").exit_code == 0
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


def test_a_finished_one_says_so_and_does_nothing(run, tmp_path, monkeypatch):
    assert run(*SHORT, "--out", "made").exit_code == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "made").iterdir()}
    monkeypatch.setattr(cli, "_load", None)
    result = run(*SHORT, "--out", "made")
    assert result.exit_code == 0
    assert "is finished: nothing to do" in result.output
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "made").iterdir()}


def test_a_kill_between_the_last_files_is_mended(run, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(folder, "write_bytes", full_after(folder.write_bytes, 3))  # all but backbone.json
        assert run(*SHORT, "--out", "made").exit_code == 1
    kept = weights(tmp_path / "made")
    assert run(*SHORT, "--out", "made").exit_code == 0
    assert weights(tmp_path / "made") == kept


def full_after(call, count):
    """A function that fails after so many calls, as a disk that is full."""
    calls = []

    def full(*arguments):
        calls.append(arguments)
        if len(calls) > count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return call(*arguments)

    return full


def test_a_full_disk_is_one_line_and_loses_nothing(run, tmp_path, monkeypatch):
    assert run(*SHORT, "--out", "whole").exit_code == 0
    with monkeypatch.context() as patch:
        patch.setattr(session, "KEPT_EVERY", 0)
        patch.setattr(folder, "write_bytes", full_after(folder.write_bytes, 2))
        result = run(*SHORT, "--out", "made")
    assert result.exit_code == 1
    said = "No space left on device; make room, and the same command goes on"
    assert f"failed: cannot read or write made/checkpoint.safetensors: {said}\n" in result.output
    assert "goes on after step 1 of 20" in run(*SHORT, "--out", "made").output
    assert weights(tmp_path / "made") == weights(tmp_path / "whole")


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (["--epochs", "2"], "was begun with --epochs 1, and this call is with --epochs 2"),
        (["--max-lr", "0.001"], "with --max-lr 0.002, and this call is with --max-lr 0.001"),
        (["--no-flip"], "without --flip, and this call is with --flip false"),
        (["--option", "dropout=0.1"], 'with --option {"width": 2}'),
    ],
)
def test_other_options_are_refused(run, tmp_path, monkeypatch, other, said):
    stop_in(monkeypatch, 2, lambda: os.kill(os.getpid(), signal.SIGINT))
    assert run(*SHORT, "--out", "cut").exit_code == 130
    kept = (tmp_path / "cut/checkpoint.safetensors").read_bytes()
    result = run(*SHORT, *other, "--out", "cut")
    assert result.exit_code == 2
    assert said in result.output
    assert len(result.output.splitlines()) == 1
    assert (tmp_path / "cut/checkpoint.safetensors").read_bytes() == kept


def test_other_images_and_a_damaged_checkpoint_are_refused(run, root, tmp_path, monkeypatch):
    arguments = ["--dataset", f"folder:{root}", "--batch-size", "4", "--epochs", "3", "--out", "cut"]
    with monkeypatch.context() as patch:
        stop_in(patch, 2, lambda: os.kill(os.getpid(), signal.SIGINT))
        assert run(*arguments).exit_code == 130
    checkpoint = tmp_path / "cut/checkpoint.safetensors"
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[:-9])
    result = run(*arguments)
    assert result.exit_code == 2
    assert "or remove it: the training then begins anew" in result.output
    checkpoint.write_bytes(content)
    shutil.move(root / "cat/1.png", tmp_path / "away.png")
    result = run(*arguments)
    assert result.exit_code == 2
    assert "was begun with images that since changed" in result.output
    shutil.move(tmp_path / "away.png", root / "cat/1.png")
    assert run(*arguments).exit_code == 0


def test_a_checkpoint_of_another_training_is_refused(run, tmp_path, monkeypatch):
    stop_in(monkeypatch, 2, lambda: os.kill(os.getpid(), signal.SIGINT))
    for seed in "01":
        assert run(*SHORT, "--seed", seed, "--out", seed).exit_code == 130
    shutil.copy(tmp_path / "0/checkpoint.safetensors", tmp_path / "1/checkpoint.safetensors")
    result = run(*SHORT, "--seed", "1", "--out", "1")
    assert result.exit_code == 2
    assert "is of another training; remove it" in result.output


def test_two_processes_do_not_work_in_one_folder(run, tmp_path):
    from trainer.pretraining.command import locked

    with locked(folder.Folder(tmp_path / "made")):
        result = run(*SHORT, "--out", "made")
    assert result.exit_code == 2
    assert "another process is at work in made" in result.output


def test_a_loss_that_is_no_number_is_one_line(run, tmp_path, monkeypatch):
    class Broken(base.Pretext):
        def __init__(self, encoder, d):
            super().__init__()

        def forward(self, encoder, views):
            return encoder(views).sum() * float("nan")

    monkeypatch.setitem(training.METHODS, "byol", base.Method("byol", "", "", Broken))
    result = run(*SHORT, "--method", "byol", "--max-lr", "0.004", "--out", "made")
    assert result.exit_code == 1
    said = "failed: the loss was nan in step 1 of 20; try --max-lr=0.001 with another --out"
    assert result.output.splitlines()[-1] == said
    assert not (tmp_path / "made/weights.safetensors").exists()


def test_labels_and_test_images_have_no_part_in_it(run, tmp_path, monkeypatch):
    digits = load("digits")
    labels = replace(digits, train=replace(digits.train, labels=np.roll(digits.train.labels, 7)))
    tests = replace(digits, test=replace(digits.test, images=digits.test.images[::-1] // 2))
    for name, data in (("as it is", digits), ("labels", labels), ("tests", tests)):
        monkeypatch.setattr(cli, "load", lambda *_, data=data, **__: data)
        assert run(*SHORT, "--out", name).exit_code == 0
    assert weights(tmp_path / "as it is") == weights(tmp_path / "labels") == weights(tmp_path / "tests")


def test_from_images_without_any_label_and_on_from_there(run, tmp_path):
    for number in range(12):
        put(tmp_path / "photos", f"{number}.png")
    own = ["--dataset", "folder:photos", "--batch-size", "64", "--epochs", "2"]
    result = run(*own, "--out", "first")
    assert result.exit_code == 0, result.output
    assert "note: batches of 12: there are no more images" in result.output
    assert "images are mirrored, being in colour" in result.output
    assert "neighbours" not in result.output
    record = json.loads((tmp_path / "first/backbone.json").read_text())
    assert (record["num_classes"], record["neighbours"]) == (2, [])
    (tmp_path / "first/backbone.json").write_text(json.dumps({**record, "mean": [0.1, 0.2, 0.3]}))
    result = run(*own, "--init", "first", "--max-lr", "1e-9", "--out", "second")
    assert result.exit_code == 0, result.output
    second = json.loads((tmp_path / "second/backbone.json").read_text())
    assert second["mean"] == [0.1, 0.2, 0.3]  # what the weights were learned with
    first, after = (read_weights(tmp_path / name / "weights.safetensors") for name in ("first", "second"))
    assert all(torch.allclose(first[name], after[name], atol=1e-5) for name in first)


def test_minutes_are_turned_into_steps_once(run, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Training, "seconds_a_step", lambda self: 0.5)
        stop_in(patch, 2, lambda: os.kill(os.getpid(), signal.SIGINT))
        assert run(*TINY, "--minutes", "0.25", "--out", "made").exit_code == 130
    result = run(*TINY, "--minutes", "0.25", "--out", "made")
    assert "goes on after step 3 of 30" in result.output
    assert json.loads((tmp_path / "made/backbone.json").read_text())["epochs"] == 1.5


@pytest.mark.long
def test_timing_a_step_leaves_the_network_as_it_was(run, tmp_path, monkeypatch):
    monkeypatch.setattr(Training, "seconds_a_step", timed := Training.seconds_a_step)
    assert run(*TINY, "--minutes", "1e-9", "--out", "timed").exit_code == 0
    monkeypatch.setattr(Training, "seconds_a_step", lambda self: 1)
    assert run(*TINY, "--minutes", "1e-9", "--out", "untimed").exit_code == 0
    assert timed
    assert weights(tmp_path / "timed") == weights(tmp_path / "untimed")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--epochs", "1", "--minutes", "1"], "expected --epochs or --minutes, got both"),
        (["--model", "linear"], "has nothing to learn before its last layer"),
        (["--model", "cnnn"], "there is no model 'cnnn'"),
        (["--device", "nowhere"], "device 'nowhere' cannot be used"),
        (["--init", "missing.safetensors"], "missing.safetensors cannot be read"),
        (["--batch-size", "1"], "1 is not in the range"),
        (["--out", "file"], "expected a folder, but file is a file"),
        (["--out", "full"], "but full holds something else"),
        (["--dataset", "npz:features.npz"], "expected images, but these are features"),
        (["--dataset", "folder:one"], "expected at least 2 images in the training half, got 1"),
        (["--dataset", "folder:full"], "image"),
        (["--init", "full"], "weights.safetensors cannot be read"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(run, tmp_path, wrong, said):
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("x")
    np.savez(tmp_path / "features.npz", X=np.random.default_rng(0).random((20, 3), np.float32))
    put(tmp_path / "one", "a.png")
    before = sorted(path.name for path in tmp_path.iterdir())
    result = run("--out", "made", *(["--epochs", "1"] if "--minutes" not in wrong else []), *wrong)
    assert result.exit_code == 2, result.output
    assert said in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_neighbours_by_hand():
    h = np.array([[1, 0], [2, 0.1], [0, 1], [0.1, 3], [1, 0.9]], np.float32)
    labels = np.array([0, 0, 1, 1, 1])
    assert neighbours_accuracy(h, labels, k=1) == 0.8  # the last is nearest to the second
    assert neighbours_accuracy(h, 1 - labels, k=1) == 0.8
    h, labels = np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32), np.arange(30) % 3
    right = 0
    for i in range(30):
        cosines = [(h[i] @ h[j] / np.linalg.norm(h[i]) / np.linalg.norm(h[j]), j) for j in range(30) if j != i]
        votes = [0.0, 0, 0]
        for cosine, j in sorted(cosines)[-5:]:
            votes[labels[j]] += 1 + 1e-3 * cosine
        right += int(np.argmax(votes)) == labels[i]
    assert neighbours_accuracy(h, labels) == right / 30
    assert neighbours_accuracy(h, np.zeros(30, int)) == 1
