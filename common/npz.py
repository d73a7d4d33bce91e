"""Reading archives of arrays: each array is what its header says, before anything of that size is allocated."""

import math
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from numpy.lib import format as npy
from numpy.typing import NDArray

from common.memory import available_memory, shown
from common.reading import opened, why

ENDING = ".npy"
MOST_EMPTY = 10**6
"""Rows of an array without columns: more take memory wherever something is made of each."""
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class ArchiveError(ValueError):
    """A file is no archive of plain arrays, or one of them is not what it says that it is."""


class ArchiveTooLarge(ArchiveError):
    """The arrays of an archive take more memory than they may."""


def array_names(path: Path) -> list[str]:
    """Return the names of an archive's arrays; none is read.

    Args:
        path: the archive.

    Raises:
        ArchiveError: it is none.
        OSError: it cannot be opened, or is no regular file.

    """
    with _archive(path) as archive:
        return [entry.filename.removesuffix(ENDING) for entry in archive.infolist()]


def array_shape(path: Path, name: str) -> tuple[int, ...]:
    """Return the shape of an array by its header; its values are not read.

    Args:
        path: the archive.
        name: of the array.

    Raises:
        ArchiveError: it is no archive, has no such array, or that is not what its header says.
        OSError: it cannot be opened, or is no regular file.

    """
    with _archive(path) as archive:
        entry = archive.getinfo(f"{name}{ENDING}")
        with archive.open(entry) as stream:
            return _check_header(stream, entry.file_size, name)  # type: ignore[arg-type]


def read_arrays(path: Path, names: Collection[str] | None = None, limit: int | None = None) -> dict[str, NDArray[Any]]:
    """Read arrays of an archive that ``numpy.savez`` wrote; nothing in it is executed.

    Args:
        path: the archive.
        names: of the arrays; None for all.
        limit: bytes that they may take; None for the memory that is free.

    Returns:
        The arrays by name.

    Raises:
        ArchiveTooLarge: they take more.
        ArchiveError: it is no archive, an array is missing, or its header does not say what follows.
        OSError: it cannot be opened, or is no regular file.

    """
    most = available_memory() if limit is None else limit
    with _archive(path) as archive:
        held = Counter(entry.filename for entry in archive.infolist())
        if twice := next((name for name, times in held.items() if times > 1), ""):
            raise ArchiveError(f"it holds {twice} more than once")
        entries = {entry.filename.removesuffix(ENDING): entry for entry in archive.infolist()}
        wanted = list(entries) if names is None else list(names)
        if missing := [name for name in wanted if name not in entries]:
            raise ArchiveError(f"it has no array {missing[0]}")
        size = sum(entries[name].file_size for name in wanted)
        if size > most:
            raise ArchiveTooLarge(f"it unpacks to {shown(size)}, more than the {shown(most)} that it may take")
        return {name: _array(archive, entries[name], name) for name in wanted}


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> NDArray[Any]:
    with archive.open(entry) as stream:
        _check_header(stream, entry.file_size, name)  # type: ignore[arg-type]
    with archive.open(entry) as stream:
        array: NDArray[Any] = npy.read_array(stream, allow_pickle=False)
        return array


def _check_header(stream: BinaryIO, size: int, name: str) -> tuple[int, ...]:
    """Return an array's shape, after refusing one whose header promises anything but the bytes that follow it."""
    version = npy.read_magic(stream)
    if version not in _HEADERS:
        raise ArchiveError(f"{name} is an array of named fields; save plain arrays")
    shape, _, dtype = _HEADERS[version](stream)
    if dtype.hasobject:
        return tuple(shape)  # which reading it refuses
    count, follows = math.prod(shape), size - stream.tell()
    if min(shape, default=0) < 0 or count * dtype.itemsize != follows:
        raise ArchiveError(f"{name} says that it is {list(shape)} of {dtype}, but {follows:,} bytes follow")
    if not follows and max(shape, default=0) > MOST_EMPTY:
        raise ArchiveError(f"{name} says that it is {list(shape)} of {dtype}, which holds nothing")
    return tuple(shape)


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive; what zipfile, zlib and numpy raise about a damaged one is one error."""
    with opened(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                yield archive
        except ArchiveError:
            raise
        except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ArchiveError(why(error)) from error
        except (NotImplementedError, RuntimeError, SyntaxError, OverflowError, MemoryError) as error:
            raise ArchiveError(why(error)) from error
