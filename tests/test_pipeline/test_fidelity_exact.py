"""A network that is solved for, with a ridge: look-ahead says what solving again gives, and nothing is found wrong."""

from dataclasses import replace

import numpy as np
import pytest
from fidelity_cases import Quiet, make_run

from linearize import KernelOptions
from pipeline.fidelity.changes import predicted_changes, retrainer
from pipeline.fidelity.measure import measure
from pipeline.fidelity.setting import open_setting
from pipeline.fidelity.verdict import causes
from pipeline.run.stages.trained import with_ridge
from trainer.options import options_for

SOLVED = {"model.name": "linear", "model.options": {"unit_length": True}, "query.n_init": 60}


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """Digits' rows of unit length, so that λ is the same with one more of them."""
    return open_setting(make_run(tmp_path_factory.mktemp("exact") / "run", **SOLVED), 0, 20)


@pytest.mark.parametrize(
    ("asked", "trained", "taken"), [(0.0, 0.1, 0.1), (1e-6, 0.1, 0.1), (0.5, 0.1, 0.5), (1e-6, None, 1e-6)]
)
def test_the_kernel_has_the_ridge_of_the_training(asked, trained, taken):
    training = options_for("linear", ridge=trained) if trained else options_for("mlp")
    assert with_ridge(KernelOptions(ridge=asked), training).ridge == taken


def test_the_ridge_is_the_one_that_was_chosen(setting):
    assert setting.summary["ended"] == "solved"
    assert setting.summary["ridge"] > 1e-4  # of 60 labels of ten classes one that holds back
    assert setting.look_ahead.diagnostics.residual_norm == pytest.approx(setting.summary["residual_norm"], rel=1e-4)


def test_a_label_moves_every_output_as_solving_again_does(setting):
    solve_again = retrainer(setting, "cold")
    pool = solve_again.pool
    for row, label in enumerate(np.arange(20) % 10):
        again = solve_again(0, pool[row : row + 1], int(label)).outputs
        said = predicted_changes(setting, row, int(label))["linearized"].after
        others = np.arange(len(pool)) != row
        np.testing.assert_allclose(said[others], again[others], atol=2e-5)


def test_nothing_is_blamed_for_what_the_ridge_holds_back(setting):
    measured = measure(setting, 20, "predicted", 1, Quiet())
    agreement = measured.agreement["linearized"]["mlmoc"]
    assert agreement.slope.value == pytest.approx(1, abs=0.01)
    assert agreement.cosine.value > 0.999
    assert list(causes(setting, measured)) == []
    stepped = replace(setting, summary={**setting.summary, "ended": "epochs"})
    assert any("had not converged" in cause for cause in causes(stepped, measured))
