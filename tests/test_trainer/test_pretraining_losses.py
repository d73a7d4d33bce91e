"""The losses that features are learned by: worked by hand, and each against its definition, element by element."""

import math

import pytest
import torch

from trainer.models import ModelSpec, build
from trainer.pretraining import METHODS
from trainer.pretraining.barlow_twins import LAMBDA, redundancy
from trainer.pretraining.base import Encoder, off_diagonal
from trainer.pretraining.byol import FOLLOWING, foresight, kept_share
from trainer.pretraining.simclr import TEMPERATURE, nt_xent
from trainer.pretraining.vicreg import variance_invariance_covariance

SQUARE = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])  # two features that vary and not together


def spread(a):
    return torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(a))


def test_two_images_told_apart_by_hand():
    z = torch.tensor([[3.0, 0], [0, 2], [1, 0], [0, 5]])  # the length of a projection does not matter
    assert float(nt_xent(z)) == pytest.approx(math.log(1 + 2 * math.exp(-1 / TEMPERATURE)))


def test_the_contrast_is_the_entropy_of_finding_the_other_view():
    z = spread(0)
    unit, expected = z / z.norm(dim=1, keepdim=True), 0.0
    for i in range(6):
        others = torch.tensor([float(unit[i] @ unit[j]) / TEMPERATURE for j in range(6) if j != i])
        expected += float(others.exp().sum().log() - unit[i] @ unit[(i + 3) % 6] / TEMPERATURE) / 6
    assert float(nt_xent(z)) == pytest.approx(expected, abs=1e-6)


def test_correlations_by_hand():
    assert float(redundancy(SQUARE, SQUARE)) == pytest.approx(0, abs=1e-8)  # C is the identity
    other_way = SQUARE * torch.tensor([5.0, -1])  # C = diag(1, -1), whatever the size
    assert float(redundancy(SQUARE, other_way)) == pytest.approx(4, abs=1e-4)
    twice = SQUARE[:, [0, 0]]  # C is 1 everywhere
    assert float(redundancy(twice, twice)) == pytest.approx(2 * LAMBDA, abs=1e-6)


def test_redundancy_is_that_of_the_correlations_one_by_one():
    a, b = spread(1), spread(2)
    expected = 0.0
    for i in range(4):
        for j in range(4):
            C = float(torch.corrcoef(torch.stack([a[:, i], b[:, j]]))[0, 1])
            expected += (1 - C) ** 2 if i == j else LAMBDA * C**2
    assert float(redundancy(a, b)) == pytest.approx(expected, rel=1e-4)


def test_variance_and_covariance_by_hand():
    wide = 2 * SQUARE  # variances 16/3, over 1, and no covariance
    assert float(variance_invariance_covariance(wide, wide)) == 0
    assert float(variance_invariance_covariance(wide, wide + 1)) == pytest.approx(25)  # apart by 1
    twice = wide[:, [0, 0]]  # covariances 16/3: squared, two of them, over D = 2, for each of both views
    assert float(variance_invariance_covariance(twice, twice)) == pytest.approx(2 * (16 / 3) ** 2)
    still = torch.zeros(4, 2)  # 1 - 0.01 is missing of each
    assert float(variance_invariance_covariance(still, still)) == pytest.approx(25 * 0.99, rel=1e-5)


def test_it_is_what_the_sums_say():
    a, b = spread(3), spread(4)
    expected = 25 * sum(float((a[n, j] - b[n, j]) ** 2) for n in range(6) for j in range(4)) / 24
    for z in (a, b):
        covariance = torch.cov(z.T)
        expected += 25 * sum(max(0.0, 1 - math.sqrt(float(covariance[j, j]) + 1e-4)) for j in range(4)) / 4 / 2
        expected += sum(float(covariance[i, j]) ** 2 for i in range(4) for j in range(4) if i != j) / 4
    assert float(variance_invariance_covariance(a, b)) == pytest.approx(expected, rel=1e-9)


def test_foresight_by_hand_and_no_gradient_to_the_target():
    p = torch.tensor([[2.0, 0], [0, 1], [1, 0]], requires_grad=True)
    z = torch.tensor([[1.0, 0], [3, 0], [-1, 0]], requires_grad=True)
    loss = foresight(p, z)
    assert float(loss.detach()) == pytest.approx((0 + 2 + 4) / 3)
    loss.backward()
    assert z.grad is None
    assert p.grad is not None


def test_the_copy_follows_less_and_less():
    assert kept_share(0) == pytest.approx(FOLLOWING)
    assert kept_share(0.5) == pytest.approx((1 + FOLLOWING) / 2)
    assert kept_share(1) == 1


def test_off_the_diagonal():
    assert off_diagonal(torch.arange(9).view(3, 3)).tolist() == [1, 2, 3, 5, 6, 7]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_lowers_its_loss_and_trains_the_network(name):
    net = build(ModelSpec("cnn", (1, 8, 8), 2, {"width": 4, "batch_norm": True}), seed=0)
    net[-1] = torch.nn.Identity()
    encoder = Encoder(net.train(), low_precision=False)
    task = METHODS[name].task(encoder, 32).train()
    x = torch.randn(32, 1, 8, 8)
    views = torch.cat([x, x + 0.1 * torch.randn_like(x)])
    trained = [p for p in (*encoder.parameters(), *task.parameters()) if p.requires_grad]
    optimizer, before = torch.optim.AdamW(trained, 1e-3), net[0].weight.detach().clone()
    losses = []
    for step in range(12):
        loss = task(encoder, views)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        task.after_step(encoder, step / 12)
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    assert not torch.equal(before, net[0].weight)


def test_byols_copy_moves_by_the_average_alone():
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    encoder = Encoder(net, low_precision=False)
    task = METHODS["byol"].task(encoder, 3)
    follower, own = task.target[0].net[1].weight, net[1].weight
    start = follower.clone()
    with torch.no_grad():
        own += 1
    task.after_step(encoder, 0.0)
    torch.testing.assert_close(follower, FOLLOWING * start + (1 - FOLLOWING) * own)
    assert not follower.requires_grad
