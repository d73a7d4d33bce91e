"""One sentence: whether to trust look-ahead here, and what to do where it is poor, from what was measured alone."""

from collections.abc import Iterator

import numpy as np

from pipeline.config import RunConfig
from pipeline.fidelity.agreement import Agreement
from pipeline.fidelity.measure import Criterion, Measured
from pipeline.fidelity.setting import Setting
from pipeline.run.converged import UNFIT
from trainer.options import TrainOptions

GOOD = 0.5
"""Trusted where the whole interval of the rank correlation lies above this; undecided where it spans 0 and this."""
ALIGNED = 0.7
"""Trusted where the whole interval of the cosine lies above this: rightly scaled, the predicted change is then cos²,
about half or more, of the squared real one; and where that is more than another candidate's prediction is of it."""
SETTLED = 20
"""Candidates from which on there is a verdict. With fewer the intervals, by resampling, are too narrow: of a mean such
as that of the cosines the lower end lies above the truth in 8 % of samples of 6, 5 % of 10 and 3 % of 20, for 2.5 %."""
SHARE = 0.5
"""A disturbance is named where it is more than this share of a candidate's median effect."""
ILL_CONDITIONED = 1e8
FEW_PARAMETERS = 10.0
"""Parameters for each output to fit, P / (L C), below which the network is called narrow."""


def verdict(setting: Setting, measured: Measured) -> str:
    """Return whether to trust look-ahead on this run, and what was judged, in one sentence.

    Args:
        setting: the cycle and its linearisation.
        measured: what the retrainings gave.

    """
    judgement, good = _aligned(measured) if measured.target.by == "direction" else _ranked(measured)
    if good:
        return f"{judgement}."
    found = list(causes(setting, measured))
    if not found:
        return f"{judgement}; none of the causes that this report measures was found."
    return f"{judgement}; measured: " + "; ".join(found) + "."


UNDEFINED = "Nothing can be said: the predicted or the real values are all equal"


def _ranked(measured: Measured) -> tuple[str, bool]:
    """Judge a strategy whose ranking is compared with that by the same quantity after real training."""
    target = measured.target
    score: Criterion = "mlmoc-flips" if target.by == "flips" else "mlmoc"
    agreement: Agreement = measured.finished or measured.agreement[target.proxy][score]
    rho, low, high = agreement.spearman
    if rho is None or low is None or high is None:
        return f"{UNDEFINED} (judged: {target.subject})", False
    figure = (
        f"rank correlation {rho:.2f}, 95 % interval {low:.2f} to {high:.2f}, {agreement.n} candidates; judged: "
        f"{target.subject}"
    )
    if low > GOOD:
        return _said("Trust look-ahead's ranking here: ", "it agrees with real retraining", figure, agreement.n), True
    if low > 0:
        return _said(
            "", "Look-ahead ranks candidates better than chance here, but coarsely", figure, agreement.n
        ), False
    if high > GOOD:
        found = "neither chance nor a good ranking can be ruled out: take more --candidates"
        return _said("Not decided, ", found, figure, agreement.n), False
    return (
        _said("Do not trust look-ahead's ranking here: ", "it may be chance, and is not good", figure, agreement.n),
        False,
    )


def _aligned(measured: Measured) -> tuple[str, bool]:
    """Judge a strategy that rests on where outputs move but ranks by no change of theirs."""
    subject, specific = measured.target.subject, measured.specific
    agreement = measured.agreement["linearized"]["mlmoc"]
    value, low, high = agreement.cosine
    if None in (value, low, high, *specific) or low is None or high is None:
        return f"{UNDEFINED} (judged: {subject})", False
    own_low, own_high = float(specific.low or 0), float(specific.high or 0)
    figure = (
        f"mean cosine {value:.2f}, 95 % interval {low:.2f} to {high:.2f}, that is {specific.value:.2f}, {own_low:.2f} "
        f"to {own_high:.2f}, above what is predicted of another candidate, {agreement.n} candidates; judged: {subject}"
    )
    if low > ALIGNED and own_low > 0:
        found = "really retrained, outputs move where it says"
        return _said("Trust what look-ahead predicts here: ", found, figure, agreement.n), True
    if own_low > 0:
        found = "Look-ahead tells candidates apart better than chance here, but coarsely"
        return _said("", found, figure, agreement.n), False
    if high > ALIGNED and own_high > 0:
        return _said("Not decided, ", "chance cannot be ruled out: take more --candidates", figure, agreement.n), False
    found = "what it predicts of a candidate may be chance"
    return _said("Do not trust look-ahead here: ", found, figure, agreement.n), False


def _said(judgement: str, found: str, figure: str, n: int) -> str:
    """Return what was found with its figure, after a judgement where there are candidates enough for one."""
    if n >= SETTLED:
        return f"{judgement}{found} ({figure})"
    so_far = f"{found[0].lower()}{found[1:]}"
    return f"Preliminary, as a verdict takes at least --candidates {SETTLED}: so far {so_far} ({figure})"


def causes(setting: Setting, measured: Measured) -> Iterator[str]:
    """Yield, for every condition of look-ahead that was measured and does not hold, the figure and the remedy.

    Args:
        setting: the cycle and its linearisation.
        measured: what the retrainings gave.

    """
    diagnostics, solved = setting.look_ahead.diagnostics, setting.summary["ended"] == "solved"
    if not solved:  # else what is left of the labels is the ridge's
        yield from _unfinished(setting, measured)
    yield from _disturbances(measured, setting.context.config)
    if diagnostics.jitter or not diagnostics.condition_number < ILL_CONDITIONED:
        yield (
            f"the kernel is ill-conditioned (condition number {diagnostics.condition_number:.1e}, jitter "
            f"{diagnostics.jitter:.1e}): set kernel.ridge, such as 1e-6"
        )
    per_output = parameters(setting) / (len(setting.labelled) * setting.context.data.num_classes)
    if per_output < FEW_PARAMETERS and not solved:  # what was solved for is linear in its weights, however many
        yield f"the network has {per_output:.1f} parameters for each output to fit: take a wider one"


def _unfinished(setting: Setting, measured: Measured) -> Iterator[str]:
    """Yield where steps of training ended before what they aim at."""
    options, rms = setting.context.config.train_options, float(setting.summary["residual_rms"])
    tolerance = options.tolerance or TrainOptions().tolerance  # with 0, training never ends before its last epoch
    failed = 1 - float(np.mean([row.converged for row in measured.rows])) if options.tolerance else 0.0
    if options.learns_unlabelled and rms > UNFIT:
        yield f"the labelled images were not learned (residual {rms:.3g}, 1 where outputs are 0): raise train.epochs"
    elif rms > tolerance and not options.learns_unlabelled:  # else those without labels hold what is left
        yield f"the network had not converged (residual {rms:.3g}, tolerance {tolerance:.3g}): raise train.epochs"
    elif failed > 0:
        yield f"{failed:.0%} of the retrainings did not converge: raise train.epochs"
    elif (unlearned := float(np.median([row.unlearned for row in measured.rows]))) > SHARE:
        remedy = "lower train.tolerance" if options.tolerance else "raise train.epochs"
        yield f"retraining stopped with {unlearned:.0%} of the candidate's own error left (median): {remedy}"


def _disturbances(measured: Measured, config: RunConfig) -> Iterator[str]:
    """Yield what moves the outputs as candidates do without being one, where it is large beside them."""
    effect = float(np.median([row.figures["linearized"]["actual_size"] for row in measured.rows]))
    background = measured.background
    remedy = "train warm (start: warm), since look-ahead predicts from the trained network on"
    fields = ["train.max_lr", *(["train.tolerance"] if config.train_options.tolerance else [])]
    if config.start == "warm":
        remedy = f"lower {' or '.join(fields)}, or average with --repeats"
    if background.noise > SHARE * effect:
        yield (
            f"retraining without a new image changes the outputs by {_share(background.noise, effect)} of what a "
            f"candidate does: {remedy}"
        )
    if background.drift[0] > effect:
        yield (
            f"training on without any candidate moves the outputs by {_share(background.drift[0], effect)} of what a "
            f"candidate does: lower {' or '.join(fields)}"
        )


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole else "more than all"


def parameters(setting: Setting) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in setting.context.network().parameters() if p.requires_grad)
