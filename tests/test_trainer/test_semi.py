"""Learners of images without labels: regimes, what they refuse, steps, averages, and data that is hard on them."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from semi_cases import CLASSES, made_up, network, regime

from trainer import cli
from trainer.errors import TrainerError
from trainer.learners import LEARNERS, LEARNERS_OWN
from trainer.loop import fit
from trainer.models import build_model
from trainer.options import TrainOptions, options_for
from trainer.predict import predict

SEMI = ("pi-model", "mean-teacher", "fixmatch")


def trained(options, x, labels, unlabelled, *, model=None, seed=0, **more):
    model = network() if model is None else model
    return model, fit(model, x, labels, CLASSES, options, seed=seed, unlabelled=unlabelled, **more)


# Regimes --------------------------------------------------------------------------------------------------------------


def test_a_learner_has_defaults_of_its_own_that_can_be_said_otherwise():
    options = options_for("cnn", learner="fixmatch")
    assert (options.epochs, options.epoch_steps, options.loss) == (40, 50, "cross-entropy")
    assert (options.confidence, options.ema, options.ramp) == (0.95, 0.999, None)
    assert options_for("cnn", learner="fixmatch", loss="l2", epochs=3).loss == "l2"
    assert options_for("cnn", learner="mean-teacher").ema == 0.95
    assert options_for("cnn", learner="mean-teacher").ramp == 0.4
    assert options_for("cnn", learner="pi-model").ema is None
    plain = options_for("cnn")
    assert all(getattr(plain, name) is None for name in (*LEARNERS_OWN, "epoch_steps"))
    assert options.images_per_step == 16 * (1 + 2 * 3)
    assert plain.images_per_step == plain.batch_size


@pytest.mark.parametrize("name", SEMI)
def test_what_a_learner_has_no_use_for_is_among_no_defaults(name):
    assert {field for field in LEARNERS[name].regime if field in LEARNERS_OWN} == {
        field for field in LEARNERS_OWN if getattr(options_for("cnn", learner=name), field) is not None
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence": 0.9}, "confidence must be left out of the learner supervised: fixmatch, got 0.9"),
        ({"learner": "pi-model", "ema": 0.9}, "ema must be left out of the learner pi-model: mean-teacher, fixmatch, "),
        ({"learner": "fixmatch", "ramp": 0.1}, "ramp must be left out of the learner fixmatch: pi-model, mean-teacher"),
        ({"learner": "fixmatch", "confidence": 1.5}, "confidence must be a probability from 0 to 1, got 1.5"),
        ({"learner": "fixmatch", "confidence": math.nan}, "confidence must be a probability"),
        ({"learner": "fixmatch", "ema": 1.0}, r"ema must be in \[0, 1\), got 1.0"),
        ({"learner": "fixmatch", "unlabelled_ratio": 0}, "unlabelled_ratio must be in 1..1000, got 0"),
        ({"learner": "fixmatch", "unlabelled_weight": -1.0}, "unlabelled_weight must be in 0.."),
        ({"learner": "mean-teacher", "ramp": 2.0}, "ramp must be a share of the steps from 0 to 1, got 2.0"),
        (
            {"learner": "fixmatch", "perturb": "rand-agument"},
            "perturb must be one of auto, none, noise, .*rand-augment",
        ),
        ({"epoch_steps": 0}, "epoch_steps must be at least 1, got 0"),
        ({"epoch_steps": 10**6, "epochs": 100}, "epochs x epoch_steps must be at most 10,000,000 steps"),
        ({"decayed": "biases"}, "decayed must be one of all, weights, got 'biases'"),
        ({"learner": "fixmtach"}, "learner must be one of .*; did you mean 'fixmatch'|learner must be one of"),
    ],
)
def test_regimes_that_make_no_sense_are_refused_in_one_line(options, message):
    with pytest.raises(TrainerError, match=message) as caught:
        options_for("cnn", **options)
    assert "\n" not in str(caught.value)


def test_weights_alone_decay_where_it_is_said():
    x, labels = made_up(4)
    strong = {"epochs": 1, "tolerance": 0.0, "max_lr": 1e-6, "weight_decay": 1e5, "restarts": 0, "schedule": "constant"}
    for decayed in ("all", "weights"):
        model = network(batch_norm=True)
        before = {name: one.detach().clone() for name, one in model.named_parameters()}
        fit(model, x, labels, CLASSES, TrainOptions(decayed=decayed, **strong), seed=0)
        for name, one in model.named_parameters():
            shrunk = not torch.allclose(one, before[name], atol=1e-4) or not bool(before[name].any())
            assert shrunk == (decayed == "all" or one.ndim > 1) or not bool(before[name].any()), name


def test_regimes_of_the_papers_are_ones_that_there_are():
    text = (Path(__file__).parents[2] / "docs/learners.md").read_text()
    code = text.partition("```yaml\n")[2].partition("```")[0]
    regimes = [yaml.safe_load(part) for part in re.findall(r"^train:.*?\n((?: .*\n)+)", code, re.M)]
    found = [options_for("wide_resnet", **(one | {"milestones": tuple(one.get("milestones", ()))})) for one in regimes]
    assert [one.epochs * one.epoch_steps for one in found] == [2**20, 500_000]
    assert [one.images_per_step for one in found] == [64 * 15, 150]
    options = yaml.safe_load(re.search(r"^model: (.*(?:\n +.*)*)", code, re.M)[1])["options"]
    wrn = build_model("wide_resnet", (3, 32, 32), 10, 0, **options)
    assert sum(one.numel() for one in wrn.parameters()) == 1_467_610


# Steps ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("learner", [*SEMI, "supervised"])
def test_a_training_has_as_many_steps_as_it_is_said(learner):
    x, labels = made_up(5)
    told = []
    options = regime(learner, epochs=3, epoch_steps=4, tolerance=0.0, max_lr=0.01)
    u = None if learner == "supervised" else made_up(7, seed=1)[0]
    _, result = trained(options, x, labels, u, on_step=lambda done, total: told.append((done, total)))
    assert told == [(n, 12) for n in range(1, 13)]
    assert [record["epoch"] for record in result.history] == [1, 2, 3]
    assert ("own_loss" in result.history[0]) == (learner != "supervised")


def test_the_rate_falls_as_fixmatch_has_it():
    x, labels = made_up(5)
    _, result = trained(regime("fixmatch", max_lr=0.03), x, labels, made_up(7, seed=1)[0])
    expected = [0.03 * math.cos(7 * math.pi * k / (16 * 12)) for k in (0, 4, 8)]
    assert [record["lr"] for record in result.history] == pytest.approx(expected)


# What is left ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("learner", SEMI)
def test_the_network_is_the_averaged_one_and_the_student_is_kept(learner):
    x, labels = made_up(8)
    model, result = trained(regime(learner), x, labels, made_up(20, seed=1)[0])
    assert result.averaged == (learner != "pi-model")
    assert ("weights" in result.figures()) == result.averaged
    residual = torch.nn.functional.one_hot(torch.from_numpy(labels), CLASSES) - torch.from_numpy(
        predict(model, x)
    ).softmax(1)
    assert result.residual_norm == pytest.approx(residual.norm().item(), rel=1e-5)  # of what is left
    if result.averaged:
        state = model.state_dict()
        assert any(not torch.equal(state[name], result.student[name]) for name in state)


def test_the_average_is_that_of_the_steps():
    """After one step of FixMatch, f = 2/11: θ̄ = (2 θ_0 + 9 θ_1)/11."""
    x, labels = made_up(8)
    start = network(3, batch_norm=True)
    before = {name: one.clone() for name, one in start.state_dict().items()}
    model, result = trained(regime("fixmatch", epochs=1, epoch_steps=1), x, labels, made_up(9, seed=1)[0], model=start)
    names = dict(model.named_parameters())
    for name, one in model.state_dict().items():
        mean = (2 * before[name] + 9 * result.student[name]) / 11 if name in names else result.student[name]
        torch.testing.assert_close(one, mean)


@pytest.mark.parametrize("learner", SEMI)
def test_the_same_seed_gives_the_same_bits_and_leaves_generators_alone(learner):
    x, labels = made_up(6)
    before = torch.get_rng_state()
    found = [trained(regime(learner), x, labels, made_up(9, seed=1)[0], model=network(0, True, 0.2)) for _ in range(2)]
    states = [model.state_dict() for model, _ in found]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert torch.equal(before, torch.get_rng_state())


# Data that is hard on them --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("learner", SEMI)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_pool_smaller_than_a_batch_is_seen_again(learner, batch_norm):
    x, labels = made_up(3)
    options = regime(learner, unlabelled_ratio=7)
    _, result = trained(options, x, labels, made_up(1, seed=1)[0], model=network(0, batch_norm))
    assert np.isfinite(result.residual_norm)


@pytest.mark.parametrize("learner", SEMI)
def test_one_class_and_one_label_are_enough_to_go_on(learner):
    x, labels = made_up(40)
    one = np.flatnonzero(labels == 1)
    for of in (one, one[:1]):
        _, result = trained(regime(learner), x[of], labels[of], made_up(9, seed=1)[0])
        assert not result.at_chance
        assert np.isfinite(result.residual_norm)


@pytest.mark.parametrize("learner", SEMI)
@pytest.mark.parametrize("loss", ["l2", "cross-entropy"])
def test_features_are_changed_by_noise(learner, loss):
    shape = (12, 1, 1)
    x, labels = made_up(12, shape=shape)
    u = made_up(30, seed=1, shape=shape)[0]
    model = build_model("linear", shape, CLASSES, 0)
    options = options_for("linear", learner=learner, epochs=2, epoch_steps=3, loss=loss)
    result = fit(model, x, labels, CLASSES, options, seed=0, unlabelled=u)
    assert np.isfinite(result.residual_norm)
    refused = options_for("linear", learner=learner, perturb="rand-augment")
    with pytest.raises(TrainerError, match="perturb must be noise or none for features, .* got 'rand-augment'"):
        fit(model, x, labels, CLASSES, refused, seed=0, unlabelled=u)


@pytest.mark.parametrize("learner", SEMI)
def test_no_images_without_labels_is_refused(learner):
    x, labels = made_up(4)
    for unlabelled in (None, x[:0]):
        with pytest.raises(TrainerError, match=f"the learner {learner} needs images without labels, got none"):
            trained(regime(learner), x, labels, unlabelled)


def test_a_network_that_cannot_be_copied_is_refused():
    class Odd(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()

        def forward(self, x):
            return self.inner(x)

        def __deepcopy__(self, memo):
            raise TypeError("no copies")

    x, labels = made_up(4)
    with pytest.raises(TrainerError, match=r"must copy the network, but Odd cannot be copied \(no copies\): choose"):
        trained(regime("fixmatch"), x, labels, made_up(5)[0], model=Odd())


def test_the_command_refuses_in_one_line(tmp_path):
    for count, more, message in (
        (1297, ["--learner", "fixmatch"], "the learner fixmatch needs images without labels, got none"),
        (9, ["--confidence", "0.5"], "confidence must be left out of the learner supervised: fixmatch"),
    ):
        arguments = ["fit", "--n-labelled", str(count), *more, "--out", str(tmp_path / "out")]
        result = CliRunner().invoke(cli.cli, arguments)
        assert result.exit_code == 2
        assert message in result.output
        assert not (tmp_path / "out").exists()


@pytest.mark.long
@pytest.mark.parametrize("exposure", [(1.0, 0.0), (0.05, -1.0), (1.0, 3.0)])
@pytest.mark.parametrize("learner", SEMI)
def test_dark_and_bright_images_are_learned(learner, exposure):
    scale, offset = exposure
    x, labels = made_up(30)
    u, truth = made_up(300, seed=1)
    perturb = "auto" if learner == "fixmatch" else "noise"  # a shift of one of six rows would be another class
    options = options_for("cnn", learner=learner, epochs=6, perturb=perturb)
    model = build_model("cnn", x.shape[1:], CLASSES, 0, width=8)
    result = fit(
        model,
        scale * x + np.float32(offset),
        labels,
        CLASSES,
        options,
        seed=0,
        unlabelled=scale * u + np.float32(offset),
    )
    right = (predict(model, scale * u + np.float32(offset)).argmax(1) == truth).mean()
    assert not result.restarts
    assert right > 0.6
