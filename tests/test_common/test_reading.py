"""Files that are none, that have no end, or that nest without one: refused in bounded time."""

import os
from pathlib import Path

import pytest

from common.files import sha256_of
from common.reading import NotReadable, parse_json, read_json, read_regular, read_text, why


@pytest.fixture
def strange(tmp_path):
    """One of each thing that is no regular file, by name."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    return {"a pipe": tmp_path / "pipe", "a device": tmp_path / "link", "a folder": tmp_path}


@pytest.mark.parametrize("read", [read_regular, read_text, read_json, sha256_of])
def test_what_is_no_file_is_named_and_not_waited_for(strange, read):
    for kind, path in strange.items():
        with pytest.raises(OSError, match="expected a file|Is a directory") as caught:
            read(path)
        assert kind in why(caught.value) or why(caught.value) == "Is a directory"


@pytest.mark.skipif(not Path("/proc/self/pagemap").exists(), reason="no such system")
def test_a_file_that_tells_no_size_and_has_no_end(tmp_path):
    with pytest.raises(OSError, match="no end|longer"):
        read_regular("/proc/self/pagemap", 2**20)
    with pytest.raises(OSError, match="longer than it says"):
        sha256_of("/proc/self/pagemap")
    assert b"VmRSS" in read_regular("/proc/self/status")


def test_what_is_larger_than_it_may_be_is_not_read(tmp_path):
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**43)
    for read in (read_regular, read_text, read_json, lambda path: sha256_of(path, 2**30)):
        with pytest.raises(NotReadable, match="at most .* but it has"):
            read(tmp_path / "sparse")
    (tmp_path / "empty").touch()
    assert read_regular(tmp_path / "empty") == b""
    with pytest.raises(NotReadable):
        read_regular("zero\0byte")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "1" * 5000, "{", b"\xff"])
def test_json_that_is_none_is_a_value_error(text):
    with pytest.raises(ValueError, match="."):
        parse_json(text)
