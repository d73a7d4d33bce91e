"""The report's figures, drawn without a display and the same bytes every time."""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.files import slug
from pipeline.report.analysis import Analysis
from pipeline.report.curves import NESTED, accuracy_range, band_line, banded_at, lines_under
from pipeline.report.end_labels import End, fit, name_ends
from pipeline.report.picks import BY_CHANCE, BY_GRID
from pipeline.report.statistics import CONFIDENCE

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A6D00")
"""Colours that colour-blind readers can tell apart (Okabe & Ito 2008); the yellow is darkened to show on white."""
MARKERS, DASHES = "os^DvPX", ("-", "--", "-.")
FASTEST_SHOWN = 1e-3  # stage times are kept to the millisecond
WIDTH = 6.2  # inches
LUMINANCE, MIDDLE_GREY = (0.2126, 0.7152, 0.0722), 0.46
MOST_NUMBERED_CLASSES, LONGEST_NAME, AXIS_WIDTH, PANEL_WIDTH = 20, 16, 30, 24
LEGEND_HANDLE, LEGEND_CHARACTER = 0.6, 0.085
"""Inches that an entry of a legend takes, beside each character of its name."""


@dataclass(frozen=True)
class Drawn:
    """A finished figure.

    Args:
        name: its file name without the ending.
        title: shown above it.
        alt: what it shows, for those who cannot see it.
        note: how to read it.
        svg, png: its bytes.

    """

    name: str
    title: str
    alt: str
    note: str
    svg: bytes
    png: bytes


def draw_all(analysis: Analysis) -> list[Drawn]:
    """Draw every figure that an experiment has data for."""
    figures = [draw_curves(analysis)] if analysis.measured else []
    if any(line.gain for line in analysis.lines):
        figures.append(draw_gains(analysis))
    if any(line.seconds for line in analysis.lines):
        figures.append(draw_times(analysis))
    if analysis.balance:
        figures.append(draw_balance(analysis))
    return figures


def style_of(strategies: Sequence[str], name: str, baseline: str) -> dict[str, str]:
    """Return colour, marker and line style of a strategy; the baseline is black and dotted.

    Args:
        strategies: all of the figure.
        name: which.
        baseline: what the others are compared with.

    """
    if name == baseline:
        return {"color": "#222222", "marker": "x", "linestyle": ":"}
    position = [other for other in strategies if other != baseline].index(name)
    return {
        "color": OKABE_ITO[position % len(OKABE_ITO)],
        "marker": MARKERS[position % len(MARKERS)],
        "linestyle": DASHES[position // len(MARKERS) % len(DASHES)],
    }


def _style(analysis: Analysis, strategy: str) -> dict[str, str]:
    return style_of(analysis.experiment.strategies, strategy, analysis.experiment.baseline)


def draw_curves(analysis: Analysis) -> Drawn:
    """Draw test accuracy over labels, one line a strategy."""
    from matplotlib.ticker import FuncFormatter

    figure = blank_figure(4.3)
    axes = figure.add_subplot()
    under = lines_under([line.curve for line in analysis.lines])
    for line, covered in zip(analysis.lines, under, strict=True):
        band_line(axes, line.curve, _style(analysis, line.strategy), line.strategy, line.curves_by_seed, covered)
    axes.set_ylim(*accuracy_range(analysis.lines))
    axes.set_xlabel("labels")
    axes.set_ylabel("test accuracy")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
    _label_ticks(axes, [labels for labels, _ in analysis.lines[0].curve])
    last = [
        End(line.strategy, _style(analysis, line.strategy)["color"], line.curve[-1][0], line.curve[-1][1].mean)
        for line in analysis.lines
        if line.curve
    ]
    if fit(last):
        name_ends(axes, last)
    else:
        columns = _legend_columns([line.strategy for line in analysis.lines])
        figure.legend(loc="outside lower center", ncols=columns, frameon=False)
    ends = ", ".join(f"{line.strategy} {line.final.mean:.1%}" for line in analysis.lines if line.final)
    labels = [labels for line in analysis.lines for labels, _ in line.curve]
    alt = f"Test accuracy over {min(labels)} to {max(labels)} labels. At the end: {ends}."
    note = f"{_seeds_note(analysis)}{f' {NESTED}' if any(under) else ''}"
    return _drawn(figure, analysis, "learning-curves", "Test accuracy over labels", alt, note)


def draw_gains(analysis: Analysis) -> Drawn:
    """Draw each strategy's difference from the baseline at the same seed and labels, one panel each."""
    from matplotlib.ticker import FuncFormatter

    lines = [line for line in analysis.lines if line.gain]
    columns = min(3, len(lines))
    rows = -(-len(lines) // columns)
    figure = blank_figure(0.6 + 2.2 * rows)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, line in zip(panels.flat, lines, strict=False):
        style = _style(analysis, line.strategy)
        band_line(axes, line.gain, style, line.strategy, line.gains_by_seed, always_single=True)
        axes.axhline(0, color="#222222", linewidth=1, linestyle=":")
        axes.set_title(_panel_title(line.strategy, len(line.gains_by_seed)), fontsize=9)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:+g}" if value else "0"))
        axes.locator_params(axis="x", nbins=4, integer=True)
    for axes in list(panels.flat)[len(lines) :]:
        axes.set_visible(False)
        panels[rows - 2, list(panels[rows - 1]).index(axes)].tick_params(labelbottom=True)
    figure.supxlabel("labels", fontsize=10)
    baseline = analysis.experiment.baseline
    label = f"points of accuracy over {_plain(baseline)}"
    figure.supylabel(textwrap.fill(label, AXIS_WIDTH, break_on_hyphens=False), fontsize=10)
    ends = ", ".join(f"{line.strategy} {100 * line.gain[-1][1].mean:+.1f} points" for line in lines)
    alt = f"Difference from {baseline} at the same seed and labels. At the end: {ends}."
    banded = any(banded_at(band) for line in lines for _, band in line.gain)
    band = f" with its Student-t {CONFIDENCE:.0%} band" if banded else ""
    note = f"Thick: mean over common seeds{band}; thin: single seeds; dotted: no difference."
    return _drawn(figure, analysis, f"difference-from-{slug(baseline)}", f"Difference from {baseline}", alt, note)


def draw_times(analysis: Analysis) -> Drawn:
    """Draw the seconds that a query took on a logarithmic axis."""
    from matplotlib.ticker import FuncFormatter

    lines = [(line, line.seconds.mean) for line in analysis.lines if line.seconds][::-1]
    figure = blank_figure(0.8 + 0.36 * len(lines))
    axes = figure.add_subplot()
    shown = [max(seconds, FASTEST_SHOWN) for _, seconds in lines]
    colors = [_style(analysis, line.strategy)["color"] for line, _ in lines]
    bars = axes.barh([line.strategy for line, _ in lines], shown, color=colors, height=0.62)
    slowest = max(*(line.slowest for line, _ in lines), 10 * FASTEST_SHOWN)
    for bar, (line, seconds), length in zip(bars, lines, shown, strict=True):
        ends = [[length - max(min(line.fastest, length), FASTEST_SHOWN)], [max(line.slowest, length) - length]]
        middle = bar.get_y() + bar.get_height() / 2
        axes.errorbar([length], [middle], xerr=ends, color="#222222", linewidth=1, capsize=3)
        place = {"xy": (max(length, line.slowest), middle), "xytext": (6, 0), "textcoords": "offset points"}
        axes.annotate(spell_seconds(seconds), va="center", fontsize=9, **place)
    axes.set_xscale("log")
    axes.set_xlim(FASTEST_SHOWN / 2, slowest * 8)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} s"))
    axes.set_xlabel("seconds of selection per query (logarithmic)")
    alt = "Mean selection time per query: " + ", ".join(
        f"{line.strategy} {spell_seconds(seconds)}" for line, seconds in reversed(lines)
    )
    note = (
        "Migration and scoring, mean over queries and seeds; whiskers: fastest and slowest query. Training is left out."
    )
    return _drawn(figure, analysis, "selection-time", "Time to select", f"{alt}.", note)


def draw_balance(analysis: Analysis) -> Drawn:
    """Draw the share of each class among what each strategy asked for."""
    names = list(analysis.balance)
    classes = analysis.experiment.classes
    shares = np.array(list(analysis.balance.values()))  # [strategies, C]
    figure = blank_figure(1.1 + 0.36 * len(names))
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="cividis", aspect="auto", vmin=0)
    axes.set_yticks(range(len(names)), names)
    if len(classes) <= MOST_NUMBERED_CLASSES:
        ticks = _tick_labels(classes)
        long = max(map(len, ticks)) > 3
        axes.set_xticks(range(len(classes)), ticks, rotation=40 if long else 0, ha="right" if long else "center")
        for (row, column), share in np.ndenumerate(shares):
            ink = "white" if np.dot(image.to_rgba(share)[:3], LUMINANCE) < MIDDLE_GREY else "black"
            axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=8, color=ink)
    else:
        axes.set_xlabel(f"class (0 to {len(classes) - 1})")
    axes.spines[:].set_visible(False)
    axes.grid(False)
    figure.colorbar(image, ax=axes, format=lambda value, _: f"{100 * value:g}%", label="share of the picks")
    alt = "Share of each class among the picks. " + " ".join(
        f"{name}: from {row.min():.0%} ({classes[row.argmin()]}) to {row.max():.0%} ({classes[row.argmax()]})."
        for name, row in analysis.balance.items()
    )
    note = (
        "Percent of the labels asked for by class, over all cycles and seeds. The strategies do not see these labels."
    )
    if BY_CHANCE in names:
        note += " What was drawn at random while no network could choose is no strategy's pick."
    if BY_GRID in names:
        note += " Nor is what a person had shown as a grid, of the likeliest of one class."
    return _drawn(figure, analysis, "class-balance", "Classes of the picks", alt, note)


def _tick_labels(names: Sequence[str]) -> list[str]:
    """Return names that fit under an axis; numbers instead where the font lacks a character."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties()))
    if not all(font.get_char_index(ord(character)) for name in names for character in name):
        return [str(number) for number in range(len(names))]
    return [_plain(_short(name)) for name in names]


def _legend_columns(names: Sequence[str]) -> int:
    """Return how many columns of these names fit under a figure, 3 at most and none of them empty."""
    fit = max(1, int(WIDTH / (LEGEND_HANDLE + LEGEND_CHARACTER * max(map(len, names)))))
    rows = -(-len(names) // min(fit, 3))
    return -(-len(names) // rows)


def _panel_title(strategy: str, seeds: int) -> str:
    lines = textwrap.wrap(f"{strategy} (n\u00a0=\u00a0{seeds})", PANEL_WIDTH)
    return _plain("\n".join(lines[:2] if len(lines) <= 2 else [lines[0], f"{lines[1][: PANEL_WIDTH - 1]}…"]))


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def _plain(name: str) -> str:
    return name.replace("$", r"\$")  # a pair of $ would begin a formula


def spell_seconds(value: float) -> str:
    """Return a time at two digits or whole seconds."""
    if value < FASTEST_SHOWN:
        return "under 1 ms"
    return f"{value:.2g} s" if value < 10 else f"{value:.0f} s"


def _seeds_note(analysis: Analysis) -> str:
    counts = {line.seeds for line in analysis.lines}
    n = f"n = {min(counts)}" if len(counts) == 1 else f"n = {min(counts)} to {max(counts)}, see the table"
    if max(counts) < 2:
        return f"A single seed ({n}): no band can be given."
    if not any(banded_at(band) for line in analysis.lines for _, band in line.curve):
        return f"Thick: mean over seeds ({n}); thin: single seeds."
    return f"Mean over seeds ({n}) with its Student-t {CONFIDENCE:.0%} band."


def _label_ticks(axes: Any, labels: list[int]) -> None:
    from matplotlib.ticker import FixedLocator

    axes.xaxis.set_major_locator(FixedLocator(labels[:: -(-len(labels) // 9)]))


def blank_figure(height: float) -> Any:
    """Return an empty figure of the page's width that needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _drawn(figure: Any, analysis: Analysis, name: str, title: str, alt: str, note: str) -> Drawn:
    file = f"{analysis.experiment.slug}-{name}"
    return Drawn(file, title, alt, note, *rendered(figure))


def rendered(figure: Any) -> tuple[bytes, bytes]:
    """Finish a figure's axes and return it as SVG and PNG, the same bytes every time."""
    import matplotlib as mpl

    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        if not axes.images and axes.get_label() != "<colorbar>":
            axes.grid(alpha=0.3)
            axes.set_axisbelow(True)
    with mpl.rc_context({"svg.hashsalt": "ntk-lookahead"}):
        svg, png = io.BytesIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", dpi=160, metadata={"Software": None})
    return svg.getvalue(), png.getvalue()
