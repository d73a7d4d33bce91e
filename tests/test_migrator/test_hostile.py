"""Files that a stranger wrote: whatever is in them, nothing is executed, nothing hangs, and refusals have a name."""

import copy
import hashlib
import io
import json
import os
import zipfile

import networks
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from migrator import MigratorError, apply_source, load, migrate, save, to_source, verify
from migrator.checkpoint import load_state, read_state
from migrator.decode import from_json
from migrator.errors import CorruptPort, CorruptWeights, StateDictMismatch
from migrator.store import _dump, _variables
from migrator.weights import fingerprint

TOUCH = "open('PWNED', 'w')"
DEEP = 0
for _ in range(400):
    DEEP = [DEEP]
VALUES = [
    *(None, True, -1, 2**70, 10**400, 1e300, "", "x", "N" * 5000, "\ud800", "a\nb", [], {}, [None], ["N", 3], DEEP),
    *({"ref": "x"}, {"dtype": "f4"}, {"code": "1"}, 7, "N*(2+1)", "params", "__class__", "a.b", "../x"),
    *(f'a" + str({TOUCH}) + "', f"a' + str({TOUCH}) + '", f'"""+str({TOUCH})+"""', f"N+exec({TOUCH!r})", TOUCH),
]


@pytest.fixture(scope="module")
def port():
    torch.manual_seed(0)
    module = networks.mlp()
    migrated = migrate(module, torch.zeros(2, 1, 8, 8))
    verify(module, migrated, networks.examples((1, 8, 8)))
    return migrated


@pytest.fixture
def saved(port, tmp_path):
    return save(port, tmp_path / "port")


def forge(saved, graph=None, report=None):
    """Write other JSON with checksums and fingerprint that fit."""
    graph_bytes = (saved / "graph.json").read_bytes() if graph is None else json.dumps(graph).encode()
    data = json.loads((saved / "report.json").read_text()) if report is None else report
    if graph is not None:
        parsed = from_json(json.loads(graph_bytes))
        model = (saved / "model.safetensors").read_bytes()
        data["weights"] = fingerprint(parsed, _variables(parsed, model, saved))
    if isinstance(data, dict) and isinstance(data.get("sha256"), dict):
        rest = {key: value for key, value in data.items() if key != "sha256"}
        data["sha256"]["graph.json"] = hashlib.sha256(graph_bytes).hexdigest()
        data["sha256"]["report.json"] = hashlib.sha256(_dump(rest)).hexdigest()
        model = (saved / "model.safetensors").read_bytes()
        data["sha256"]["model.safetensors"] = hashlib.sha256(model).hexdigest()
    (saved / "graph.json").write_bytes(graph_bytes)
    (saved / "report.json").write_text(json.dumps(data))


def places(value, path=()):
    """Paths of all nodes of a JSON tree, those of long lists for their first and last items only."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if not isinstance(value, list) or key in (0, 1, len(value) - 1):
            yield from places(item, (*path, key))


def replaced(data, path, value):
    if not path:
        return value
    data = copy.deepcopy(data)
    level = data
    for key in path[:-1]:
        level = level[key]
    level[path[-1]] = value
    return data


def check(saved, **forged):
    """The forged port is refused by name, or loads, shows and runs as source without executing what it says."""
    try:
        forge(saved, **forged)
        text = to_source(load(saved))
    except MigratorError:
        return False
    apply_source(text)
    return True


@pytest.mark.long
def test_every_part_of_a_graph_replaced_by_anything(saved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = json.loads((saved / "graph.json").read_text())
    originals = {entry.name: entry.read_bytes() for entry in saved.iterdir()}
    rng, accepted = np.random.default_rng(0), 0
    everywhere = list(places(data))
    for path in everywhere:
        for i in rng.choice(len(VALUES), 5, replace=False):
            for name, content in originals.items():
                (saved / name).write_bytes(content)
            accepted += check(saved, graph=replaced(data, path, VALUES[i]))
    assert not (tmp_path / "PWNED").exists()
    assert 0 < accepted < len(everywhere)  # what names a module or a source line may be anything printable


@pytest.mark.long
def test_every_part_of_a_report_replaced_by_anything(saved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = json.loads((saved / "report.json").read_text())
    for path in places({key: value for key, value in data.items() if key != "key_map"}):
        for value in VALUES:
            check(saved, report=replaced(data, path, value))
    assert not (tmp_path / "PWNED").exists()


PAYLOADS = [f'a") + str({TOUCH}) + ("', f"a') + str({TOUCH}) + ('", f'"""+str({TOUCH})+"""', f"{{{TOUCH}}}"]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_names_do_not_become_code(saved, tmp_path, monkeypatch, payload):
    monkeypatch.chdir(tmp_path)
    data = json.loads((saved / "graph.json").read_text())
    binding = data["bindings"][0]
    values = load_file(saved / "model.safetensors")
    values[f"params/{payload}"] = values.pop(f"params/{'.'.join(binding['path'])}")
    save_file(values, saved / "model.safetensors")
    binding["path"] = [payload]
    data["modules"][payload] = "Linear"
    for node in data["nodes"]:
        node["module"] = payload
    old = data["inputs"][0]["name"]
    data = json.loads(json.dumps(data).replace(json.dumps(old), json.dumps(payload)))
    assert check(saved, graph=data)
    assert not (tmp_path / "PWNED").exists()


def edited(change):
    def forged(saved):
        data = json.loads((saved / "graph.json").read_text())
        change(data)
        forge(saved, graph=data)

    return forged


def reported(**fields):
    def forged(saved):
        forge(saved, report=json.loads((saved / "report.json").read_text()) | fields)

    return forged


def tensors(change):
    def forged(saved):
        values = load_file(saved / "model.safetensors")
        change(values)
        save_file(values, saved / "model.safetensors")
        forge(saved)

    return forged


def pipe(saved):
    (saved / "graph.json").unlink()
    os.mkfifo(saved / "graph.json")


def sparse(saved):
    with (saved / "model.safetensors").open("ab") as file:
        file.truncate(2**36)


def device(saved):
    (saved / "report.json").unlink()
    (saved / "report.json").symlink_to("/dev/zero")


def twice(saved):
    (saved / "graph.json").write_text((saved / "graph.json").read_text().replace('"opset"', '"opset": 1, "opset"'))
    data = json.loads((saved / "report.json").read_text())
    forge(saved, report=data)


BIAS = "params/1.bias"
HUGE = {"ref": "p_1_weight"}
FAILED = [{"name": "float64 output", "value": 1.0, "tolerance": 1e-9}]
FORGERIES = {
    "a value without its shape": (edited(lambda d: d["nodes"][-1].update(result=None)), "recorded is a number"),
    "a number with a shape": (
        edited(lambda d: d["nodes"][0].update(result=d["nodes"][-1]["result"])),
        "gives a number, recorded is float32",
    ),
    "several values for one": (
        edited(lambda d: d["nodes"][-1].update(result=[d["nodes"][-1]["result"]])),
        "recorded is several",
    ),
    "another shape": (edited(lambda d: d["nodes"][-1]["result"].update(shape=["N", 7])), r"gives shape \[2, 10\]"),
    "a size over nothing": (edited(lambda d: d["nodes"][-1]["result"].update(shape=["N//0", 10])), "not a size"),
    "too few arguments": (edited(lambda d: d["nodes"][-1].update(args=[])), "do not fit"),
    "too many arguments": (edited(lambda d: d["nodes"][-1]["args"].extend([1] * 9)), "cannot be run"),
    "a path inside another": (edited(lambda d: d["bindings"][0].update(path=["1", "bias", "x"])), "in one place"),
    "no outputs": (edited(lambda d: d.update(outputs=[])), "outputs"),
    "no inputs": (edited(lambda d: d.update(inputs=[])), "no inputs"),
    "another result": (edited(lambda d: d.update(structure=3)), "not one of 1 outputs"),
    "an axis that is no whole number": (edited(lambda d: d["bindings"][0].update(perm=[1.0, 0.0])), "not an order"),
    "a huge power": (
        edited(lambda d: d["nodes"].append(d["nodes"][0] | {"name": "p", "op": "operator.pow", "args": [10, 400]})),
        "size of more than",
    ),
    "a huge pool": (
        edited(lambda d: d["nodes"][0].update(op="aten.adaptive_max_pool2d.default", args=[HUGE, [10**5, 10**5]])),
        "pools over more than",
    ),
    "counting with text": (
        edited(lambda d: d["nodes"].append(d["nodes"][0] | {"name": "p", "op": "operator.mul", "args": ["a", 9]})),
        "no number",
    ),
    "a key twice": (twice, "stands twice"),
    "a failed check": (reported(checks=FAILED), "does not belong"),
    "no checks": (reported(checks=[]), "does not belong"),
    "a check that is too large": (reported(checks=[FAILED[0] | {"value": 10**400}]), "report.json"),
    "no seconds": (reported(seconds=None), "not a report"),
    "a note of two lines": (reported(notes=["a\nok everything"]), "cannot be printed"),
    "another type": (
        tensors(lambda t: t.update({"params/1.bias": t["params/1.bias"].astype(np.int32)})),
        "found int32",
    ),
    "a negative variance": (tensors(lambda t: t["batch_stats/2.var"].__imul__(-1)), "negative variance"),
    "a pipe": (pipe, "expected a file, but it is a pipe"),
    "a device": (device, "expected a file, but it is a device"),
    "a sparse file": (sparse, "expected at most"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forgery(saved, name):
    change, message = FORGERIES[name]

    def change_and_load():
        change(saved)  # what has no fingerprint to forge is refused already here
        load(saved)

    with pytest.raises((CorruptPort, CorruptWeights, StateDictMismatch), match=message):
        change_and_load()


def compressed(path):
    plain = io.BytesIO()
    torch.save({"w": torch.zeros(100_000)}, plain)
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))


WEIGHTS = {
    "numbers for names": (lambda path: torch.save({1: torch.zeros(1)}, path), "does not hold a state dict"),
    "no tensors": (lambda path: torch.save({"a": 1}, path), "does not hold a state dict"),
    "a whole checkpoint": (lambda path: torch.save({"epoch": 1, "state_dict": {}}, path), "but epoch, state_dict"),
    "compressed": (compressed, "is compressed"),
    "truncated": (lambda path: path.write_bytes(b"PK\x03\x04" + b"\0" * 40), "is it damaged"),
    "empty": (lambda path: path.write_bytes(b""), "is empty; write the weights again"),
    "sparse": (lambda path: torch.save({"weight": torch.eye(2).to_sparse()}, path), "w.pt|expected plain numbers"),
    "complex": (lambda path: torch.save({"weight": torch.eye(2) * 1j}, path), "the file torch.complex64"),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights(name, tmp_path):
    write, message = WEIGHTS[name]
    write(tmp_path / "w.pt")
    with pytest.raises((CorruptWeights, StateDictMismatch), match=message):
        load_state(torch.nn.Linear(2, 2, bias=False), read_state(tmp_path / "w.pt"))


@pytest.mark.parametrize("header", [b"\xff" * 8, b"\x02\0\0\0\0\0\0\0{}", b'\x10\0\0\0\0\0\0\0{"a":{"shape":[0]}'])
def test_safetensors_headers(header, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(header)
    with pytest.raises((CorruptWeights, StateDictMismatch)):
        load_state(torch.nn.Linear(2, 2), read_state(tmp_path / "w.safetensors"))
