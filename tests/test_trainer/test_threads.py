"""How many threads a training step is worth."""

import contextlib

import pytest
import torch
from torch import nn

from trainer import threads
from trainer.models import build_model
from trainer.threads import GRAIN, choose_threads, suited_threads, with_threads

STEP = 3 * 2 * 100 * 50  # operations of one image: a product of 100 x 50, forward, and twice more backward


@pytest.mark.parametrize(
    ("grains", "available", "expected"),
    [(0.5, 8, 1), (1.999, 8, 1), (2.001, 8, 2), (5.5, 8, 5), (99, 8, 8), (99, 1, 1)],
)
def test_a_thread_comes_with_every_grain_of_work(grains, available, expected, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: available)
    model = nn.Linear(100, 50).train()
    batch = round(grains * GRAIN / STEP)
    assert suited_threads(model, torch.zeros(1, 100), batch) == expected
    assert suited_threads(model, torch.full((1, 100), torch.nan), batch) == expected  # counted, not measured


def test_small_networks_of_the_registry_get_one_thread_and_large_ones_all(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    asked = {
        name: suited_threads(build_model(name, shape, 10), torch.zeros(1, *shape), 128)
        for name, shape in {"cnn": (1, 28, 28), "mlp": (1, 28, 28), "wide_resnet": (3, 32, 32)}.items()
    }
    assert asked == {"cnn": 1, "mlp": 1, "wide_resnet": 8}


@pytest.fixture(autouse=True)
def _nobody_says_how_many(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_what_the_environment_says_is_obeyed(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with with_threads(3):
        assert choose_threads(nn.Linear(3, 2), torch.zeros(1, 3), 5) == 3


@pytest.mark.parametrize(("seconds", "expected"), [({1: 2.0, 4: 1.0}, 4), ({1: 1.0, 4: 1.5}, 1)])
def test_more_threads_are_taken_where_a_step_is_faster_now(seconds, expected, monkeypatch):
    monkeypatch.setattr(threads, "suited_threads", lambda *_: 4)
    monkeypatch.setattr(threads, "_step_seconds", lambda *_: seconds[torch.get_num_threads()])
    before = torch.get_num_threads()
    assert choose_threads(nn.Linear(3, 2), torch.zeros(1, 3), 5) == expected
    assert torch.get_num_threads() == before


def test_what_little_work_gets_is_not_measured(monkeypatch):
    monkeypatch.setattr(threads, "_step_seconds", None)
    assert choose_threads(nn.Linear(3, 2), torch.zeros(1, 3), 5) == 1


def test_a_trial_leaves_the_network_as_it_was():
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3 * 36, 2)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert threads._step_seconds(model.eval(), torch.randn(5, 1, 8, 8)) > 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_threads_are_put_back_whatever_happens():
    before = torch.get_num_threads()
    with contextlib.suppress(KeyError), with_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        raise KeyError
    assert torch.get_num_threads() == before
