"""Near-copies: found without labels, offered to whoever is asked about one of them, labelled and taken back at once."""

import csv

import numpy as np
import pytest
from session_cases import ask, make, opened, squares

from pipeline.cold import copies
from pipeline.cold.copies import SHARE, copy_groups, near_groups, typical_distance
from pipeline.cold.points import unit_vectors
from pipeline.config import load_config
from pipeline.products.labels import write_labels
from pipeline.run.context import open_context
from pipeline.run.pool import Pool
from pipeline.run.rundir import read_config, read_events
from pipeline.run.status import read_status
from pipeline.run.votes import Votes
from pipeline.session.desk import DeskError

# Sixteen directions of a circle, 22.5° apart: each is 2 sin 11.25° = 0.3902 from the next; their mean is 0.
CIRCLE = np.array([[np.cos(a), np.sin(a)] for a in np.radians(np.arange(0, 360, 22.5))])
NEXT = 2 * np.sin(np.radians(11.25))


def turned(degrees):
    return np.array([[np.cos(a), np.sin(a)] for a in np.radians(degrees)])


def test_the_typical_distance_by_hand():
    assert typical_distance(CIRCLE.astype(np.float32), 0) == pytest.approx(NEXT, rel=1e-5)
    twice = np.concatenate([CIRCLE, CIRCLE]).astype(np.float32)  # exact copies say nothing of it
    assert typical_distance(twice, 0) == pytest.approx(NEXT, rel=1e-5)
    assert typical_distance(np.ones((4, 2), np.float32), 0) == 0


def test_groups_by_hand():
    # 0.3 · 0.3902 = 0.1171, an angle of 6.7°: 5° apart are copies, so are 10° over the one between, and 12.5° are none.
    # Of the 20 points 6 are 5° from their nearest, 2 are 12.5° and 12 are 22.5°: the median stays 0.3902.
    near = turned([5, 185, 10, 190])  # opposite ones, so that the mean stays 0
    assert dict(near_groups(np.concatenate([CIRCLE, near]), 0)) == {0: (0, 16, 18), 8: (8, 17, 19)}
    assert near_groups(CIRCLE, 0) == {}
    assert near_groups(np.concatenate([CIRCLE, CIRCLE[[2, 2, 10, 10]]]), 0) == {2: (2, 16, 17), 10: (10, 18, 19)}
    assert near_groups(np.ones((5, 3)), 0) == {0: (0, 1, 2, 3, 4)}


def slow(points):
    """The definition, pair by pair."""
    unit = unit_vectors(points).astype(np.float64)
    distances = np.linalg.norm(unit[:, None] - unit, axis=2)
    nearest = [min(d for j, d in enumerate(row) if j != i and d > 1e-3) for i, row in enumerate(distances)]
    groups = {i: {i} for i in range(len(points))}
    for i, j in zip(*np.nonzero(distances <= SHARE * np.median(nearest)), strict=True):
        joined = groups[i] | groups[j]
        for each in joined:
            groups[each] = joined
    return {tuple(sorted(map(int, group))) for group in groups.values() if len(group) > 1}


@pytest.mark.parametrize(("d", "block"), [(5, 512), (200, 512), (200, 7)])
def test_the_definition_pair_by_pair(d, block, monkeypatch):
    monkeypatch.setattr(copies, "BLOCK", block)
    rng = np.random.default_rng(d)
    points = rng.normal(size=(90, d))
    points[40:70] = points[:30] + rng.normal(size=(30, d)) * np.geomspace(0.01, 0.6, 30)[:, None]
    found = set(near_groups(points, 0).values())
    assert found == slow(points)
    assert 10 < len(found) < 30


def test_a_film_of_one_picture_ends_the_search(monkeypatch):
    monkeypatch.setattr(copies, "MOST_PAIRS", 100)
    [group] = near_groups(np.ones((3000, 2)), 0).values()
    assert len(group) > 500


def pictures(folder, count=40):
    """Options of a data set whose images 1, 3 and 5 are near-copies of each other, as bright as ``squares`` are."""
    options = squares(folder, count)
    with np.load(folder / "x.npz") as arrays:
        X, y = arrays["X"].copy(), arrays["y"]
    rng = np.random.default_rng(1)
    X[[3, 5]] = np.clip(X[1].astype(int) + rng.integers(-1, 2, (2, 8, 8)), 0, 255)
    np.savez(folder / "x.npz", X=X, y=y)
    return {**options, "query__initial": "random"}


def test_copies_of_a_data_set_are_found_among_so_many(tmp_path, monkeypatch):
    options = {name.replace("__", "."): value for name, value in pictures(tmp_path).items()}
    data = open_context(load_config(options={**options, "annotator.name": "page"})).data
    assert copy_groups(data, 0) == {1: (1, 3, 5), 3: (1, 3, 5), 5: (1, 3, 5)}
    monkeypatch.setattr(copies, "MOST_SAMPLES", 1)
    assert copy_groups(data, 0) == {}


@pytest.fixture
def run(tmp_path):
    return make(tmp_path / "run", **pictures(tmp_path) | {"query__n_init": 30})


def until_copied(session):
    """Skip until one that has copies is asked about; return its question."""
    session.clerk.copies.wait()
    while True:
        question = ask(session)
        if question["sample"] in (1, 3, 5):
            return session.question("anna")
        session.answer("anna", question["sample"], ("dark", "bright")[question["sample"] % 2], 1.0)


def labels(path):
    return [event for event in read_events(path) if event["event"] == "label"]


def test_one_label_for_all_and_each_says_what_it_rests_on(run):
    with opened(run) as session:
        question = until_copied(session)
        sample, others = question["sample"], sorted({1, 3, 5} - {question["sample"]})
        assert question["copies"] == 2
        shown = session.near_copies("anna", sample)
        assert [item["sample"] for item in shown["items"]] == [sample, *others]
        before = len(labels(run))
        session.label_copies("anna", sample, "bright", others, [], 6.0)
        told = labels(run)[before:]
        assert [event["labels"] for event in told] == [[[one, 1]] for one in (sample, *others)]
        assert [event.get("copy_of") for event in told] == [None, sample, sample]
        assert [event["seconds"] for event in told] == [[2.0]] * 3
        [query] = [event for event in read_events(run) if "copies_of" in event]
        assert (query["ids"], query["copies_of"]) == (others, sample)
        session.label_copies("anna", sample, "bright", others, [], 6.0)  # sent twice
        assert len(labels(run)) == before + 3
        assert session.state("anna")["copies"] == 2
        assert session.history("anna", 1)["items"][0]["copies"] == 2
        with pytest.raises(DeskError, match="no near-copies of it that nobody has labelled"):
            session.near_copies("anna", sample)
        assert dict(read_status(run, read_config(run), read_events(run)).lines)["labels"].endswith(
            f"{before + 3}, 2 as near-copies of others, 1 asked for and open"
        )
        assert session.undo_copies("anna", others[0])["sample"] == sample  # any of them
        assert session.state("anna")["copies"] == 0
    pool = Pool(40, read_events(run))
    assert not {1, 3, 5} & set(pool.current)
    with opened(run) as session:  # what was taken back is offered again, also after a new start
        question = until_copied(session)
        assert (question["sample"], question["copies"]) == (sample, 2)
        session.label_copies("anna", sample, "bright", [others[0]], [others[1]], None)
        assert session.question("anna")["sample"] != others[0]
    assert set(Votes(read_events(run)).copies) == {(others[0], "anna")}


def test_one_of_them_is_corrected_by_itself_and_an_answer_is_no_copy(run):
    with opened(run) as session:
        sample = until_copied(session)["sample"]
        one, other = sorted({1, 3, 5} - {sample})
        session.label_copies("anna", sample, "bright", [one, other], [], None)
        session.undo("anna", one)
        session.answer("anna", one, "dark", None)
        votes = Votes(read_events(run))
        assert votes.copies == {(other, "anna"): sample}
        assert Pool(40, read_events(run)).current[sample] == Pool(40, read_events(run)).current[other] == 1
        session.undo_copies("anna", sample)
        assert Pool(40, read_events(run)).current[one] == 0  # said by itself: it stays


@pytest.mark.parametrize(
    ("right", "wrong", "status", "message"),
    [
        ([0], [], 404, "sample 0 is no near-copy"),
        (["other", "other"], [], 400, "every copy once"),
        (["other"], ["other"], 400, "every copy once"),
        (["sample"], [], 400, "every copy once"),
    ],
)
def test_what_was_not_shown_is_not_labelled(run, right, wrong, status, message):
    with opened(run) as session:
        sample = until_copied(session)["sample"]
        names = {"sample": sample, "other": min({1, 3, 5} - {sample})}
        right, wrong = ([names.get(one, one) for one in given] for given in (right, wrong))
        before = read_events(run)
        with pytest.raises(DeskError, match=message) as refused:
            session.label_copies("anna", sample, "bright", right, wrong, None)
        assert refused.value.status == status
        assert read_events(run) == before


def test_what_somebody_said_meanwhile_is_not_overruled(run):
    with opened(run) as session:
        sample = until_copied(session)["sample"]
        one, other = sorted({1, 3, 5} - {sample})
        session.label_copies("ben", sample, "bright", [one], [other], None)
        with pytest.raises(DeskError, match="meanwhile"):
            session.label_copies("anna", sample, "bright", [one, other], [], None)
        with pytest.raises(DeskError, match="something else already"):
            session.label_copies("ben", sample, "dark", [one], [], None)
        with pytest.raises(DeskError, match="never asked about"):
            session.label_copies("ben", other, "dark", [], [], None)


def test_a_budget_bounds_them(tmp_path):
    run = make(tmp_path / "run", **pictures(tmp_path) | {"query__n_init": 30, "annotator__budget": 2})
    with opened(run) as session:
        session.clerk.copies.wait()
        assert len(session.clerk.copies.of(1, "anna")) == 1
        session.answer("anna", ask(session)["sample"], "dark", None)
        assert session.clerk.copies.of(1, "anna") == []


def test_labels_csv_says_which_are_copies(run, tmp_path):
    with opened(run) as session:
        sample = until_copied(session)["sample"]
        one, other = sorted({1, 3, 5} - {sample})
        session.label_copies("anna", sample, "bright", [one, other], [], None)
        data, pool = session.clerk.context.data, session.clerk.pool
        counts = write_labels(tmp_path / "l.csv", data, data.classes, session.clerk.sayings.votes, pool.known())
    text = (tmp_path / "l.csv").read_text(encoding="utf-8-sig")
    rows = {int(row["sample_id"]): row for row in csv.DictReader(text.splitlines())}
    assert counts["copy"] == 2
    assert [rows[i]["asked_by"] for i in (sample, one, other)] == ["random", "copy", "copy"]
    assert [rows[i]["copy_of"] for i in (sample, one, other)] == ["", str(sample), str(sample)]


def test_an_image_that_cannot_be_read_keeps_nobody_from_labelling(run, monkeypatch):
    def fails(data, seed):
        raise OSError("gone")

    monkeypatch.setattr("pipeline.session.copies.copy_groups", fails)
    with opened(run) as session:
        session.clerk.copies.wait()
        assert ask(session)["copies"] == 0
        assert any("near-copies are not offered: OSError: gone" in line for line in session.state("anna")["warnings"])
