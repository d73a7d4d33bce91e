"""Features kept in one file, float32 ``[N, d]``, that is made piece by piece and goes on where it was left.

A folder a key: ``origin.json`` says what the features are made from, ``features.npy`` holds them, and each line of
``pieces.jsonl`` the digest of a piece that is whole in it and on the disk.  What no line vouches for is computed again.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from common.files import sync_folder, write_bytes
from common.reading import read_json, read_text
from trainer.data.custom import counted
from trainer.errors import TrainerError

FORMAT = 1  # to be raised whenever the same images would have other features
PIECE = 64
"""Images computed and made durable at a time."""
ORIGIN, FEATURES, PIECES, LOCK = "origin.json", "features.npy", "pieces.jsonl", "lock"
Progress = Callable[[int, int], None]
Compute = Callable[[int, int], NDArray[np.float32]]
"""``compute(first, last)`` returns the features ``[last - first, d]`` of these images, the last one not among them."""


class Kept(NamedTuple):
    """Features from a store.

    Args:
        features: float32 ``[N, d]``, mapped read-only.
        note: what is to be said of them; empty where nothing is.

    """

    features: NDArray[np.float32]
    note: str = ""


def kept_features(
    root: Path, origin: Mapping[str, Any], n: int, compute: Compute, progress: Progress | None = None
) -> Kept:
    """Return features from a store, computing those that it lacks or whose bytes are not what was written.

    One process computes while others wait.  Killed at any time, the next one goes on.

    Args:
        root: of all stores.
        origin: all that decides about the features, as JSON holds it.
        n: how many images there are.
        compute: called for pieces that are missing.
        progress: is told of how many of how many images there are features.

    Raises:
        TrainerError: the store cannot be read or written.

    """
    full = {"format": FORMAT, "images": n, **origin}
    folder = root / hashlib.sha256(json.dumps(full, sort_keys=True).encode()).hexdigest()[:24]
    try:
        store = _Store(folder, full, n)
        if (whole := store.whole()) is not None:
            return Kept(whole)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK):
            return store.completed(compute, progress)
    except OSError as error:
        raise TrainerError(
            f"features cannot be kept in {folder} ({error.strerror or error}): free space there, or name another "
            "folder with --set data.feature_store=FOLDER"
        ) from error


class _Store:
    """The files of one key."""

    def __init__(self, folder: Path, origin: dict[str, Any], n: int) -> None:
        self.folder, self.origin, self.n = folder, origin, n
        self.file = folder / FEATURES

    def whole(self) -> NDArray[np.float32] | None:
        """Return the features where all are there, each piece compared with its digest."""
        mapped = self._mapped()
        if mapped is None or any(state != "good" for state in self._states(mapped).values()):
            return None
        return mapped

    def completed(self, compute: Compute, progress: Progress | None) -> Kept:
        """Compute what is missing."""
        mapped = self._mapped()
        states = self._states(mapped) if mapped is not None else dict.fromkeys(self._firsts(), "absent")
        damaged = sum(state == "damaged" for state in states.values())
        todo = [first for first, state in states.items() if state != "good"]
        done = self.n - sum(self._last(first) - first for first in todo)
        for first in todo:
            if progress and first == todo[0]:
                progress(done, self.n)
            piece = np.ascontiguousarray(compute(first, self._last(first)), dtype="<f4")
            if mapped is None:
                self._begin(piece.shape[1])
            mapped = self._put(first, piece)
            done += len(piece)
            if progress:
                progress(done, self.n)
        assert mapped is not None
        where = f"the features kept in {self.folder} were damaged"
        return Kept(mapped, f"{where}: {counted(damaged, 'piece')} of them computed again" if damaged else "")

    def _firsts(self) -> Iterator[int]:
        return iter(range(0, self.n, PIECE))

    def _last(self, first: int) -> int:
        return min(first + PIECE, self.n)

    def _mapped(self) -> NDArray[np.float32] | None:
        """Map the file where it is that of this origin and has its size."""
        try:
            if read_json(self.folder / ORIGIN) != self.origin:
                return None
            mapped = np.load(self.file, mmap_mode="r", allow_pickle=False)
        except (FileNotFoundError, ValueError, EOFError):
            return None
        if mapped.dtype != np.dtype("<f4") or mapped.ndim != 2 or len(mapped) != self.n:
            return None
        return np.asarray(mapped)  # a plain array, still mapped

    def _states(self, mapped: NDArray[np.float32]) -> dict[int, str]:
        """Say of each piece whether it is good, damaged or absent."""
        vouched = self._vouched()
        found = {first: vouched.get(first) for first in self._firsts()}
        return {
            first: "absent" if digest is None else "good" if _digest(self._rows(mapped, first)) == digest else "damaged"
            for first, digest in found.items()
        }

    def _rows(self, mapped: NDArray[np.float32], first: int) -> NDArray[np.float32]:
        return mapped[first : self._last(first)]

    def _vouched(self) -> dict[int, str]:
        """Return the digest of each piece that was written; a line that was torn says nothing."""
        found: dict[int, str] = {}
        try:
            lines = read_text(self.folder / PIECES, encoding="latin-1").splitlines()
        except FileNotFoundError:
            return found
        for line in lines:
            try:
                entry = json.loads(line)
                found[int(entry["first"])] = str(entry["sha256"])
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def _begin(self, d: int) -> None:
        """Make a file of the right size, and say whose it is when it is there."""
        for name in (ORIGIN, PIECES, FEATURES):
            (self.folder / name).unlink(missing_ok=True)
        need, free = 4 * self.n * d, shutil.disk_usage(self.folder).free
        if need > free:
            raise TrainerError(
                f"features of {self.n:,} images take {need / 2**30:.2f} GiB, more than the {free / 2**30:.2f} GiB that "
                f"are free where {self.folder} is: name another folder with --set data.feature_store=FOLDER"
            )
        with self.file.open("xb") as stream:
            _header(stream, (self.n, d))
            stream.truncate(stream.tell() + need)
            stream.flush()
            os.fsync(stream.fileno())
        write_bytes(self.folder / ORIGIN, json.dumps(self.origin, sort_keys=True).encode())

    def _put(self, first: int, piece: NDArray[np.float32]) -> NDArray[np.float32]:
        """Write a piece, and vouch for it when it is on the disk."""
        mapped = self._mapped()
        if mapped is None or mapped.shape[1] != piece.shape[1]:
            raise TrainerError(f"{self.file} was changed while it was written: try again")
        with self.file.open("r+b") as stream:  # not through the map: a full disk is then an error
            stream.seek(stream.seek(0, os.SEEK_END) - mapped.nbytes + first * 4 * piece.shape[1])
            stream.write(piece.data)
            stream.flush()
            os.fsync(stream.fileno())
        line = json.dumps({"first": first, "sha256": _digest(piece)})
        with (self.folder / PIECES).open("ab") as stream:
            stream.write(f"\n{line}\n".encode())  # a line that was torn before ends here
            stream.flush()
            os.fsync(stream.fileno())
        if first == 0:
            sync_folder(self.folder)
        return mapped


def _digest(piece: NDArray[np.float32]) -> str:
    return hashlib.sha256(np.ascontiguousarray(piece).data.cast("B")).hexdigest()


def _header(stream: BinaryIO, shape: tuple[int, int]) -> None:
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
