"""A folder's images, decoded once and kept in a file that later processes map into memory instead of decoding again."""

import hashlib
import json
import shutil
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL
from filelock import FileLock
from numpy.typing import NDArray

from common.files import replacing, write_bytes
from common.reading import read_json
from trainer.data.constants import CHUNK_BYTES
from trainer.data.custom import ImageOptions, counted, require_room
from trainer.data.decode import Depth
from trainer.data.folder_images import Decoding, Images, Progress, plan_images
from trainer.data.halves import in_halves, order_sha256
from trainer.data.listing import Listing
from trainer.errors import TrainerError

FORMAT = 1  # to be raised whenever the same files would be read in another way
LATER = {"stratified", "leave_out"}  # options that older versions do not have: saying nothing of them, they still fit
INDEX, STEM, LOCK = "images.json", "images-", "lock"


def read_through_cache(
    found: Listing, options: ImageOptions, folder: Path, progress: Progress | None = None
) -> tuple[Images, tuple[str, ...]]:
    """Return a folder's images from a cache, which is made first where there is none that fits.

    The cache is two files: the bytes of all images (``.npy``, never a pickle) and ``images.json``, which says what they
    were made from: names, sizes and times of all files, ``labels.csv``, options, versions. When any of these differs,
    or the files of the cache are not whole, all images are decoded again. Both files appear under their names only when
    they are complete and on the disk, the second last; one process makes them while others wait. The bytes are not
    hashed at each opening: see ``DataSet.fingerprint``.

    Args:
        found: the files, each with its half.
        options: how they are read.
        folder: where the cache is kept; made where it is missing.
        progress: is told while images are decoded.

    Returns:
        The images, mapped read-only, and why they had to be decoded again where they had.

    Raises:
        DataCorrupt: images that cannot be read.
        TrainerError: the cache cannot be written, or anything else, in one line.

    """
    origin = _origin(found, options)
    kept = _opened(folder, origin, found, options)
    if isinstance(kept, Images):
        return kept, ()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK):
            kept = _opened(folder, origin, found, options)  # perhaps another process has just made it
            if isinstance(kept, Images):
                return kept, ()
            return _made(found, options, origin, folder, progress), kept
    except OSError as error:
        raise TrainerError(
            f"images cannot be kept in {folder} ({error.strerror or error}); free space there or check its rights"
        ) from error


def _origin(found: Listing, options: ImageOptions) -> dict[str, Any]:
    """Return all that decides about the images, as JSON gives it back."""
    files: dict[str, list[int]] = {sample.name: [] for sample in found.samples}
    for name in files:
        with suppress(OSError):  # gone since it was listed: decoding will say so
            status = (found.root / name).stat()
            files[name] = [status.st_size, status.st_mtime_ns]
    origin = {
        "format": FORMAT,
        "pillow": PIL.__version__,
        "root": str(found.root),
        "options": {name: value for name, value in asdict(options).items() if value or name not in LATER},
        "labels.csv": found.labels_file,
        "files": files,
    }
    plain: dict[str, Any] = json.loads(json.dumps(origin))
    return plain


def _opened(folder: Path, origin: dict[str, Any], found: Listing, options: ImageOptions) -> Images | tuple[str, ...]:
    """Return the images of a cache that fits, or what is to be said when they are decoded again."""
    try:
        stored = read_json(folder / INDEX)
        if stored["origin"] != origin:
            return (_difference(folder, stored["origin"], origin),)
        images = _mapped(folder / stored["file"], stored["bytes"])
        skipped = dict(stored["skipped"])
        if images.shape[0] != len(origin["files"].keys() - skipped.keys()):
            raise ValueError("another number of images")
        order = order_sha256(in_halves(found.samples, options, skipped))
        if stored.get("order", order if not skipped else None) != order:  # older versions drew halves with bad files
            return (_difference(folder, origin, origin),)
        mean, std, notes = (tuple(stored[name]) for name in ("mean", "std", "notes"))
        return Images(images, mean, std, Depth(*stored["depth"]), notes, skipped)
    except FileNotFoundError as error:
        if error.filename == str(folder / INDEX):
            return ()
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError):
        pass  # torn, or nobody knows whose
    return (f"the images kept in {folder} were not whole: all were read again",)


def _difference(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> str:
    old, new = before["files"], now["files"]
    changed = sum(old.get(name) != new.get(name) for name in old.keys() | new.keys())
    if not changed:
        return f"the images kept in {folder} were made with other options, labels or versions: all were read again"
    return f"{counted(changed, 'file')} changed since the images were kept in {folder}: all were read again"


def _mapped(file: Path, size: int) -> NDArray[np.uint8]:
    """Map a file of images into memory, read-only."""
    images = np.load(file, mmap_mode="r", allow_pickle=False)
    if not isinstance(images, np.memmap) or images.dtype != np.uint8 or images.ndim != 4:
        raise ValueError("no images")
    if file.stat().st_size != size or size != images.offset + images.nbytes or not images.flags.c_contiguous:
        raise ValueError("not whole")
    return np.asarray(images)  # a plain array, still mapped: what is made from it is no map


def _made(
    found: Listing, options: ImageOptions, origin: dict[str, Any], folder: Path, progress: Progress | None
) -> Images:
    """Decode all images into a file, and write what they were made from when it is complete."""
    plan = plan_images(found, options)
    for left in (folder / INDEX, *folder.glob(f"{STEM}*.npy"), *folder.glob(f".{STEM}*.tmp-*")):
        left.unlink(missing_ok=True)
    require_room(
        len(plan.samples), plan.channels, plan.size, shutil.disk_usage(folder).free, f"are free where {folder} is"
    )
    key = hashlib.sha256(json.dumps(origin).encode()).hexdigest()
    file = folder / f"{STEM}{key[:16]}.npy"
    decoding = Decoding(found, plan, progress)
    count = _write(file, decoding, options)
    if (again := decoding.drawn_again(options)) is not None:
        decoding = Decoding(found, again, progress)
        count = _write(file, decoding, options)
    if not count:
        return decoding.finished(np.empty((0, plan.channels, *plan.size), np.uint8), options)
    if decoding.colourless:
        _keep_one_channel(file)
    size = file.stat().st_size
    done = decoding.finished(_mapped(file, size), options)
    stored = {"file": file.name, "bytes": size, "order": order_sha256(in_halves(found.samples, options, done.skipped))}
    stored |= {name: value for name, value in done._asdict().items() if name != "images"}
    write_bytes(folder / INDEX, json.dumps({**stored, "origin": origin}).encode())
    return done


def _write(file: Path, decoding: Decoding, options: ImageOptions) -> int:
    """Write the pieces one after the other, and return how many images they are.

    Not through a map: a full disk is then an error, where writing to a map would end the process.
    """
    plan, count = decoding.plan, 0
    with replacing(file) as stream:
        _header(stream, (len(plan.samples), plan.channels, *plan.size))
        start = stream.tell()
        for piece in decoding.pieces():
            stream.write(piece.data)
            count += len(piece)
        decoding.require_skippable(options)
        stream.seek(0)
        _header(stream, (count, plan.channels, *plan.size))  # NumPy leaves room for any number
        if stream.tell() != start:
            raise TrainerError(f"{file}: the header's length changed; load without a cache")
    return count


def _keep_one_channel(file: Path) -> None:
    """Write a file anew with the first of three equal channels."""
    images = _mapped(file, file.stat().st_size)
    step = max(1, CHUNK_BYTES // images[:1].size)
    with replacing(file) as stream:
        _header(stream, (len(images), 1, *images.shape[2:]))
        for start in range(0, len(images), step):
            stream.write(np.ascontiguousarray(images[start : start + step, :1]).data)


def _header(stream: BinaryIO, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
