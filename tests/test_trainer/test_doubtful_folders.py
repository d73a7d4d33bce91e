"""Folders of dates and cameras are not taken for classes in silence."""

import pytest
from click.testing import CliRunner
from folder_cases import put, read, write_csv

from pipeline.cli import cli as pipeline
from trainer.cli import cli as trainer
from trainer.data.doubtful import looks_like_no_class

SAID = "are taken as classes; if they are not, name the classes: --classes cat,dog"


def fill(root, *folders):
    for folder in folders:
        for n in range(6):
            put(root, f"{folder}/IMG {n}.png")


@pytest.mark.parametrize(
    ("folders", "named"),
    [
        (("2024-01-03", "2024-01-04"), "2024-01-03"),
        (("2024/01", "2025/01"), "2024"),
        (("100CANON", "101CANON"), "100CANON"),
        (("cats", "2024-01-03 Zoo"), "2024-01-03 Zoo"),
        (("cats/young", "dogs/old"), "cats"),
        (("train/2023", "train/2024", "test/2023", "test/2024"), "2023"),
        (("train/cat/a", "train/dog/b"), "cat"),
    ],
)
def test_what_may_be_no_class_is_said(tmp_path, folders, named):
    fill(tmp_path, *folders)
    assert [note for note in read(tmp_path).notes if "taken as classes" in note] == [f"folders such as {named} {SAID}"]


def test_what_nobody_doubts_is_not_said(tmp_path):
    fill(tmp_path, "cat", "dog", "dog/young")
    assert read(tmp_path).notes == ()


def test_what_the_classes_or_a_table_say_is_not_doubted(tmp_path):
    fill(tmp_path, "2023", "2024")
    assert not [note for note in read(tmp_path, classes=("2023", "2024")).notes if SAID in note]
    write_csv(tmp_path, "path,label\n" + "".join(f"{y}/IMG {n}.png,c{n % 2}\n" for y in (2023, 2024) for n in range(6)))
    assert not [note for note in read(tmp_path).notes if SAID in note]


@pytest.mark.parametrize(
    "name", ["2024", "1999-12", "2024_01_03", "20240103", "03.01.2024", "01-31-2024", "2024-01-03, Zoo", "DCIM",
             "dcim", "100CANON", "101_PANA", "103ND750", "100APPLE"],
)  # fmt: skip
def test_names_of_dates_and_cameras(name):
    assert looks_like_no_class(name)


@pytest.mark.parametrize(
    "name", ["0", "9", "42", "cat", "2024x", "1234", "20241301", "n01440764", "12345678", "type2024", "canon", "100",
             "3000", "099CANON", "class 100"],
)  # fmt: skip
def test_names_of_classes(name):
    assert not looks_like_no_class(name)


@pytest.mark.parametrize(
    ("command", "more"),
    [
        ((pipeline, "run"), ("--n-init", 2, "--query-size", 1, "--cycles", 1, "--epochs", 1, "--out", "x")),
        ((pipeline, "compare"), ("--strategies", "random", "--seeds", 0, "--n-init", 2, "--query-size", 1, "--cycles",
                                 1, "--dry-run", "--out", "x")),
        ((trainer, "fit"), ("--n-labelled", 4, "--epochs", 1, "--out", "x")),
    ],
    ids=lambda given: given[-1] if isinstance(given[-1], str) else "",
)  # fmt: skip
def test_every_command_that_reads_the_folder_says_it(tmp_path, monkeypatch, command, more):
    fill(tmp_path / "photos", "2023", "2024")
    monkeypatch.chdir(tmp_path)
    arguments = [command[1], "--dataset", "folder:photos", "--model", "mlp", *more]
    output = CliRunner().invoke(command[0], [str(each) for each in arguments])
    assert output.exit_code == 0, output.output
    assert output.stderr.count(f"folders such as 2023 {SAID}") == 1
