"""A loss and a criterion that the project does not have: a record each, and everything works with them."""

import numpy as np
import pytest
from made_up import FURTHEST, SQUARED_HINGE
from regression_cases import CASES, state_of

import cases
import reference
from linearize import CRITERIA, KernelOptions, LookAhead, Measure


def asked_of(f, Y):
    """What labels of a squared hinge ask outputs to be: f + s (1 - s f)₊, written out."""
    s = 2 * Y - 1
    return f + s * np.maximum(1 - s * f, 0)


def halves(f):
    return reference.naive_simplex((1 + f) / 2)


def naive(theta, f, Y, L, ridge, name, reference_name, distance):
    """A criterion by its definition, solved from scratch for every candidate and label that it imagines."""
    C, wanted = f.shape[1], asked_of(f[:L], Y)
    f_lin = reference.solve_eq_11(theta, f, wanted, list(range(L)), ridge)[L:]
    before = f[L:] if reference_name == "network" else f_lin
    d = halves if distance == "simplex" else lambda outputs: outputs
    p = np.eye(C)[f[L:].argmax(1)] if name in ("mlmoc", "mlmoc-flips", "furthest") else halves(
        f[L:] if name in ("emoc", "eer") else f_lin
    )  # fmt: skip
    value = {
        "eer": lambda after: -reference.naive_entropy(halves(after)),
        "expected-accuracy": lambda after: (halves(after).max(1) - halves(f_lin).max(1)).sum(),
        "furthest": lambda after: np.linalg.norm(after - f_lin, axis=1).max(),
        "mlmoc-flips": lambda after: (after.argmax(1) != before.argmax(1)).sum(),
        "emoc-flips": lambda after: (after.argmax(1) != before.argmax(1)).sum(),
    }.get(name, lambda after: np.linalg.norm(d(after) - d(before), axis=1).sum())
    scores = np.zeros(len(f) - L)
    for x in range(len(f) - L):
        for c in np.flatnonzero(p[x]):
            y = asked_of(f_lin[x : x + 1], np.eye(C)[[c]])[0]
            scores[x] += p[x, c] * value(reference.naive_look_ahead(theta, f, wanted, L, x, y, ridge))
    return scores


@pytest.mark.parametrize("case", ["plain", "ten classes", "a small ridge", "duplicated candidates"])
@pytest.mark.parametrize("name", ["mlmoc", "emoc", "eer", "expected-accuracy", "furthest", "mlmoc-flips", "emoc-flips"])
def test_criteria_of_a_made_up_loss_equal_their_definitions(name, case):
    (theta, f, Y), ridge = CASES[case].problem(), CASES[case].ridge
    L, criterion = len(Y), {**CRITERIA, "furthest": FURTHEST}[name]
    state = state_of(theta, f, asked_of(f[:L], Y), ridge)
    for measure in (Measure("network"), Measure("linearized"), Measure("linearized", "simplex")):
        expected = naive(theta, f, Y, L, ridge, name, measure.reference, measure.distance)
        scores = criterion.scores(state, SQUARED_HINGE, measure)
        ties = {"mlmoc-flips": 1, "emoc-flips": 1e-6}.get(name, 0)
        np.testing.assert_allclose(scores, expected, rtol=1e-8, atol=ties + 1e-9)


@pytest.mark.parametrize("head", ["sum-of-logits", "full"])
def test_a_service_takes_a_made_up_loss_and_its_answers(head):
    """After an answer the outputs of the answered image are what the loss asks of them."""
    network = cases.tiny_conv_net(dtype=np.float32)
    x, Y = cases.images(5, 12, np.float32), np.eye(3)[np.arange(5) % 3]
    options = KernelOptions(head, precision="float64")
    service = LookAhead.fit(*network, x[:5], Y, x[5:], options, loss=SQUARED_HINGE)
    before = service.predict(x[5:])
    [sample] = service.query(1, "emoc", "sequential")
    service.observe(sample, 2)
    asked = asked_of(before[[sample]], np.eye(3)[[2]])
    np.testing.assert_allclose(service.predict(x[[5 + sample]]), asked, rtol=1e-6, atol=1e-6)
    assert len(service.query(3, "margin-influence", "greedy")) == 3
