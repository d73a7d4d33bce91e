"""What Label Studio is given: tasks, the labelling configuration, and pictures that its local files serve."""

from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from common.files import replacing_folder
from pipeline.errors import PipelineError
from pipeline.files import naming, write_atomically, write_json
from pipeline.handoff.base import Asked
from pipeline.handoff.pictures import require_pictures, shown_picture
from trainer.data import DataSet
from trainer.data.listing import inside
from trainer.errors import TrainerError

CHOICES = "label"
"""Name of the control that holds the class."""
MODEL = "ntk-lookahead"
"""Version of all predictions: of a project Label Studio shows those of one."""
PICTURES = "images"
TASKS, CONFIG = "tasks.json", "config.xml"
SERVED = "/data/local-files/?d="
SHOWN_BY_BROWSERS = frozenset({".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp"})


def labelling_config(classes: tuple[str, ...]) -> str:
    """Return Label Studio's configuration of a project: one picture, and one class of these.

    Args:
        classes: their names.

    """
    choices = "\n".join(f"    <Choice value={quoteattr(name)}/>" for name in classes)
    return f"""<View>
  <Image name="image" value="$image" zoom="true"/>
  <Choices name="{CHOICES}" toName="image" choice="single-radio" required="true" showInline="true">
{choices}
  </Choices>
</View>
"""


def title_of(run: str) -> str:
    """Return what a project is called; Label Studio wants 3 characters to 50.

    Args:
        run: name of the run's directory.

    """
    return f"{run[:35]} (ntk-lookahead)"


def choice_of(label: str) -> dict[str, Any]:
    """Return a class as a region of Label Studio's results.

    Args:
        label: name of the class.

    """
    return {"from_name": CHOICES, "to_name": "image", "type": "choices", "value": {"choices": [label]}}


def task(run_id: str, round_: int, rank: int, sample: int, image: str, prediction: str | None = None) -> dict[str, Any]:
    """Return one task.

    Args:
        run_id: names the run.
        round_: that asks.
        rank: of the sample among what is asked, from 1.
        sample: id.
        image: address of its picture.
        prediction: name of the class that the network takes it for; None where that is not shown.

    """
    data = {"image": image, "sample_id": sample, "run_id": run_id, "cycle": round_, "rank": rank}
    if prediction is None:
        return {"data": data}
    return {"data": data, "predictions": [{"model_version": MODEL, "result": [choice_of(prediction)]}]}


class Images:
    """Addresses of pictures under Label Studio's local files.

    Args:
        data: the run's.
        root: folder that Label Studio serves files from; None: pictures are written under ``own``.
        own: folder for them.

    Raises:
        PipelineError: the data has no pictures, or its files do not lie strictly below the root.

    """

    def __init__(self, data: DataSet, root: Path | None, own: Path) -> None:
        require_pictures(data)
        self._data = data
        self._root, self._own = root.resolve() if root is not None else None, own
        if self._root is None:
            return
        if data.root is None or data.paths is None:
            raise PipelineError(f"--image-root: expected images that are files, but {data.name} holds arrays: leave it")
        if not data.root.is_relative_to(self._root) or data.root == self._root:
            raise PipelineError(
                f"--image-root: expected a folder above {data.root}, from which Label Studio serves files, got "
                f"{self._root}: name one, or leave it out to have the pictures copied"
            )

    @property
    def storage(self) -> Path:
        """The folder that a local storage of the project has to cover."""
        return self._own / PICTURES if self._root is None or self._data.root is None else self._data.root

    @property
    def root(self) -> Path:
        """The folder from which Label Studio has to serve files."""
        return self._own if self._root is None else self._root

    def address(self, sample: int, into: Path | None = None) -> str:
        """Return the address of a sample's picture, which is written where it is not there yet.

        Args:
            sample: id.
            into: folder in the place of ``own`` while that is being made.

        Raises:
            PipelineError: its file is gone, cannot be read, or is nothing that a browser shows.
            OSError: it cannot be written.

        """
        if self._root is None:
            name = shown_picture(self._data, sample, (into or self._own) / PICTURES)
            return f"{SERVED}{PICTURES}/{quote(name)}"
        try:
            file = self._data.sample_file("train", sample)
            assert file is not None  # as checked above
            assert self._data.root is not None
            inside(file, self._data.root)
        except TrainerError as error:
            raise PipelineError(str(error)) from error
        if file.suffix.lower() not in SHOWN_BY_BROWSERS:
            raise PipelineError(f"{file} is nothing that browsers show: leave --image-root out to have copies made")
        return f"{SERVED}{quote(file.relative_to(self._root).as_posix())}"


def write_tasks(asked: Asked, out: Path) -> list[str]:
    """Write a folder with tasks, the labelling configuration and the pictures, and return what to do next.

    Args:
        asked: what is handed over.
        out: folder to make.

    Raises:
        PipelineError: the data has no pictures, or they are not where they must be.
        OSError: it cannot be written.

    """
    absolute = out.absolute()
    images = Images(asked.data, asked.image_root, absolute)
    with naming(out), replacing_folder(absolute) as folder:
        tasks = [
            task(asked.run_id, asked.round, rank, sample, images.address(sample, folder), asked.predictions.get(sample))
            for rank, sample in enumerate(asked.samples, start=1)
        ]
        write_json(folder / TASKS, tasks)
        write_atomically(folder / CONFIG, labelling_config(asked.classes))
    return [
        "start Label Studio with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and "
        f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={images.root}",
        f"make a project (Labeling Setup, Custom template: {out / CONFIG}), then Settings, Cloud Storage, Add Source "
        f"Storage, Local files: {images.storage}; save it and do not sync it",
        f"import {out / TASKS}, label, and export as JSON, which alone keeps what was skipped",
    ]
