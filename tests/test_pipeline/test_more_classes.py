"""Classes that are added to a run: its data stays the one that it began with, and its network goes on."""

import json

import numpy as np
import pytest
import torch
from fidelity_cases import Mute
from report_cases import write_run, write_summary
from safetensors.torch import load_file, save_file

from pipeline.config import load_config
from pipeline.errors import PipelineError, RunFailedError
from pipeline.report.page import write_comparison
from pipeline.run.context import open_context
from pipeline.run.events import EventLog
from pipeline.run.loop import ActiveLearningLoop
from pipeline.run.pool import Labelled
from pipeline.run.rundir import RunDirectory, read_events
from pipeline.run.stages.migrate import Porter, run_migrate
from pipeline.run.stages.train import WEIGHTS, run_train

STILL = {"train.max_lr": 1e-30, "train.weight_decay": 0.0, "train.epochs": 1}
"""Training that changes next to nothing, so that the weights after it are those that it began with."""


def alike(one, other):
    return torch.allclose(one, other, rtol=0, atol=1e-20)


def opened(tiny, **options):
    return open_context(load_config(options={**tiny, **{key.replace("__", "."): v for key, v in options.items()}}))


def labelled(context, n=12):
    return Labelled(np.arange(n), context.data.labels("train", np.arange(n)))


def trained(context, path, cycle=0, previous=None, **labels):
    path.mkdir()
    run_train(context, cycle, labelled(context, **labels), previous, path)
    return load_file(path / WEIGHTS)


def test_classes_are_appended_and_nothing_is_copied(tiny):
    context = opened(tiny)
    more = context.with_classes(["ten"]).with_classes(["eleven", "twelve"])
    assert context.data.num_classes == 10
    assert more.data.classes == (*context.data.classes, "ten", "eleven", "twelve")
    assert more.spec.num_classes == 13
    assert more.network()(torch.zeros(2, *more.data.input_shape)).shape == (2, 13)
    for half in ("train", "test"):
        one, other = getattr(context.data, half), getattr(more.data, half)
        assert one.images is other.images
        assert one.labels is other.labels


def test_the_data_set_that_a_run_checks_is_the_one_without_added_classes(tiny, start):
    context = opened(tiny)
    more = context.with_classes(["ten"])
    first = context.data.fingerprint()
    assert more.data.fingerprint() != first
    assert first == context.dataset_sha256 == more.dataset_sha256 == more.with_classes(["eleven"]).dataset_sha256
    path = start(cycles=1)
    with RunDirectory(path, pytest.fail) as run:
        began = open_context(run.config)
        ActiveLearningLoop(run, began, Mute())()
    assert read_events(path)[0]["dataset_sha256"] == began.data.fingerprint()
    with RunDirectory(path, pytest.fail) as run:  # goes on with more classes, as the same run
        ActiveLearningLoop(run, began.with_classes(["ten"]), Mute())()


@pytest.mark.parametrize("names", [["3"], ["ten", "ten"], ["ten", " "], [""]])
def test_a_class_that_is_there_or_has_no_name_is_refused(tiny, names):
    with pytest.raises(PipelineError, match=r"expected new names beside 0, 1, .*, got '"):
        opened(tiny).with_classes(names)


@pytest.mark.parametrize("start", ["warm", "cold"])
def test_a_network_with_more_classes_goes_on_from_the_previous_one(tiny, tmp_path, start):
    context = opened(tiny, start=start)
    before = trained(context, tmp_path / "0")
    more = opened({**tiny, **STILL}, start=start).with_classes(["ten", "eleven"])
    after, fresh = trained(more, tmp_path / "1", 1, tmp_path / "0"), more.network().state_dict()
    assert json.loads((tmp_path / "1/model.json").read_text())["num_classes"] == 12
    assert json.loads((tmp_path / "1/summary.json").read_text())["classes"] == list(more.data.classes)
    grown = [name for name in before if before[name].shape != after[name].shape]
    assert len(grown) == 2  # weight and bias of the last layer
    for name, tensor in after.items():
        rows = len(before[name])
        assert alike(tensor[:rows], (before if start == "warm" else fresh)[name][:rows])
        assert alike(tensor[rows:], fresh[name][rows:])
    again = trained(more, tmp_path / "2", 2, tmp_path / "1")  # of as many classes: as ever
    assert all(alike(again[name], (after if start == "warm" else fresh)[name]) for name in after)


def test_a_network_that_learned_nothing_is_not_gone_on_from(tiny, tmp_path):
    trained(opened(tiny), tmp_path / "0")
    summary = json.loads((tmp_path / "0/summary.json").read_text())
    (tmp_path / "0/summary.json").write_text(json.dumps({**summary, "at_chance": True}))
    more = opened({**tiny, **STILL}).with_classes(["ten"])
    after = trained(more, tmp_path / "1", 1, tmp_path / "0")
    assert all(alike(after[name], tensor) for name, tensor in more.network().state_dict().items())


def test_labels_of_an_added_class_are_learned_and_the_network_ported(tiny, tmp_path):
    context = opened(tiny, train__epochs=200)
    trained(context, tmp_path / "0")
    more = context.with_classes(["ten"])
    given = Labelled(np.arange(16), np.where(np.arange(16) < 8, 10, 3))
    (tmp_path / "1").mkdir()
    run_train(more, 1, given, tmp_path / "0", tmp_path / "1")
    summary = json.loads((tmp_path / "1/summary.json").read_text())
    assert summary["train_accuracy"] == 1.0
    assert summary["test_class_accuracy"][10] is None  # no test image shows it
    porter = Porter()
    for one, cycle in ((context, 0), (more, 1)):
        (tmp_path / f"port{cycle}").mkdir()
        run_migrate(one, labelled(one), tmp_path / str(cycle), tmp_path / f"port{cycle}", porter)


def test_pretrained_weights_are_those_of_the_classes_that_the_run_began_with(tiny, tmp_path):
    weights = {name: tensor.clone() for name, tensor in opened(tiny, seed=5).network().state_dict().items()}
    save_file(weights, tmp_path / "w.safetensors")
    context = opened(tiny, model__init_weights=str(tmp_path / "w.safetensors"))
    more = context.with_classes(["ten"])
    random = opened(tiny).with_classes(["ten"]).network().state_dict()
    for name, tensor in more.network().state_dict().items():
        rows = len(weights[name])
        assert torch.equal(tensor[:rows], weights[name])
        assert torch.equal(tensor[rows:], random[name][rows:])
    assert all(torch.equal(tensor, weights[name]) for name, tensor in context.network().state_dict().items())


SCALED = """
import torch
from torch import nn

class Scaled(nn.Sequential):
    def __init__(self, inputs, classes):
        super().__init__(nn.Flatten(), nn.Linear(inputs, classes))
        self.scale = nn.Parameter(torch.ones(1, classes))

    def forward(self, x):
        return super().forward(x) * self.scale

def build(input_shape, num_classes):
    return Scaled(input_shape[0] * input_shape[1] * input_shape[2], num_classes)
"""


def test_a_network_that_cannot_grow_is_one_line_that_names_the_tensor(tiny, tmp_path, monkeypatch):
    (tmp_path / "scaled_net.py").write_text(SCALED)
    monkeypatch.chdir(tmp_path)
    mine = {**tiny, "model.name": "scaled_net:build", "model.options": {}, "query.strategy": "margin"}
    context = opened(mine, train__max_lr=0.01)
    trained(context, tmp_path / "0")
    with pytest.raises(RunFailedError, match=r"cycle 1: .* got scale, which is torch.float32 \[1, 10\] before"):
        trained(context.with_classes(["ten"]), tmp_path / "1", 1, tmp_path / "0")


def test_a_report_knows_classes_that_were_added_to_one_of_the_runs(tmp_path):
    runs = [write_run(tmp_path / name, name, 0, [0.5, 0.6]) for name in ("random", "margin")]
    summary, events = runs[1] / "cycles/001/train/summary.json", read_events(runs[1])
    values = json.loads(summary.read_text())
    classes, accuracy = [*values["classes"], "ten"], [*values["test_class_accuracy"], None]
    write_summary(summary.parent, {**values, "classes": classes, "test_class_accuracy": accuracy})
    (runs[1] / "events.jsonl").unlink()
    log = EventLog(runs[1] / "events.jsonl")
    for event in events:
        fields = {name: value for name, value in event.items() if name not in ("seq", "event", "prev", "hash")}
        if event["event"] == "label" and event["cycle"] == 0:
            fields["labels"] = [[sample, 10] for sample, _ in event["labels"]]
        log.append(event["event"], **fields)
    log.close()
    page = write_comparison(runs, tmp_path / "report").read_text()
    assert "margin: from 0% (0) to 100% (ten)." in page
    assert page.count('alt="ten, image ') == 4
    assert ",margin,0,0,12,picked[ten],4,random" in (tmp_path / "report/results.csv").read_text()


def test_the_rate_of_a_linear_network_goes_up_with_its_classes(tmp_path):
    y = np.arange(80) % 2
    np.savez(tmp_path / "x.npz", X=np.random.default_rng(0).normal(size=(80, 6)) + 3 * y[:, None], y=y)
    small = {"query.n_init": 12, "cycles": 1, "train.epochs": 60, "device": "cpu"}
    context = opened({"data.name": f"npz:{tmp_path / 'x.npz'}", **small})

    def rate(context, number, previous=None):
        trained(context, tmp_path / str(number), number, previous)
        return json.loads((tmp_path / f"{number}/summary.json").read_text())["max_lr"]

    assert context.spec.name == "linear"
    assert rate(context, 0) == 2.0
    more = context.with_classes(["c", "d"])
    assert rate(more, 1, tmp_path / "0") == 4.0
    summary = json.loads((tmp_path / "0/summary.json").read_text())
    (tmp_path / "0/summary.json").write_text(json.dumps({**summary, "max_lr": 0.5}))  # after a restart
    assert rate(context, 2, tmp_path / "0") == 0.5
    assert rate(more, 3, tmp_path / "0") == 1.0
