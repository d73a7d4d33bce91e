import jax
import numpy as np
import pytest

import cases
import reference
from linearize import KernelOptions, LinearizeError, LookAhead, Measure


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("criterion", ["mlmoc", "mlmoc-flips"])
def test_scores_of_a_real_network_equal_the_naive_definition(criterion):
    apply_fn, variables = cases.tiny_conv_net()
    x = cases.images(5, 16)
    L, ridge = 6, 1e-4
    Y = np.eye(3)[np.arange(L) % 3]
    theta = reference.dense_ntk(apply_fn, variables, x, lambda f: f.sum() / np.sqrt(3))
    f = np.asarray(apply_fn(variables, x))
    absolute = ridge * np.diag(theta)[:L].mean()
    reference_name = "network" if criterion == "mlmoc" else "linearized"
    expected = reference.naive_criterion(theta, f, Y, L, absolute, criterion, reference_name)
    service = LookAhead.fit(apply_fn, variables, x[:L], Y, x[L:], KernelOptions(ridge=ridge, block=5))
    scores = service.scores(criterion)
    if criterion == "mlmoc-flips":
        scores = np.floor(scores)
    np.testing.assert_allclose(scores, expected, rtol=1e-7)
    assert np.array_equal(service.pseudo_labels(), f[L:].argmax(1))
    assert service.diagnostics.residual_norm == pytest.approx(np.linalg.norm(Y - f[:L]))
    assert service.diagnostics.condition_number > 1
    assert set(service.diagnostics.to_json()) >= {"jitter", "redundant_share", "ridge"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "sum"}, "expected one of"),
        ({"logit": -1}, "logit: expected at least 0, got -1"),
        ({"ridge": -1.0}, "ridge: expected a finite number of at least 0, got -1"),
        ({"ridge": float("nan")}, "ridge: expected"),
        ({"block": 0}, "block: expected at least 1, got 0"),
        ({"memory_budget": -1}, "memory budget: expected"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(LinearizeError, match=message):
        KernelOptions(**options)


def test_bad_shapes_are_refused():
    apply_fn, variables = cases.tiny_conv_net(dtype=np.float32)
    x = cases.images(5, 6, np.float32)
    Y = np.eye(3)
    for X, pool in ((x[:2], x[3:]), (x[:3], x[:0]), (x[:3], x[3:, :4])):
        with pytest.raises(LinearizeError, match="same example shape"):
            LookAhead.fit(apply_fn, variables, X, Y, pool)


def test_nothing_recompiles_when_the_labelled_set_grows():
    apply_fn, variables = cases.tiny_conv_net(dtype=np.float32)
    x = cases.images(5, 40, np.float32)
    options = KernelOptions(block=8)
    LookAhead.fit(apply_fn, variables, x[:6], np.eye(3)[np.arange(6) % 3], x[6:30], options)
    from linearize.engine.execute import compiled

    before = compiled.cache_info().misses
    LookAhead.fit(apply_fn, variables, x[:10], np.eye(3)[np.arange(10) % 3], x[10:34], options)
    assert compiled.cache_info().misses == before
    assert jax.config.jax_enable_x64 is False


def test_a_single_class_leaves_nothing_to_learn():
    x = np.zeros((3, 2), np.float32)
    with pytest.raises(LinearizeError, match="at least two classes, got one"):
        LookAhead.fit(lambda variables, x: x[:, :1], {"params": {}}, x, np.ones((3, 1)), x)


def test_the_covariance_is_kept_in_the_precision_of_the_kernel_and_says_the_same():
    """60 answers; what a covariance in float32 rounds away is less than Θ in float32 is off itself."""
    apply_fn, variables = cases.tiny_conv_net(dtype=np.float32)
    x, C, U = cases.images(5, 120, np.float32), 3, 110
    Y = np.eye(C)[np.arange(10) % C]
    with jax.enable_x64(True):
        wide = LookAhead.fit(apply_fn, variables, x[:10], Y, x[10:], KernelOptions(ridge=1e-3))
    narrow, exact = (
        LookAhead.fit(apply_fn, variables, x[:10], Y, x[10:], KernelOptions(ridge=1e-3, precision=precision))
        for precision in ("float32", "float64")
    )
    assert [each.posterior.S.dtype for each in (narrow, wide, exact)] == [np.float32, np.float64, np.float64]
    for n, sample in enumerate(np.random.default_rng(0).permutation(U)[:60]):
        for each in (narrow, wide, exact):
            each.observe(int(sample), n % C)
    off = [np.abs(each.posterior.S - exact.posterior.S).max() for each in (narrow, wide)]
    assert off[0] < 1.5 * off[1] + 1e-6 * exact.posterior.S.max()
    scores = [each.scores("margin-influence") for each in (narrow, wide, exact)]
    left = np.isfinite(scores[2])
    errors = [np.abs(scores[n][left] - scores[2][left]).max() / scores[2].max() for n in (0, 1)]
    assert errors[0] < 2 * errors[1] + 1e-6


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("head", ["sum-of-logits", "full"])
def test_a_candidate_that_is_left_out_is_as_if_it_had_never_been_one(full, head):
    apply_fn, variables = cases.tiny_conv_net(dtype=np.float32)
    x, C = cases.images(5, 30, np.float32), 3
    Y, pool, options = np.eye(C)[np.arange(6) % C], x[6:], KernelOptions(head, ridge=1e-3, precision="float64")
    kept = np.setdiff1d(np.arange(24), [4, 9])
    service = LookAhead.fit(apply_fn, variables, x[:6], Y, pool, options, full=full)
    expected = LookAhead.fit(apply_fn, variables, x[:6], Y, pool[kept], options, ids=kept, full=full)
    other = service.fork()
    service.leave_out(4)
    for each in (service, expected):
        each.observe(7, 2)
    service.leave_out(9)
    assert service.observed.tolist() == [7]
    for name in ("margin-lin", "margin-influence", "mlmoc"):
        scores = service.scores(name, Measure("linearized") if name == "mlmoc" else None)
        wanted = expected.scores(name, Measure("linearized") if name == "mlmoc" else None)
        np.testing.assert_allclose(scores[kept], wanted, rtol=1e-7, atol=1e-12)
        assert np.isneginf(scores[[4, 9]]).all()
    assert not set(service.query(21, "margin-lin").tolist()) & {4, 9}
    np.testing.assert_allclose(service.predict(x), expected.predict(x), rtol=1e-7, atol=1e-9)
    with pytest.raises(LinearizeError, match="sample 4 is observed or left out already"):
        service.leave_out(4)
    with pytest.raises(LinearizeError, match="expected the id of one of 24 candidates, got 99"):
        service.leave_out(99)
    assert np.isfinite(other.scores("margin-lin")).all()
