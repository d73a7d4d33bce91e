import subprocess
import sys

import pytest

from pipeline.run.stages.store import read_manifest, remove_leftovers, set_aside, write_stage


def build(into):
    (into / "a.bin").write_bytes(b"weights")
    (into / "b.txt").write_text("text")


def test_a_written_stage_is_complete(tmp_path):
    manifest = write_stage(tmp_path / "cycle" / "train", build)
    read = read_manifest(tmp_path / "cycle" / "train")
    assert read.files == manifest.files
    assert set(read.files) == {"a.bin", "b.txt"}


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: (d / "a.bin").write_bytes(b"weightz"),
        lambda d: (d / "a.bin").write_bytes(b"weight"),
        lambda d: (d / "b.txt").unlink(),
        lambda d: (d / "manifest.json").write_text("{"),
        lambda d: (d / "manifest.json").write_text("[]"),
        lambda d: (d / "manifest.json").unlink(),
    ],
)
def test_damage_is_noticed(tmp_path, damage):
    directory = tmp_path / "train"
    write_stage(directory, build)
    damage(directory)
    assert read_manifest(directory) is None
    aside = set_aside(directory)
    assert aside.exists()
    assert not directory.exists()


def test_a_stage_that_fails_leaves_nothing(tmp_path):
    def fail(into):
        build(into)
        raise RuntimeError("diverged")

    with pytest.raises(RuntimeError, match="diverged"):
        write_stage(tmp_path / "train", fail)
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    cycle = tmp_path / "cycles/000"
    (cycle / "train.tmp-0123").mkdir(parents=True)
    (cycle / "train.tmp-0123" / "half").write_text("x")
    (tmp_path / ".metrics.csv.tmp-4567").write_text("x")
    (cycle / ".query.jsonl.tmp-4567").write_text("x")
    (cycle / "train").mkdir()
    remove_leftovers(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "cycles", "cycles/000", "cycles/000/train",
    ]  # fmt: skip


def test_a_full_disk_keeps_the_old_content_and_names_the_path(tmp_path):
    path = tmp_path / "state.json"
    path.write_text("old")
    program = (
        "import pathlib, resource, sys\n"
        "from pipeline.files import write_atomically\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "write_atomically(pathlib.Path(sys.argv[1]), 'x' * 1000)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "File too large: '" + str(path) in done.stderr
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]
