"""What is asked before there is any label: by hand, against scikit-learn, and the same for every strategy of a seed."""

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin_min

from pipeline.cold import representatives
from pipeline.cold.medoids import k_means_medoids
from pipeline.cold.points import directions, shrunk, unit_vectors, vectors
from pipeline.cold.representatives import MOST_CHOSEN, first_samples, method_of
from pipeline.cold.typical import in_rounds
from pipeline.config import load_config, validate
from pipeline.errors import PipelineError
from pipeline.queries.clusters import SEEDS
from pipeline.report.picks import picks_of
from pipeline.run.context import open_context
from pipeline.run.fork import fork
from pipeline.run.pool import INITIAL
from pipeline.run.rundir import read_config, read_events
from pipeline.sweep.check import mismatches
from pipeline.sweep.grid import Grid
from trainer.data.custom import assemble

# Five lines of 11, 9, 8, 7 and 6 points, far from each other: the most typical of a line are in its middle, for their
# K nearest, K half of the line, lie closest; of equals the first.
SIZES = (11, 9, 8, 7, 6)
LINES = np.concatenate([np.stack([100.0 * n + np.arange(size), np.zeros(size)], 1) for n, size in enumerate(SIZES)])
STARTS = np.cumsum((0, *SIZES[:-1]))


def rng(seed=0):
    return np.random.default_rng(seed)


def middle(size):
    """Of a line the first point with the smallest mean distance to its size // 2 nearest others."""
    K = size // 2
    means = [np.sort(np.abs(np.arange(size) - i))[1 : K + 1].mean() for i in range(size)]
    return int(np.argmin(means))


def test_the_middle_of_each_line_the_longest_first():
    # By hand, of 11: K = 5, distances 1 1 2 2 3 from the third as from the sixth, 1 1 2 3 4 from the second.
    assert [middle(size) for size in SIZES] == [2, 2, 2, 1, 1]
    expected = [start + middle(size) for start, size in zip(STARTS, SIZES, strict=True)]
    assert in_rounds(LINES, 5, 0, rng()).tolist() == expected
    assert in_rounds(LINES, 3, 0, rng()).tolist() == expected[:3]


def test_a_line_that_has_a_label_comes_last():
    known = LINES[[5]]  # of the longest
    order = in_rounds(np.concatenate([known, LINES]), 4, 1, rng())
    assert order.min() >= 12  # none of that line, whose points are 1 to 11
    assert len(set(np.searchsorted(STARTS, order - 1, side="right"))) == 4


@pytest.mark.parametrize("method", [in_rounds, k_means_medoids])
@pytest.mark.parametrize("known", [0, 7])
def test_each_once_and_none_that_is_known(method, known):
    points = rng(1).normal(size=(60, 3))
    for n in (1, 2, 11, 53):
        order = method(points, n, known, rng())
        assert len(set(order.tolist())) == len(order) == n
        assert order.min() >= known


def test_the_first_of_many_are_those_of_fewer():
    points = rng(2).normal(size=(300, 4))
    whole = in_rounds(points, 47, 0, rng())
    for n in (1, 4, 7, 20, 33):
        np.testing.assert_array_equal(in_rounds(points, n, 0, rng()), whole[:n])


def test_copies_and_one_point_alone():
    np.testing.assert_array_equal(np.sort(in_rounds(np.ones((6, 2)), 6, 0, rng())), np.arange(6))
    np.testing.assert_array_equal(np.sort(k_means_medoids(np.ones((6, 2)), 6, 0, rng())), np.arange(6))
    assert in_rounds(np.ones((1, 2)), 1, 0, rng()).tolist() == [0]


def test_medoids_by_hand():
    # Groups around 0 (three points), 10 (two) and 30 (one), means 0.2, 10.5 and 30: nearest to them 0.1, 10 and 30.
    points = np.array([[0.0], [0.1], [0.5], [10], [11], [30]])
    order = k_means_medoids(points, 3, 0, rng(4))
    assert sorted(order) == [1, 3, 5]
    # The first takes the sum of distances down most: to 0.1: 0.1+0+0.4+9.9+10.9+29.9 = 51.2, to 10: 10+9.9+9.5+0+1+20
    # = 50.4, to 30: 30+29.9+29.5+20+19 = 128.4; then, beside 10, 0.1 leaves 0.5+0+1+20 and 30 leaves 10+9.9+9.5+1.
    assert order.tolist() == [3, 5, 1] or order.tolist() == [3, 1, 5]
    left = {1: 0.5 + 1 + 20, 5: 10 + 9.9 + 9.5 + 1}
    assert order[1] == min(left, key=left.get)


@pytest.mark.parametrize("seed", range(4))
def test_medoids_are_those_of_scikit_learn(seed):
    points = rng(seed).normal(size=(200, 5)) + 3 * rng(seed).integers(0, 4, (200, 1))
    fit = KMeans(12, n_init=1, random_state=int(rng(seed).integers(SEEDS))).fit(points)
    nearest, _ = pairwise_distances_argmin_min(fit.cluster_centers_, points)
    assert set(k_means_medoids(points, 12, 0, rng(seed)).tolist()) == set(nearest.tolist())


def test_clusters_of_known_points_have_no_medoid():
    points = np.concatenate([[[0.0], [100.0]], [[0.1], [100.1], [50], [50.1], [50.2]]])
    assert k_means_medoids(points, 1, 2, rng()).tolist() == [5]


def test_images_are_shrunk_by_means_of_blocks():
    x = np.arange(25, dtype=np.float32).reshape(1, 1, 5, 5)
    # Rows 0-1 and 2-4, columns likewise: 0 1 5 6; 2 3 4 7 8 9; 10 11 15 16 20 21; the others.
    np.testing.assert_allclose(shrunk(x, 2)[0, 0], [[3.0, 5.5], [15.5, 18.0]])
    np.testing.assert_array_equal(shrunk(x, 5), x)
    assert shrunk(np.zeros((2, 3, 40, 7)), 16).shape == (2, 3, 16, 7)


def test_directions_keep_what_few_dimensions_can_hold():
    low = rng(3).normal(size=(150, 6)) @ rng(4).normal(size=(6, 200)) + 5
    unit, few = unit_vectors(low), directions(low, 0)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, rtol=1e-5)
    assert few.shape == (150, 64)
    whole = np.linalg.norm(unit[:, None] - unit, axis=2)
    np.testing.assert_allclose(np.linalg.norm(few[:, None] - few, axis=2), whole, atol=1e-4)
    assert np.isfinite(directions(np.ones((100, 90)), 0)).all()  # all the same


def features(size=120, d=9, labels=True, seed=0):
    """Three groups of features."""
    generator, group = rng(seed), np.repeat([0, 1, 2], [size - 60, 35, 25])
    x = np.eye(d)[group] * 4 + generator.normal(size=(size, d)) * 0.3
    return x.astype(np.float32), (group if labels else np.full(size, -1))


def archive(folder, **more):
    x, y = features(**more)
    np.savez(folder / "f.npz", x_train=x, y_train=y, x_test=x[:30], y_test=features()[1][:30])
    return f"npz:{folder / 'f.npz'}"


@pytest.fixture
def data(tmp_path, tiny):
    return open_context(load_config(options={**tiny, "data.name": archive(tmp_path)})).data


@pytest.mark.parametrize("method", ["typiclust", "k-means", "random"])
def test_the_same_at_one_seed_and_others_at_another(data, method):
    one = first_samples(data, method, 3, 8)
    np.testing.assert_array_equal(one, first_samples(data, method, 3, 8))
    assert len(set(one.tolist())) == 8
    assert set(one.tolist()) != set(first_samples(data, method, 4, 8).tolist())


@pytest.mark.parametrize("method", ["typiclust", "k-means"])
def test_every_group_is_seen_though_no_label_is_looked_at(data, method, tmp_path, tiny):
    chosen = first_samples(data, method, 0, 5)
    assert set(data.train.labels[chosen].tolist()) == {0, 1, 2}
    unnamed = archive(tmp_path, labels=False)
    options = {"data.name": unnamed, "data.classes": "a,b,c", "annotator.name": "page"}
    other = open_context(load_config(options={**tiny, **options}))
    np.testing.assert_array_equal(first_samples(other.data, method, 0, 5), chosen)


def test_what_is_known_is_not_asked_again_and_counts(data):
    groups = data.train.labels
    given = [int(np.flatnonzero(groups == group)[0]) for group in (0, 1)]
    chosen = first_samples(data, "typiclust", 0, 3, given)
    assert not set(given) & set(chosen.tolist())
    assert 2 in groups[chosen]


@pytest.mark.parametrize("method", ["typiclust", "k-means", "random"])
def test_what_is_left_out_is_replaced(data, method):
    left_out = first_samples(data, method, 0, 5)
    chosen = first_samples(data, method, 0, 8, left_out=left_out)
    assert len(set(chosen.tolist())) == 8
    assert not set(left_out) & set(chosen.tolist())
    if method != "random":  # they are replaced by their like, not by chance
        assert set(data.train.labels[chosen[:5]].tolist()) == {0, 1, 2}


def test_copies_are_asked_about_once_and_make_nothing_typical(tmp_path, tiny):
    x, _ = features()
    x[60:] = x[59]  # half of all
    np.savez(tmp_path / "f.npz", X=x)
    options = {"data.name": f"npz:{tmp_path / 'f.npz'}", "data.classes": "a,b", "annotator.name": "page",
               "data.test_fraction": 0.0}  # fmt: skip
    held = open_context(load_config(options={**tiny, **options})).data
    for method in ("typiclust", "k-means"):
        assert sum(first_samples(held, method, 0, 10) >= 59) <= 1
    assert len(set(first_samples(held, "typiclust", 0, 120).tolist())) == 120
    assert not (first_samples(held, "typiclust", 0, 10, [59]) >= 59).any()


def test_candidates_are_a_bounded_part_of_all(data, monkeypatch):
    seen = []
    monkeypatch.setattr(representatives, "vectors", lambda data, ids: seen.append(len(ids)) or vectors(data, ids))
    first_samples(data, "typiclust", 0, 2)
    monkeypatch.setattr(representatives, "MOST_CANDIDATES", 30)
    first_samples(data, "typiclust", 0, 2)
    monkeypatch.setattr(representatives, "MOST_CHOSEN", 10)
    monkeypatch.setattr(representatives, "MOST_CANDIDATES", 4000)
    assert len(set(first_samples(data, "typiclust", 0, 120).tolist())) == 120  # the others at random
    assert seen == [60, 30, 100]
    assert MOST_CHOSEN <= representatives.MOST_CANDIDATES


def test_a_row_of_pixels_is_no_image_to_shrink():
    images = rng().integers(0, 255, (9, 40, 40, 1)).astype(np.uint8)
    for shape, size in (((9, 1, 1, 40), 40), ((9, 1, 40, 40), 256)):
        pixels = images.reshape(9, -1)[:, : np.prod(shape[1:])].reshape(shape)
        found = assemble("x", ("a", "b"), pixels, np.arange(9) % 2, 9)
        assert vectors(found, np.arange(9)).shape == (9, size)


@pytest.mark.parametrize(
    ("options", "held", "method"),
    [
        ({}, "images", "random"),
        ({}, "features", "typiclust"),
        ({"annotator.name": "page"}, "images", representatives.OF_IMAGES),
        ({"annotator.name": "files", "query.strategy": "margin"}, "images", representatives.OF_IMAGES),
        ({"query.initial": "k-means"}, "images", "k-means"),
        ({"query.initial": "random"}, "features", "random"),
    ],
)
def test_who_begins_how(data, tiny, options, held, method):
    context = open_context(load_config(options=tiny))
    assert method_of(load_config(options={**tiny, **options}), data if held == "features" else context.data) == method


def test_runs_of_older_versions_drew_at_random_and_still_are_what_they_were(tiny, data):
    new = load_config(options=tiny)
    assert new.query.initial == "auto"
    plain = new.model_dump(mode="json")
    del plain["query"]["initial"]
    old = validate(plain, recorded=True)
    assert old.query.initial is None
    assert method_of(old, data) == "random"
    assert old.digest() == load_config(options={**tiny, "query.initial": "random"}).digest() != new.digest()


def test_a_grid_of_an_older_version_is_gone_on_with(tiny, tmp_path):
    new = Grid.of(load_config(options=tiny), ("random",), (0,))
    run = new.resolved()
    del run["query"]["initial"]
    old = Grid(("random",), (0,), run, recorded=True)
    assert old.extended(new, tmp_path).config("random", 0).query.initial is None
    with pytest.raises(PipelineError, match="initial"):
        old.extended(Grid.of(load_config(options={**tiny, "query.initial": "k-means"}), ("random",), (0,)), tmp_path)


def test_an_unknown_way_is_refused_in_one_line(tiny):
    with pytest.raises(
        PipelineError, match=r"--initial: input should be 'auto', 'random', 'typiclust', 'k-means' or 'balanced'"
    ):
        load_config(options={**tiny, "query.initial": "typical"})


def test_all_strategies_of_a_seed_start_alike_and_the_log_says_how(tmp_path, start, go_on):
    grid = Grid.of(
        load_config(options={"data.name": archive(tmp_path), "model.name": "linear", "cycles": 2, "query.n_init": 6,
                             "query.size": 2, "query.subset": 20, "train.epochs": 3, "device": "cpu"}),
        ("random", "entropy"), (0,),
    )  # fmt: skip
    found = []
    for cell in grid.cells():
        path = start(cell.name, **{
            "data__name": cell.config.data.name, "model__name": "linear", "model__options": {}, "cycles": 2,
            "query__strategy": cell.strategy, "query__n_init": 6, "query__size": 2, "query__subset": 20,
            "train__epochs": 3, "seed": cell.seed,
        })  # fmt: skip
        go_on(path)
        events = read_events(path)
        [query] = [event for event in events if event["event"] == "query" and event["cycle"] == INITIAL]
        assert query["initial"] == "typiclust"
        assert [sample for sample, _ in picks_of(events).asked[INITIAL]] == query["ids"]
        found.append(query["ids"])
        expected = first_samples(open_context(read_config(path)).data, "typiclust", 0, 6)
        assert query["ids"] == expected.tolist()
    assert found[0] == found[1]
    assert mismatches(path.parent, grid) == []
    with pytest.raises(PipelineError, match=r"query.initial: the initial labels are part of the record"):
        fork(path, read_config(path), events, 0, ["query.initial=random"], tmp_path / "other")
