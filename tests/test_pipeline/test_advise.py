"""Stop advice: bands over learning curves, what they are worth, and what is said of a run."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.special import expit, logit
from session_cases import make, network, opened, say, squares, until

from pipeline.advise.advice import CHECK, HELD_OUT, advise, known, points_of
from pipeline.advise.curves import Forecast, Point, Prior, condition, forecast, measured
from pipeline.advise.doubts import Doubt, Doubts
from pipeline.advise.verdict import MORE, decide
from pipeline.advise.wording import accuracy_line, expected_lines, reason, rests_on
from pipeline.cli import cli
from pipeline.products.agreement import binomial_interval
from pipeline.run.check_set import CheckSet, Measured

PRIOR = Prior(0.0, 1.0, 0.5, 0.2, 0.05, 1.0, -4.0, 0.0, 0.75)
EXACT = 10**7
"""Images on which an accuracy is measured next to exactly."""


def on_curve(labels, a=-0.5, b=0.6, classes=10, images=EXACT):
    """A point of a power law of the odds."""
    return Point(labels, round(images * expit(a + b * np.log(labels / classes))), images)


@pytest.mark.parametrize(
    ("right", "images", "low", "high"),
    # Clopper & Pearson's own limits by inverting the binomial tails: of 0 of n the upper end is 1 - 0.025^(1/n)
    [(0, 10, 0.0, 1 - 0.025**0.1), (10, 10, 0.025**0.1, 1.0), (46, 60, 0.6396, 0.8662), (5, 10, 0.1871, 0.8129)],
)
def test_intervals_of_a_check_set(right, images, low, high):
    assert binomial_interval(right, images) == pytest.approx((low, high), abs=5e-5)


def test_one_point_by_hand():
    # b known, no bend, no noise of training: a ~ N(0, 1) is measured with variance 1/(m p q)
    prior = Prior(0.0, 1.0, 0.5, 1e-9, 1e-9, 1.0, -20.0, 0.0, 0.0)
    found = condition(prior, [Point(10, 49, 98)], 10, [10])  # x = 0, p = 50/100, z = 0: m p q = 24.5
    assert found.mean[0] == pytest.approx(0.0, abs=1e-9)
    assert found.covariance[0, 0] == pytest.approx(1 - 1 / (1 + 1 / 24.5), rel=1e-6)
    np.testing.assert_allclose(measured([Point(10, 49, 98)] * 2, 0.75)[1], np.array([[1, 0.75], [0.75, 1]]) / 24.5)


def test_a_run_that_strays_less_than_others_has_narrower_bands():
    prior = Prior(0.0, 1.0, 0.5, 0.2, 0.05, 1.0, -3.0, 0.0, 0.75, dof=4.0)
    labels = (20, 40, 60, 80)
    steady = condition(prior, [on_curve(n, a=0.0, b=0.5) for n in labels], 10, [100])
    erratic = condition(prior, [on_curve(n, a=0.3 * (-1) ** k) for k, n in enumerate(labels)], 10, [100])
    assert steady.dof == erratic.dof == 8
    # r = 0 but for rounding: the scale is ν / (ν + n) = 1/2 of the Gaussian's variance
    gaussian = condition(replace(prior, dof=1e9), [on_curve(n, a=0.0, b=0.5) for n in labels], 10, [100])
    assert steady.covariance[0, 0] == pytest.approx(gaussian.covariance[0, 0] / 2, rel=1e-3)
    assert erratic.covariance[0, 0] > 2 * gaussian.covariance[0, 0]


def test_a_power_law_is_continued():
    points = [on_curve(labels) for labels in (20, 40, 60, 80, 100)]
    found = forecast(PRIOR, points, 10, MORE)
    truth = np.array([expit(-0.5 + 0.6 * np.log((100 + more) / 10)) for more in MORE])
    assert ((found.low < truth) & (truth < found.high)).all()
    np.testing.assert_allclose(found.accuracy, truth, atol=0.01)
    now = expit(-0.5 + 0.6 * np.log(10))
    assert found.gain_low[-1] < truth[-1] - now < found.gain_high[-1]
    assert (np.diff(found.high - found.low) > 0).all()  # farther ahead is less sure
    assert forecast(PRIOR, points, 10, MORE).gain.tolist() == found.gain.tolist()  # the same run, the same advice


def test_less_is_sure_with_few_labels_and_few_images():
    def width(points):
        found = forecast(PRIOR, points, 10, MORE)
        return float((found.high - found.low)[0])

    exact = width([on_curve(labels) for labels in (20, 40, 60)])
    assert width([on_curve(labels, images=60) for labels in (20, 40, 60)]) > 2 * exact
    assert width([on_curve(5)]) > exact
    assert width([on_curve(5, images=3)]) > 0.4  # next to nothing is known


@pytest.mark.parametrize(
    ("low", "high", "worth", "verdict"),
    [
        (-0.01, 0.009, 0.01, "stop"),
        (0.02, 0.05, 0.01, "go on"),
        (0.01, 0.05, 0.01, "go on"),
        (0.0, 0.02, 0.01, "cannot tell yet"),
        (-0.03, 0.01, 0.01, "cannot tell yet"),
        (0.0, 0.02, 0.03, "stop"),
        (0.0, 0.02, 0.0, "go on"),
    ],
)
def test_what_follows_of_a_gain(low, high, worth, verdict):
    none = np.zeros(3)
    found = Forecast(MORE, none, none, none, none, np.array([0, 0, low]), np.array([1, 1, high]), 0.5)
    assert decide(found, worth, [on_curve(20), on_curve(40)]) == verdict
    assert decide(found, worth, [on_curve(40)]) == "cannot tell yet"  # one network says nothing of a curve
    assert decide(found, worth, [on_curve(20), on_curve(40, images=19)]) == "cannot tell yet"


def test_a_curve_that_is_flat_and_nearly_right_stops_and_a_steep_one_goes_on():
    prior = Prior(0.0, 2.0, 0.5, 0.3, 0.1, 1.0, -4.0, 0.0, 0.75)
    flat = [Point(labels, round(0.998 * EXACT), EXACT) for labels in (60, 80, 100, 120, 140)]
    assert decide(forecast(prior, flat, 10, MORE), 0.01, flat) == "stop"
    steep = [on_curve(labels, b=1.0) for labels in (20, 40, 60)]
    assert decide(forecast(prior, steep, 10, MORE), 0.01, steep) == "go on"
    assert advise(steep, 10, HELD_OUT, None, 0.99).verdict == "stop"
    assert advise([on_curve(5, images=10)], 10, CHECK, None, 0.01).verdict == "cannot tell yet"
    assert advise([], 10, "", None, 0.01).forecast is None


def test_points_of_held_out_images_come_first_and_then_the_check_set():
    class Row:
        n_labelled, test_accuracy, test_images = 40, 0.75, 200

    checked = CheckSet(60, 30, 0, 0, (Measured(0, 40, 20, 30),))
    assert points_of([Row], checked) == ([Point(40, 150, 200)], HELD_OUT)
    Row.test_accuracy = None
    assert points_of([Row], checked) == ([Point(40, 20, 30)], CHECK)
    assert points_of([Row], None) == ([], "")


def test_the_shipped_prior_was_validated():
    found = known()
    assert found.runs["test set"] >= 200
    assert all(0.85 < share <= 1 for shares in found.inside.values() for share in shares.values())
    assert expit(found.prior.intercept) < expit(found.prior.mean(np.array([3.0]))[0])  # labels help
    assert logit(0.5) == 0


def test_words():
    checked = CheckSet(60, 60, 0, 0, (Measured(0, 60, 46, 60),))
    found = advise([Point(40, 45, 60), Point(60, 46, 60)], 3, CHECK, checked, 0.01)
    line = accuracy_line(found)
    assert line.startswith("76.7 % after 60 labels (95 % interval 64.0 % to 86.6 %: 46 of 60 check images")
    assert [name for name, _ in expected_lines(found)] == ["+20 labels", "+50 labels", "+100 labels"]
    assert "the 1 point that they must be worth lies within" in reason(found._replace(verdict="cannot tell yet"))
    assert "less than the 2 points that" in reason(found._replace(worth=0.02, verdict="stop"))
    early = advise([Point(20, 4, 5)], 3, CHECK, checked, 0.01)
    assert reason(early).endswith("; before 2 networks were measured on 20 images nobody is told more")
    assert f"in {known().runs['check set of 60']} runs of {known().data} data sets" in rests_on(found)


def test_what_is_looked_at_again():
    found = Doubts(tuple(Doubt(n, 0, 1, 1 - n / 100) for n in range(20)))
    current = dict.fromkeys(range(200), 0)
    assert [doubt.sample for doubt in found.shown(current, {})] == list(range(10))  # 5 % of 200
    assert [doubt.sample for doubt in found.shown(dict.fromkeys(range(8), 0), {})] == list(range(5))
    assert found.shown(current | {0: 1}, {1: 0})[0].sample == 2  # corrected, kept


def advised(path, *options):
    result = CliRunner().invoke(cli, ["advise", str(path), *options], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def test_a_session_shows_wrong_labels_again_and_the_command_says_so(tmp_path):
    path = make(tmp_path / "run", annotator__check=4, **squares(tmp_path, count=60) | {"query__n_init": 14})
    with opened(path) as session:
        first = session.question("anna")["sample"]
        session.answer("anna", first, ("bright", "dark")[first % 2], 1.0)  # a slip
        say(session, 19)
        until(session, network(0))
        assert session.state("anna")["doubts"] >= 1
        items = session.doubts("anna")["items"]
        assert items[0]["sample"] == first
        assert (items[0]["said"], items[0]["suggested"]) == (
            ("bright", "dark")[first % 2],
            ("dark", "bright")[first % 2],
        )
        assert items[0]["mine"]
    code, out, _ = advised(path, "--review", str(tmp_path / "review.csv"))
    assert code == 0
    assert "check images, drawn at random and never trained on" in out
    assert "wrong to all the others (those of the check set are not looked at), by" in out
    assert "cannot tell yet" in out
    assert f"#{first}" in out or str(first) in out
    rows = (tmp_path / "review.csv").read_text().splitlines()
    assert rows[0].lstrip("\ufeff").split(",")[:5] == ["rank", "path", "label", "suggested", "lead"]
    assert len(rows) >= 2
    told = json.loads(advised(path, "--json")[1])
    assert told["verdict"] == "cannot tell yet"
    assert told["look_again"][0]["sample_id"] == first
    assert told["basis"] == CHECK
    with opened(path) as session:
        until(session, network(0))
        session.keep("anna", first)
        assert first not in [item["sample"] for item in session.doubts("anna")["items"]]
    with opened(path) as session:  # it is in the log
        until(session, network(0))
        assert first not in [item["sample"] for item in session.doubts("anna")["items"]]


def test_nothing_is_said_of_labels_that_no_network_looked_at(tmp_path):
    path = make(tmp_path / "run", **squares(tmp_path))
    with opened(path) as session:
        say(session, 2)
    out = advised(path)[1]
    assert "not looked at: that takes a network that learned from 2 to 4,000 labels" in out
    assert "looks wrong" not in out


def test_a_run_without_anything_measured_is_told_how(tmp_path):
    path = make(tmp_path / "run", **squares(tmp_path))
    with opened(path) as session:
        say(session, 4)
        until(session, network(0))
    code, out, _ = advised(path)
    assert code == 0
    assert f"'pipeline label {path} --check 60'" in out
    assert "cannot tell yet: nothing measures the accuracy" in out


@pytest.mark.parametrize(
    ("options", "message"), [(["--worth", "-1"], "--worth"), (["--worth", "nan"], "--worth"), (["--review", ""], "")]
)
def test_bad_options(tmp_path, options, message):
    path = make(tmp_path / "run", **squares(tmp_path))
    code, _, err = advised(path, *options)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_no_run(tmp_path):
    code, _, err = advised(tmp_path / "none")
    assert code == 2
    assert err.startswith("error: ")
