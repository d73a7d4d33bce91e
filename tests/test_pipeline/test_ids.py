"""Every id that leaves a run leads back to a file or row of the user's own."""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner
from folder_cases import put, write_csv

from common.cells import safe_path
from pipeline.cli import cli
from pipeline.verify.run import verify

QUICK = ["--model", "mlp", "--n-init", "6", "--query-size", "3", "--cycles", "2", "--epochs", "2", "--device", "cpu"]


def table(path):
    with path.open(encoding="utf-8-sig", newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture
def archive(tmp_path):
    """Sixty rows whose label is their row number modulo three; a third of the training rows were drawn for testing."""
    images = np.random.default_rng(0).integers(0, 256, (60, 6, 6), np.uint8)
    np.savez(tmp_path / "scans.npz", X=images, y=np.arange(60) % 3)
    return f"npz:{tmp_path}/scans.npz", lambda path: str(int(path.removeprefix("scans.npz#X[").removesuffix("]")) % 3)


@pytest.fixture
def listed(tmp_path):
    """Files whose order in the list is not that of their paths, one of them with a name that is a formula."""
    names = [f"{'=' if n == 7 else ''}{n * 7 % 40:02}.png" for n in range(40)]
    for name in names:
        put(tmp_path / "photos", name)
    label = {name: "odd" if n % 2 else "even" for n, name in enumerate(names)}
    write_csv(tmp_path / "photos", "path,label\n" + "".join(f"{name},{label[name]}\n" for name in names))
    return f"folder:{tmp_path}/photos", lambda path: label[path.removeprefix("./")]


@pytest.mark.parametrize("kind", ["archive", "listed"])
def test_the_label_of_every_id_in_the_log_is_that_of_its_row(kind, request, tmp_path):
    data, answer = request.getfixturevalue(kind)
    run = tmp_path / "run"
    given = ["run", "--dataset", data, "--strategy", "margin", *QUICK, "--set", "train.max_lr=0.01", "--out", str(run)]
    result = CliRunner().invoke(cli, given)
    assert result.exit_code == 0, result.output
    paths = {int(row["sample_id"]): row["path"] for row in table(run / "samples.csv")}
    queried = [json.loads(line) for line in (run / "cycles/000/query.jsonl").read_text().splitlines()]
    classes = queried[0]["classes"]
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    said = [pair for event in events if event["event"] == "label" for pair in event["labels"]]
    assert len(said) == 9
    for sample, label in said:
        assert classes[label] == answer(paths[sample])
    assert all(paths[row["sample_id"]] == safe_path(row["path"]) for row in queried)
    ranking = table(run / "cycles/000/score/candidates.csv")
    with np.load(run / "cycles/000/score/scores.npz") as scored:
        by_id = dict(zip(scored["candidates"].tolist(), scored["scores"].tolist(), strict=True))
        predicted = dict(zip(scored["candidates"].tolist(), scored["pseudo_labels"].tolist(), strict=True))
    assert len(ranking) == len(by_id)
    assert [float(row["score"]) for row in ranking] == sorted(by_id.values(), reverse=True)
    for row in ranking:
        sample = int(row["sample_id"])
        assert row["path"] == paths[sample]
        assert float(row["score"]) == by_id[sample]
        assert row["predicted"] == classes[predicted[sample]]
    assert {row["sample_id"] for row in queried} == {int(row["sample_id"]) for row in ranking[:3]}
    assert verify(run).faults == []
    for name in sorted({"samples.csv", "data.json"} & {path.name for path in run.iterdir()}):
        content = (run / name).read_bytes()
        (run / name).write_bytes(content[:-9] + b"0" + content[-8:])
        [fault] = verify(run).faults
        assert fault.startswith(f"{run / name}: ")
        (run / name).unlink()
        (run / name).mkdir()
        [fault] = verify(run).faults
        assert fault.startswith(f"{run / name}: ")
        assert fault.endswith(": move it elsewhere, and 'pipeline resume' writes it again")
        (run / name).rmdir()
        (run / name).write_bytes(content)


def test_the_table_of_a_run_that_lacks_it_is_made_when_it_goes_on(archive, tmp_path):
    run = tmp_path / "run"
    given = ["run", "--dataset", archive[0], "--strategy", "random", *QUICK, "--out", str(run)]
    assert CliRunner().invoke(cli, given).exit_code == 0
    before = (run / "samples.csv").read_bytes()
    (run / "samples.csv").unlink()
    assert CliRunner().invoke(cli, ["resume", str(run)]).exit_code == 0
    assert (run / "samples.csv").read_bytes() == before
