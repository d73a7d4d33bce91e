"""What a person is shown of a sample: its own file, or else what the network sees, encoded for a browser."""

import io
import math
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.data.arrays import DataSet, SplitName
from trainer.data.decode import Depth, Unreadable, opened, read_one, upright
from trainer.data.listing import inside
from trainer.errors import DataCorrupt, DataNotFound, TrainerError

MOST_SIDE = 4096
SMALL = 64  # pixels: JPEG's blocks would show where the browser enlarges
FEW_COLOURS = 256
QUALITY = 88
NEUTRAL = (128, 128, 128)  # behind what is transparent: black drawings and white ones are seen on it
PHOTOGRAPHIC = frozenset({"RGB", "RGBA", "CMYK", "YCbCr"})  # modes of files that may hold a photograph in colour
PNG_LEVEL = 3  # of 9: twice as fast as the default, and hardly larger


def picture(data: DataSet, split: SplitName, index: int, side: int) -> tuple[bytes, str]:
    """Return an encoded image of a sample for a browser, of the same ratio of sides and no larger than it is.

    It is made from the user's own file where there is one: turned as EXIF says, on a neutral grey where it is
    transparent, the first picture of an animation, 16-bit greys read as for the network. Otherwise it is what the
    network sees, before normalisation. Photographs are JPEG; small images, greys and images of few colours are PNG.
    Nothing that a file says of itself (place, camera, comments, colour profile) goes out with it. Files are opened one
    after the other, so that many requests do not fill the memory.

    Args:
        data: the data set; of features that a backbone made of images, these are shown.
        split: "train" or "test".
        index: id within that half.
        side: the most pixels that height and width may have.

    Returns:
        The encoded image, and its media type.

    Raises:
        TrainerError: features, which have no picture; unknown half, id or side; or a file that leads out of the root.
        DataNotFound: the file is gone.
        DataCorrupt: the file cannot be read any more.

    """
    data = data.pictures
    if data.holds_features:
        raise TrainerError(f"{data.name}: a sample is a vector of features and has no picture; show its text")
    if not 1 <= side <= MOST_SIDE:
        raise TrainerError(f"side: expected 1 to {MOST_SIDE} pixels, got {side}")
    file = data.sample_file(split, index)
    if file is None or data.root is None:
        images = (data.train if split == "train" else data.test).images
        return _encoded(_of_array(images[index], data.scale), side, drawn=True)
    target = inside(file, data.root)
    if not target.is_file():
        raise DataNotFound(f"{file} is gone since the data was loaded; put it back, or leave this sample out")
    shown = read_one(partial(_of_file, side, Depth(*data.depth)), target)
    if isinstance(shown, Unreadable):
        raise DataCorrupt(f"{file} cannot be shown ({shown.reason}); put back the file that was loaded, or leave it ou")
    return shown


def _of_file(side: int, depth: Depth, path: Path) -> tuple[bytes, str]:
    with opened(path) as image:
        drawn = image.mode not in PHOTOGRAPHIC
        share = min(side / max(image.size), 1.0)
        width, height = (math.ceil(length * share) for length in image.size)
        image.draft(None, (width, height))  # decodes a large JPEG at 1/2, 1/4 or 1/8, but no smaller than asked
        seen = upright(image, depth, NEUTRAL)
    return _encoded(seen.convert("L" if seen.mode in ("1", "L") else "RGB"), side, drawn)


def _of_array(image: NDArray[np.uint8], scale: float) -> Image.Image:
    """Return the image of bytes ``[C, H, W]`` between 0 and ``scale``."""
    pixels = np.clip(image.astype(np.float64) * (255.0 / scale), 0, 255).round().astype(np.uint8)
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def _encoded(seen: Image.Image, side: int, drawn: bool) -> tuple[bytes, str]:
    """Shrink and encode; what is drawn, small or of few colours keeps its pixels."""
    seen.thumbnail((side, side), Image.Resampling.LANCZOS)
    seen.info.clear()  # of which Pillow writes some: comments, colour profiles, transparency
    content = io.BytesIO()
    if drawn or max(seen.size) <= SMALL or seen.getcolors(FEW_COLOURS):
        seen.save(content, format="PNG", compress_level=PNG_LEVEL)
        return content.getvalue(), "image/png"
    seen.save(content, format="JPEG", quality=QUALITY)
    return content.getvalue(), "image/jpeg"
