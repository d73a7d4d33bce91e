"""The scatter of real against predicted change."""

import numpy as np

from pipeline.comparison.figures import OKABE_ITO, blank_figure, rendered
from pipeline.fidelity.measure import CRITERIA, Measured
from pipeline.fidelity.verdict import reference_of

ORIGINS = {"network": "the network before", "linearized": "no candidate added"}
MARKERS = {"quantile": ("o", OKABE_ITO[0]), "uniform": ("s", OKABE_ITO[1])}


def draw(measured: Measured, title: str) -> tuple[bytes, bytes]:
    """Draw two panels, size of the change and flips, one point a candidate; return SVG and PNG.

    Args:
        measured: what was measured.
        title: above the panels; names the run and its cycle.

    """
    figure = blank_figure(3.5)
    size, flips = figure.subplots(1, 2)
    proxy = reference_of("mlmoc")[0] if measured.criterion == "mlmoc" else "linearized"
    _scatter(size, measured, proxy, "size", "Σ‖Δ‖ of the pool's outputs")
    _scatter(flips, measured, "linearized", "flips", "predictions that flip")
    flips.locator_params(integer=True)
    if proxy == "linearized":
        size.axhline(measured.background.noise, color="#222222", linewidth=1, linestyle=":", label="noise floor")
    for axes, score in zip((size, flips), CRITERIA, strict=True):
        rho = measured.agreement[proxy if score == "mlmoc" else "linearized"][score].spearman.value
        said = "undefined" if rho is None else f"{rho:.2f}"
        axes.set_title(f"{score}: rank correlation {said}", fontsize=9)
    figure.suptitle(title, fontsize=9)
    handles, labels = size.get_legend_handles_labels()
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
    axes.set_xlabel(f"predicted: {name}", fontsize=9)
    axes.set_ylabel(f"really, against {ORIGINS[proxy]}", fontsize=9)
