"""``pipeline pilot``: sizes, labels saved, intervals, answers, and the command as a whole."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from sweep_cases import InProcess

from pipeline.errors import PipelineError
from pipeline.pilot.begin import Asked, choose_for, data_set, find_place, record
from pipeline.pilot.evidence import (
    Interval,
    area_weights,
    gain_interval,
    labels_needed,
    labels_saved,
    monotone,
    saved_interval,
)
from pipeline.pilot.measure import Row, Shown
from pipeline.pilot.sizes import Sizes, check_classes, choose, fit, how_many_seeds
from pipeline.pilot.verdict import about_saving, answer_of, sentence, table
from pipeline.run import loading
from pipeline.run.rundir import read_config
from pipeline.sweep.engine import EngineOptions

LABELS = (20, 40, 60)


@pytest.mark.parametrize(
    ("strategy", "random", "saved"),
    [
        ((0.5, 0.7, 0.8), (0.5, 0.6, 0.7), 20),  # 0.7, where random ends: 60 labels or 40
        ((0.5, 0.6, 0.7), (0.5, 0.7, 0.8), -20),  # exchanged: as many more
        ((0.5, 0.6, 0.7), (0.5, 0.6, 0.7), 0),
        ((0.5, 0.7, 0.8), (0.5, 0.7, 0.6), 5),  # random as 0.5, 0.65, 0.65: reached at 40, by the other at 35
        ((0.5, 0.9, 0.9), (0.5, 0.5, 0.6), 35),  # 0.6: at 60, and a quarter of the way from 20 to 40
        ((0.5, 0.4, 0.3), (0.5, 0.6, 0.7), 0),  # it never leaves the start, which both have
    ],
)
def test_labels_saved_by_hand(strategy, random, saved):
    assert labels_saved(LABELS, strategy, random) == pytest.approx(saved)
    assert labels_saved(LABELS, random, strategy) == pytest.approx(-saved)


def test_curves_that_never_fall_and_what_they_need():
    np.testing.assert_allclose(monotone((0.5, 0.7, 0.6, 0.8)), (0.5, 0.65, 0.65, 0.8))
    assert labels_needed(LABELS, (0.5, 0.6, 0.8), 0.7) == pytest.approx(50)
    assert labels_needed(LABELS, (0.5, 0.6, 0.8), 0.81) == math.inf
    np.testing.assert_allclose(area_weights((20, 40, 80)), (1 / 6, 1 / 2, 1 / 3))


def test_the_interval_of_a_gain_by_hand():
    """Seeds' gains 0.1 and 0.3; images differ by ±0.2 at both, so that all of their variance is between images."""
    by_image = np.array([[0.3, -0.1], [0.5, 0.1]])
    found = gain_interval(by_image.mean(axis=1), by_image, images=2)
    rows, images = 0.02 / 2, 0.08 / 2  # variances 0.02 of the seeds, 0.08 of the images, nothing left
    freedom = ((rows + images) / rows) ** 2
    from scipy import stats

    assert found.mean == pytest.approx(0.2)
    assert found.half == pytest.approx(stats.t.ppf(0.975, freedom) * math.sqrt(rows + images))
    many = gain_interval(by_image.mean(axis=1), by_image, images=2_000_000)  # of which these two are a sample
    assert many.half == pytest.approx(stats.t.ppf(0.975, 1) * 0.1, rel=1e-3)
    assert gain_interval(np.zeros(2), np.zeros((2, 2)), 2) == Interval(0.0, 0.0)


def crossed(rng, seeds=6, images=80, spread=(0.03, 0.3, 0.4)):
    """Gains without any effect: seeds, images and the rest vary."""
    rows, columns = rng.normal(0, spread[0], (seeds, 1)), rng.normal(0, spread[1], (1, images))
    return rows + columns + rng.normal(0, spread[2], (seeds, images))


def test_the_interval_counts_test_images_in():
    """Where gains are nothing but chance, zero is outside in one of twenty; far oftener over seeds alone."""
    from pipeline.report.statistics import student_t

    rng = np.random.default_rng(0)
    outside = alone = 0
    for _ in range(1000):
        by_image = crossed(rng)
        gains = by_image.mean(axis=1)
        outside += abs(gains.mean()) > gain_interval(gains, by_image, 80).half
        alone += abs(gains.mean()) > student_t(list(gains)).half
    assert 25 < outside < 75
    assert alone > 150


def test_the_interval_of_labels_saved():
    rng = np.random.default_rng(1)
    strategy, random = (rng.random((6, 3, 60)) < np.array(p)[None, :, None] for p in ((0.5, 0.8, 0.9), (0.5, 0.6, 0.8)))
    a, b = strategy.mean(axis=2), random.mean(axis=2)
    each = [labels_saved(LABELS, list(one), list(other)) for one, other in zip(a, b, strict=True)]
    found = saved_interval(LABELS, strategy.astype(float), random.astype(float), each)
    assert found.mean == pytest.approx(np.mean(each))
    assert 0 < found.low < found.mean < 40
    strategy, random = np.ones((6, 6, 100)), np.ones((6, 6, 100))
    strategy[0, 1, 3] = 0  # one image at one seed: 8 labels more there, if it is drawn, and nothing elsewhere
    one = saved_interval((10, 14, 18, 22, 26, 30), strategy, random, [-8.0, 0, 0, 0, 0, 0])
    assert one.low < -3 < 0 < one.high
    nothing = saved_interval(LABELS, random[:, :3], random[:, :3], [0.0] * 6)
    assert (nothing.mean, nothing.half) == (0.0, 0.0)


def test_sizes_come_from_what_is_labelled():
    assert choose("photos", 703, 0, 12, {}) == Sizes(test=211, n_init=24, query=43, cycles=6)
    assert choose("digits", 1797, 360, 10, {}) == Sizes(test=360, n_init=20, query=36, cycles=6)
    assert choose("two", 200, 0, 2, {}) == Sizes(test=100, n_init=10, query=8, cycles=6)
    assert choose("few", 90, 0, 2, {}).test == 50
    assert choose("photos", 703, 0, 12, {"n_init": 30, "query": 5, "cycles": 4}) == Sizes(211, 30, 5, 4)
    for labelled in range(70, 400, 7):
        for classes in (2, 3, 5):
            sizes = choose("any", labelled, 0, classes, {}) if labelled > 110 else None
            assert sizes is None or (sizes.labels <= (labelled - sizes.test) / 2 and sizes.cycles >= 4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            (60, 0, 2, {}),
            r"pets: expected at least 76 labelled images for 2 classes \(26 to choose among, 50 to test on\)",
        ),
        ((60, 0, 2, {}), "label 16 more"),
        ((200, 10, 2, {}), "got 190 and 10: label 40 more"),
        ((400, 0, 2, {"cycles": 3}), "--cycles: expected at least 4, to see a curve, got 3"),
        ((400, 0, 2, {"query": 100}), "10 labels to start with and 5 times 100 are 510, but there are 280"),
    ],
)
def test_too_little_is_refused(arguments, said):
    with pytest.raises(PipelineError, match=said):
        choose("pets", *arguments)


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"cat": 9, "dog": 0}, "pets: expected labels of at least two classes, got cat alone: label some of another"),
        ({}, "got none"),
        ({"cat": 9, "dog": 1}, "one to learn from and one to test on, but dog has 1: .*--set data.leave_out=dog"),
        ({"cat": 1, "dog": 1, "eel": 3}, "but cat, dog have 1: .*data.leave_out=cat,dog"),
    ],
)
def test_labels_that_teach_nothing_are_refused(counts, said):
    with pytest.raises(PipelineError, match=said):
        check_classes("pets", counts)


def test_seeds_with_which_nothing_could_be_shown_are_refused():
    assert [how_many_seeds(["a"] * n, None) for n in (1, 5, 20)] == [8, 8, 10]
    assert how_many_seeds(["a"], 6) == 6
    with pytest.raises(PipelineError, match="--seeds: expected at least 6, .* got 5"):
        how_many_seeds(["a"], 5)


def test_what_fits_into_the_minutes():
    def seconds(seeds, cycles):
        return 10 * seeds * cycles

    assert fit(seconds, 8, 8, 6, 6) == (8, 6, 8)
    assert fit(seconds, 7.9, 8, 6, 6)[:2] == (7, 6)
    assert fit(seconds, 5.5, 8, 6, 6)[:2] == (6, 5)
    with pytest.raises(PipelineError, match="expected at least 4, which 6 seeds of 4 cycles take here .* got 3.9"):
        fit(seconds, 3.9, 8, 6, 6)
    with pytest.raises(PipelineError, match="6 seeds of 6 cycles"):
        fit(seconds, 3.9, 8, 6, 6, keep=True)


def shown(mean, half, winner=None, reached=3):
    test = SimpleNamespace(winner=winner, corrected=0.016)
    rows = (Row(20, 0.5, 0.5, 20), Row(60, 0.81, 0.7, math.inf))
    return Shown("mine", 6, test, Interval(mean, half), Interval(mean, half), Interval(12, 20), reached, rows)


@pytest.mark.parametrize(
    ("gain", "answer", "said"),
    [
        (
            (0.04, 0.02, "mine"),
            "yes",
            "Yes: on this data mine beats random: +4.0 points of accuracy over 20 to 60 labels (95 % interval +2.0 to",
        ),
        ((0.04, 0.02), "open", "These seeds do not decide it: mine beside random is +4.0"),
        ((0.02, 0.03, "mine"), "open", "These seeds do not decide it"),
        ((0.001, 0.005), "no", "No: on this data mine gains less over random than the 1 point asked of it: +0.1"),
        ((-0.03, 0.01, "random"), "no", "No: on this data mine is worse than random: −3.0"),
        ((-0.03, 0.05), "open", "These seeds do not decide it"),
    ],
)
def test_the_answer(gain, answer, said):
    assert answer_of(shown(*gain)) == answer
    assert sentence(shown(*gain)).startswith(said)
    assert ("do not agree enough" in sentence(shown(*gain))) == (gain == (0.04, 0.02))


def test_what_is_said_of_labels():
    first, second = about_saving(shown(0.04, 0.02))
    assert "takes 12 labels fewer than random (95 % interval −8 to +32, minus for more)" in first
    assert "81.0 % on average, random reached within 60 labels at 3 of 6 seeds; at the others it takes more" in second
    assert [*about_saving(shown(0.1, 0.1, reached=0))][1].endswith("0 of 6 seeds; it takes more.")
    assert [*about_saving(shown(0.1, 0.1, reached=6))][1].endswith("6 of 6 seeds.")
    assert table(shown(0, 1)) == [
        ("20", "50.0 %", "50.0 %", "+0.0", "20"),
        ("60", "81.0 %", "70.0 %", "+11.0", "> 60"),
    ]


@pytest.fixture
def pilot(command):
    return command("pilot")


@pytest.fixture
def engine(monkeypatch, go_on):
    """Compute cells in this process."""
    made = InProcess(go_on)
    monkeypatch.setattr("pipeline.sweep.session.open_engine", lambda options, cpus, wanted, device: made)
    return made


@pytest.fixture
def loads(monkeypatch):
    """The names of data sets that this process loads."""
    found, load = [], loading.load
    monkeypatch.setattr(loading, "load", lambda name, **more: found.append(name) or load(name, **more))
    return found


def features(path, classes=3, samples=160, seed=0, spread=1.0):
    """Write clusters of features."""
    rng = np.random.default_rng(seed)
    y = np.arange(samples) % classes
    x = rng.normal(0, 1, (classes, 6))[y] + spread * rng.normal(0, 1, (samples, 6))
    np.savez(path, X=x.astype(np.float32), y=y)


SMALL = ["--strategies", "margin", "--seeds", "6", "--cycles", "4", "--epochs", "15", "--device", "cpu"]


def test_a_pilot_goes_on_and_ends_in_a_page(pilot, engine, tmp_path, loads):
    features(tmp_path / "mine.npz")
    engine.failing = {"margin-seed3": "the disk is full"}
    first = pilot("mine.npz", *SMALL, code=1)
    assert "60 images to choose among, 100 others to test on; 10 labels" in first.stderr
    assert "failed: 1 of 12 runs; they are tried again by: pipeline pilot mine.npz --strategies margin" in first.stderr
    (out,) = (tmp_path / "runs").iterdir()
    assert not (out / "index.html").exists()

    engine.failing, engine.ran = {}, []
    second = pilot("mine.npz", *SMALL)
    assert engine.ran == ["margin-seed3", "closed"]
    page, text = (out / "index.html").read_text(), (out / "pilot.txt").read_text()
    assert (out / "pilot.png").read_bytes().startswith(b"\x89PNG")
    for line in second.stdout.splitlines()[-4:-1]:
        assert line in text
        assert line in page
    assert "3 classes (0, 1, 2), 60 labelled images to choose among, 100 others to test on" in page
    assert "pipeline pilot mine.npz --strategies margin --seeds 6 --cycles 4 --epochs 15 --device cpu" in page
    assert "http" not in page
    assert "labels drawn at random" in page
    assert read_config(out / "comparison" / "margin-seed0").query.initial == "random"
    assert json.loads((out / "pilot.json").read_text())["seeds"] == 6

    engine.ran = []
    loads.clear()
    again = pilot("mine.npz", *SMALL, "--out", out)
    assert engine.ran == ["closed"]
    assert len(loads) == 1
    assert again.stdout.splitlines()[-4:-1] == second.stdout.splitlines()[-4:-1]
    assert "begun with other options" in pilot("mine.npz", *SMALL, "--n-init", "9", "--out", out, code=2).stderr
    (out / "pilot.json").write_text("{")
    assert "pilot.json is damaged" in pilot("mine.npz", *SMALL, "--out", out, code=2).stderr


def asked(data, **fields):
    fields = {key.replace("__", "."): value for key, value in fields.items()}
    return Asked(data_set(str(data)), ("margin",), None, None, None, fields, ())


def test_what_is_chosen_for_a_folder_and_found_again(tmp_path, loads):
    rng = np.random.default_rng(0)
    for number in range(120):
        place = tmp_path / "photos" / ("cat", "dog")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        side = (40, 50)[number % 3 == 0]
        Image.fromarray(rng.integers(0, 255, (side, 40, 3), dtype=np.uint8)).save(place / f"{number}.png")
    said, one = [], asked(tmp_path / "photos")
    choice, data = choose_for(one, tmp_path / "out", EngineOptions(), trust_code=False, say=said.append)
    assert (len(loads), len(data.train), len(data.test)) == (1, 40, 80)
    assert said == ["the network sees every image at 32x32 pixels (--image-size)"]
    grid = choice.grid(one)
    config = grid.cells()[0].config
    assert (grid.strategies, len(grid.seeds), config.cycles) == (("random", "margin"), 8, 6)
    assert (config.data.image_size, config.data.stratified, config.data.test_fraction) == ("32x32", True, 0.6667)
    assert (config.query.n_init, config.query.size) == (10, 2)
    with pytest.raises(PipelineError, match="outside of the images' folder"):
        find_place(tmp_path / "photos/out", one)
    record(tmp_path / "out", one, choice)
    assert find_place(tmp_path / "out", one) == (tmp_path / "out", choice)
    with pytest.raises(PipelineError, match="begun with other options"):
        find_place(tmp_path / "out", asked(tmp_path / "photos", model__name="mlp"))
    mine = asked(tmp_path / "photos", data__image_size=16, data__test_fraction=0.5)
    own, _ = choose_for(mine, tmp_path / "out", EngineOptions(), trust_code=False, say=said.append)
    assert own.grid(one).cells()[0].config.query.n_init == 10
    assert "image_size" not in own.base["data"]


def test_minutes_take_seeds_away_and_say_so(tmp_path, monkeypatch):
    """Every training and every query takes 10 s."""
    features(tmp_path / "mine.npz", samples=200)

    def measured(cell, times, cpus, trust_code, first=0, run_task=None):
        for cycle in (first, first + 1):
            for stage in ("train", "score"):
                times.stages[cell.strategy, stage].setdefault(cycle, []).append(10.0)

    monkeypatch.setattr("pipeline.pilot.begin.measure", measured)
    said, one = [], asked(tmp_path / "mine.npz")._replace(minutes=27.0)
    options = EngineOptions(jobs=1, cpus_per_cell=1)
    choice, _ = choose_for(one, tmp_path / "out", options, trust_code=False, say=said.append)
    assert (choice.seeds, choice.base["cycles"]) == (7, 6)  # 2 strategies of 6 trainings and 5 scores: 220 s a seed
    assert choice.notes == ("To fit into 27 minutes it has 7 seeds of 6 cycles in place of 8 of 6.",)
    tight, _ = choose_for(one._replace(minutes=18.5), tmp_path / "out", options, trust_code=False, say=said.append)
    assert (tight.seeds, tight.base["cycles"]) == (6, 5)
    with pytest.raises(PipelineError, match="--minutes: expected at least 14, which 6 seeds of 4 cycles"):
        choose_for(one._replace(minutes=2.0), tmp_path / "out", options, trust_code=False, say=said.append)


def test_bad_input_is_one_line_and_nothing_is_written(pilot, tmp_path):
    features(tmp_path / "mine.npz", samples=40)
    before = sorted(tmp_path.iterdir())
    for arguments, said in (
        (["mine.npz"], "expected at least 76 labelled images for 3 classes"),
        (["nowhere"], "expected a folder of images, an .npz file or a data set, but nowhere is none"),
        (["digits", "--strategies", "random"], "--strategies: expected some to compare with random"),
        (["digits", "--seeds", "3"], "--seeds: expected at least 6"),
        (["digits", "--set", "seed=3"], "each cell has its own"),
        (["mine.npz", "--out", "mine.npz"], "--out: "),
    ):
        result = pilot(*arguments, code=2)
        assert said in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before
