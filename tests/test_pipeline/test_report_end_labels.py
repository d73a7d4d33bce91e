"""The curves of a report are named where they end, and no name lies upon another."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.text import Text

from pipeline.report import figures
from pipeline.report.end_labels import LONGEST, MOST, End, fit, name_ends, spread


def drawn(values, names=None):
    """A figure of curves that end at these values, with its names' boxes in pixels."""
    figure = figures.blank_figure(4.3)
    axes = figure.add_subplot()
    names = names or [f"strategy {n}" for n in range(len(values))]
    for value in values:
        axes.plot([0, 100], [0.4, value])
    name_ends(axes, [End(name, "#222222", 100, value) for name, value in zip(names, values, strict=True)])
    figure.draw_without_rendering()
    return figure, axes, {text.get_text(): Text.get_window_extent(text) for text in axes.texts}


@pytest.mark.parametrize(
    "values",
    [[0.9], [0.9, 0.9], [0.9] * MOST, [0.5, 0.9, 0.901, 0.902], np.linspace(0.97, 0.98, MOST), [0.4, 0.95]],
    ids=str,
)
def test_no_name_lies_upon_another_or_outside_or_upon_the_curves(values):
    figure, axes, boxes = drawn(values)
    assert len(boxes) == len(values)
    for one, other in combinations(boxes.values(), 2):
        assert not one.overlaps(other)
    for box in boxes.values():
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
        assert box.x0 > axes.transData.transform((100, 0.5))[0]


def test_names_are_in_the_order_of_the_ends_and_beside_them_where_there_is_room():
    _, axes, boxes = drawn([0.5, 0.9, 0.7])
    middles = {name: (box.y0 + box.y1) / 2 for name, box in boxes.items()}
    assert middles["strategy 0"] < middles["strategy 2"] < middles["strategy 1"]
    for n, value in enumerate([0.5, 0.9, 0.7]):
        assert abs(middles[f"strategy {n}"] - axes.transData.transform((0, value))[1]) < 3
    assert not any(text.arrow_patch for text in axes.texts)
    _, axes, _ = drawn([0.9, 0.9])
    assert all(text.arrow_patch for text in axes.texts)


def test_spread_moves_as_little_as_it_can():
    assert spread([0.0, 5.0], 1).tolist() == [0, 5]
    assert spread([1.0, 1.0], 2).tolist() == [0, 2]
    assert spread([0.0, 10.0, 10.0, 10.0], 3).tolist() == [0, 7, 10, 13]
    values = np.sort(np.random.default_rng(0).random(9))
    assert np.diff(spread(values.tolist(), 0.2)).min() > 0.2 - 1e-12
    assert np.isclose(spread(values.tolist(), 0.2).mean(), values.mean())


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([End("random", "k", 140, 0.9)], True),
        ([End("a", "k", 140, 0.9)] * MOST, True),
        ([End("a", "k", 140, 0.9)] * (MOST + 1), False),
        ([End("a" * (LONGEST + 1), "k", 140, 0.9)], False),
        ([End("a", "k", 140, 0.9), End("b", "k", 120, 0.9)], False),
    ],
)
def test_where_there_is_a_legend_instead(ends, expected):
    assert fit(ends) is expected
