"""A run that asks about a folder of small images, without any training, and what tools say of it."""

from pathlib import Path

from click.testing import CliRunner
from folder_cases import put

from pipeline.cli import cli
from pipeline.config import load_config
from pipeline.run.beginning import begin
from pipeline.run.context import load_data, open_context
from pipeline.run.rundir import RunDirectory, create_run, read_config, read_events

GOLDEN = Path(__file__).parent / "test_pipeline" / "golden" / "label_studio"
NAMES = ("a/1.png", "b/1.png", "2.png", "3.jpg", "b/Größe 4.png", "5.png", "6.png", "7.png")


def call(*arguments, code=0):
    result = CliRunner().invoke(cli, [*map(str, arguments)])
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def asked(folder, names=NAMES, ask=None, **options):
    """Make a folder of images and a run that asks about them; return the run's path."""
    for name in names:
        put(folder / "photos", name)
    return asking(folder, f"folder:{folder / 'photos'}", {"data.classes": ["cat", "dog"]} | options, ask)


def asking(folder, data, options, ask=None):
    """Make a run that asks about samples of a data set, the last one first by default."""
    path = folder / "run"
    fixed = {"data.name": data, "annotator.name": "files", "query.strategy": "margin", "model.name": "mlp"}
    created = fixed | {"data.test_fraction": 0.0, "query.n_init": 2, "query.size": 1, "cycles": 1} | options
    create_run(path, load_config(options=created))
    with RunDirectory(path, print) as run:
        context = open_context(read_config(path))
        begin(run, context)
        ids = [*range(len(context.data.train))][::-1] if ask is None else ask
        run.append("query", cycle=-1, ids=ids, scores=[0.0] * len(ids))
    return path


def sample_of(path, name):
    """The id of an image of a run."""
    data = load_data(read_config(path), run=path)
    return next(n for n in range(len(data.train)) if data.sample_path("train", n) == name)


def run_id(path):
    return read_events(path)[0]["run_id"]


def said(path):
    """What is in force: by sample and annotator, the label; None for a skip."""
    found = {}
    for event in read_events(path):
        if event["event"] == "undo":
            for sample in event["ids"]:
                found.pop((sample, event["annotator"]))
        if event["event"] in ("label", "skip"):
            pairs = event["labels"] if event["event"] == "label" else [(sample, None) for sample in event["ids"]]
            names = event["annotator"] if isinstance(event["annotator"], list) else [event["annotator"]] * len(pairs)
            found |= {(sample, name): label for (sample, label), name in zip(pairs, names, strict=True)}
    return found
