"""The shape of an array of an archive, by its header."""

import zipfile

import numpy as np
import pytest

from common.npz import ArchiveError, array_shape


def test_it_is_what_was_saved(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((5, 3)), y=np.arange(4))
    assert array_shape(tmp_path / "a.npz", "x") == (5, 3)
    assert array_shape(tmp_path / "a.npz", "y") == (4,)


def test_an_array_that_is_not_there_is_an_error(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(2))
    with pytest.raises(ArchiveError, match="z.npy"):
        array_shape(tmp_path / "a.npz", "z")


def test_a_header_that_lies_is_refused(tmp_path):
    header = (
        b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f8', 'fortran_order': False, 'shape': (9, 9), }".ljust(117) + b"\n"
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", header)
    with pytest.raises(ArchiveError, match="says that it is"):
        array_shape(tmp_path / "a.npz", "x")
