"""Image files to bytes with Pillow, several at a time; what cannot be read is reported, not skipped in silence."""

import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from trainer.data.few_greys import SAMPLE, FewGreys, few_greys, sampled

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")  # no other decoder is ever started, whatever a file says it is
PREVIEWS = "MPO"  # a camera's JPEG, with smaller copies of itself after it
GREY = frozenset({"1", "L", "LA"})
ORIENTATION, SIDEWAYS = 0x0112, range(5, 9)  # the EXIF tag, and its values that swap height and width
MOST_THREADS = 8
WHITE = (255, 255, 255)
Result = TypeVar("Result")
_ONE_AT_A_TIME = threading.RLock()  # filters of warnings are the process's, not a thread's


class Header(NamedTuple):
    """What a file says of itself before it is decoded.

    Args:
        size: (height, width).
        grey: whether it can hold no colour.
        deep: whether it is a grey of 16 bits, all of which are read.
        cut: whether it has 16 bits a colour, of which Pillow reads the upper 8.
        several: whether it is an animation or has pages, of which the first is read.

    """

    size: tuple[int, int]
    grey: bool
    deep: bool
    cut: bool
    several: bool


class Unreadable(NamedTuple):
    """Why a file could not be read, in half a line."""

    reason: str


class Depth(NamedTuple):
    """Which of the 65,536 values of 16-bit greys become 0 to 255: value v becomes (v - low) / 2^shift, rounded down.

    Args:
        low: the value that becomes 0.
        shift: bits that are lost.

    """

    low: int
    shift: int

    def bytes_of(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Return what values become; those beyond the range, as later images may have, are cut off.

        Args:
            values: of 16-bit greys.

        """
        return np.clip((values.astype(np.int32) - self.low) >> self.shift, 0, 255).astype(np.uint8)


UPPER_BYTE = Depth(0, 8)


def read_headers(paths: Sequence[Path], turned: bool) -> list[Header | Unreadable]:
    """Read size and kind of every file.

    Args:
        paths: image files.
        turned: look for EXIF's orientation, for which a PNG must be read to its end; without it, height and width of
            a picture taken sideways are swapped.

    Returns:
        For each file, in order, what it says of itself or why it could not be read.

    """
    return _each(partial(_header, turned), paths)


class Chosen(NamedTuple):
    """How 16-bit greys become bytes, and why.

    Args:
        depth: the choice.
        low: the least value.
        high: the greatest.
        few: what most pixels lose by it, where that is much.

    """

    depth: Depth
    low: int = 0
    high: int = 0
    few: FewGreys | None = None


def choose_depth(paths: Sequence[Path]) -> Chosen:
    """Choose how the 16-bit greys of a data set become bytes, by the values that all of them use together.

    The upper byte is taken where the values span half of the range or more: less than one bit is lost then, and one
    data set more or less full of contrast is read like the next. Cameras and scanners that deliver 8 to 14 bits in
    16 use a small part of it, which would be flattened to a few greys or to none: for these the 8 upper bits of the
    span in use are taken.

    Args:
        paths: files of 16-bit greys; those that cannot be read have no say.

    """
    of_each = max(SAMPLE // max(len(paths), 1), 16)
    spans = [span for span in _each(partial(_span, of_each), paths) if isinstance(span, _Span)]
    if not spans:
        return Chosen(UPPER_BYTE)
    low, high = min(span.low for span in spans), max(span.high for span in spans)
    bits = (high - low).bit_length()
    depth = UPPER_BYTE if bits >= 16 else Depth(low, max(bits - 8, 0))
    return Chosen(depth, low, high, few_greys(np.concatenate([span.some for span in spans]), depth.bytes_of))


class _Span(NamedTuple):
    low: int
    high: int
    some: NDArray[Any]


def read_images(
    paths: Sequence[Path], size: tuple[int, int], channels: int, depth: Depth = UPPER_BYTE
) -> tuple[NDArray[np.uint8], list[Unreadable | None]]:
    """Decode, turn as EXIF says, put on white where transparent, convert, and scale to cover and crop to a size.

    Scaling is bilinear with antialiasing and keeps the ratio of sides; what sticks out is cut off on both sides alike.
    Of animations the first picture is taken, of 16-bit colours the upper byte.

    Args:
        paths: image files.
        size: (height, width) of the result.
        channels: 1 for grey, 3 for red, green and blue.
        depth: how 16-bit greys become bytes.

    Returns:
        Bytes, uint8 ``[N, channels, H, W]``, and for every file that could not be read the reason (its row is then
        zeros).

    """
    images = np.zeros((len(paths), channels, *size), np.uint8)

    def fill(row: int) -> None:
        images[row] = _decode(paths[row], size, channels, depth)

    return images, _each(fill, range(len(paths)))


def read_one(function: Callable[[Path], Result], path: Path) -> Result | Unreadable:
    """Apply a function to one file; other threads that read images wait, so that no two large ones fill the memory.

    Args:
        function: opens the file with ``opened``.
        path: an image file.

    Returns:
        What the function returns, or why the file could not be read.

    """
    with _quiet():
        return _tried(function, path)


def opened(path: Path) -> ImageFile.ImageFile:
    """Open a file as an image, with no decoder but those of ``FORMATS``; its pixels are not read yet.

    Args:
        path: an image file.

    Raises:
        ValueError: it says that it is so large that it may be an attack, of which Pillow alone would only warn.
        OSError: it is no image.

    """
    image = Image.open(path, formats=FORMATS)
    width, height = image.size
    if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
        image.close()
        raise ValueError(f"{width}x{height} pixels, more than {Image.MAX_IMAGE_PIXELS}: perhaps a decompression bomb")
    return image


def upright(image: Image.Image, depth: Depth, ground: tuple[int, int, int] = WHITE) -> Image.Image:
    """Return an image in 8 bits a channel, turned as EXIF says, on a ground where it is transparent.

    Args:
        image: as it was opened.
        depth: how 16-bit greys become bytes.
        ground: red, green and blue of what shines through.

    Raises:
        ValueError: 32 bits a pixel, or 16 of which one is a sign.

    """
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F"):
        raise ValueError("floats, negative or 32-bit integers, without a defined range: save it with 8 or 16 bits")
    if image.mode.startswith("I;16"):
        return Image.fromarray(depth.bytes_of(np.asarray(image)))
    if not image.has_transparency_data:
        return image
    page = Image.new("RGBA", image.size, ground)
    page.alpha_composite(image.convert("RGBA"))
    return page


def _each(function: Callable[[Any], Result], items: Sequence[Any]) -> list[Result | Unreadable]:
    """Apply a function to all items in threads, in order."""
    Image.init()  # loads the decoders once, before there are threads
    with _quiet(), ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as pool:
        return list(pool.map(partial(_tried, function), items))


def _tried(function: Callable[[Any], Result], item: Any) -> Result | Unreadable:
    try:
        return function(item)
    except Image.UnidentifiedImageError:
        return Unreadable("not an image")
    except Exception as error:  # a damaged file can make a decoder raise anything
        return Unreadable((" ".join(str(error).split()) or type(error).__name__)[:120])


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence remarks on metadata, which are not worth a line; of bombs ``opened`` takes care."""
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _header(turned: bool, path: Path) -> Header:
    with opened(path) as image:
        width, height = image.size
        # Such as RGB;16B, of which Pillow keeps the upper byte; gone once the orientation of a PNG was looked for.
        stored = " ".join(str(part[3]) for part in image.tile)
        sideways = turned and image.getexif().get(ORIENTATION) in SIDEWAYS
        deep = image.mode.startswith("I;16")
        grey = image.mode in GREY or deep
        return Header(
            size=(width, height) if sideways else (height, width),
            grey=grey,
            deep=deep,
            cut=";16" in stored and not deep,
            several=image.format != PREVIEWS and getattr(image, "is_animated", False),
        )


def _span(most: int, path: Path) -> _Span:
    """The least and the greatest value of a 16-bit grey, and some of all."""
    with opened(path) as image:
        pixels = np.asarray(image)
        return _Span(int(pixels.min()), int(pixels.max()), sampled(pixels, most))


def _decode(path: Path, size: tuple[int, int], channels: int, depth: Depth) -> NDArray[np.uint8]:
    with opened(path) as image:
        seen = upright(image, depth).convert("L" if channels == 1 else "RGB")
    height, width = size
    if seen.size != (width, height):
        seen = ImageOps.fit(seen, (width, height), Image.Resampling.BILINEAR)
    return np.asarray(seen).reshape(height, width, channels).transpose(2, 0, 1)
