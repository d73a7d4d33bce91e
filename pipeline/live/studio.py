"""A Label Studio that people label in, as ``pipeline label --label-studio`` begins and ends with it."""

import secrets
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.handoff.label_studio_tasks import Images
from pipeline.live.link import POLL, Link
from pipeline.live.project import BACKEND, FOLDER, Project
from pipeline.live.server import Server
from pipeline.page.serve import PageServer
from pipeline.session.session import Session

KEY_BYTES = 24
PUSH = "ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false"
"""What Label Studio needs both of before it calls an address of its own machine."""


class Studio:
    """A server that answers and takes the token.

    Args:
        url: of the server.
        token: for it.
        image_root: folder from which it serves files; None: one in the run, where pictures are copied to.
        predictions: whether people are shown what the network predicts.

    Raises:
        PipelineError: it does not answer, or refuses the token.

    """

    def __init__(self, url: str, token: str, image_root: Path | None, predictions: bool) -> None:
        self._server, self._image_root, self._predictions = Server(url, token), image_root, predictions
        self._server.get("/api/current-user/whoami")

    @property
    def options(self) -> str:
        """What has to be said again to go on with it; the token is never repeated."""
        root = f" --image-root {shlex.quote(str(self._image_root))}" if self._image_root is not None else ""
        return f" --label-studio {shlex.quote(self._server.url)}{root}{' --predictions' if self._predictions else ''}"

    @contextmanager
    def linked(self, session: Session, warn: Callable[[str], None], news: Callable[[str], None]) -> Iterator[None]:
        """Label in its project for the length of a block.

        Args:
            session: takes what is said there.
            warn: told of what should be looked at, one line each.
            news: told of what goes on, one line each.

        Raises:
            PipelineError: it does not show the pictures, or refuses something else.

        """
        from pipeline.live.backend import build_backend  # of packages that whoever starts the page asks for

        clerk = session.clerk
        settings = clerk.context.config.annotator
        if settings is not None and settings.overlap:
            raise PipelineError(
                "--overlap: Label Studio itself says how many people see a task (the project's Quality settings): "
                "begin a run without it"
            )
        run = clerk.run.path
        images = Images(clerk.context.data, self._image_root, run.resolve() / FOLDER)
        project = Project(self._server, run, images, clerk.classes, self._predictions)
        link = Link(session, project, images, self._predictions, warn, news)
        key = secrets.token_urlsafe(KEY_BYTES)
        build = lambda _desk, access: build_backend(access, key, link.wake, link.predict)  # noqa: E731
        with PageServer(session, 0, build) as backend:
            link.start()
            link.pushed = self._registered(project, f"http://127.0.0.1:{backend.port}/{BACKEND}/{key}", news)
            news(f"label in Label Studio at {project.url} (Label All Tasks), or on the page of the run itself")
            try:
                yield
            finally:
                link.stop()
                with suppress(PipelineError):  # it is gone already; the next start removes what is left
                    project.unregister()

    def _registered(self, project: Project, url: str, news: Callable[[str], None]) -> bool:
        """Have answers pushed; where Label Studio refuses that, they are fetched."""
        reason = ""
        try:
            if project.register(url):
                return True
        except PipelineError as error:
            reason = f" ({error})"
        news(
            f"Label Studio does not push answers{reason}: they are fetched every {POLL:.0f} seconds. On this machine "
            f"it pushes them where it was started with {PUSH}; both are needed"
        )
        return False
