"""Runs without test images: nothing is claimed about accuracy, all else works, and comparisons say what to do."""

import csv
import html
import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from folder_cases import put
from report_cases import write_run

from pipeline.cli import cli
from pipeline.run.rundir import read_events
from pipeline.run.summary import CycleRow, area_under_curve, read_rows

WAITING = 75
QUICK = ["--model", "mlp", "--set", "model.options.width=8", "--n-init", 8, "--query-size", 4, "--cycles", 2]
QUICK += ["--epochs", 40, "--subset-size", 20, "--device", "cpu"]
NONE_HELD_OUT = ["--set", "data.test_fraction=0"]
UNCLAIMED = "no test images with labels: accuracy is not claimed; hold some out (data.test_fraction) or "


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, half in (("flat", ""), ("train", "train/")):
        for n in range(30):
            put(tmp_path / name, f"{half}{n:02}.png", mode="L", seed=n)
    rng = np.random.default_rng(0)
    np.savez("known.npz", X=rng.integers(0, 256, (48, 4, 4), dtype=np.uint8), y=np.arange(48) % 3)
    return tmp_path


def invoke(*arguments, code=0):
    result = CliRunner().invoke(cli, [*map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def simulated(out, *more):
    return invoke(
        "run", "--dataset", "npz:known.npz", *NONE_HELD_OUT, *QUICK, "--strategy", "margin", *more, "--out", out
    )


def text_of(page):
    bare = re.sub(r"(?s)<style>.*?</style>", "", page.read_text())
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", bare)))


def answer(run):
    invoke("export", run)
    with (run / "to_label.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(row["path"].removeprefix("train/").removesuffix(".png").isdigit() for row in rows)
    lines = [f"{row['sample_id']},{('light', 'dark')[int(row['sample_id']) % 2]}" for row in rows]
    (run / "to_label.csv").write_text("\n".join(["sample_id,label", *lines]))
    invoke("ingest", run, run / "to_label.csv")
    return len(rows)


@pytest.mark.parametrize("folder", ["flat", "train"])
def test_a_folder_without_any_label_is_labelled_from_nothing(here, folder):
    begun = ["run", "--dataset", f"folder:{folder}", "--annotator", "files", *QUICK]
    begun += ["--strategy", "margin-influence-greedy", "--out", "mine"]
    unnamed = invoke(*begun, code=2)
    assert "30 training samples, of which 0 have a label, and no class; name the classes" in unnamed.stderr
    assert not (here / "mine").exists()
    result = invoke(*begun, "--classes", "dark,light", code=WAITING)
    assert f"note: {UNCLAIMED}put them under test/\n" in result.stderr
    for asked in (8, 4):
        assert answer(here / "mine") == asked
        result = invoke("resume", "mine", code=WAITING if asked == 8 else 0)
    lines = result.stdout.splitlines()
    assert [line.split()[:3] for line in lines[:3]] == [["cycle", "labels", "test"], ["0", "8", "-"], ["1", "12", "-"]]
    assert len({len(line) for line in lines[:3]}) == 1
    assert lines[3:] == ["trained on 12 labels", f"{UNCLAIMED}put them under test/", "run mine"]
    assert read_events(here / "mine")[-1]["event"] == "finished"
    assert not (here / "mine/report").exists()  # no learning curve
    for stage in ("train", "migrate", "score", "select"):
        assert "equals the run's own" in invoke("stage", stage, "mine", "--cycle", 0).stdout
    assert invoke("resume", "mine").stdout.splitlines()[-3:] == lines[-3:]


def test_what_is_measured_is_kept_and_nothing_of_it_is_of_test_images(here):
    result = simulated("run")
    assert f"{UNCLAIMED}give them as x_test and y_test\n" in result.stdout
    assert f"note: {UNCLAIMED}give them as x_test and y_test\n" in result.stderr
    summary = json.loads((here / "run/cycles/001/train/summary.json").read_text())
    assert not [name for name in summary if name.startswith("test")]
    assert summary["classes"] == ["0", "1", "2"]
    assert 0 <= summary["train_accuracy"] <= 1
    with (here / "run/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["split"] for row in rows} == {"train", "score"}
    assert {row["metric"] for row in rows if row["cycle"] == "1"} == {"accuracy", "residual_norm", "residual_rms"}
    row = read_rows(here / "run")[-1]
    assert (row.test_accuracy, row.test_macro_f1, row.test_ece, row.test_class_accuracy) == (None, None, None, ())
    assert area_under_curve(read_rows(here / "run")) is None
    assert {split for split, _, _ in row.metrics()} == {"train"}


def test_every_training_sample_may_be_asked_for_where_none_is_held_out(here):
    simulated("run", "--n-init", 40, "--query-size", 8)
    asked = [
        sample for event in read_events(here / "run") for sample in event.get("ids", ()) if event["event"] == "query"
    ]
    assert sorted(asked) == list(range(48))


def test_a_run_alone_is_reported_with_what_there_is(here):
    simulated("run")
    invoke("report", "run")
    report = here / "run/report"
    figures = {path.stem.removeprefix("known-mlp-") for path in report.iterdir() if path.suffix in (".png", ".svg")}
    assert figures == {"class-balance", "selection-time"}
    text = text_of(report / "index.html")
    assert text.count(f"No{UNCLAIMED[2:]}give them as x_test and y_test.") == 2  # in short, and among the results
    assert "One strategy (margin), 1 seed each, 8 to 12 labels." in text
    for absent in ("AUBC", "final accuracy", "macro-F1", "No run of random", "Test accuracy", "fewer than 6"):
        assert absent not in text
    assert "Classes of the picks" in text
    with (report / "results.csv").open() as file:
        metrics = {row["metric"] for row in csv.DictReader(file)}
    assert {"train_accuracy", "epochs", "picked[1]"} <= metrics
    assert not [metric for metric in metrics if metric.startswith("test")]


def test_runs_without_accuracy_are_not_compared_and_named(here):
    blind = {f"test_{name}": None for name in ("accuracy", "macro_f1", "ece")} | {"test_class_accuracy": []}
    for n, name in enumerate(("one", "two")):
        write_run(here / name, ("random", "margin")[n], 0, [0.5, 0.6], **blind)
    write_run(here / "seeing", "entropy", 0, [0.5, 0.6])
    for runs, named in ((("one", "two"), "one, two"), (("seeing", "two"), "two"), (("two", "seeing"), "two")):
        result = invoke("report", *runs, "--out", "out", code=2)
        assert result.stderr == (
            f"error: expected runs with test images, on which accuracy can be compared, but {named} had none: report "
            f"on each alone, such as with 'pipeline report {named.partition(',')[0]}'\n"
        )
    assert not (here / "out").exists()
    invoke("report", "one")
    invoke("report", "seeing")


@pytest.mark.parametrize("more", [[], ["--dry-run"], ["--out", "grid"]])
def test_a_comparison_without_test_images_is_refused_before_anything_is_written(here, more):
    before = sorted(here.rglob("*"))
    arguments = ["compare", "--strategies", "random,margin", "--seeds", "0", "--dataset", "npz:known.npz"]
    result = invoke(*arguments, *NONE_HELD_OUT, *QUICK, *more, code=2)
    assert result.stderr == (
        "error: data: npz:known.npz has no test images with labels, and a comparison measures accuracy on them: hold "
        "some out (data.test_fraction) or give them as x_test and y_test\n"
    )
    assert sorted(here.rglob("*")) == before


def test_tensorboard_shows_what_there_is(here):
    pytest.importorskip("tensorboard")
    simulated("run")
    assert re.fullmatch(r"run: \d+ points", invoke("tensorboard", "run", "--out", "logs").stdout.splitlines()[0])


def test_fidelity_needs_no_test_images_and_says_when_true_labels_are_not_known(here, monkeypatch):
    begun = ["run", "--dataset", "folder:flat", "--classes", "dark,light", "--annotator", "files", *QUICK]
    invoke(*begun, "--strategy", "margin", "--out", "mine", code=WAITING)
    answer(here / "mine")
    invoke("resume", "mine", code=WAITING)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.fidelity.measure._background", None)  # nothing is trained before it is refused
        result = invoke("fidelity", "mine", "--cycle", 0, "--candidates", 5, "--labels", "true", code=2)
    assert "error: --labels true: folder: 5 of 5 samples have no label, such as " in result.stderr
    assert result.stderr.endswith("label them or leave them out, or give --labels predicted\n")
    assert "report mine/fidelity/cycle-000" in invoke("fidelity", "mine", "--cycle", 0, "--candidates", 5).stdout


def row(labels, accuracy):
    return CycleRow(0, labels, accuracy, 1.0, 0.0, 0.0, True, 1, {})


@pytest.mark.parametrize(
    ("points", "area"),
    [
        ([(10, 0.5)], 0.5),
        ([(10, 0.5), (20, 0.7)], 0.6),
        ([(10, 0.5), (20, 0.7), (40, 0.9)], (10 * 0.6 + 20 * 0.8) / 30),
        ([(10, 0.5), (10, 0.7)], 0.7),  # nothing was answered in between
        ([(10, None), (20, None)], None),
    ],
)
def test_the_area_under_the_curve_by_hand(points, area):
    assert area_under_curve([row(*point) for point in points]) == (area if area is None else pytest.approx(area))
