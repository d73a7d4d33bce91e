"""CVAT's format "CVAT for images 1.1": tags of images in XML, by itself or as ``annotations.xml`` in an archive."""

import json
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from common.files import replacing_folder
from common.memory import shown
from common.reading import LARGEST_TEXT, opened
from pipeline.errors import PipelineError
from pipeline.files import naming, write_atomically
from pipeline.handoff.base import Asked, Given, Handed, Row, reading
from pipeline.handoff.names import picture_name, require_unlike
from pipeline.handoff.pictures import copy_pictures, require_pictures
from pipeline.handoff.plain_xml import Element, parse_xml
from trainer.data.decode import opened as opened_image

ANNOTATIONS, IMAGES, LABELS = "annotations.xml", "images.zip", "task_labels.json"
NOBODY = frozenset({"auto", "automatic"})
"""Sources of tags that no person chose."""


class Cvat:
    """CVAT's files."""

    name = "cvat"
    title = "CVAT"

    def reads(self, given: Given) -> bool:
        """Tell whether a file is an archive or XML."""
        return given.is_zip or given.start == "<"

    def read(self, given: Given) -> Handed:
        """Return the tag of every image.

        Args:
            given: XML, or an archive with ``annotations.xml``.

        Raises:
            PipelineError: it is neither, or of another version or kind.

        """
        where, content = str(given.path), b""
        if given.is_zip:
            where, content = f"{given.path}: {ANNOTATIONS}", _member(given.path)
        top = parse_xml(content or given.text, where)
        if top.tag != "annotations":
            raise PipelineError(f"{where}: expected 'CVAT for images 1.1' (<annotations>), got <{top.tag}>")
        version = "".join(element.text for element in top.all("version")).strip()
        if version != "1.1":
            raise PipelineError(f"{where}: expected 'CVAT for images 1.1', got version {version or 'none'!r}")
        if top.all("track"):
            raise PipelineError(f"{where}: expected 'CVAT for images 1.1', got tracks: export it as that format")
        images = top.all("image")
        automatic = sum(tag.attributes.get("source") in NOBODY for image in images for tag in image.all("tag"))
        notes = (f"{automatic} tags that a model set (source 'auto') are no answers and were left out",)
        return Handed(_rows(images), notes if automatic else ())

    def write(self, asked: Asked, out: Path) -> list[str]:
        """Write the pictures as an archive, the labels of a task and its images as XML without tags."""
        require_pictures(asked.data)
        names = {sample: picture_name(asked.data, sample) for sample in asked.samples}
        require_unlike(names)
        with naming(out), replacing_folder(out.absolute()) as folder:
            pictures = folder / "images"
            copy_pictures(asked.data, asked.samples, pictures)
            sizes = {sample: _size(pictures / name) for sample, name in names.items()}
            with zipfile.ZipFile(folder / IMAGES, "w") as archive:  # pictures are compressed already
                for name in names.values():
                    archive.write(pictures / name, name)
            shutil.rmtree(pictures)
            labels = [{"name": name, "type": "tag", "attributes": []} for name in asked.classes]
            write_atomically(folder / LABELS, json.dumps(labels, indent=2) + "\n")
            write_atomically(folder / ANNOTATIONS, _document(asked, names, sizes))
        return [
            f"make a task in CVAT: paste {out / LABELS} into the labels' Raw tab, and choose {out / IMAGES} as file",
            "tag the images (the job's mode 'Tag annotation'), and export as 'CVAT for images 1.1'; what has no tag "
            "stays open",
        ]


def _rows(images: list[Element]) -> Iterator[Row]:
    for number, image in enumerate(images):
        name = image.attributes.get("name", "")
        where = f"image {image.attributes.get('id', number)}"
        tags = [tag for tag in image.all("tag") if tag.attributes.get("source") not in NOBODY]
        labels = dict.fromkeys(tag.attributes.get("label", "").strip() for tag in tags)
        if not name or len(labels) > 1 or "" in labels:
            fault = f"expected one tag with a label, got {', '.join(map(repr, labels))}" if name else "it has no name"
            yield Row(where, {}, fault)
            continue
        yield Row(where, {"picture": name, "label": next(iter(labels), "")})


def _member(path: Path) -> bytes:
    """Return the annotations of an archive, bounded by what they come to and not by what it says."""
    expected = f"{path}: expected an archive that CVAT exported, with {ANNOTATIONS}"
    try:
        with reading(path), opened(path) as file, zipfile.ZipFile(file) as archive:
            if ANNOTATIONS not in archive.namelist():
                raise PipelineError(f"{expected}, but it holds {len(archive.namelist())} other files")
            with archive.open(ANNOTATIONS) as member:
                content = member.read(LARGEST_TEXT + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise PipelineError(f"{expected}, but it cannot be read ({error})") from error
    if len(content) > LARGEST_TEXT:
        raise PipelineError(f"{expected} of at most {shown(LARGEST_TEXT)}, but it has more")
    return content


def _document(asked: Asked, names: dict[int, str], sizes: dict[int, tuple[int, int]]) -> str:
    labels = "\n".join(
        f"        <label><name>{escape(name)}</name><type>tag</type><attributes></attributes></label>"
        for name in asked.classes
    )
    images = "\n".join(
        f'  <image id="{number}" name={quoteattr(names[sample])} width="{sizes[sample][0]}" '
        f'height="{sizes[sample][1]}"></image>'
        for number, sample in enumerate(asked.samples)
    )
    return f"""<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <task>
      <name>{escape(asked.run_id)}</name>
      <size>{len(asked.samples)}</size>
      <mode>annotation</mode>
      <labels>
{labels}
      </labels>
    </task>
  </meta>
{images}
</annotations>
"""


def _size(path: Path) -> tuple[int, int]:
    with opened_image(path) as image:
        return image.size
