"""The scatter of real against predicted change, a panel a proxy."""

import numpy as np

from pipeline.fidelity.changes import FROM_NETWORK
from pipeline.fidelity.measure import Criterion, Measured
from pipeline.report.figures import OKABE_ITO, blank_figure, rendered

COLUMNS, HEIGHT = 3, 2.9
MARKERS = {"quantile": ("o", OKABE_ITO[0]), "uniform": ("s", OKABE_ITO[1])}
QUANTITIES: dict[Criterion, tuple[str, str]] = {
    "mlmoc": ("size", "Σ‖Δ‖ of the outputs"),
    "mlmoc-flips": ("flips", "predictions that flip"),
}


def draw(measured: Measured, title: str) -> tuple[bytes, bytes]:
    """Draw the size of the change by every proxy and the flips by the block update; return SVG and PNG.

    Args:
        measured: what was measured.
        title: above the panels; names the run and its cycle.

    """
    panels: list[tuple[str, Criterion]] = [(proxy, "mlmoc") for proxy in measured.agreement]
    panels.insert(1, ("linearized", "mlmoc-flips"))
    rows = -(-len(panels) // COLUMNS)
    figure = blank_figure(HEIGHT * rows)
    grid = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes, (proxy, score) in zip(grid, panels, strict=False):
        quantity, name = QUANTITIES[score]
        _scatter(axes, measured, proxy, quantity, name)
        rho = measured.agreement[proxy][score].spearman.value
        axes.set_title(f"{proxy}, {score}: " + ("undefined" if rho is None else f"ρ = {rho:.2f}"), fontsize=8)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    figure.suptitle(title, fontsize=9)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return rendered(figure)


def _scatter(axes, measured: Measured, proxy: str, quantity: str, name: str) -> None:  # type: ignore[no-untyped-def]
    figures = np.array(
        [[row.figures[proxy][f"{kind}_{quantity}"] for kind in ("predicted", "actual")] for row in measured.rows]
    )
    hows = np.array([row.how for row in measured.rows])
    for how, (marker, color) in MARKERS.items():
        points = figures[hows == how]
        axes.scatter(*points.T, marker=marker, color=color, s=22, alpha=0.75, linewidths=0, label=f"{how} sample")
    end = float(figures[:, 0].max(initial=0.0)) * 1.05 or 1.0
    axes.plot([0, end], [0, end], color="#222222", linewidth=1, label="equal")
    axes.set_xlim(left=-0.03 * end)
    axes.set_ylim(bottom=min(0.0, -0.03 * float(figures[:, 1].max(initial=0.0))))
    if quantity == "size" and proxy not in FROM_NETWORK:
        axes.axhline(measured.background.noise, color="#222222", linewidth=1, linestyle=":", label="noise floor")
    if quantity == "flips":
        axes.locator_params(integer=True)
    axes.tick_params(labelsize=7)
    axes.set_xlabel(f"predicted: {name}", fontsize=7)
    origin = "the network before" if proxy in FROM_NETWORK else "no candidate added"
    axes.set_ylabel(f"really, against {origin}", fontsize=7)
