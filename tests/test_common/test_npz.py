"""Archives whose headers lie: refused before anything of that size is allocated."""

import io
import zipfile

import numpy as np
import pytest

from common.npz import ArchiveError, ArchiveTooLarge, array_names, read_arrays


def lying(shape, descr="<f4", content=b"\0" * 64, version=b"\x01\x00"):
    """An npy file that says that it has a shape."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    header = text.ljust(118 - 1).encode() + b"\n"
    length = len(header).to_bytes(2 if version == b"\x01\x00" else 4, "little")
    return b"\x93NUMPY" + version + length + header + content


def archived(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        lying("(1000000000000,)"),
        lying("(1000000000000, 1000000000000, 1000000000000)"),
        lying("(-4, -4)"),
        lying("(1000000000000000000, 0)", content=b""),
        lying("(1000000000000,)", descr="|V0", content=b""),
        lying("(15,)"),
        lying("(17,)"),
        lying("(16,)", version=b"\x03\x00"),
        lying("(16.0,)"),
        lying("(" * 50_000),
        lying("(16,)", descr="|O"),
        b"",
        b"text",
    ],
)
def test_a_header_that_lies_is_refused(tmp_path, content):
    path = archived(tmp_path / "a.npz", X=content, y=lying("(16,)"))
    assert array_names(path) == ["X", "y"]
    with pytest.raises(ArchiveError):
        read_arrays(path, ["X"])
    assert read_arrays(path, ["y"])["y"].shape == (16,)


def test_two_arrays_of_one_name_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", y=np.arange(3))
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        content = archive.read("y.npy")
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("y.npy", content)
    with pytest.raises(ArchiveError, match=r"^it holds y\.npy more than once$"):
        read_arrays(tmp_path / "a.npz")


def test_what_numpy_writes_is_read(tmp_path):
    arrays = {
        "a": np.arange(6.0).reshape(2, 3),
        "b": np.array(["x", "yy"]),
        "c": np.array("scalar"),
        "d": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "e": np.zeros((0, 3)),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays)
        read = read_arrays(tmp_path / "a.npz")
        assert list(read) == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(read[name], array)
            assert read[name].dtype == array.dtype


def test_a_bomb_is_not_unpacked(tmp_path):
    stream = io.BytesIO()
    np.save(stream, np.zeros(2**24, np.uint8))
    path = archived(tmp_path / "a.npz", X=stream.getvalue())
    assert path.stat().st_size < 2**15
    with pytest.raises(ArchiveTooLarge, match="unpacks to 16 MiB, more than the 1 MiB"):
        read_arrays(path, limit=2**20)
    with pytest.raises(ArchiveError, match="no array Y"):
        read_arrays(path, ["Y"])
