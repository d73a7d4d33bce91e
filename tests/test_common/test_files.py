"""Whole or not at all: files and folders while something goes wrong."""

import pytest

from common.files import replacing, replacing_folder, sha256_of, write_bytes


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "a"
    write_bytes(path, b"old")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert left(tmp_path) == ["a"]
    assert sha256_of(path).startswith("11507a0e2f5e69d5")


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "a"
    write_bytes(path, b"old")

    def fail():
        with replacing(path) as stream:
            stream.write(b"half")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_bytes() == b"old"
    assert left(tmp_path) == ["a"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_folder_appears_with_all_its_files_or_not_at_all(tmp_path, error):

    def fail():
        with replacing_folder(tmp_path / "out") as folder:
            (folder / "one").write_text("1")
            raise error

    with pytest.raises(error):
        fail()
    assert left(tmp_path) == []
    with replacing_folder(tmp_path / "out") as folder:
        (folder / "one").write_text("1")
        before = left(tmp_path)
    assert before != ["out"]
    assert left(tmp_path / "out") == ["one"]


def test_a_folder_that_is_taken_stays_as_it_is(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    with pytest.raises(OSError, match="not empty"), replacing_folder(tmp_path / "out") as folder:
        (folder / "one").write_text("1")
    assert left(tmp_path / "out") == ["mine"]
    assert left(tmp_path) == ["out"]
