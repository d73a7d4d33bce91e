"""How everything stands, as the page shows it."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.products.agreement import binomial_interval, pairs_of
from pipeline.run.context import RunContext
from pipeline.run.stages.train import read_summary
from trainer.data import custom_kind

if TYPE_CHECKING:
    from pipeline.session.clerk import Clerk

KEYS = "123456789qwertyioadfjklzxcvbm"
"""Of the classes in turn; g, h, n, p, s and u are commands of the page."""
EXPECTED = re.compile(r"have no label: (?!.*--classes)|^no class has a name yet|before one is labelled$")
"""Of notes that nobody who labels need be told: that labels are missing is why they are there."""


def keys_of(classes: Sequence[str]) -> list[str]:
    """Return a key for every class: its own name where all are digits, else 1, 2, …, and none after the last.

    Args:
        classes: their names.

    """
    if all(len(name) == 1 and name in "0123456789" for name in classes):
        return list(classes)
    return [KEYS[n] if n < len(KEYS) else "" for n in range(len(classes))]


def notes_of(context: RunContext) -> list[str]:
    """Return what people should know of the data before they label it, one line each.

    Args:
        context: of the run.

    """
    data, config = context.data, context.config.data
    folder = Path(config.name.removeprefix("folder:")).expanduser() if config.name.startswith("folder:") else None
    if folder is None or config.classes is not None or not len(data.labelled_ids) or (folder / "labels.csv").is_file():
        return list(data.notes)
    named = ", ".join(data.classes[:5]) + (f" and {len(data.classes) - 5} more" if len(data.classes) > 5 else "")
    taken = f"{len(data.labelled_ids):,} images are taken as labelled by the names of their folders: {named}"
    return [*data.notes, f"{taken}. If these are no classes of yours, begin again with --classes cat,dog"]


def notes_for_people(context: RunContext) -> list[str]:
    """Return those of the notes that whoever labels should know of.

    Args:
        context: of the run.

    """
    return [note for note in notes_of(context) if not EXPECTED.search(note)]


def describe(clerk: "Clerk", annotator: str) -> dict[str, Any]:
    """Return the state of a clerk.

    Args:
        clerk: whose.
        annotator: for whom.

    """
    pool, networks, config = clerk.pool, clerk.networks, clerk.context.config
    counts = [0] * len(clerk.classes)
    for label in pool.current.values():
        counts[label] += 1
    skipped = {sample for samples in pool.skipped.values() for sample in samples if pool.left_out(sample)}
    classes = zip(clerk.classes, keys_of(clerk.classes), counts, strict=True)
    return {
        "run": str(clerk.run.path),
        "classes": [{"name": name, "key": key, "count": count} for name, key, count in classes],
        "annotator": annotator,
        "said": clerk.sayings.last(annotator) is not None,
        "labelled": len(pool.current) + len(pool.checked),
        "skipped": len(skipped),
        "disputed": len(pool.disputed),
        "copies": len({sample for sample, _ in clerk.sayings.votes.copies}),
        "images": pool.size,
        "budget": None if config.annotator is None else config.annotator.budget,
        "network": _network(clerk),
        "training": _training(clerk),
        "accuracy": _accuracy(clerk),
        "check": _check(clerk),
        "advice": clerk.products.advice,
        "doubts": len(clerk.looks.shown()),
        "held_out": len(clerk.context.data.test),
        "how_to_measure": None if len(clerk.context.data.test) else _how_to_measure(config.data.name),
        "curve": clerk.products.curve or _check_curve(clerk),
        "agreement": _agreement(clerk),
        "notes": notes_for_people(clerk.context),
        "warnings": list(clerk.warnings),
        "finished": clerk.products.describe(),
        "opening": networks.opening,
        "version": clerk.version,
    } | ({} if networks.serving is not None else {"first": config.query.n_init})


def _network(clerk: "Clerk") -> dict[str, Any] | None:
    cycle = clerk.networks.serving
    if cycle is None:
        return None
    return {"cycle": cycle, "labels": clerk.networks.serving_labels, "asked": clerk.sayings.asked(cycle)}


def _training(clerk: "Clerk") -> dict[str, Any] | None:
    making = clerk.networks.making
    if making is None:
        return None
    stage, done = making.stage
    return {"stage": stage, "done": done, "labels": len(making.order.labelled)}


def _accuracy(clerk: "Clerk") -> dict[str, Any] | None:
    """Accuracy on held-out images with labels, else on the check set, with its Clopper-Pearson interval; else None.

    It is that of the network that asks or, while none does, of the last one that was measured: after a restart one that
    is opened again is as good as it was.
    """
    images = len(clerk.context.data.test)
    return _held_out_accuracy(clerk, images) if images else _checked_accuracy(clerk)


def _held_out_accuracy(clerk: "Clerk", images: int) -> dict[str, Any] | None:
    cycle, value = clerk.networks.serving, None
    if cycle is not None:
        labels = clerk.networks.serving_labels
        value = read_summary(clerk.run.stage_path(cycle, "train")).get("test_accuracy")
    elif clerk.products.curve:
        labels, value = clerk.products.curve[-1]
    if value is None:
        return None
    low, high = binomial_interval(round(value * images), images)
    return {"value": value, "low": low, "high": high, "images": images, "labels": labels}


def _checked_accuracy(clerk: "Clerk") -> dict[str, Any] | None:
    cycle, checked = clerk.networks.serving, clerk.checks.set
    mine = [one for one in checked.measured if cycle in (None, one.cycle)] if checked else []
    if not mine:
        return None
    _, labels, right, images = mine[-1]
    low, high = binomial_interval(right, images)
    value = right / images
    return {"value": value, "low": low, "high": high, "images": images, "labels": labels, "of": "check"}


def _check(clerk: "Clerk") -> dict[str, Any] | None:
    """How far the check set is; None where there is none."""
    checked = clerk.checks.set
    return None if checked is None else {"size": checked.size, "answered": checked.answered, "told": checked.told}


def _check_curve(clerk: "Clerk") -> list[tuple[int, float]]:
    checked = clerk.checks.set
    return [(one.labels, one.right / one.images) for one in checked.measured] if checked else []


def _how_to_measure(name: str) -> str:
    """Say how accuracy would be measured, to whoever begins again."""
    kind = custom_kind(name)
    place = {"folder": "put some with labels into photos/test/CLASS", "npz": "give some as x_test and y_test"}.get(
        kind or ""
    )
    some = "hold some of those with labels out (--set data.test_fraction=0.2)"
    begin = f"begin again and {f'{place}, or ' if place else ''}{some}"
    return f"To have it measured, start again with --check 60 (60 images drawn at random, for that alone), or {begin}."


def _agreement(clerk: "Clerk") -> dict[str, Any] | None:
    """Agreement of the two annotators who labelled most images in common; None where no two did."""
    if len(clerk.sayings.annotators) < 2:
        return None
    pairs = pairs_of(clerk.sayings.votes.independent, len(clerk.classes))
    if not pairs:
        return None
    best = max(pairs, key=lambda pair: pair.agreement.samples)
    return {"kappa": best.agreement.kappa, "samples": best.agreement.samples, "annotators": [best.first, best.second]}
