"""Mean Teacher, the Π-model and FixMatch: their terms by hand, as others have them, and one step by loops."""

import math

import numpy as np
import pytest
import torch
from semi_cases import CLASSES, made_up, network, objective, regime

from trainer.batches import Epochs, Stream
from trainer.learners.fixmatch import averaging_factor, pseudo_labels, unlabelled_loss
from trainer.learners.mean_teacher import consistency, ramp_up, teacher_factor
from trainer.learners.semi import average, copied, probabilities, statistics_left
from trainer.regimes.schedules import seven_sixteenths


def logits(p):
    return torch.log(torch.tensor(p, dtype=torch.float64))


# Terms by hand --------------------------------------------------------------------------------------------------------


def test_the_weight_of_mean_teacher_rises_as_it_should():
    rises = [ramp_up(step, 200) for step in (0, 50, 100, 200, 500)]
    assert rises == pytest.approx([0.0067379470, 0.0600546679, 0.2865047969, 1, 1], abs=1e-10)
    assert [8 * rise for rise in rises[:3]] == pytest.approx([0.0539035760, 0.4804373432, 2.2920383749], abs=1e-10)
    assert ramp_up(0, 0) == 1  # at once


def test_a_teacher_is_a_plain_mean_at_first():
    assert [teacher_factor(s, 0.95) for s in (1, 2, 9, 19, 20)] == pytest.approx([0.5, 2 / 3, 0.9, 0.95, 0.95])
    teacher, student = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    torch.nn.init.zeros_(teacher.weight)
    torch.nn.init.ones_(student.weight)
    for step in (1, 2, 3):
        average(teacher, student, teacher_factor(step, 0.95))
    assert teacher.weight.item() == pytest.approx(0.75)
    assert student.weight.item() == 1


def test_fixmatch_averages_over_a_tenth_of_the_steps_until_it_reaches_the_published_factor():
    found = [averaging_factor(s, 0.999) for s in (1, 8, 90, 8988, 8989, 2**20)]
    assert found == pytest.approx([2 / 11, 0.5, 0.91, 8989 / 8998, 0.999, 0.999])


def test_the_cosine_of_seven_sixteenths():
    assert [seven_sixteenths(k, 1000) for k in (0, 500, 1000)] == pytest.approx(
        [1, 0.7730104534, 0.1950903220], abs=1e-10
    )


def test_fixmatch_by_hand():
    weak = logits([[0.97, 0.02, 0.01], [0.6, 0.3, 0.1], [0.01, 0.96, 0.03]])
    strong = logits([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6], [0.1, 0.8, 0.1]]).requires_grad_()
    classes, mask = pseudo_labels("cross-entropy", weak, 0.95)
    assert (classes.tolist(), mask.tolist()) == ([0, 0, 1], [1, 0, 1])
    loss = unlabelled_loss("cross-entropy", strong, classes, mask)  # over all three, not over the two
    assert loss.item() == pytest.approx(0.3054302440, abs=1e-10)
    loss.backward()
    by_hand = [[(0.5 - 1) / 3, 0.1, 0.2 / 3], [0, 0, 0], [0.1 / 3, (0.8 - 1) / 3, 0.1 / 3]]
    torch.testing.assert_close(strong.grad, torch.tensor(by_hand, dtype=torch.float64))


def test_what_is_exactly_as_sure_as_it_must_be_counts():
    assert pseudo_labels("l2", torch.tensor([[0.75, 0.25, 0.0]]), 0.75)[1].item() == 1
    assert pseudo_labels("l2", torch.tensor([[0.74, 0.26, 0.0]]), 0.75)[1].item() == 0


def test_fixmatch_with_l2_by_hand():
    # on the simplex: (1.2, 0.1, -0.3) to (1, 0, 0); (0.6, 0.3, 0.2) less 1/30 each
    weak = torch.tensor([[1.2, 0.1, -0.3], [0.6, 0.3, 0.2]])
    torch.testing.assert_close(
        probabilities("l2", weak), torch.tensor([[1, 0, 0], [17 / 30, 8 / 30, 5 / 30]], dtype=torch.float32)
    )
    classes, mask = pseudo_labels("l2", weak, 0.95)
    assert (classes.tolist(), mask.tolist()) == ([0, 0], [1, 0])
    strong = torch.tensor([[0.7, 0.2, 0.1], [9.0, 9.0, 9.0]])
    assert unlabelled_loss("l2", strong, classes, mask).item() == pytest.approx((0.09 + 0.04 + 0.01) / 3 / 2)


def test_mean_teacher_by_hand():
    teacher, student = logits([[0.7, 0.2, 0.1]]).requires_grad_(), logits([[0.5, 0.25, 0.25]]).requires_grad_()
    loss = consistency("cross-entropy", student, teacher)
    assert loss.item() == pytest.approx(0.0216666667, abs=1e-10)
    loss.backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0
    outputs = torch.tensor([[0.7, 0.2, 0.1]]), torch.tensor([[0.5, 0.25, 0.25]])
    assert consistency("l2", *outputs).item() == pytest.approx(0.0216666667)  # of outputs that are no logits


# What semilearn 0.3.2 computes (USB, Wang et al. 2022): FixedThresholdingHook(p_cutoff=0.95), PseudoLabelingHook with
# hard labels, consistency_loss 'ce' with that mask and 'mse' against the softmax, get_cosine_schedule_with_warmup over
# 8 steps of rate 0.03, on these float64 logits.
WEAK = [[4.0, 0.5, -1.0], [0.3, 0.2, 0.1], [-2.0, 3.0, -1.5], [1.0, 1.0, 6.0]]
STRONG = [[1.0, 0.2, -0.4], [0.5, 1.5, -1.0], [0.1, 0.9, 0.3], [-0.7, 0.4, 0.2]]
SEMILEARN = {
    "mask": [1, 0, 1, 1],
    "classes": [0, 0, 1, 2],
    "fixmatch": 0.5466646288111627,
    "mean-teacher": 0.11369016597435877,
    "rates": [0.03, 0.029558329271668234, 0.028246321955490622, 0.026102609733261343, 0.02319031360088211,
              0.0195951852886133, 0.01542308232579665, 0.010796851096049647, 0.00585270966048385],
}  # fmt: skip


def test_losses_masks_and_rates_are_those_of_semilearn():
    weak, strong = (torch.tensor(rows, dtype=torch.float64) for rows in (WEAK, STRONG))
    classes, mask = pseudo_labels("cross-entropy", weak, 0.95)
    assert (mask.tolist(), classes.tolist()) == (SEMILEARN["mask"], SEMILEARN["classes"])
    found = unlabelled_loss("cross-entropy", strong, classes, mask).item()
    assert found == pytest.approx(SEMILEARN["fixmatch"], rel=1e-12)
    assert consistency("cross-entropy", strong, weak).item() == pytest.approx(SEMILEARN["mean-teacher"], rel=1e-12)
    assert [0.03 * seven_sixteenths(k, 8) for k in range(9)] == pytest.approx(SEMILEARN["rates"], rel=1e-12)


# One loss, by loops ---------------------------------------------------------------------------------------------------


def softmax(row):
    e = [math.exp(v - max(row)) for v in row]
    return [v / sum(e) for v in e]


@pytest.fixture
def three():
    x, labels = made_up(5)
    return x, labels, made_up(40, seed=1)[0]


def seen(unlabelled, size, labelled=()):
    """The first batch of the stream that an objective of ``semi_cases`` draws first, as rows of inputs."""
    inputs = np.concatenate([unlabelled, *([labelled] if len(labelled) else [])])
    return inputs[torch.randperm(len(inputs), generator=torch.Generator().manual_seed(1))[:size].numpy()]


def test_a_loss_of_fixmatch_is_that_of_loops(three):
    x, labels, u = three
    model = network()
    options = regime(
        "fixmatch", perturb="none", confidence=0.45, unlabelled_weight=2.0
    )  # weak is strong: nothing drawn
    made = objective("fixmatch", model, x, labels, u, options)
    rows = [4, 0, 2, 2]
    found = made.loss(torch.tensor(rows), 1)
    first = sum(-math.log(softmax(model(torch.from_numpy(x[b : b + 1]))[0].tolist())[labels[b]]) for b in rows) / 4
    total, sure = 0.0, 0
    for one in seen(u, 8, x):
        p = softmax(model(torch.from_numpy(one[None]))[0].tolist())
        if max(p) >= 0.45:
            total, sure = total - math.log(max(p)), sure + 1
    assert 0 < sure < 8
    assert found.item() == pytest.approx(first + 2 * total / 8, rel=1e-5)
    assert made.own.item() == pytest.approx(first, rel=1e-5)
    assert not made.own.requires_grad


@pytest.mark.parametrize(("done", "weight"), [(0, 8 * math.exp(-5)), (3, 8 * math.exp(-5 * 0.25)), (6, 8), (11, 8)])
def test_a_loss_of_mean_teacher_is_that_of_loops(three, done, weight):
    x, labels, u = three
    model = network()
    made = objective("mean-teacher", model, x, labels, u, regime("mean-teacher", perturb="none", ramp=0.5))
    made.done = done
    with torch.no_grad():
        for parameter in made.averaged.parameters():
            parameter.mul_(0.5)  # another network than the student
    found = made.loss(torch.tensor([1, 3]), 1)
    first = sum(-math.log(softmax(model(torch.from_numpy(x[b : b + 1]))[0].tolist())[labels[b]]) for b in (1, 3)) / 2
    total = 0.0
    for one in seen(u, 8):
        p, q = (softmax(net(torch.from_numpy(one[None]))[0].tolist()) for net in (model, made.averaged))
        total += sum((a - b) ** 2 for a, b in zip(p, q, strict=True)) / CLASSES
    assert found.item() == pytest.approx(first + weight * total / 8, rel=1e-5)


def test_no_gradient_reaches_the_teacher_or_the_weak_pass(three):
    x, labels, u = three
    model = network()
    made = objective("fixmatch", model, x, labels, u, regime("fixmatch", confidence=0.0))
    made.loss(torch.tensor([0]), 1).backward()
    assert all(parameter.grad is None for parameter in made.averaged.parameters())
    taught = objective("mean-teacher", network(), x, labels, u, regime("mean-teacher"))
    taught.loss(torch.tensor([0]), 1).backward()
    assert all(parameter.grad is None for parameter in taught.averaged.parameters())


def test_student_and_teacher_see_other_changes_of_the_same_images(three):
    x, labels, u = three
    batches = []

    class Watching(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()

        def forward(self, batch):
            batches.append(batch.clone())
            return self.inner(batch)

    made = objective("mean-teacher", Watching(), x, labels, u, regime("mean-teacher", perturb="noise"))
    made.loss(torch.tensor([0, 1]), 1)
    student, teacher = batches[0][2:], batches[1]
    assert len(batches) == 2
    assert not torch.equal(student, teacher)
    assert (student - teacher).abs().max() < 1.5  # of the same images, noise apart
    assert not torch.equal(batches[0][:2], torch.from_numpy(x[:2]))  # labelled ones are changed by the same rule


def test_the_pi_model_is_mean_teacher_without_memory(three):
    """With f = 0 the teacher is the student: both learners take the same steps."""
    x, labels, u = three
    options = {"perturb": "shift-cutout", "ramp": 0.0}
    models, losses = [network(), network()], []
    for name, model, more in (("pi-model", models[0], {}), ("mean-teacher", models[1], {"ema": 1e-30})):
        made = objective(name, model, x, labels, u, regime(name, **options, **more))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            loss = made.loss(torch.tensor([0, 1, 2]), 1)
            loss.backward()
            optimizer.step()
            made.stepped()
            losses.append(loss.item())
    assert losses[:3] == pytest.approx(losses[3:], rel=1e-5)
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


# Batch norm -----------------------------------------------------------------------------------------------------------


def norm_of(model):
    return next(layer for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm2d))


@pytest.mark.parametrize("learner", ["pi-model", "mean-teacher", "fixmatch"])
def test_running_statistics_follow_one_batch_a_step(three, learner):
    x, labels, u = three
    model = network(batch_norm=True)
    made = objective(learner, model, x, labels, u, regime(learner))
    inputs = []
    hook = norm_of(model).register_forward_hook(lambda layer, given, returned: inputs.append(given[0].detach()))
    before = norm_of(model).running_mean.clone()
    made.loss(torch.tensor([0, 1]), 1)
    hook.remove()
    assert norm_of(model).num_batches_tracked == 1
    torch.testing.assert_close(norm_of(model).running_mean, 0.9 * before + 0.1 * inputs[0].mean((0, 2, 3)))
    assert len(inputs) == (2 if learner == "pi-model" else 1)  # the second leaves no trace
    assert len(inputs[0]) == (2 + 2 * 8 if learner == "fixmatch" else 2 + 8)
    made.stepped()
    if learner == "fixmatch":  # copied, not averaged
        assert torch.equal(norm_of(made.averaged).running_mean, norm_of(model).running_mean)
        assert norm_of(made.averaged).num_batches_tracked == 1
    if learner == "mean-teacher":  # the teacher's follow its own passes
        assert norm_of(made.averaged).num_batches_tracked == 1
        assert not torch.equal(norm_of(made.averaged).running_mean, norm_of(model).running_mean)


def test_a_pass_that_leaves_statistics_normalises_by_the_batch_and_gives_all_back():
    model = network(batch_norm=True).train()
    x = torch.from_numpy(made_up(6)[0])
    with statistics_left(model):
        left = model(x)
    assert norm_of(model).num_batches_tracked == 0
    assert torch.equal(left, model(x))
    assert norm_of(model).num_batches_tracked == 1
    with pytest.raises(RuntimeError), statistics_left(model):
        raise RuntimeError
    assert norm_of(model).track_running_stats


def test_a_copy_shares_nothing_and_gets_no_gradient():
    model = network(batch_norm=True)
    twin = copied(model)
    assert all(not parameter.requires_grad for parameter in twin.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    average(twin, model, 0.0)
    with torch.no_grad():
        model[0].weight.zero_()
    assert twin[0].weight.abs().sum() > 0


# Which images ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "size"), [(1, 1), (1, 5), (3, 8), (7, 7), (10, 3)])
def test_a_stream_sees_all_as_often_to_within_one_and_repeats_where_it_must(count, size):
    stream = Stream(count, size, torch.Generator().manual_seed(0))
    seen = torch.cat([stream.next() for _ in range(10)])
    times = torch.bincount(seen, minlength=count)
    assert len(seen) == 10 * size
    assert times.max() - times.min() <= 1


def test_an_epoch_is_a_pass_or_as_many_steps_as_it_is_said():
    generator = torch.Generator().manual_seed(0)
    passes = Epochs(7, 3, 3, False, generator)
    passes.begin()
    parts = [passes.next() for _ in range(3)]
    assert [len(part) for part in parts] == [3, 2, 2]
    assert sorted(torch.cat(parts).tolist()) == list(range(7))
    assert (passes.over, passes.images) == (True, 7)
    stated = Epochs(2, 3, 5, True, generator)
    stated.begin()
    assert [len(stated.next()) for _ in range(5)] == [3] * 5
    assert (stated.over, stated.images) == (True, 15)


def test_labelled_images_are_among_those_without_labels_of_fixmatch_alone(three):
    x, labels, _ = three
    u = made_up(2, seed=5)[0]
    counts = {}
    for learner in ("fixmatch", "mean-teacher"):
        made = objective(learner, network(), x, labels, u, regime(learner, unlabelled_ratio=7))
        batch = made.unlabelled.next()
        assert batch.shape == (28, 1, 6, 6)
        counts[learner] = sum(any(np.array_equal(one, own) for own in x) for one in batch.numpy())
    assert counts == {"fixmatch": 20, "mean-teacher": 0}  # 28 of 7, of which 5 are labelled: 4 times each


def test_softmax_and_mask_of_extreme_outputs_are_finite():
    weak = torch.tensor([[1e4, -1e4, 0.0], [0.0, 0.0, 0.0]])
    classes, mask = pseudo_labels("cross-entropy", weak, 0.95)
    assert mask.tolist() == [1, 0]
    assert unlabelled_loss("cross-entropy", weak, classes, mask).item() == 0
