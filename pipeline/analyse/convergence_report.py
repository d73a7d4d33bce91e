"""What ``pipeline analyse convergence`` draws and says."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from pipeline.analyse.convergence import LAST, Found
from pipeline.analyse.report import spelled
from pipeline.analyse.rows import values
from pipeline.report.figures import MARKERS, OKABE_ITO, blank_figure, rendered

NAME = "convergence"
HEIGHT, SMALL = 2.6, 7
PARTS = {"tables": "tables 1 and 2, one query deep", "transfer": "transfer to networks of other seeds"}
EPOCHS = ("epochs to a tenth of the first loss", "epochs to the lowest test loss")


def draw_all(rows: list[Found]) -> Iterator[tuple[str, bytes, bytes]]:
    """Yield the name, SVG and PNG of every figure that there are numbers for.

    Args:
        rows: what was measured.

    """
    yield "scores", *rendered(_scores(rows))
    if any(row.part == "epochs" for row in rows):
        yield "epochs", *rendered(_epochs(rows))
    for part in PARTS:
        if any(row.part == part for row in rows):
            yield part, *rendered(_worth(rows, part))


def _scores(rows: list[Found]) -> Any:
    """Fig. 3b: quartiles of the groups' scores over the cycles, below what the labelled set has alone."""
    figure = blank_figure(HEIGHT)
    axes = figure.subplots()
    own = [row for row in rows if row.part == "scores" and row.layers == LAST]
    sizes = list(dict.fromkeys(row.group for row in own))
    for at, G in enumerate(sizes):
        of = {name: values(own, name, group=G) for name in ("lower quartile", "median", "upper quartile")}
        x = np.arange(len(of["median"])) + 0.12 * (at - (len(sizes) - 1) / 2)
        middle = np.array(of["median"])
        spread = [middle - of["lower quartile"], np.array(of["upper quartile"]) - middle]
        style = {"color": OKABE_ITO[at % len(OKABE_ITO)], "fmt": MARKERS[at % len(MARKERS)], "markersize": 3}
        axes.errorbar(x, np.where(middle > 0, middle, np.nan), np.abs(spread), label=f"G = {G}", linewidth=1, **style)
    alone = values(own, "labelled set alone", group=sizes[0])
    axes.plot(range(len(alone)), alone, color="#222222", linestyle=":", linewidth=1, label="labelled set alone")
    if any(value > 0 for value in values(own, "median")):
        axes.set_yscale("log")
    axes.locator_params(axis="x", integer=True)
    axes.legend(fontsize=SMALL, frameon=False)
    _named(axes, "cycle", "score, last layer")
    return figure


def _epochs(rows: list[Found]) -> Any:
    """Fig. 3a: the score of labelled set and random group against epochs of the training with them."""
    figure = blank_figure(HEIGHT)
    scores = values(rows, "score", part="epochs")
    for axes, name in zip(figure.subplots(1, 2, sharey=True), EPOCHS, strict=True):
        axes.scatter(values(rows, name, part="epochs"), scores, s=10, alpha=0.7, color=OKABE_ITO[0], linewidths=0)
        [rho] = values(rows, f"Spearman: log score and {name}")
        axes.set_title(f"Spearman {spelled(rho)}", fontsize=SMALL)
        if all(score > 0 for score in scores):
            axes.set_yscale("log")
        _named(axes, name, "")
    figure.axes[0].set_ylabel("score", fontsize=SMALL)
    return figure


def _worth(rows: list[Found], part: str) -> Any:
    """Tables 1 and 2, or fig. 2: test accuracies of networks of other seeds, and their means."""
    figure = blank_figure(HEIGHT)
    axes = figure.subplots()
    named = accuracies(rows, part)
    for at, found in enumerate(named.values()):
        axes.scatter([at] * len(found), found, s=10, alpha=0.6, color=OKABE_ITO[0], linewidths=0)
        axes.plot([at - 0.25, at + 0.25], [np.mean(found)] * 2, color="#222222", linewidth=1)
    axes.set_xticks(range(len(named)), list(named), rotation=20, ha="right")
    _named(axes, "", "test accuracy")
    return figure


def accuracies(rows: list[Found], part: str) -> dict[str, list[float]]:
    """Return the test accuracies of a part by what was trained on.

    Args:
        rows: what was measured.
        part: ``tables`` or ``transfer``.

    """
    found = dict[str, list[float]]()
    for row in rows:
        if row.part == part and row.quantity == "test accuracy":
            layers = f", {row.layers}" if row.layers and "same" in (row.chosen_by or "") else ""
            size = f" G={row.group}" if row.layers else ""
            found.setdefault(f"{row.chosen_by}{size}{layers}", []).append(row.value)
    return found


def lines(rows: list[Found]) -> Iterator[str]:
    """Yield what a person reads, each with what it rests on.

    Args:
        rows: what was measured.

    """
    yield from _of_scores(rows)
    for name in EPOCHS:
        for rho in values(rows, f"Spearman: log score and {name}"):
            [p], [n] = values(rows, f"p: log score and {name}"), values(rows, f"groups: log score and {name}")
            yield f"Spearman of log score and {name}: {spelled(rho)} (p {spelled(p)}, {n:.0f} random groups)"
    for part, what in PARTS.items():
        for name, found in accuracies(rows, part).items():
            known = [value for value in found if math.isfinite(value)]
            if known:
                deviation = f" ± {np.std(known, ddof=1):.2%}" if len(known) > 1 else ""
                yield f"{what}: {name}: test accuracy {np.mean(known):.2%}{deviation} ({len(known)} networks)"
    if any(row.part in ("epochs", *PARTS) for row in rows):
        yield (
            "basis: labels of the data that nobody had given in the run, and its test half; nothing was selected by "
            "them"
        )


def _of_scores(rows: list[Found]) -> Iterator[str]:
    for row in rows:
        if row.part == "scores" and row.quantity == "median":
            of = {"part": "scores", "cycle": row.cycle, "group": row.group, "layers": row.layers}
            [least], [most], [own] = (values(rows, name, **of) for name in ("least", "most", "labelled set alone"))
            [r], [bound] = values(rows, "eigenvalue r", **of), values(rows, "rank bound", **of)
            yield (
                f"cycle {row.cycle}, G = {row.group}, {row.layers}: scores {least:.3g} to {most:.3g}, median "
                f"{row.value:.3g}; the labelled set alone {own:.3g} (eigenvalue {r:.0f}, rank bound {bound:.0f})"
            )
    for row in rows:
        if row.part == "kernels":
            yield f"{row.quantity}: {spelled(row.value)} (G = {row.group})"


def _named(axes: Any, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=SMALL)
    axes.set_ylabel(y, fontsize=SMALL)
    axes.tick_params(labelsize=SMALL, which="both")
