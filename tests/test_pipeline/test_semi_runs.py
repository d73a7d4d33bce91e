"""Runs whose networks learn from images without labels: configuration, record, what strategies get, kills, refusals."""

import shlex

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from pipeline.config import load_config
from pipeline.errors import PipelineError
from pipeline.options import FIELDS
from pipeline.report.provenance import commands
from pipeline.run.console import RunConsole
from pipeline.run.context import open_context
from pipeline.run.pool import Labelled
from pipeline.run.rundir import read_config, read_events
from pipeline.run.stages.score import query_state
from pipeline.run.stages.train import CHECKPOINT, read_summary, run_train
from trainer.checkpoint import STUDENT, load_weights
from trainer.predict import predict
from trainer.resumable import Checkpoint

SHORT = {"train.epochs": 2, "train.epoch_steps": 3, "train.batch_size": 8, "train.unlabelled_ratio": 2}
FIXMATCH = {"train.learner": "fixmatch", **SHORT}


def configured(tiny, sets=(), **options):
    return load_config(options={**tiny, **options}, sets=sets)


def opened(tiny, **options):
    return open_context(configured(tiny, **{**FIXMATCH, **options}))


def test_a_run_says_how_it_learns_and_is_read_again(tiny):
    plain, config = configured(tiny), configured(tiny, **FIXMATCH)
    assert config.digest() != plain.digest()
    written = yaml.safe_load(config.to_yaml())
    assert load_config(options={}, sets=[]).train.epoch_steps is None
    assert (written["train"]["confidence"], written["train"]["perturb"], written["train"]["loss"]) == (
        0.95, "auto", "cross-entropy",
    )  # fmt: skip
    assert type(config).model_validate(written) == config
    assert type(config).model_validate(written).digest() == config.digest()
    assert "epoch_steps" not in plain.scientific()["train"]


@pytest.mark.parametrize("learner", ["fixmatch", "mean-teacher", "supervised", None])
def test_a_report_says_the_command_that_makes_such_a_run_again(start, tmp_path, learner):
    said = {} if learner is None else {"train__learner": learner}
    run = start("run", query__strategy="random", train__loss="l2", **said)  # l2, which is no default of two of them
    words = shlex.split(commands([run])[0])[2:]
    pairs = list(zip(words[::2], words[1::2], strict=True))
    given = dict(pairs)
    fields = {name: given[flag] for flag, name in FIELDS.items() if flag in given and flag != "--out"}
    numbers = {name: int(value) if value.isdigit() else value for name, value in fields.items()}
    sets = [value for flag, value in pairs if flag == "--set"]
    assert load_config(options=numbers, sets=sets).digest() == read_config(run).digest()
    assert ("--learner" in given) == (learner is not None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train.confidence": 0.5}, "train.confidence must be left out of the learner supervised: fixmatch, got 0.5"),
        ({**FIXMATCH, "train.confidence": 2.0}, "train.confidence must be a probability from 0 to 1, got 2.0"),
    ],
)
def test_a_regime_that_makes_no_sense_is_one_line(tiny, options, message):
    with pytest.raises(PipelineError, match=message) as caught:
        configured(tiny, **options)
    assert "\n" not in str(caught.value)


def test_a_run_that_leaves_no_image_without_a_label_is_refused(tiny):
    context = open_context(configured(tiny))
    everything = len(context.data.train)
    with pytest.raises(
        PipelineError, match="train.learner: the learner fixmatch needs images without labels, got none"
    ):
        opened(tiny, **{"query.n_init": everything, "cycles": 1})


def test_changes_of_pixels_are_refused_of_features(tiny, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "features.npz", X=rng.normal(size=(90, 5)).astype(np.float32), y=np.arange(90) % 3)
    features = {**FIXMATCH, "data.name": f"npz:{tmp_path / 'features.npz'}", "model.name": "linear"}
    sizes = {"query.n_init": 10, "query.size": 2, "query.subset": 20}
    tiny = {name: value for name, value in tiny.items() if not name.startswith(("data", "model"))}
    with pytest.raises(PipelineError, match="train.perturb must be noise or none for features"):
        open_context(configured({**tiny, **features, **sizes, "train.perturb": "rand-augment"}))
    assert open_context(configured({**tiny, **features, **sizes})).data.holds_features


@pytest.fixture
def stage(tiny, tmp_path):
    """Train a cycle's network: stage(name, checkpoint) -> (context, labelled, folder)."""

    def train(name, checkpoint=None, progress=None, **options):
        context = opened(tiny, **options)
        (tmp_path / name).mkdir()
        ids = np.arange(20)
        labelled = Labelled(ids, context.data.labels("train", ids))
        more = {} if progress is None else {"progress": progress}
        run_train(context, 0, labelled, None, tmp_path / name, checkpoint=checkpoint, **more)
        return context, labelled, tmp_path / name

    return train


def test_strategies_get_the_averaged_network_and_both_are_recorded(stage):
    context, labelled, folder = stage("train")
    summary = read_summary(folder)
    assert summary["weights"] == "averaged"
    networks = {}
    for name in ("weights.safetensors", STUDENT):
        networks[name] = context.network()
        load_weights(networks[name], folder / name)
    tests = context.data.inputs("test")
    right = {
        name: float((predict(model, tests).argmax(1) == context.data.labels("test")).mean())
        for name, model in networks.items()
    }
    assert summary["test_accuracy"] == pytest.approx(right["weights.safetensors"])
    assert summary["student_test_accuracy"] == pytest.approx(right[STUDENT])
    candidates = np.arange(30, 50)
    state = query_state(context, 0, labelled, candidates, folder, None)
    expected = predict(networks["weights.safetensors"], context.images(candidates))
    np.testing.assert_allclose(state.outputs, expected, rtol=1e-5, atol=1e-6)


def test_a_training_tells_of_every_step(stage):
    told = []

    class Progress:
        def __call__(self, done, total):
            told.append((done, total))

        def plan(self, text):
            pass

    stage("train", progress=Progress())
    assert told == [(n, 6) for n in range(1, 7)]


def test_where_there_is_no_bar_lines_say_how_much_time_is_left(monkeypatch, capsys):
    monkeypatch.setattr("pipeline.run.console.SAID_EVERY", 0.0)
    times = iter([0.0, 10.0, 20.0, 30.0, 40.0])
    monkeypatch.setattr("pipeline.run.console.time.monotonic", lambda: next(times))
    with RunConsole(lambda: None) as console:
        progress = console.stage(2, "train")
        for done in (1, 3, 5, 6):
            progress(done, 6)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "cycle 2: train",
        "cycle 2: train: 3 of 6, at most 15 s left",
        "cycle 2: train: 5 of 6, at most 5 s left",
    ]


class Killed(KeyboardInterrupt):
    """What ends a training here as a kill would."""


def test_a_cycle_that_is_killed_in_its_training_goes_on_in_it(stage, tmp_path):
    whole = stage("whole")[2]
    told = []

    class Progress:
        def __call__(self, done, total):
            told.append(done)
            if len(told) == 4:
                raise Killed

        def plan(self, text):
            pass

    with pytest.raises(Killed):
        stage("killed", Checkpoint(tmp_path / CHECKPOINT, every=0), Progress())
    again = stage("again", Checkpoint(tmp_path / CHECKPOINT), Progress())[2]
    assert told == [1, 2, 3, 4, 5, 6]
    for name in ("weights.safetensors", STUDENT, "metrics.jsonl"):
        assert (again / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_run_that_is_killed_in_a_training_ends_in_the_same_record(start, go_on, monkeypatch):
    options = {name.replace(".", "__"): value for name, value in FIXMATCH.items()}
    same = {"query__strategy": "random", "cycles": 2, **options}
    first = start("first", **same)
    go_on(first)
    second = start("second", **same)
    monkeypatch.setattr("trainer.resumable.EVERY", 0)
    steps = []
    with monkeypatch.context() as patch:
        inner = Checkpoint.write

        def write(self, digest, state):
            inner(self, digest, state)
            steps.append(digest)
            if len(steps) == 8:  # in the second cycle
                raise Killed

        patch.setattr(Checkpoint, "write", write)
        with pytest.raises(Killed):
            go_on(second)
    left = list(second.glob(f"cycles/*/{CHECKPOINT}"))
    assert [path.parent.name for path in left] == ["001"]
    go_on(second)
    assert not list(second.glob(f"cycles/*/{CHECKPOINT}"))
    found = [[e["sha256"] for e in read_events(run) if e["event"] == "stage_done" and e["stage"] == "train"]
             for run in (first, second)]  # fmt: skip
    assert found[0] == found[1]
    assert len(found[0]) == 2


def test_warm_starts_begin_at_the_averages(tiny, stage, tmp_path):
    _, labelled, folder = stage("first")
    still = opened(tiny, start="warm", **{"train.max_lr": 1e-30, "train.weight_decay": 0.0})
    (tmp_path / "second").mkdir()
    run_train(still, 1, labelled, folder, tmp_path / "second")
    before, after = (load_file(one / "weights.safetensors") for one in (folder, tmp_path / "second"))
    assert all(torch.allclose(before[name], after[name], rtol=0, atol=1e-6) for name in before)


def test_a_network_is_really_trained_on_with_the_images_without_labels(stage):
    context, labelled, folder = stage("train")
    candidates = np.arange(30, 40)
    state = query_state(context, 0, labelled, candidates, folder, None)
    retrained = state.retrainer(0, context.images(candidates[:1]), 3, epochs=1)
    assert np.isfinite(retrained.outputs).all()
