"""Ports on disk: only verified ones, written as a whole, loaded without torch, and refused when damaged."""

import json
import subprocess
import sys
from pathlib import Path

import networks
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from migrator import MigratorError, PortMismatch, load, migrate, save, verify
from migrator.decode import from_json
from migrator.errors import CorruptPort, CorruptWeights
from migrator.graph import to_json
from migrator.store import _dump

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def verified():
    torch.manual_seed(0)
    module = networks.cnn()
    migrated = migrate(module, (torch.zeros(2, 1, 8, 8),))
    verify(module, migrated, networks.examples((1, 8, 8)))
    return migrated


@pytest.fixture
def saved(verified, tmp_path):
    return save(verified, tmp_path / "port")


def test_round_trip(verified, saved):
    loaded = load(saved)
    assert loaded.apply_fn is verified.apply_fn
    assert loaded.report == verified.report
    x = networks.examples((1, 8, 8))
    np.testing.assert_array_equal(loaded.apply_fn(loaded.variables, x), verified.apply_fn(verified.variables, x))
    assert {entry.name for entry in saved.iterdir()} == {"model.safetensors", "graph.json", "report.json"}
    keys = set(load_file(saved / "model.safetensors"))
    assert {"params/0.kernel", "params/4.scale", "batch_stats/4.mean", "batch_stats/4.var"} <= keys


def test_load_and_run_where_torch_cannot_be_imported(verified, saved, tmp_path):
    x = networks.examples((1, 8, 8))
    np.save(tmp_path / "x.npy", x)
    script = f"""
import sys
sys.modules["torch"] = None  # `import torch` raises ImportError from here on
import numpy as np
from migrator import load
port = load({str(saved)!r})
np.save({str(tmp_path / "y.npy")!r}, port.apply_fn(port.variables, np.load({str(tmp_path / "x.npy")!r})))
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, capture_output=True)
    expected = np.asarray(verified.apply_fn(verified.variables, x))
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, rtol=1e-6, atol=1e-6)


def test_an_unverified_port_is_not_saved(tmp_path):
    migrated = migrate(networks.mlp(), (torch.zeros(2, 1, 8, 8),))
    with pytest.raises(PortMismatch, match="verify it first"):
        save(migrated, tmp_path / "port")
    assert not list(tmp_path.iterdir())


def test_a_port_that_changed_after_verification_is_not_saved(tmp_path):
    module = networks.mlp()
    migrated = migrate(module, (torch.zeros(2, 1, 8, 8),))
    verify(module, migrated, networks.examples((1, 8, 8)))
    migrated.variables["params"]["1"]["bias"] += 1e-6
    with pytest.raises(PortMismatch, match="did not change since"):
        save(migrated, tmp_path / "port")
    assert not list(tmp_path.iterdir())


def test_saving_again_replaces_the_port_as_a_whole(verified, saved):
    (saved / "graph.json").write_text("damaged")
    save(verified, saved)
    load(saved)
    assert [entry.name for entry in saved.parent.iterdir()] == ["port"]


def test_a_foreign_directory_is_left_alone(verified, tmp_path):
    (tmp_path / "thesis.txt").write_text("irreplaceable")
    with pytest.raises(FileExistsError, match="not a saved port"):
        save(verified, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "irreplaceable"


def test_a_full_disk_leaves_the_old_port(verified, saved, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    before = {entry.name: entry.read_bytes() for entry in saved.iterdir()}
    monkeypatch.setattr("migrator.store.write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        save(verified, saved)
    assert {entry.name: entry.read_bytes() for entry in saved.iterdir()} == before
    assert [entry.name for entry in saved.parent.iterdir()] == ["port"]


def test_a_new_port_that_does_not_get_its_name_leaves_the_old_one(verified, saved, monkeypatch):
    replace = Path.replace

    def refuse(path, target):
        if target == saved:
            raise OSError(5, "Input/output error", str(target))
        return replace(path, target)

    before = {entry.name: entry.read_bytes() for entry in saved.iterdir()}
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        save(verified, saved)
    assert {entry.name: entry.read_bytes() for entry in saved.iterdir()} == before
    assert [entry.name for entry in saved.parent.iterdir()] == ["port"]


@pytest.mark.parametrize("name", ["model.safetensors", "graph.json", "report.json"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "missing"])
def test_damaged_files_are_refused(saved, name, damage):
    path = saved / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2 if damage == "truncated" else 0])
    with pytest.raises(MigratorError):
        load(saved)


@pytest.mark.parametrize("name", ["model.safetensors", "graph.json", "report.json"])
def test_a_flipped_bit_is_noticed_wherever_it_is(saved, name):
    path = saved / name
    content = path.read_bytes()
    for position in range(0, len(content), max(1, len(content) // 200)):
        damaged = bytearray(content)
        damaged[position] ^= 0x15
        path.write_bytes(damaged)
        with pytest.raises(MigratorError):
            load(saved)


def rehash(saved):
    """Make the checksums fit the files again, as a hostile writer would."""
    import hashlib

    report = json.loads((saved / "report.json").read_text())
    hashes = report.pop("sha256")
    for name in hashes:
        content = _dump(report) if name == "report.json" else (saved / name).read_bytes()
        hashes[name] = hashlib.sha256(content).hexdigest()
    report["sha256"] = hashes
    (saved / "report.json").write_text(json.dumps(report))


def test_other_weights_with_right_checksums_are_refused(saved):
    tensors = load_file(saved / "model.safetensors")
    tensors["params/0.bias"] = tensors["params/0.bias"] + 1
    save_file(tensors, saved / "model.safetensors")
    rehash(saved)
    with pytest.raises(CorruptPort, match="does not belong"):
        load(saved)


def test_weights_that_are_not_finite_are_refused(saved):
    tensors = load_file(saved / "model.safetensors")
    tensors["params/0.bias"] = tensors["params/0.bias"] * np.nan
    save_file(tensors, saved / "model.safetensors")
    rehash(saved)
    with pytest.raises(CorruptWeights, match="NaN"):
        load(saved)


def _set(*path_and_value):
    *path, value = path_and_value

    def change(data):
        level = data
        for part in path[:-1]:
            level = level[part]
        level[path[-1]] = value

    return change


HOSTILE = {
    "another version": (_set("opset", 99), "operator set 99"),
    "unknown operator": (_set("nodes", 0, "op", "os.system"), "without a rule"),
    "operator named twice": (lambda data: data["nodes"].append(data["nodes"][0]), "twice"),
    "use before definition": (_set("nodes", 0, "args", [{"ref": "later"}]), "before it is defined"),
    "unknown argument": (_set("nodes", 0, "args", [{"code": "1"}]), "unknown argument"),
    "no nodes": (lambda data: data.pop("nodes"), "lacks or does not know 'nodes'"),
    "bad order of axes": (_set("bindings", 0, "perm", [7, 7, 7, 7]), "not an order"),
    "bad collection": (_set("bindings", 0, "collection", "secrets"), "unknown collection"),
    "bad shape": (_set("bindings", 0, "spec", "shape", [-3]), "not a size"),
    "a list": (None, "expected an object"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_graphs_are_refused_even_with_right_checksums(saved, name):
    change, message = HOSTILE[name]
    data = json.loads((saved / "graph.json").read_text())
    if change is None:
        data = [data]
    else:
        change(data)
    (saved / "graph.json").write_text(json.dumps(data))
    rehash(saved)
    with pytest.raises(MigratorError, match=message):
        load(saved)


def test_graph_json_round_trip(verified):
    again = from_json(json.loads(json.dumps(to_json(verified.graph))))
    assert again.digest == verified.graph.digest
    assert again == verified.graph
