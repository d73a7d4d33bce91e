"""Files and numbers that nobody means well with: one line, exit code 2, and no time or memory spent on them."""

import os
import re

import pytest

from pipeline.config import load_config
from pipeline.errors import PipelineError
from pipeline.parsing import DEEPEST, LARGEST, parse_yaml, read_yaml
from pipeline.run.stages.store import read_manifest

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 30)
)
MERGES = "x0: &x0 {a: 1}\n" + "".join(f"x{i}: &x{i} {{<<: [{', '.join([f'*x{i - 1}'] * 9)}]}}\n" for i in range(1, 30))
HUGE = 10**20


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, r"its aliases \(\*\) stand for .* values, expected at most 100,000"),
        (MERGES, "its aliases"),
        ("model: &m {options: *m}", "contains itself, in line 1"),
        ("a: " + "[" * 100_000, "nests more than 50 levels"),
        ("- " * 100_000, "nests more than 50 levels"),
        ("{a: " * 100_000, "nests more than 50 levels"),
        ("? " * 100_000, "nests more than 50 levels"),
        ("seed: 0x" + "f" * 100_000, "at most 100 digits"),
        ("seed: " + "1:" * 3000 + "1", "at most 100 digits"),
        ("seed: " + "9" * 5000, "at most 100 digits"),
    ],
)
def test_yaml_that_comes_to_more_than_anybody_writes(tmp_path, command, text, says):
    with pytest.raises(PipelineError, match=says):
        parse_yaml(text, "here")
    (tmp_path / "a.yaml").write_text(text)
    result = command("run")("--config", tmp_path / "a.yaml", code=2)
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_aliases_that_anybody_writes_are_read():
    text = "a: &a [1, 2]\nb: &b {k: *a, l: *a}\nc: [*b, *b, *a]\nd: {<<: *b, m: 3}\n"
    b = {"k": [1, 2], "l": [1, 2]}
    assert parse_yaml(text, "here") == {"a": [1, 2], "b": b, "c": [b, b, [1, 2]], "d": {**b, "m": 3}}
    assert parse_yaml("[" * DEEPEST + "]" * DEEPEST, "here") is not None
    assert parse_yaml(f"seed: {HUGE}", "here") == {"seed": HUGE}
    many = parse_yaml("".join(f"- {i}\n" for i in range(50_000)), "here")
    assert many == list(range(50_000))


def test_a_file_that_has_no_end_is_not_read(tmp_path, command):
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(LARGEST + 1)
    for path in ("/dev/zero", tmp_path / "pipe", tmp_path, tmp_path / "large"):
        with pytest.raises(OSError, match="expected|directory"):
            read_yaml(path)
        for option in ("--config", "--init-weights"):
            if (option, path) == ("--init-weights", tmp_path / "large"):
                continue  # which may be as large
            said = command("run")(option, path, code=2).stderr
            assert "cannot read" in said
            assert len(said.splitlines()) == 1


def test_an_answer_file_that_has_no_end_is_not_read(start, command):
    run = start()
    said = command("ingest")(run, "/dev/zero", code=2).stderr
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("text", ["[" * 100_000, '{"files": ' * 100_000, "9" * 5000])
def test_a_manifest_that_nests_without_end_is_none(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    assert read_manifest(tmp_path) is None


@pytest.mark.parametrize(
    ("model", "option", "value", "says"),
    [
        ("cnn", "width", HUGE, "at most 2147483647"),
        ("mlp", "depth", HUGE, "at most 1000"),
        ("mlp", "width", 2**31 - 1, "larger than any tensor can be"),
        ("vgg11", "hidden", 10**7, "takes .* GiB to be trained, but .* are free"),
        ("cnn", "width", 10**6, "takes .* GiB to be trained, but .* are free"),
    ],
)
def test_a_network_that_memory_does_not_hold_is_refused_before_anything_is_written(
    tmp_path, command, model, option, value, says
):
    said = command("run")("--model", model, "--set", f"model.options.{option}={value}", code=2).stderr
    assert re.search(says, said)
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("field", ["threads", "train.epochs", "query.size", "query.n_init"])
def test_a_number_beyond_reason_is_refused(command, field):
    said = command("run")("--set", f"{field}={HUGE}", code=2).stderr
    assert str(HUGE) in said
    assert len(said.splitlines()) == 1


def test_a_seed_may_be_any_number():
    assert load_config(options={"seed": HUGE}).seed == HUGE
