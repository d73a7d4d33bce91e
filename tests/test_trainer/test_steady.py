"""Networks whose evaluation depends on the batch or on chance are refused, whatever they hide it behind."""

import random
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torch.nn import functional as F

from trainer.cli import cli
from trainer.errors import TrainerError
from trainer.models import ModelSpec, check_evaluation
from trainer.models.steady import require_steady

SHAPE = (3, 8, 8)


class Net(nn.Module):
    """A small network with something of its own between its body and its head."""

    def __init__(self, between=lambda h: h):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.between = between
        self.head = nn.Linear(24, 4)

    def forward(self, x):
        return self.head(self.between(self.body(x)))


class Closed(nn.Module):
    """A branch that begins at zero, as a residual block with a zeroed last scale does."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(1))
        self.norm = nn.BatchNorm1d(24, track_running_stats=False)

    def forward(self, h):
        return h + self.scale * self.norm(h)


class Drifting(nn.Module):
    """A mean that follows what is seen, in eval mode too."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(24))

    def forward(self, h):
        self.mean.lerp_(h.mean(0), 0.1)
        return h - self.mean


class Awake(nn.Dropout):
    def forward(self, h):
        return F.dropout(h, self.p)


def own_generator():
    generator = torch.Generator().manual_seed(0)
    return lambda h: h + torch.randn(h.shape, generator=generator)


def rarely(h):
    return h * (random.random() > 0.2)


BATCH, CHANCE = "depend on the others in its batch", "change from pass to pass"
REFUSED = {
    "batch norm without statistics": (nn.BatchNorm1d(24, track_running_stats=False), BATCH, r"'between' \(BatchNorm1d"),
    "batch norm by hand": (lambda h: F.batch_norm(h, None, None, training=True), BATCH, r"'head' \(Linear\) is given"),
    "a mean over the batch": (lambda h: h - h.mean(0), BATCH, "let nothing mix the images"),
    "the largest of the batch": (lambda h: h / h.abs().max(), BATCH, "let nothing mix the images"),
    "a place in the batch": (lambda h: h + 0.1 * torch.arange(len(h))[:, None], BATCH, "of the largest"),
    "a branch that begins at zero": (Closed(), BATCH, r"'between.norm' \(BatchNorm1d\)"),
    "functional dropout": (lambda h: F.dropout(h, 0.5), CHANCE, "self.training"),
    "a dropout layer that stays awake": (Awake(0.5), CHANCE, r"'between' \(Awake\)"),
    "dropout that is rare": (lambda h: F.dropout(h, 0.01), CHANCE, "self.training"),
    "a layer that is skipped now and then": (rarely, CHANCE, "self.training"),
    "noise of NumPy": (lambda h: h + float(np.random.normal()), CHANCE, "self.training"),  # noqa: NPY002
    "noise of a generator of its own": (own_generator(), CHANCE, "self.training"),
    "statistics that go on in eval mode": (Drifting(), CHANCE, r"'between' \(Drifting\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_network_that_cannot_be_measured_is_refused_and_the_place_named(case):
    between, how, place = REFUSED[case]
    with pytest.raises(TrainerError, match=f"{how}.*{place}") as caught:
        require_steady(Net(between), SHAPE)
    assert "\n" not in str(caught.value)


class Squeezing(Net):
    def forward(self, x):
        return super().forward(x).squeeze()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Squeezing(), "does it squeeze away the first axis"),
        (Net(lambda h: h.view(2, -1)), r"any number of images, but it cannot process 4 \(addmm"),
        (Net(lambda h: h if len(h) > 1 else h[0, 0, 0]), r"any number of images, but it cannot process 1 \(too many"),
        (
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3, track_running_stats=False), nn.Flatten()),
            r"batch, .*first in its layer '1' \(BatchNorm2d\)",  # torch itself refuses one image there
        ),
    ],
)
def test_one_image_alone_must_do(model, message):
    with pytest.raises(TrainerError, match=message):
        require_steady(model, SHAPE)


def draws_for_nothing(h):
    torch.rand(1)
    return h


ACCEPTED = {
    "plain": lambda h: h,
    "dropout": nn.Dropout(0.5),
    "batch norm": nn.BatchNorm1d(24),
    "layer norm": nn.LayerNorm(24),
    "group norm": nn.GroupNorm(4, 24),
    "attention": lambda h: F.scaled_dot_product_attention(*[h.view(-1, 4, 6)] * 3).flatten(1),
    "random numbers that change nothing": draws_for_nothing,
    "outputs that are not finite": lambda h: h.log(),
    "outputs that are all zero": lambda h: h * 0,
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_others_pass(case):
    require_steady(Net(ACCEPTED[case]), SHAPE)


def test_ours_pass_without_being_tried_and_generators_are_left_alone():
    check_evaluation(ModelSpec("cnn", (1, 8, 8), 10))
    steady, unsteady = Net(), Net(rarely)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    with pytest.raises(TrainerError):
        require_steady(unsteady, SHAPE)
    require_steady(steady, SHAPE)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (np.random.get_state()[1].tolist(), random.getstate())  # noqa: NPY002


def test_trainer_fit_refuses_it_before_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "noisy_net.py").write_text(
        "from torch import nn\nfrom torch.nn import functional as F\n\n\nclass build(nn.Module):\n"
        "    def __init__(self, num_classes):\n        super().__init__()\n"
        "        self.head = nn.Linear(64, num_classes)\n\n"
        "    def forward(self, x):\n        return self.head(F.dropout(x.flatten(1), 0.5))\n"
    )
    given = ["fit", "--model", "noisy_net:build", "--n-labelled", "20", "--out", "fit"]
    result = CliRunner().invoke(cli, given)
    sys.modules.pop("noisy_net", None)
    assert result.exit_code == 2, result.output
    assert "error: --model noisy_net:build: expected outputs for an image that are its own" in result.stderr
    assert not (tmp_path / "fit").exists()
