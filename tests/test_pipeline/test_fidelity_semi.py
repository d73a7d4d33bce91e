"""Networks that also learn from images without labels: no training of theirs has a tolerance to come under."""

from dataclasses import replace

import pytest
from fidelity_cases import Quiet, make_run

from pipeline.fidelity.measure import measure
from pipeline.fidelity.setting import open_setting
from pipeline.fidelity.verdict import causes
from pipeline.run.converged import unconverged
from pipeline.run.summary import read_row

SHORT = {"train.epochs": 1, "train.epoch_steps": 4, "train.unlabelled_ratio": 1, "model.options": {"width": 8}}


@pytest.fixture(scope="module", params=["mean-teacher", pytest.param("fixmatch", marks=pytest.mark.long)])
def run(request, tmp_path_factory):
    """A run after four steps, which says nothing yet of the labels."""
    learner = {"train.learner": request.param, "query.strategy": "margin-influence-sequential", "query.size": 1}
    return make_run(tmp_path_factory.mktemp("semi") / "run", **learner, **SHORT)


@pytest.fixture(scope="module")
def setting(run):
    return open_setting(run, 0, 6)


def test_what_is_left_of_the_labels_pulls_on(setting):
    assert setting.look_ahead.diagnostics.remaining_change > 0.01


def test_no_tolerance_is_blamed(setting):
    measured = measure(setting, 6, "predicted", 1, Quiet())
    effect = 1 + max(row.figures["linearized"]["actual_size"] for row in measured.rows)
    loud = replace(measured.background, placebo=(2 * effect, 0.0), drift=(2 * effect, 0.0))
    for start in ("warm", "cold"):
        context = replace(setting.context, config=setting.context.config.model_copy(update={"start": start}))
        held = replace(setting, context=context, summary={**setting.summary, "residual_rms": 0.3})
        found = list(causes(held, replace(measured, background=loud)))
        assert len([cause for cause in found if "moves" in cause or "changes" in cause]) == 2
        assert not [cause for cause in found if "converge" in cause or "tolerance" in cause], found
    unlearned = causes(replace(setting, summary={**setting.summary, "residual_rms": 0.6}), measured)
    assert any("labelled images were not learned (residual 0.6" in cause for cause in unlearned)


def test_a_residual_that_images_without_labels_hold_is_not_warned_of(run, setting):
    row, train = read_row(run, 0), run / "cycles" / "000" / "train"
    held = replace(row, ended="epochs", converged=False, residual_rms=0.3)
    assert unconverged(setting.context, held, train) == ""
    unlearned = unconverged(setting.context, replace(held, residual_rms=0.6), train)
    assert "residual of 0.600 per sample: try more --epochs" in unlearned
