"""Weights files: whole or not at all, in both directions."""

import stat
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from common import files
from trainer.checkpoint import initialise, load_weights, weight_bytes
from trainer.errors import CheckpointError
from trainer.models import build_model


def network(seed, name="wide_resnet", **options):
    return build_model(name, (1, 8, 8), 10, seed, **options)


def save_weights(model, path):
    files.write_bytes(path, weight_bytes(model))


def same_weights(one, other):
    left, right = one.state_dict(), other.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def test_weights_and_running_statistics_come_back_exactly(tmp_path):
    model, other = network(1).train(), network(2)
    model(torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0)))  # moves the running statistics
    save_weights(model, tmp_path / "w.safetensors")
    assert not same_weights(model, other)
    load_weights(other, tmp_path / "w.safetensors")
    assert same_weights(model, other)
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path, model = tmp_path / "w.safetensors", network(1)
    save_weights(model, path)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_weights(network(2), path)
    monkeypatch.undo()
    assert [entry.name for entry in tmp_path.iterdir()] == ["w.safetensors"]
    other = network(3)
    load_weights(other, path)
    assert same_weights(model, other)


def test_the_file_has_ordinary_permissions(tmp_path):
    save_weights(network(1), tmp_path / "w.safetensors")
    (tmp_path / "plain").write_bytes(b"")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: network(2, max_width=24), r"blocks\.0\.\S+ is torch\.float32 \[.*\] in the file but"),
        (lambda: network(2, blocks_per_group=3), r"missing blocks\.2\."),
        (lambda: network(2, blocks_per_group=1), r"unexpected blocks\.1\..* more"),
        (lambda: network(2, "mlp"), r"missing 1\.bias.*unexpected"),
        (lambda: network(2).double(), r"is torch\.float32 .* but torch\.float64"),
    ],
)
def test_weights_of_another_network_are_refused_and_nothing_is_loaded(tmp_path, other, message):
    save_weights(network(1), tmp_path / "w.safetensors")
    model = other()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        load_weights(model, tmp_path / "w.safetensors")
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("damage", [lambda b: b[:-100], lambda b: b"", lambda b: b"\x00" * 50, lambda b: b[:4]])
def test_a_damaged_file_is_refused(tmp_path, damage):
    path = tmp_path / "w.safetensors"
    save_weights(network(1), path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_weights(network(1), path)


def test_values_that_are_not_finite_are_refused(tmp_path):
    state = network(1).state_dict()
    state["head.weight"][0, 0] = float("nan")
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"head\.weight holds values that are not finite"):
        load_weights(network(1), tmp_path / "w.safetensors")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere\.safetensors cannot be read"):
        load_weights(network(1), tmp_path / "nowhere.safetensors")


def body_and_head(classes, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(OrderedDict(body=nn.Linear(4, 3), norm=nn.BatchNorm1d(3), head=nn.Linear(3, classes)))


def test_pretrained_weights_replace_all_but_what_is_left_out():
    source, model = body_and_head(9, seed=1).double(), body_and_head(2, seed=2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = source.state_dict()
    del state["norm.num_batches_tracked"]  # as in files of old versions
    initialise(model, state, ["head"])
    for name, tensor in model.state_dict().items():
        expected = before[name] if name.startswith(("head.", "norm.num")) else state[name].float()
        assert torch.equal(tensor, expected), name
        assert tensor.dtype == before[name].dtype


@pytest.mark.parametrize(
    ("change", "skip", "message"),
    [
        (
            lambda s: s,
            [],
            r"different: head.bias is \[9\] in the file but \[2\] in the network, head.weight.*=\['head'\]",
        ),
        (
            lambda s: {k: v for k, v in s.items() if k != "body.bias"},
            ["head"],
            r"missing body\.bias; .*init_skip=\['body'\]",
        ),
        (lambda s: s | {"aux.weight": torch.zeros(1)}, ["head"], r"unexpected aux\.weight; "),
        (lambda s: s, ["head", "hea"], r"there is no layer hea;"),
        (lambda s: s, ["head", "haed"], r"there is no layer haed; there are body, norm, head"),
        (lambda s: s | {"body.bias": torch.full((3,), torch.inf)}, ["head"], r"body\.bias holds values that are not"),
        (lambda s: s | {"body.bias": torch.zeros(3, dtype=torch.int64)}, ["head"], r"different: body\.bias"),
    ],
)
def test_pretrained_weights_that_do_not_fit_change_nothing(change, skip, message):
    model = body_and_head(2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        initialise(model, change(body_and_head(9).state_dict()), skip)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
