"""A network with more classes goes on from one with fewer: what is copied, what stays new, what is refused."""

from itertools import pairwise

import pytest
import torch
from model_cases import SMALL
from torch import nn

from trainer.errors import TrainerError
from trainer.growth import grow
from trainer.models import MODELS, ModelSpec, build


def network(name, classes, seed, **options):
    return build(ModelSpec(name, (1, 8, 8), classes, {**SMALL[name], **options}), seed)


def randomise(model, seed):
    """Give every weight and running statistic a value of its own."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.is_floating_point():
            tensor.data = 0.5 + torch.rand(tensor.shape, generator=generator)
        else:
            tensor.fill_(seed)


def copied(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_a_third_class_by_hand():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 3))
    state = {
        "0.weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
        "0.bias": torch.tensor([5.0, 6.0]),
        "1.weight": torch.tensor([[7.0, 8.0], [9.0, 10.0]]),
        "1.bias": torch.tensor([11.0, 12.0]),
    }
    with torch.no_grad():
        model[1].weight[:] = torch.tensor([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
        model[1].bias[:] = torch.tensor([0.7, 0.8, 0.9])
    grow(model, state)
    assert model[0].weight.tolist() == [[1, 2], [3, 4]]
    assert model[0].bias.tolist() == [5, 6]
    torch.testing.assert_close(model[1].weight.data, torch.tensor([[7.0, 8.0], [9.0, 10.0], [0.5, 0.6]]))
    torch.testing.assert_close(model[1].bias.data, torch.tensor([11.0, 12.0, 0.9]))
    state["1.weight"][:] = 0.0  # what it was given is not its own
    assert model[1].weight[0].tolist() == [7, 8]


@pytest.mark.parametrize("more", [0, 1, 4])
@pytest.mark.parametrize("name", MODELS)
def test_every_family_says_of_the_old_classes_what_it_said(name, more):
    old, new = network(name, 3, 0), network(name, 3 + more, 1)
    randomise(old, 2)
    randomise(new, 3)
    fresh, before = copied(new), copied(old)
    grow(new, old.state_dict())
    for key, tensor in new.state_dict().items():
        rows = len(before[key]) if before[key].ndim else None
        assert torch.equal(tensor if rows is None else tensor[:rows], before[key])
        assert rows is None or torch.equal(tensor[rows:], fresh[key][rows:])
    x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(new(x)[:, :3], old(x))
    assert all(torch.equal(tensor, before[key]) for key, tensor in old.state_dict().items())


@pytest.mark.parametrize("name", MODELS)
def test_every_family_refuses_fewer_classes_and_names_the_tensor(name):
    new, state = network(name, 3, 0), network(name, 4, 1).state_dict()
    before = copied(new)
    last = next(key for key in state if state[key].ndim and len(state[key]) == 4 and len(before[key]) == 3)
    with pytest.raises(TrainerError, match=rf"got {last}, which is torch.float32 \[4.* before and .* \[3.* now"):
        grow(new, state)
    assert all(torch.equal(tensor, before[key]) for key, tensor in new.state_dict().items())


def linear(*sizes):
    return nn.Sequential(*(nn.Linear(one, other) for one, other in pairwise(sizes)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            linear(2, 2, 2),
            linear(2, 3, 3),
            r"1.weight, which is torch.float32 \[2, 2\] before and torch.float32 \[3, 3",
        ),
        (linear(2, 2), linear(3, 3), r"0.weight, which is torch.float32 \[2, 2\] before and torch.float32 \[3, 3\]"),
        (nn.Sequential(nn.Conv1d(2, 2, 1)), linear(2, 3), r"0.weight, which is torch.float32 \[2, 2, 1\] before"),
        (linear(2, 2), linear(2, 3).double(), r"0.weight, which is torch.float32 \[2, 2\] before and torch.float64"),
        (linear(2, 2), nn.Sequential(nn.Linear(2, 3, bias=False)), "0.bias, which is there only before"),
        (nn.Sequential(nn.Linear(2, 2, bias=False)), linear(2, 3), "0.bias, which is there only now"),
        (
            nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)),
            nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(4)),
            "1.weight, which grows from 2 to 4, and 0.weight from 2 to 3",
        ),
    ],
    ids=["hidden width", "input width", "dimensions", "type", "gone", "new", "by unlike numbers"],
)
def test_what_differs_in_more_than_its_classes_is_refused_by_name(old, new, message):
    before = copied(new)
    with pytest.raises(TrainerError, match=f"alone, .* got {message}"):
        grow(new, old.state_dict())
    assert all(torch.equal(tensor, before[key]) for key, tensor in new.state_dict().items())


def test_weights_that_are_not_finite_are_refused():
    new, old = linear(2, 3), linear(2, 2)
    with torch.no_grad():
        old[0].bias[1] = torch.nan
    before = copied(new)
    with pytest.raises(TrainerError, match=r"0.bias holds values that are not finite"):
        grow(new, old.state_dict())
    assert all(torch.equal(tensor, before[key]) for key, tensor in new.state_dict().items())
