"""The pictures of ``pipeline analyse dynamics``, after dynamicAL's figures."""

from collections.abc import Iterator
from typing import Any

from pipeline.analyse.rows import Row, values
from pipeline.analyse.theory import NETWORK, PREDICTED, REGRESSION, TRUE
from pipeline.report.figures import MARKERS, OKABE_ITO, blank_figure, rendered

HEIGHT = 2.6
SMALL = 7


def draw_all(rows: list[Row], cycle: int) -> Iterator[tuple[str, bytes, bytes]]:
    """Yield the name, SVG and PNG of every figure.

    Args:
        rows: what was measured.
        cycle: whose epochs and random queries were looked at.

    """
    yield "ratio", *rendered(_ratio(rows, cycle))
    yield "alignment", *rendered(_alignment(rows))
    yield "bound", *rendered(_bound(rows))


def _ratio(rows: list[Row], cycle: int) -> Any:
    """Fig. 4: the approximation ratio over the kept epochs of a cycle, and at the ends of all cycles.

    Medians: where Δ(Q|S) may be 0, single draws make the mean anything.
    """
    figure = blank_figure(HEIGHT)
    over_epochs, over_cycles = figure.subplots(1, 2, sharey=True)
    medians = [row for row in rows if row.quantity == "approximation ratio, median"]
    ends = {row.cycle: max(r.epoch or 0 for r in medians if r.cycle == row.cycle) for row in medians}
    for at, b in enumerate(dict.fromkeys(row.batch for row in medians)):
        style = {"color": OKABE_ITO[at % len(OKABE_ITO)], "marker": MARKERS[at % len(MARKERS)], "markersize": 3}
        kept = [row for row in medians if row.batch == b and row.cycle == cycle]
        over_epochs.plot([row.epoch for row in kept], [row.value for row in kept], label=f"b = {b}", **style)
        last = [row for row in medians if row.batch == b and row.epoch == ends[row.cycle]]
        over_cycles.plot([row.cycle for row in last], [row.value for row in last], **style)
    for axes, name in ((over_epochs, f"epochs of cycle {cycle}"), (over_cycles, "cycle, at its end")):
        axes.axhline(1.0, color="#222222", linewidth=1, linestyle=":")
        axes.locator_params(axis="x", integer=True)
        _named(axes, name, "")
    over_epochs.set_ylabel("approximation ratio, median", fontsize=SMALL)
    over_epochs.legend(fontsize=SMALL, frameon=False)
    return figure


def _alignment(rows: list[Row]) -> Any:
    """Figs. 2, 6 and 7: G_MSE of random queries against their alignment and bound, a row for each f."""
    known = any(row.labels == TRUE for row in rows)
    pairs = [(TRUE, "alignment"), (PREDICTED, "alignment"), (TRUE, "bound")]
    pairs = pairs if known else [(PREDICTED, "alignment"), (PREDICTED, "bound")]
    figure = blank_figure(2 * HEIGHT)
    grid = figure.subplots(2, len(pairs), squeeze=False)
    for line, outputs in zip(grid, (NETWORK, REGRESSION), strict=True):
        for axes, (labels, against) in zip(line, pairs, strict=True):
            dynamics = values(rows, "G_MSE", outputs=outputs, labels=labels)
            axes.scatter(
                dynamics, values(rows, against, part="draws"), s=8, alpha=0.6, color=OKABE_ITO[0], linewidths=0
            )
            [tau] = values(rows, f"tau of G_MSE and {against}", outputs=outputs, labels=labels)
            axes.set_title(f"f: {outputs}, τ = {tau:.2f}", fontsize=SMALL)
            _named(axes, f"G_MSE, {labels} labels", against)
    return figure


def _bound(rows: list[Row]) -> Any:
    """Figs. 1 and 9: MMD from the initial set and the bound, over the cycles."""
    figure = blank_figure(HEIGHT)
    both, share = figure.subplots(1, 2)
    labels = values(rows, "labels")
    for at, quantity in enumerate(("bound", "MMD")):
        style = {"color": OKABE_ITO[at], "marker": MARKERS[at], "markersize": 3}
        both.plot(labels, values(rows, quantity, part="labelled"), label=quantity, **style)
    share.plot(labels, values(rows, "MMD / bound"), color=OKABE_ITO[2], marker=MARKERS[2], markersize=3)
    both.legend(fontsize=SMALL, frameon=False)
    for axes in (both, share):
        axes.locator_params(axis="x", integer=True)
    _named(both, "labels", "")
    _named(share, "labels", "MMD / bound")
    return figure


def _named(axes: Any, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=SMALL, loc="left")  # at its right end stands a factor such as 1e6
    axes.set_ylabel(y, fontsize=SMALL)
    axes.tick_params(labelsize=SMALL)
    for axis in (axes.xaxis, axes.yaxis):
        axis.get_offset_text().set_size(SMALL)
