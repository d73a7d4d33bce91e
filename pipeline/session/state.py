"""How everything stands, as the page shows it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.products.agreement import binomial_interval, pairs_of
from pipeline.run.stages.train import read_summary

if TYPE_CHECKING:
    from pipeline.session.session import Session

KEYS = "123456789qwertyioadfjklzxcvbm"
"""Of the classes in turn; g, h, n, p, s and u are commands of the page."""


def keys_of(classes: Sequence[str]) -> list[str]:
    """Return a key for every class: its own name where all are one letter or digit, else 1, 2, …, none after the last.

    Args:
        classes: their names.

    """
    if all(len(name) == 1 and name.lower() in f"{KEYS}0" for name in classes):
        own = [name.lower() for name in classes]
        if len(set(own)) == len(own):
            return own
    return [KEYS[n] if n < len(KEYS) else "" for n in range(len(classes))]


def describe(session: "Session", annotator: str) -> dict[str, Any]:
    """Return the state of a session.

    Args:
        session: whose.
        annotator: for whom.

    """
    pool, networks, config = session.pool, session.networks, session.context.config
    counts = [0] * len(session.classes)
    for label in pool.current.values():
        counts[label] += 1
    skipped = {sample for samples in pool.skipped.values() for sample in samples if pool.left_out(sample)}
    classes = zip(session.classes, keys_of(session.classes), counts, strict=True)
    return {
        "run": str(session.run.path),
        "classes": [{"name": name, "key": key, "count": count} for name, key, count in classes],
        "annotator": annotator,
        "labelled": len(pool.current),
        "skipped": len(skipped),
        "disputed": len(pool.disputed),
        "images": pool.size,
        "budget": None if config.annotator is None else config.annotator.budget,
        "network": _network(session),
        "training": _training(session),
        "accuracy": _accuracy(session),
        "curve": session.products.curve,
        "agreement": _agreement(session),
        "notes": list(session.context.data.notes),
        "warnings": list(session.warnings),
        "finished": session.products.describe(),
        "version": session.version,
    } | ({} if networks.serving is not None else {"first": config.query.n_init})


def _network(session: "Session") -> dict[str, Any] | None:
    cycle = session.networks.serving
    if cycle is None:
        return None
    return {"cycle": cycle, "labels": session.networks.serving_labels, "asked": session.sayings.asked(cycle)}


def _training(session: "Session") -> dict[str, Any] | None:
    making = session.networks.making
    if making is None:
        return None
    stage, done = making.stage
    return {"stage": stage, "done": done, "labels": len(making.order.labelled)}


def _accuracy(session: "Session") -> dict[str, Any] | None:
    """Accuracy on held-out images with labels, with its Clopper-Pearson interval; None where there are none."""
    cycle, images = session.networks.serving, len(session.context.data.test)
    if cycle is None or not images:
        return None
    value = read_summary(session.run.stage_path(cycle, "train")).get("test_accuracy")
    if value is None:
        return None
    low, high = binomial_interval(round(value * images), images)
    return {"value": value, "low": low, "high": high, "images": images, "labels": session.networks.serving_labels}


def _agreement(session: "Session") -> dict[str, Any] | None:
    """Agreement of the two annotators who labelled most images in common; None where no two did."""
    if len(session.sayings.annotators) < 2:
        return None
    pairs = pairs_of(session.sayings.votes.independent, len(session.classes))
    if not pairs:
        return None
    best = max(pairs, key=lambda pair: pair.agreement.samples)
    return {"kappa": best.agreement.kappa, "samples": best.agreement.samples, "annotators": [best.first, best.second]}
