"""FiftyOne's format ``FiftyOneImageClassificationDataset``: pictures in ``data/`` and ``labels.json``."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from common.files import replacing_folder
from pipeline.errors import PipelineError
from pipeline.files import naming, write_json
from pipeline.handoff.base import Asked, Given, Handed, Row
from pipeline.handoff.names import picture_name, require_unlike, without_ending
from pipeline.handoff.pictures import copy_pictures, require_pictures

DATA, LABELS = "data", "labels.json"


class FiftyOne:
    """FiftyOne's files."""

    name = "fiftyone"
    title = "FiftyOne"

    def reads(self, given: Given) -> bool:
        """Tell whether a file is a JSON object; lines of them are another tool's, which is asked before."""
        return not given.is_zip and given.start == "{"

    def read(self, given: Given) -> Handed:
        """Return the label of every picture.

        Args:
            given: ``labels.json``.

        Raises:
            PipelineError: it is none.

        """
        value = given.json
        labels, classes = (value.get("labels"), value.get("classes")) if isinstance(value, dict) else (None, None)
        named = classes is None or (isinstance(classes, list) and all(isinstance(name, str) for name in classes))
        if not isinstance(labels, dict) or not named:
            raise PipelineError(
                f"{given.path}: expected the labels.json of a FiftyOneImageClassificationDataset, with 'labels' by "
                "picture and a list 'classes'"
            )
        return Handed(_rows(labels, classes or []))

    def write(self, asked: Asked, out: Path) -> list[str]:
        """Write the pictures, and labels.json with the classes and no label."""
        require_pictures(asked.data)
        stems = {sample: without_ending(picture_name(asked.data, sample)) for sample in asked.samples}
        require_unlike(stems)
        with naming(out), replacing_folder(out.absolute()) as folder:
            copy_pictures(asked.data, asked.samples, folder / DATA)
            labels = dict.fromkeys(stems.values())
            write_json(folder / LABELS, {"classes": list(asked.classes), "labels": labels})
        kind = "fiftyone.types.FiftyOneImageClassificationDataset"
        return [
            f"in Python: fiftyone.Dataset.from_dir({str(out.absolute())!r}, {kind})",
            "give each sample its class in 'ground_truth', and export it in the same type; what has none stays open",
        ]


def _rows(labels: dict[str, Any], classes: Sequence[str]) -> Iterator[Row]:
    for name, target in labels.items():
        where = f"labels[{name[:60]!r}]"
        try:
            yield Row(where, {"stem": name, "label": _label(target, classes)})
        except PipelineError as error:
            yield Row(where, {}, str(error))


def _label(target: Any, classes: Sequence[str]) -> str:
    """Return the class of a target: a number among the classes, a name, or an object or list of one with it."""
    if isinstance(target, list) and len(target) == 1:
        [target] = target
    if isinstance(target, dict):
        target = target.get("label")
    if target is None:
        return ""
    if isinstance(target, str):
        return target.strip()
    if isinstance(target, int) and not isinstance(target, bool) and 0 <= target < len(classes):
        return classes[target]
    raise PipelineError(f"expected one name of a class or its position among 'classes', got {str(target)[:60]}")
