"""How everything stands, as the page shows it."""

from typing import TYPE_CHECKING, Any

from pipeline.run.stages.train import read_summary

if TYPE_CHECKING:
    from pipeline.session.session import Session

KEYS = "123456789qwertyiopadfghjklzxcvbm"
"""Of the classes in turn; s, u and n are commands."""
CONFIDENCE = 0.95


def key_of(position: int) -> str:
    """Return the key of a class; none where there are more classes than keys.

    Args:
        position: of the class.

    """
    return KEYS[position] if position < len(KEYS) else ""


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
    classes = zip(session.classes, counts, strict=True)
    return {
        "run": str(session.run.path),
        "classes": [{"name": name, "key": key_of(n), "count": count} for n, (name, count) in enumerate(classes)],
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
    asked = sum(network == cycle for network in session.sayings.asked_by.values())
    return {"cycle": cycle, "labels": session.networks.serving_labels, "asked": asked}


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
    from scipy.stats import binomtest

    interval = binomtest(round(value * images), images).proportion_ci(CONFIDENCE, method="exact")
    labels = session.networks.serving_labels
    return {"value": value, "low": interval.low, "high": interval.high, "images": images, "labels": labels}


def _agreement(session: "Session") -> dict[str, Any] | None:
    if len(session.sayings.annotators) < 2:
        return None
    from pipeline.products.agreement import agreements

    found = agreements(session.run.events)
    best = max(found, key=lambda pair: pair.samples, default=None)
    if best is None or not best.samples:
        return None
    return {"kappa": best.kappa, "samples": best.samples, "annotators": list(best.annotators)}
