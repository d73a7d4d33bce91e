"""The fast forms of criteria against their definitions on the predicted outputs, where both hold."""

import dataclasses
import importlib
import itertools
import pkgutil

import numpy as np
import pytest
from regression_cases import CASES, LOSSES, Case, state_of, with_probabilities

import linearize.criteria
from common.losses import CROSS_ENTROPY, PseudoResidual
from common.probabilities import SIMPLEX
from linearize import CRITERIA, Measure
from linearize.criteria import DISTANCES, REFERENCES
from linearize.criteria.passes import fast, over_blocks

FAST = ("mlmoc", "mlmoc-flips", "emoc", "eer", "emoc-flips", "expected-accuracy")
PULLING = dataclasses.replace(CROSS_ENTROPY, scale=3.0)
BY_LOSS = {
    "l2, simplex": LOSSES["simplex"],
    "l2, softmax": LOSSES["softmax"],
    "cross-entropy, simplex": with_probabilities(PULLING, SIMPLEX),
    "cross-entropy, softmax": PULLING,
}
SOME = (
    "plain",
    "two classes",
    "ten classes",
    "twenty classes, in a loop",
    "one candidate",
    "duplicated candidates",
    "all classes possible",
    "sure of every class",
)


def array_of_steps(loss):
    """The same loss, its step written out for every output, so that no fast form takes it."""

    def pull(f, scale):
        step, m = loss.pull(f, scale)
        return PseudoResidual(np.full(f.shape, step), m)

    return dataclasses.replace(loss, pull=pull)


def states(case, loss):
    """After training, after an answer, and of a network that has nothing left to train."""
    theta, f, Y = CASES[case].problem()
    state = state_of(theta, f, loss.target(f[: len(Y)], Y), CASES[case].ridge)
    yield state
    yield dataclasses.replace(state, f=state.mean)
    if CASES[case].U > 1:
        yield state.condition(1, np.eye(f.shape[1])[0])


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("loss", BY_LOSS)
@pytest.mark.parametrize("case", SOME)
def test_fast_forms_equal_what_is_predicted_label_by_label(case, loss, name):
    loss = BY_LOSS[loss]
    for state in states(case, loss):
        assert fast(state, loss) is not None
        assert fast(state, array_of_steps(loss)) is None
        for measure in itertools.starmap(Measure, itertools.product(REFERENCES, DISTANCES)):
            found = CRITERIA[name].scores(state, loss, measure, 3)
            expected = CRITERIA[name].scores(state, array_of_steps(loss), measure, 3)
            np.testing.assert_allclose(found, expected, rtol=1e-7, atol=tolerance(name, state, loss, measure))


def tolerance(name, state, loss, measure):
    """Less than a flip where what breaks ties of flips is the rounding of changes that are none."""
    tie, share = {"mlmoc-flips": ("mlmoc", 1 - 5e-10), "emoc-flips": ("emoc", 1e-6)}.get(name, (None, 1e-9))
    return share if tie and CRITERIA[tie].scores(state, loss, measure, 3).max() < 1e-12 else 1e-9


def test_there_is_a_fast_form_wherever_labels_are_imagined(monkeypatch):
    """Criteria that imagine labels go label by label where the step is an array, and never where it is a number."""

    class LabelByLabelError(Exception):
        pass

    def refuse(*_):
        raise LabelByLabelError

    modules = [
        importlib.import_module(f"linearize.criteria.{one.name}")
        for one in pkgutil.iter_modules(linearize.criteria.__path__)
    ]
    imagining = [module for module in modules if hasattr(module, "expected_value")]
    for module in imagining:
        monkeypatch.setattr(module, "expected_value", refuse)
    for loss in BY_LOSS.values():
        state, slow = next(states("plain", loss)), []
        for name, criterion in CRITERIA.items():
            for measure in itertools.starmap(Measure, itertools.product(REFERENCES, DISTANCES)):
                assert np.isfinite(criterion.scores(state, loss, measure)).all()
            try:
                criterion.scores(state, array_of_steps(loss))
            except LabelByLabelError:
                slow.append(name)
        assert slow == list(FAST)


@pytest.mark.parametrize(("U", "temporary", "sizes"), [(7, 10**9, [7]), (7, 8 * 7 * 3, [3, 3, 3]), (7, 1, [1] * 7)])
def test_blocks_are_no_larger_than_a_temporary_may_be(U, temporary, sizes, monkeypatch):
    monkeypatch.setattr(linearize.criteria.passes, "TEMPORARY", temporary)
    theta, f, Y = Case(U=U).problem()
    posterior, taken = state_of(theta, f, Y, 0.1), []

    def score(block):
        taken.append(len(block.candidates))
        return block.candidates.astype(float)

    np.testing.assert_array_equal(over_blocks(posterior, score, 256), np.arange(U))
    assert taken == sizes
