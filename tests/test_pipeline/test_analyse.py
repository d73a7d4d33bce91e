"""``pipeline analyse dynamics``: by hand, against loops, and on a run."""

import csv
import re
import shutil

import jax
import numpy as np
import pytest
from fidelity_cases import make_run
from scipy.stats import kendalltau

from linearize import Examples
from linearize.alignment import alignment, generalisation_bound
from linearize.dynamics import approximation_ratio
from pipeline.analyse.dynamics import Sizes, measure
from pipeline.analyse.opening import OpenedRun
from pipeline.analyse.report import lines
from pipeline.analyse.rows import Row, to_csv, values
from pipeline.analyse.theory import STEPS, draw_rows, labelled_rows
from trainer.checkpoint import snapshot_name
from trainer.errors import TrainerError

pytestmark = pytest.mark.usefixtures("quick_compilation")
OPTIONS = {
    "model__name": "mlp",
    "model__options": {"width": 16},
    "query__strategy": "random",
    "train__epochs": 6,
    "train__keep_epochs": [0, 2],
}
SMALL = ("--sample", 30, "--draws", 4, "--batches", "2,5")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("analysed") / "run", **OPTIONS)


def test_a_labelled_set_by_hand():
    rows = labelled_rows(np.array([[2.0, 1], [1, 3]]), np.eye(2), 2, 7)
    [A], [B], [distance] = (values(rows, name, part="labelled") for name in ("alignment", "bound", "MMD"))
    assert (A, distance) == (5, 0)
    assert pytest.approx(1.0, abs=1e-12) == B
    assert values(rows, "lower bound", part="theorem 2") == pytest.approx([0.8])
    assert values(rows, "upper bound", part="theorem 2") == pytest.approx([2.0944271910], abs=1e-9)
    assert values(rows, "upper bound", part="theorem 2, tight") == pytest.approx([1.0], abs=1e-12)
    assert values(rows, "holds") == [1] * (len(STEPS) + 2)
    assert {row.cycle for row in rows} == {7}


def test_one_initial_sample_has_no_mmd():
    rows = labelled_rows(np.array([[2.0, 1], [1, 3]]), np.eye(2), 1, 0)
    assert np.isnan(values(rows, "MMD") + values(rows, "MMD / bound")).all()
    assert ",MMD,0,,,,,,,\n" in to_csv(rows)


def test_a_singular_kernel_is_said_to_have_taken_a_jitter():
    rows = labelled_rows(np.ones((3, 3)), np.eye(3)[[0, 1, 1]], 2, 0)
    assert values(rows, "jitter")[0] > 0
    said = list(lines(rows, Sizes()))
    assert [line for line in said if "singular" in line] == [
        "bound: the kernel of 1 labelled sets is singular to rounding and took a jitter, see the table"
    ]
    sound = labelled_rows(np.array([[2.0, 1], [1, 3]]), np.eye(2), 2, 0)
    assert not [line for line in lines(sound, Sizes()) if "singular" in line]


def test_mmd_is_told_of_what_came_after_the_initial_set():
    theta = np.array([[1.0, 0, 2], [0, 1, 1], [2, 1, 9]])
    first = labelled_rows(theta[:2, :2], np.eye(2), 2, 0)
    later = labelled_rows(theta, np.eye(2)[[0, 1, 1]], 2, 1)
    assert not [line for line in lines(first, Sizes()) if "MMD" in line]  # the initial set is 0 from itself
    [said] = [line for line in lines(first + later, Sizes()) if "MMD" in line]
    share = values(later, "MMD / bound")[0]
    assert said.startswith(
        f"MMD / bound: at most {share:.3g} over the labelled sets after the first; of a kernel twice"
    )


def naive_dynamics(theta, f, Y):
    d = f - Y
    return sum(d[i] @ d[j] * theta[i, j] for i in range(len(d)) for j in range(len(d)))


@pytest.mark.parametrize("known", [True, False])
def test_random_queries_equal_loops_over_their_definitions(known):
    rng = np.random.default_rng(0)
    L, M, K = 5, 8, 3
    J = rng.normal(size=(L + M, 20))
    theta, f = J @ J.T, rng.normal(size=(L + M, K))
    Y, true = np.eye(K)[rng.integers(K, size=L)], np.eye(K)[rng.integers(K, size=M)]
    queries = [rng.choice(M, 3, replace=False) for _ in range(6)]
    seen = []
    rows = draw_rows(theta, f, Y, true if known else None, queries, lambda *far: seen.append(far))
    assert seen == [(n, 6) for n in range(1, 7)]
    regression = theta[:, :L] @ np.linalg.inv(theta[:L, :L]) @ Y
    predicted = np.eye(K)[regression[L:].argmax(1)]
    of = {"true": true, "predicted": predicted} if known else {"predicted": predicted}
    found = {(row.outputs, row.labels, row.quantity): row.value for row in rows if row.part == "correlation"}
    assert len(found) == 2 * len(of) * 2
    series = {"alignment": [], "bound": []} | {(o, whose): [] for o in ("network", "regression") for whose in of}
    for Q in queries:
        at = [*range(L), *(L + Q)]
        part, targets = theta[np.ix_(at, at)], np.vstack([Y, (true if known else predicted)[Q]])
        series["alignment"].append(alignment(part, targets))
        series["bound"].append(generalisation_bound(part, targets))
        for outputs, g in (("network", f), ("regression", regression)):
            for whose, labels in of.items():
                series[outputs, whose].append(naive_dynamics(part, g[at], np.vstack([Y, labels[Q]])))
    for (outputs, whose, quantity), tau in found.items():
        against = series[quantity.rpartition(" ")[2]]
        np.testing.assert_allclose(
            values(rows, "G_MSE", outputs=outputs, labels=whose), series[outputs, whose], rtol=1e-8
        )
        assert tau == pytest.approx(kendalltau(series[outputs, whose], against).statistic)


def measured(run, **sizes):
    opened = OpenedRun.of(run, False, lambda _: None)
    return measure(opened, Sizes(**{"sample": 30, "draws": 4, "batches": (2, 5), **sizes}), lambda *_: None)


def test_every_state_and_labelled_set_of_a_run_is_measured(run):
    rows = measured(run)
    states = [(row.cycle, row.epoch) for row in rows if row.quantity == "training dynamics"]
    assert states == [(0, 0), (0, 2), (0, 6), (1, 6)]
    assert {row.batch for row in rows if row.quantity == "approximation ratio, mean"} == {2, 5}
    assert values(rows, "labels") == [12, 16]
    assert values(rows, "MMD")[0] == 0  # the initial set from itself
    assert len([row for row in rows if row.quantity == "G_MSE"]) == 4 * 4
    assert all(values(rows, "holds"))
    assert {row.batch for row in rows if row.part == "draws"} == {6}  # half the labelled set
    assert to_csv(measured(run)) == to_csv(rows)
    others = measured(run, cycle=1, query=3)
    assert [(r.cycle, r.epoch) for r in others if r.quantity == "training dynamics"] == [(0, 6), (1, 0), (1, 2), (1, 6)]
    assert {row.batch for row in others if row.part == "draws"} == {3}


def test_the_ratio_is_that_of_gradients_summed_one_by_one(run):
    opened = OpenedRun.of(run, False, lambda _: None)
    [weights] = [state for state in opened.kept(0) if state.epoch == 2]
    assert weights.path.name == snapshot_name(2)
    gradients, labelled, ids = opened.gradients(weights), opened.labelled(0), opened.draw_pool(30)
    images = opened.context.images
    G = gradients.total(Examples.of(images(labelled.ids)), labelled.labels)
    found = gradients.measure(Examples.of(images(ids)), G)
    pairs = gradients.gram(images(ids))
    Q = np.array([4, 0, 17])
    G_Q = gradients.total(Examples.of(images(ids[Q])), found.labels[Q])
    pairs_of = zip(jax.tree.leaves(G), jax.tree.leaves(G_Q), strict=True)
    together = sum(float(np.vdot(2 * a + b, b)) for a, b in pairs_of)  # ‖G + G_Q‖² - ‖G‖²
    expected = (found.squared_norms[Q] + 2 * found.products[Q]).sum() / together
    assert approximation_ratio(found.products[Q], pairs[np.ix_(Q, Q)]) == pytest.approx(expected, rel=1e-3)


def test_the_command_writes_a_table_and_figures_and_changes_nothing_else(run, command, tmp_path):
    analyse = command("analyse")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    result = analyse("dynamics", run, *SMALL, "--out", "there")
    names = {f"dynamics-{name}.{kind}" for name in ("ratio", "alignment", "bound") for kind in ("svg", "png")}
    assert {path.name for path in (tmp_path / "there").iterdir()} == names | {"dynamics.csv"}
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    with (tmp_path / "there/dynamics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["part"] for row in rows} >= {"ratio", "labelled", "theorem 1", "theorem 2", "draws", "correlation"}
    assert "theorem 1: holds in 6 of 6" in result.stdout
    assert "analysis there" in result.stdout
    analyse("dynamics", run, *SMALL, "--out", "there", "--kernel", "sum-of-logits")  # over an earlier one
    assert (tmp_path / "there/dynamics.csv").read_text().count("\n") == len(rows) + 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--cycle", 2), r"--cycle: expected one that was trained \(0, 1\), got 2"),
        (("--batches", "5,x"), "--batches: expected sizes with commas, such as 10,25,100, got '5,x'"),
        (("--batches", "0"), "--batches: expected sizes with commas"),
        (("--sample", 4, "--batches", "5"), "--batches: expected queries of 1 to 4, .*, got 5: ask for less or raise"),
        (("--sample", 8, "--batches", "2", "--query", 9), "--query: expected queries of 1 to 8.*got 9"),
        (("--out", "taken"), "--out: expected a new directory or an earlier analysis, but taken is neither"),
        (("--out", "taken/file"), "--out: expected a directory, but taken/file is a file"),
        (("--draws", 0), "--draws"),
    ],
    ids=str,
)
def test_bad_input_is_one_line_and_writes_nothing(run, command, tmp_path, arguments, message):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/file").write_text("mine")
    result = command("analyse")("dynamics", run, *arguments, code=2)
    [line] = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert re.search(message, line)
    assert not (run / "analysis").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken"]


def test_what_is_no_finished_run_is_refused(run, command, tmp_path):
    analyse = command("analyse")
    assert "expected a run directory" in analyse("dynamics", "nowhere", code=2).stderr
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "cycles/001/train/weights.safetensors").write_bytes(b"torn")
    assert "cycle 1 of" in analyse("dynamics", copy, code=2).stderr


def test_rows_are_written_with_empty_cells_where_nothing_applies():
    rows = [Row("a", "b", 0.5, cycle=1), Row("a", "c", float("nan"), labels="true")]
    assert to_csv(rows).splitlines() == [
        "part,quantity,cycle,epoch,batch,draw,outputs,labels,steps,value",
        "a,b,1,,,,,,,0.5",
        "a,c,,,,,,true,,",
    ]
    assert values(rows, "b", cycle=1) == [0.5]
    assert values(rows, "b", cycle=2) == []


def test_a_run_without_kept_epochs_or_true_labels_is_measured_at_its_ends(unconverged, monkeypatch):
    def unknown(*_):
        raise TrainerError("nobody knows")

    monkeypatch.setattr("trainer.data.DataSet.labels", unknown)
    rows = measured(unconverged)
    assert {row.labels for row in rows if row.part == "correlation"} == {"predicted"}
    assert [(row.cycle, row.epoch) for row in rows if row.quantity == "training dynamics"] == [(0, 8), (1, 8)]
