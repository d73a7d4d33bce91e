"""Really retrain with each of a sample of candidates added, and compare what happened with what was predicted.

Retraining moves the network even where nothing is added: it finishes converging, and SGD takes another path.  So the
effect of a candidate x' is the difference of two trainings that start from the same weights with the same SGD seed,
one with x' and one without: f⁺ - f⁰.  (With ``repeats`` above 1, of their means over that many seeds.)  References
``network`` and ``naive`` measure from the trained network instead, as eq. 13 does, so what they are compared with is
f⁺ - f.

What is left in f⁺ - f⁰ that x' did not do is measured in two ways, in the same units as a candidate's effect:

- ``seeds``: trainings without any candidate that differ in the SGD seed alone, mean over pairs.  A labelled set that
  fits into one batch has no random order; these then differ by rounding.
- ``placebo``: a copy of a labelled image, with its label, in the candidate's place.  It has the same number of images
  and hence the same order as f⁺, and a converged linearised network would not move at all.
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol

import numpy as np

from common.losses import get_loss
from linearize import Criterion as LookAheadCriterion
from linearize.criteria.generic import below_one
from pipeline import seeds
from pipeline.errors import PipelineError, RunFailedError
from pipeline.fidelity.agreement import Agreement, Interval, compare, cosine, mean_of
from pipeline.fidelity.changes import (
    FROM_NETWORK,
    PROXIES,
    Change,
    predicted_changes,
    retrainer,
    trained_changes,
    with_label,
)
from pipeline.fidelity.ranking_target import RankingTarget, ranking_target
from pipeline.fidelity.sample import draw_sample
from pipeline.fidelity.setting import Setting
from pipeline.retraining import Retrained
from trainer.errors import TrainerError

Criterion = Literal["mlmoc", "mlmoc-flips"]
CRITERIA: tuple[Criterion, ...] = ("mlmoc", "mlmoc-flips")
Labels = Literal["predicted", "true"]
EXTRA_SEEDS, PLACEBOS = 2, 3
MOST_FINISHED = 1000
"""Candidates on which a criterion of f_lin alone is compared at most."""


class Reporter(Protocol):
    """Who is told how far the retrainings are."""

    def check(self) -> None:
        """Raise if the work is to stop."""
        ...

    def estimated(self, trainings: int, seconds: float) -> None:
        """Learn, once, how many trainings there will be and how long the first took.

        Args:
            trainings: how many there will be.
            seconds: that the first took.

        """
        ...

    def advance(self, done: int, total: int) -> None:
        """Learn how many trainings are done.

        Args:
            done: how much is done.
            total: of how much.

        """
        ...


class Pair(NamedTuple):
    """What a proxy predicted for a candidate, and what happened."""

    predicted: Change
    actual: Change

    @property
    def cosine(self) -> float:
        """Between the two change vectors."""
        return cosine(self.predicted.vector, self.actual.vector)


class Row(NamedTuple):
    """One retrained candidate, reduced to numbers.

    Args:
        id: of the sample.
        how: it was sampled.
        label: it was given.
        figures: per proxy: predicted and actual size and flips, and the cosine of the change vectors.
        unlearned: ‖y' - f⁺(x')‖ / ‖y' - f⁰(x')‖, the share of its error that training with x' left; in theory 0.
        converged: share of its retrainings that did.

    """

    id: int
    how: str
    label: int
    figures: dict[str, dict[str, float]]
    unlearned: float
    converged: float


@dataclass(frozen=True)
class Background:
    """What moves the outputs without any new image, as ``(Σ_x ‖Δ(x)‖, flips)``.

    Args:
        seeds: another SGD seed.
        placebo: a copy of a labelled image in the candidate's place.
        drift: f⁰ - f, training on without a candidate.
        finishing: Σ_x ‖a(x)‖, what the linearised network says of that drift.
        finishing_cosine: between the two.
        converged: share of these trainings that did.

    """

    seeds: tuple[float, float]
    placebo: tuple[float, float]
    drift: tuple[float, float]
    finishing: float
    finishing_cosine: float
    converged: float

    @property
    def noise(self) -> float:
        """The larger of the two noise floors, in units of ``mlmoc``."""
        return max(self.seeds[0], self.placebo[0])


@dataclass(frozen=True)
class Measured:
    """Everything that was measured.

    Args:
        target: what the run's predictions are judged by.
        rows: one a candidate.
        background: what is no effect of a candidate.
        agreement: by proxy and criterion.
        seconds: of one retraining, mean.
        specific: how much nearer a real change is, in cosine, to what the block update predicts of that candidate than
            to what it predicts of another one with the same label, mean.
        finished: a criterion of f_lin alone against the same of f⁰, where the run ranks by one.

    """

    target: RankingTarget
    rows: list[Row]
    background: Background
    agreement: dict[str, dict[Criterion, Agreement]]
    seconds: float
    specific: Interval
    finished: Agreement | None = None


def measure(setting: Setting, n: int, labels: Labels, repeats: int, reporter: Reporter) -> Measured:
    """Retrain with each of ``n`` candidates and compare.

    Args:
        setting: the cycle.
        n: candidates, see ``draw_sample``.
        labels: hypothetical ones: what the network ``predicted``, as ``mlmoc`` imagines them, or the ``true`` ones.
        repeats: SGD seeds over which each retraining is averaged.
        reporter: told how far it is.

    Raises:
        PipelineError: the true labels of these candidates are not known.
        RunFailedError: a retraining diverged.

    """
    stream = seeds.sequence(setting.context.config.seed, setting.cycle, "fidelity")
    sampling, training, copies, resampling, proxies = stream.spawn(5)
    names = [*PROXIES, *setting.infinite]
    target = ranking_target(setting.context.config, names)
    scores = setting.look_ahead.scores(target.criterion, target.measure)
    sample = draw_sample(scores, n, np.random.default_rng(sampling))
    given = _labels(setting, sample.positions, labels)
    sgd = [int(word >> 1) for word in training.generate_state(repeats + EXTRA_SEEDS, np.uint64)]
    work = _Work(setting, reporter, len(sgd) + repeats * (PLACEBOS + len(sample.positions)))
    naive = int(proxies.generate_state(1, np.uint64)[0] >> 1)
    f0, background = _background(setting, work, sgd, repeats, np.random.default_rng(copies))
    loss = get_loss(setting.context.config.train_options.loss)
    rows = []
    others = np.roll(sample.positions, -1).tolist()
    for position, other, label, how in zip(sample.positions.tolist(), others, given, sample.how, strict=True):
        sample_id = int(setting.candidates[position])
        trained = [work(seed, sample_id, label) for seed in sgd[:repeats]]
        f1 = np.mean([one.outputs for one in trained], axis=0)
        wanted = np.eye(f1.shape[1])[[label]]
        error = [float(np.linalg.norm(loss.residual(f[position : position + 1], wanted))) for f in (f1, f0)]
        predicted = predicted_changes(setting, position, label) | work.proxies(position, label, naive)
        figures = _figures(setting.posterior.f, predicted, f0, f1)
        figures["linearized"]["cosine_other"] = _of_another(setting, other, label, Change(f0, f1))
        share = float(np.mean([one.converged for one in trained]))
        rows.append(Row(sample_id, how, label, figures, error[0] / error[1] if error[1] else float("nan"), share))
    rng = np.random.default_rng(resampling)
    agreement = {name: {score: _agree(rows, name, score, rng) for score in CRITERIA} for name in names}
    own = np.array([one.figures["linearized"]["cosine"] - one.figures["linearized"]["cosine_other"] for one in rows])
    finished = _finished(setting, target.criterion, f0, rng) if target.by == "training" else None
    return Measured(target, rows, background, agreement, work.seconds / work.done, mean_of(own, rng), finished)


class _Work:
    """All that is really trained, with its progress told and its failures explained."""

    def __init__(self, setting: Setting, reporter: Reporter, total: int) -> None:
        start = setting.context.config.start
        self.setting, self.reporter, self.total = setting, reporter, total
        self.retrain = retrainer(setting, start)
        self.trained = self.retrain if start == "warm" else retrainer(setting, "warm")
        self.done, self.seconds = 0, 0.0

    def __call__(self, seed: int, sample: int | None = None, label: int = 0) -> Retrained:
        """Train as the run would, with a sample added or without."""
        x = None if sample is None else self.setting.context.images(np.array([sample]))
        with _explained("without a candidate" if sample is None else f"with sample {sample} added"):
            result = self.retrain(seed, x, label, check=self.reporter.check)
        self.done += 1
        self.seconds += result.seconds
        if self.done == 1:
            self.reporter.estimated(self.total, result.seconds)
        self.reporter.advance(self.done, self.total)
        return result

    def proxies(self, position: int, label: int, seed: int) -> dict[str, Change]:
        """Return what the proxies that train predict for one candidate."""
        with _explained(f"with sample {int(self.setting.candidates[position])} added"):
            return trained_changes(self.setting, self.trained, position, label, seed)


@contextmanager
def _explained(added: str) -> Iterator[None]:
    try:
        yield
    except TrainerError as error:
        raise RunFailedError(f"retraining {added} failed: {error}") from error


def _finished(setting: Setting, criterion: LookAheadCriterion, f0: np.ndarray, rng: np.random.Generator) -> Agreement:
    """Compare a criterion of f_lin alone with the same of f⁰, on candidates that tell something new."""
    posterior = setting.posterior
    kept = np.flatnonzero(~posterior.redundant)[:MOST_FINISHED]  # candidates are in random order
    trained = replace(posterior, mean=np.asarray(f0, np.float64))
    scores = [criterion.scores(one, setting.loss)[kept] for one in (posterior, trained)]
    changes = [(one.mean - posterior.f)[kept] for one in (posterior, trained)]
    cosines = [cosine(one, other) for one, other in zip(*changes, strict=True)]
    return compare(scores[0], scores[1], np.array(cosines), rng)


def _of_another(setting: Setting, position: int, label: int, effect: Change) -> float:
    """Return the cosine of a real change and what is predicted of another candidate with the same label."""
    return Pair(Change(setting.posterior.mean, with_label(setting, position, label)), effect).cosine


def _labels(setting: Setting, positions: np.ndarray, labels: Labels) -> list[int]:
    """Return the hypothetical label of each candidate; true ones that nobody knows are refused before any training."""
    if labels == "predicted":
        return [int(label) for label in setting.posterior.f[positions].argmax(axis=1)]
    try:
        return [int(label) for label in setting.context.data.labels("train", setting.candidates[positions])]
    except TrainerError as error:
        raise PipelineError(f"--labels true: {error}, or give --labels predicted") from error


def _background(
    setting: Setting, work: _Work, sgd: list[int], repeats: int, rng: np.random.Generator
) -> tuple[np.ndarray, Background]:
    """Return f⁰ on the pool, and what moves the outputs without any new image."""
    alone = [work(seed) for seed in sgd]
    f0 = np.mean([one.outputs for one in alone[:repeats]], axis=0)
    changes = [Change(a.outputs, b.outputs) for a, b in itertools.combinations(alone, 2)]
    spread = tuple(float(np.mean(values)) for values in ([c.size for c in changes], [c.flips for c in changes]))
    copies, trained = [], list(alone)
    for place in rng.choice(len(setting.labelled), min(PLACEBOS, len(setting.labelled)), replace=False):
        id_, label = int(setting.labelled.ids[place]), int(setting.labelled.labels[place])
        again = [work(seed, id_, label) for seed in sgd[:repeats]]
        trained += again
        copies.append(Change(f0, np.mean([one.outputs for one in again], axis=0)))
    placebo = float(np.mean([c.size for c in copies])), float(np.mean([c.flips for c in copies]))
    f, f_lin = setting.posterior.f, setting.posterior.mean
    drift, finishing = Change(f, f0), Change(f, f_lin)
    share = float(np.mean([one.converged for one in trained]))
    seeds_alone = spread[0] / np.sqrt(repeats), spread[1]
    agree = cosine(drift.vector, finishing.vector)
    return f0, Background(seeds_alone, placebo, (drift.size, drift.flips), finishing.size, agree, share)


def _figures(
    f: np.ndarray, predicted: dict[str, Change], f0: np.ndarray, f1: np.ndarray
) -> dict[str, dict[str, float]]:
    figures = {}
    for proxy, change in predicted.items():
        pair = Pair(change, Change(f if proxy in FROM_NETWORK else f0, f1))
        figures[proxy] = {
            "predicted_size": pair.predicted.size,
            "actual_size": pair.actual.size,
            "predicted_flips": pair.predicted.flips,
            "actual_flips": pair.actual.flips,
            "cosine": pair.cosine,
        }
    return figures


def _agree(rows: list[Row], proxy: str, criterion: Criterion, rng: np.random.Generator) -> Agreement:
    columns = {key: np.array([row.figures[proxy][key] for row in rows], float) for key in rows[0].figures[proxy]}
    sizes = columns["predicted_size"], columns["actual_size"]
    if criterion == "mlmoc":
        return compare(*sizes, columns["cosine"], rng)
    ties = below_one(sizes[0]), below_one(sizes[1])
    return compare(columns["predicted_flips"], columns["actual_flips"], columns["cosine"], rng, ties)
