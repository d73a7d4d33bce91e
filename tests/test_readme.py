"""What the README and the pages of docs/ promise: their commands, their Python, their tables and links."""

import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

import linearize.cli
import migrator
import migrator.cli
import pipeline.cli
import trainer.cli
from linearize import CRITERIA
from pipeline.queries import STRATEGIES

ROOT = Path(__file__).parent.parent
README, PAGES = ROOT / "README.md", sorted((ROOT / "docs").glob("*.md"))
TEXT = "\n".join(page.read_text() for page in (README, *PAGES))
PYTHON = ("own-strategy", "own-network", "migrator", "kernel")
"""Pages with Python, in the order in which it may be read."""
COMMANDS = {module.__name__.partition(".")[0]: module.cli for module in (trainer.cli, migrator.cli, linearize.cli)}
COMMANDS["pipeline"] = pipeline.cli.cli


def commands(mark):
    """The commands of the block with that mark, continuation lines joined, comments dropped."""
    [block] = re.finditer(rf"<!-- {mark} -->\s*```bash\n(.*?)```", TEXT, re.DOTALL)
    return [shlex.split(line, comments=True) for line in block[1].replace("\\\n", " ").splitlines() if line.strip()]


def run_commands(mark, directory, *more):
    """Run the commands of a block in a directory, each with some options more; the last of an option counts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        for program, *arguments in commands(mark):
            result = CliRunner().invoke(COMMANDS[program], [*arguments, *more])
            assert result.exit_code == 0, (program, result.output, result.exception)
    return directory


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """The files that the README's commands leave behind."""
    return run_commands("stages-alone", tmp_path_factory.mktemp("stages"))


def test_the_readmes_stage_commands_run_and_end_in_scores(chain):
    with np.load(chain / "scores.npz") as scores, np.load(chain / "arrays/pool.npz") as pool:
        assert np.array_equal(scores["ids"], pool["ids"])
        assert np.isfinite(scores["scores"]).all()
        assert scores["scores"].max() >= 1  # somewhere a label would flip a prediction
        assert set(scores["pseudo_labels"]) <= set(range(10))


@pytest.mark.long
def test_the_readmes_migrator_commands_run(tmp_path):
    run_commands("migrator-alone", tmp_path)
    assert "class ResNet(Part):" in (tmp_path / "resnet18.py").read_text()


def test_the_readmes_python_runs(chain, monkeypatch):
    monkeypatch.chdir(chain)
    pages = [ROOT / f"docs/{page}.md" for page in PYTHON]
    assert {page for page in (README, *PAGES) if "```python" in page.read_text()} == set(pages)
    code = "\n".join(re.findall(r"```python\n(.*?)```", "\n".join(page.read_text() for page in pages), re.DOTALL))
    rng = np.random.default_rng(0)
    X, pool = (rng.normal(size=(n, 3, 8, 8)).astype(np.float32) for n in (6, 9))
    names = {"X": X, "Y": np.eye(10)[:6], "pool": pool}
    monkeypatch.setattr("migrator.save", lambda port, path, save=migrator.save: save(port, f"{path}-readme"))
    monkeypatch.setattr("migrator.load", lambda path, load=migrator.load: load(f"{path}-readme"))
    exec(code, names)
    assert names["logits"].shape == (8, 10)
    assert names["scores"].shape == (9,)
    assert names["stream"].observed.shape == (4,)
    assert not {*names["batch"]} & {*names["stream"].observed}


@pytest.fixture
def photos(tmp_path):
    """What a reader of "Your own images" has: a folder of images of three classes, and an archive of arrays."""
    rng = np.random.default_rng(0)
    for number in range(75):
        path = tmp_path / "photos" / ("cat", "dog", "Bär von vorn")[number % 3] / f"photo {number}.JPG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(60 * (number % 3), 256, (40, 36 + number % 5, 3), np.uint8)).save(path)
    x = rng.integers(0, 256, (60, 8, 8), np.uint8)
    np.savez(tmp_path / "scans.npz", X=x, y=(x.mean((1, 2)) > 127).astype(int))
    return tmp_path


def test_the_readmes_commands_on_ones_own_images_run(photos):
    run_commands("own-images", photos, "--epochs", "2")
    asked = photos / "runs/photos-cnn-margin-influence-sequential-seed0/cycles/000/query.jsonl"
    [picture, *_] = asked.read_text().splitlines()
    assert (photos / "photos" / json.loads(picture)["path"]).is_file()
    assert (photos / "runs/scans-cnn-margin-seed0/metrics.csv").is_file()
    assert json.loads((photos / "fit-photos/model.json").read_text())["input_shape"] == [1, 32, 32]


@pytest.mark.long
def test_the_readmes_features_without_labels_are_begun_with(photos):
    run_commands("pretrain", photos, "--epochs", "2")
    assert json.loads((photos / "features/backbone.json").read_text())["head"] == "10"
    assert (photos / "runs/photos-cnn-margin-influence-sequential-seed0/metrics.csv").is_file()


def test_the_readmes_network_of_ones_own_runs(photos, monkeypatch):
    block = re.search(r"<!-- own-network-file -->\s*```python\n(.*?)```", TEXT, re.DOTALL)
    (photos / "my_net.py").write_text(block[1])
    monkeypatch.setattr("sys.path", list(sys.path))
    run_commands("own-network", photos, "--epochs", "2")
    runs = [photos / "runs" / f"digits-my_net-build-margin-influence-sequential-seed0{again}" for again in ("", "-2")]
    configs = [yaml.safe_load((run / "config.yaml").read_text())["model"] for run in runs]
    assert [config["name"] for config in configs] == ["my_net:build"] * 2
    assert [config["init_skip"] for config in configs] == [None, ["3"]]
    assert (photos / "runs/photos-torchvision.models-resnet18-entropy-seed0/metrics.csv").is_file()
    sys.modules.pop("my_net")


def test_every_strategy_is_named():
    for name in STRATEGIES:  # its modes are named by a rule
        assert f"`{name}`" in (ROOT / "docs/experiments.md").read_text()


def test_the_readme_is_one_that_people_read():
    assert len(README.read_bytes()) <= 10_000


def anchors(page):
    """What a link may point to within a page: its headings, as GitHub and MkDocs make them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    return {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }


@pytest.mark.parametrize("page", [README, *PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        other = page if not name else (page.parent / name).resolve()
        assert other.exists(), target
        assert not anchor or anchor in anchors(other), target


def test_every_page_is_reached_from_the_readme():
    assert {page.name for page in PAGES} <= set(re.findall(r"docs/([\w-]+\.md)", README.read_text()))


def test_the_table_of_criteria_is_what_their_records_say():
    rows = [row.split(" | ") for row in TEXT.splitlines() if row.startswith("| `")]
    found = {row[0].split("`")[1]: (row[1], row[2].removesuffix(" |")) for row in rows if len(row) == 3}
    for name, criterion in CRITERIA.items():
        assert found[name] == (criterion.description, criterion.source)


@pytest.fixture
def score(chain, tmp_path):
    """Run ``linearize score`` on the chain's files with some options replaced."""

    def run(code, **replaced):
        options = {
            "labeled": chain / "arrays/labelled.npz",
            "pool": chain / "arrays/pool.npz",
            "output": tmp_path / "scores.npz",
        } | {key: value for key, value in replaced.items() if key != "port"}
        port = replaced.get("port", chain / "port")
        arguments = ["score", str(port), *(a for k, v in options.items() for a in (f"--{k}", str(v)))]
        result = CliRunner().invoke(linearize.cli.cli, arguments)
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return run


def test_criteria_and_heads_can_be_chosen(score, tmp_path):
    default = score(0)
    assert "condition_number" in default.stdout
    score(0, criterion="mlmoc", reference="linearized", kernel="single-logit", output=tmp_path / "other.npz")
    with np.load(tmp_path / "scores.npz") as first, np.load(tmp_path / "other.npz") as second:
        assert not np.allclose(first["scores"], second["scores"])
    score(0, criterion="mlmoc", reference="linearized", distance="simplex", output=tmp_path / "simplex.npz")
    score(0, criterion="mlmoc", reference="linearized", output=tmp_path / "outputs.npz")
    with np.load(tmp_path / "simplex.npz") as first, np.load(tmp_path / "outputs.npz") as second:
        assert not np.allclose(first["scores"], second["scores"])
    score(0, criterion="mlmoc", reference="linearized", loss="cross-entropy", output=tmp_path / "ce.npz")
    with np.load(tmp_path / "ce.npz") as first, np.load(tmp_path / "outputs.npz") as second:
        assert not np.allclose(first["scores"], second["scores"])
    margin = score(0, criterion="margin-lin", output=tmp_path / "margin.npz")
    assert re.search(r"kernel of \d+ × \d+ examples", margin.stderr)  # a rectangle, no Θ(U,U)
    with np.load(tmp_path / "margin.npz") as scores:
        assert ((scores["scores"] >= -1) & (scores["scores"] <= 0)).all()


def test_bad_files_are_one_line_and_nothing_is_written(score, chain, tmp_path):
    text, empty = tmp_path / "text.npz", tmp_path / "empty.npz"
    text.write_text("no arrays")
    np.savez(empty, z=np.zeros(3))
    scalars, wide, wide_pool = (tmp_path / f"{name}.npz" for name in ("scalars", "wide", "wide_pool"))
    np.savez(scalars, x=np.float32(1), y=np.float32(1))
    np.savez(wide, x=np.zeros((2, 1, 3), np.float32), y=np.eye(10)[:2])
    half, holes, twice = (tmp_path / f"{name}.npz" for name in ("half", "holes", "twice"))
    np.savez(half, x=np.zeros((2, 1, 8, 8), np.float32), y=np.eye(10)[:2] / 2)
    np.savez(holes, x=np.full((2, 1, 8, 8), np.nan, np.float32), y=np.eye(10)[:2])
    np.savez(twice, x=np.zeros((2, 1, 8, 8), np.float32), ids=np.zeros(2, int))
    np.savez(wide_pool, x=np.zeros((2, 1, 3), np.float32), ids=np.arange(2))
    cases = [
        ({"labeled": text}, "expected an npz file with the numeric arrays x and y"),
        ({"labeled": tmp_path / "absent.npz"}, "expected an npz file with the numeric arrays x and y"),
        ({"pool": empty}, "expected an npz file with the numeric arrays x and ids; it has z"),
        ({"labeled": scalars}, "expected x [L, ...]"),
        ({"labeled": wide, "pool": wide_pool}, "the network does not take inputs float32[1, 3]"),
        ({"output": tmp_path / "nowhere/s.npz"}, "lies in no existing directory"),
        ({"loader": ".a:b"}, "expected PKG.MOD:FUNCTION that can be imported"),
        ({"port": tmp_path}, "cannot load it"),
        ({"loader": "nowhere:load"}, "expected PKG.MOD:FUNCTION that can be imported"),
        ({"loader": "json"}, "expected PKG.MOD:FUNCTION that can be imported"),
        ({"loader": "os:listdir"}, "expected an object with apply_fn and variables"),
        ({"labeled": half}, "expected y one-hot"),
        ({"labeled": holes}, "X contains NaN or infinity"),
        ({"pool": twice}, "expected every id once"),
        ({"output": chain / "scores.npz"}, "expected a new file"),
        ({"memory-budget": "1MB"}, "does not fit into a memory budget of 1 MiB"),
        ({"logit": "10", "kernel": "single-logit"}, "between 0 and 9, got 10"),
    ]
    for replaced, message in cases:
        result = score(2, **replaced)
        assert message in result.stderr, replaced
        assert result.stderr.count("\n") == 1
        assert not (tmp_path / "scores.npz").exists()
