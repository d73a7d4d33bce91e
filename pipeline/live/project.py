"""A run's project in Label Studio: found again by a mark in its description, or made."""

import re
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from common.reading import read_json
from pipeline.errors import PipelineError
from pipeline.files import write_json
from pipeline.handoff.label_studio_tasks import CHOICES, MODEL, Images, labelling_config, title_of
from pipeline.handoff.plain_xml import Element, parse_xml
from pipeline.live.server import Refused, Server

FOLDER, KEY_FILE = "label_studio", "project.json"
"""Of a run: what its project is known by, and the pictures that are shown there."""
PAGE = 100
"""Tasks or projects that are asked for at once."""
BACKEND = MODEL
OPENED = re.compile(rf"<Choices\b[^<]*\bname\s*=\s*['\"]{CHOICES}['\"]")
SETTINGS: dict[str, Any] = {
    "sampling": "Sequential sampling",
    "skip_queue": "IGNORE_SKIPPED",
    "show_skip_button": True,
    "enable_empty_annotation": False,
    "evaluate_predictions_automatically": False,
}
"""Of a new project: tasks in the order in which they were asked, and what was skipped is not shown again."""


class Project:
    """A project, its tasks and what tells us of their annotations.

    Args:
        server: that it is on.
        run: the run directory.
        images: addresses of the pictures.
        classes: names of the classes.
        predictions: whether people are shown what the network predicts.

    """

    def __init__(
        self, server: Server, run: Path, images: Images, classes: Sequence[str], predictions: bool = False
    ) -> None:
        self._server, self._run, self._images = server, run, images
        self.id = self._found() or self._made(tuple(classes))
        server.call("PATCH", f"/api/projects/{self.id}", {"show_collab_predictions": predictions})
        self.url = f"{server.url}/projects/{self.id}/data"
        self.show(classes)
        self._cover()

    def show(self, classes: Sequence[str]) -> None:
        """Add to the labelling configuration the classes that it lacks, and leave the rest of it alone.

        Args:
            classes: names of all.

        Raises:
            PipelineError: its configuration has no choices called ``label``.

        """
        config = str(self._server.get(f"/api/projects/{self.id}").get("label_config", ""))
        choices = _choices(parse_xml(config, "the project's labelling configuration"))
        if choices is None:
            raise PipelineError(
                f"{self.url}: expected <Choices name='{CHOICES}'> in its labelling configuration: put it back, or "
                f"remove {self._run / FOLDER / KEY_FILE} to have a new project made"
            )
        known = [choice.attributes.get("value", "") for choice in choices.all("Choice")]
        if missing := [name for name in classes if name not in known]:
            added = labelling_config(tuple(missing))
            lines = added[added.index("    <Choice ") : added.index("  </Choices>")]
            opened = OPENED.search(config)
            at = config.find("</Choices>", opened.end()) if opened else -1
            wanted = f"{config[:at].rstrip()}\n{lines}  {config[at:]}" if at >= 0 else labelling_config(tuple(classes))
            self._server.call("PATCH", f"/api/projects/{self.id}", {"label_config": wanted})

    def add(self, tasks: Sequence[dict[str, Any]]) -> list[int]:
        """Import tasks, and return their numbers in the same order.

        Args:
            tasks: as ``label_studio_tasks.task`` makes them.

        """
        path = f"/api/projects/{self.id}/import?return_task_ids=true"
        reply = self._server.call("POST", path, list(tasks))
        return [int(number) for number in reply.get("task_ids", [])] if isinstance(reply, dict) else []

    def latest(self, size: int) -> Iterator[dict[str, Any]]:
        """Yield one page of tasks after the other, those changed last first, each with its annotations.

        Args:
            size: tasks of a page.

        Yields:
            ``{"tasks": [...], "total": n, "total_annotations": n}``.

        Raises:
            PipelineError: the server refuses or does not answer.

        """
        number = 0
        while True:
            number += 1
            order = '{"ordering": ["-tasks:updated_at"]}'
            try:
                page = self._server.get(
                    "/api/tasks", project=self.id, fields="all", page=number, page_size=size, query=order
                )
            except Refused as error:
                if error.status == 404 and number > 1:  # after the last page
                    return
                raise
            tasks = page.get("tasks") if isinstance(page, dict) else None
            if not isinstance(tasks, list) or not all(isinstance(each, dict) for each in tasks):
                raise Refused(f"{self._server.url}/api/tasks: expected tasks: is it Label Studio 1.23 or later?", 200)
            yield page
            if len(tasks) < size:
                return

    def change(self, number: int, data: dict[str, Any]) -> None:
        """Give a task other data.

        Args:
            number: of the task.
            data: of it.

        """
        self._server.call("PATCH", f"/api/tasks/{number}/", {"data": data})

    def require_picture(self, address: str) -> None:
        """Refuse a server that does not show a picture, which people would see as an empty frame.

        Args:
            address: of the picture.

        Raises:
            PipelineError: it does not; the message says how it has to be started.

        """
        try:
            self._server.content("GET", address)
        except Refused as error:
            raise PipelineError(
                f"{self._server.url}: it shows no pictures (HTTP {error.status}): {self._start()}"
            ) from error

    def register(self, url: str) -> bool:
        """Have Label Studio push what happens to an address, in the place of earlier ones of ours.

        Args:
            url: of the backend.

        Returns:
            Whether annotations will be pushed: Label Studio takes a backend that it then does not call.

        Raises:
            PipelineError: it refuses.

        """
        self.unregister()
        backend = {"project": self.id, "url": url, "title": BACKEND, "is_interactive": False}
        self._server.call("POST", "/api/ml", backend)
        return any(hook.get("url") == f"{url}/webhook" for hook in self._hooks())

    def unregister(self) -> None:
        """Remove what was registered, in this start or an earlier one."""
        for backend in self._server.get("/api/ml", project=self.id):
            if backend.get("title") == BACKEND:
                self._server.call("DELETE", f"/api/ml/{backend['id']}")
        for hook in self._hooks():
            if f"/{BACKEND}/" in str(hook.get("url")):
                self._server.call("DELETE", f"/api/webhooks/{hook['id']}/")

    def _hooks(self) -> list[dict[str, Any]]:
        found = self._server.get("/api/webhooks/", project=self.id)
        return [hook for hook in found if isinstance(hook, dict)] if isinstance(found, list) else []

    @property
    def _mark(self) -> str:
        """What the project is known by: made once a run, before the project, so that a crash makes no second one."""
        path = self._run / FOLDER / KEY_FILE
        try:
            return f"ntk-lookahead {read_json(path)['key']}"
        except FileNotFoundError:
            path.parent.mkdir(exist_ok=True)
            write_json(path, {"key": secrets.token_hex(8)})
            return self._mark
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise PipelineError(f"{path} is damaged: restore it, or remove it to have a new project made") from error

    def _found(self) -> int | None:
        number, mark = 0, self._mark
        while True:
            number += 1
            query = {"include": "id,description", "page": number, "page_size": PAGE}
            page = self._server.get("/api/projects/", **query)
            projects = page.get("results") if isinstance(page, dict) else None
            if not isinstance(projects, list):
                raise Refused(f"{self._server.url}: expected projects: is it a Label Studio server?", 200)
            for project in projects:
                if mark in str(project.get("description")):
                    return int(project["id"])
            if not page.get("next"):
                return None

    def _made(self, classes: tuple[str, ...]) -> int:
        if not classes:
            raise PipelineError("--label-studio: expected names of classes, which it has to show: --classes cat,dog")
        made = self._server.call(
            "POST",
            "/api/projects/",
            {
                "title": title_of(self._run.resolve().name),
                "description": f"Images are chosen while you label. {self._mark}",
                "label_config": labelling_config(classes),
            }
            | SETTINGS,
        )
        return int(made["id"])

    def _cover(self) -> None:
        """Let the project show the pictures: a local storage that covers their folder."""
        folder = self._images.storage
        folder.mkdir(parents=True, exist_ok=True)
        storages = self._server.get("/api/storages/localfiles", project=self.id)
        if any(Path(str(storage.get("path"))) == folder for storage in storages):
            return
        storage = {"project": self.id, "title": BACKEND, "path": str(folder), "use_blob_urls": True}
        try:
            self._server.call("POST", "/api/storages/localfiles", storage)
        except Refused as error:
            raise PipelineError(f"{error}; {self._start()}") from error

    def _start(self) -> str:
        return (
            "start Label Studio with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and "
            f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={self._images.root}, or give the root that it "
            "has as --image-root"
        )


def _choices(element: Element) -> Element | None:
    """Return the control that holds the class."""
    if element.tag == "Choices" and element.attributes.get("name") == CHOICES:
        return element
    return next((found for child in element.children if (found := _choices(child)) is not None), None)
