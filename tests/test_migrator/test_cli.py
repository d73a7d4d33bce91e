"""The command line: results on stdout, one line on stderr and exit code 2 for refusals, nothing half written."""

import sys
from pathlib import Path

import networks
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from migrator import cli, load
from migrator.checkpoint import load_state

MODEL = "networks:mlp"


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["migrator", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code or 0, *capsys.readouterr()


@pytest.fixture
def migrator(monkeypatch, capsys):
    return lambda *arguments: run(monkeypatch, capsys, *arguments)


def convert(*more, model=MODEL, shape="2,1,8,8"):
    return ["convert", "--model", model, "--example-shape", shape, *more]


def test_convert_show_and_verify(migrator, tmp_path):
    out, weights, real = tmp_path / "port", tmp_path / "w.safetensors", tmp_path / "x.npy"
    save_file(networks.mlp().state_dict(), weights)
    np.save(real, networks.examples((1, 8, 8)))
    code, text, _ = migrator(*convert("--weights", weights, "--examples", real, "-o", out))
    assert code == 0
    assert "float64 output" in text
    code, text, _ = migrator("show", out)
    assert code == 0
    assert "aten.linear.default" in text
    assert "1.kernel: float32[64, 32] = 2,048 numbers, torch's 1.weight" in text
    code, text, _ = migrator("verify", out, "--against", MODEL, "--weights", weights)
    assert code == 0
    assert "tangent kernel" in text


def test_factory_arguments(migrator, tmp_path):
    arguments = ["--model-args", '{"channels": 2, "side": 4}']
    code, _, _ = migrator(*convert(*arguments, "-o", tmp_path / "port", shape="2,2,4,4"))
    assert code == 0


def test_verify_against_other_weights_fails(migrator, tmp_path):
    out = tmp_path / "port"
    assert migrator(*convert("-o", out))[0] == 0
    save_file(networks.mlp().state_dict(), tmp_path / "w.safetensors")
    code, _, error = migrator("verify", out, "--against", MODEL, "--weights", tmp_path / "w.safetensors")
    assert code == 2
    assert error.startswith("error: the port differs from torch")


def test_verify_without_weights_takes_the_ports(migrator, tmp_path):
    out = tmp_path / "port"
    assert migrator(*convert("-o", out))[0] == 0
    code, text, _ = migrator("verify", out, "--against", MODEL)
    assert code == 0
    assert "note no --weights were given and the factory's own differ" in text
    code, _, error = migrator("verify", out, "--against", "networks:cnn", "--model-args", '{"channels": 1, "side": 8}')
    assert code == 2
    assert "do not fit the model" in error


def test_source_is_written_and_verified_against_torch(migrator, tmp_path):
    out, source = tmp_path / "port", tmp_path / "network.py"
    assert migrator(*convert("-o", out))[0] == 0
    code, text, _ = migrator("source", out, "-o", source)
    assert code == 0
    assert "equal to the port" in text
    assert migrator("source", out)[1] == source.read_text()
    code, text, _ = migrator("verify", out, "--against", MODEL, "--source", source)
    assert code == 0
    assert "tangent kernel" in text
    code, _, error = migrator("source", out, "-o", source)
    assert code == 2
    assert "exists" in error
    source.write_text(source.read_text().replace("jax.nn.relu(", "jnp.tanh("))
    code, _, error = migrator("verify", out, "--against", MODEL, "--source", source)
    assert code == 2
    assert error.startswith(f"error: {source}: the source differs from torch in `float64 output")
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe")
    code, _, error = migrator("verify", out, "--against", MODEL, "--source", tmp_path / "binary.py")
    assert code == 2
    assert "binary.py is not a text in UTF-8" in error
    source.write_text(source.read_text().replace("1.kernel", "1.kernal"))
    code, _, error = migrator("verify", out, "--against", MODEL, "--source", source)
    assert code == 2
    assert "cannot be run with the tensors of this port (KeyError" in error


def test_a_wrong_path_is_bad_input_and_a_full_disk_a_failure(migrator, tmp_path, monkeypatch):
    out = tmp_path / "port"
    assert migrator(*convert("-o", out))[0] == 0
    (tmp_path / "file").write_text("")
    code, _, error = migrator("source", out, "-o", tmp_path / "file" / "network.py")
    assert code == 2
    assert error == f"error: cannot read or write {tmp_path / 'file'}: File exists\n"

    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("migrator.store.write_bytes", full)
    code, _, error = migrator("source", out, "-o", tmp_path / "network.py")
    assert code == 1
    assert error == f"failed: cannot read or write {tmp_path / 'network.py'}: No space left on device\n"


def test_several_inputs_of_several_types(migrator, tmp_path):
    shapes = ["--example-shape", "2,5:int64", "--example-shape", "2,5"]
    command = ["convert", "--model", "networks:TwoInputs", *shapes]
    assert migrator(*command, "-o", tmp_path / "made up")[0] == 0
    command += ["-o", tmp_path / "port"]
    rng = np.random.default_rng(0)
    np.save(tmp_path / "tokens.npy", rng.integers(0, 7, (6, 5)))
    np.save(tmp_path / "numbers.npy", rng.standard_normal((6, 5)))
    examples = ["--examples", tmp_path / "tokens.npy", "--examples", tmp_path / "numbers.npy"]
    np.save(tmp_path / "beyond.npy", rng.integers(7, 9, (6, 5)))
    code, _, error = migrator(*command, "--examples", tmp_path / "beyond.npy", *examples[2:])
    assert code == 2
    assert "the module itself cannot be run on" in error
    assert "IndexError" in error
    assert migrator(*command, *examples)[0] == 0
    assert migrator("verify", tmp_path / "port", "--against", "networks:TwoInputs", *examples)[0] == 0
    assert migrator("source", tmp_path / "port")[0] == 0


class Payload:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


REFUSED = {
    "a model that is not there": (convert(model="networks:nothing"), "cannot be built"),
    "a factory that is not a model": (convert(model="networks:examples", shape="1"), "cannot be built"),
    "missing weights": (convert("--weights", "absent.pt"), "no weights at absent.pt"),
    "damaged weights": (convert("--weights", "damaged.safetensors"), "not a safetensors file"),
    "a pickle that runs code": (convert("--weights", "payload.pt"), "would run"),
    "a whole model": (convert("--weights", "model.pt"), "would run"),
    "other names": (convert("--weights", "names.safetensors"), "missing"),
    "a wrong example shape": (convert(shape="2,1,9,9"), "cannot be run on [2, 1, 9, 9] of float32 (RuntimeError"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_are_one_line_and_write_nothing(migrator, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path("damaged.safetensors").write_bytes(b"\xff" * 40)
    torch.save({"w": Payload()}, "payload.pt")
    torch.save(networks.mlp(), "model.pt")
    save_file({"other": torch.zeros(1)}, "names.safetensors")
    before = set(tmp_path.iterdir())
    arguments, message = REFUSED[name]
    code, out, error = migrator(*arguments, "-o", "port")
    assert code == 2
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert out == ""
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("prefixes", [("module.", "_orig_mod."), ("_orig_mod.", "module.")])
def test_wrapped_names_are_stripped_and_reported(migrator, tmp_path, prefixes):
    state = {f"{''.join(prefixes)}{name}": value for name, value in networks.mlp().state_dict().items()}
    torch.save(state, tmp_path / "w.pt")
    code, text, _ = migrator(*convert("--weights", tmp_path / "w.pt", "-o", tmp_path / "port"))
    assert code == 0
    for prefix in prefixes:
        assert f"note removed the prefix `{prefix}` from all 9 names of the weights\n" in text
    notes = load(tmp_path / "port").report.notes
    assert [prefix in note for prefix, note in zip(prefixes, notes, strict=True)] == [True, True]
    assert "note removed" in migrator("show", tmp_path / "port")[1]
    code, text, _ = migrator("verify", tmp_path / "port", "--against", MODEL, "--weights", tmp_path / "w.pt")
    assert code == 0
    assert text.count("note removed") == 2


def test_names_that_do_not_fit_after_stripping_say_so(migrator, tmp_path):
    save_file({"module.other": torch.zeros(1)}, tmp_path / "w.safetensors")
    code, _, error = migrator(*convert("--weights", tmp_path / "w.safetensors", "-o", tmp_path / "port"))
    assert code == 2
    assert "removed the prefix `module.` from all 1 names of the weights): missing" in error
    assert "unknown ['other']" in error


def test_a_models_own_module_prefix_stays():
    wrapped = torch.nn.Module()
    wrapped.module = networks.mlp()
    state = {name: value + 1 for name, value in wrapped.state_dict().items()}
    assert load_state(wrapped, state) == ()
    assert torch.equal(wrapped.module[1].bias, state["module.1.bias"])


@pytest.mark.parametrize("command", ["convert", "verify", "show"])
def test_help_shows_one_runnable_example(command):
    text = CliRunner().invoke(cli.cli, [command, "--help"]).output
    assert f"  migrator {command} " in text
    assert "Example:" in text
