"""Serves the page on 127.0.0.1 until it is told to stop."""

import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any

from pipeline.errors import PipelineError
from pipeline.page.security import Access
from pipeline.session.desk import Desk

ADDRESS = "127.0.0.1"
LOWEST_PORT = 1024
LAST_ANSWERS = 2  # seconds that requests under way have to end when the server stops
JOIN = LAST_ANSWERS + 3


class PageServer:
    """A page that is bound to its port from the start, and served by a thread of its own.

    The thread that waits is free to be interrupted: uvicorn installs no handlers of signals.

    Args:
        desk: answers.
        port: on 127.0.0.1; 0: any that is free; or what ``listening`` returned.
        build: makes another application than the page.

    Raises:
        PipelineError: the port is taken or out of range, or a package is missing.

    """

    def __init__(
        self, desk: Desk, port: int | socket.socket = 0, build: Callable[[Desk, Access], Any] | None = None
    ) -> None:
        self._socket = port if isinstance(port, socket.socket) else listening(port)
        self.port = int(self._socket.getsockname()[1])
        self.access = Access(self.port)
        try:
            self._server = _server(desk, self.access, build)
        except BaseException:
            self._socket.close()
            raise
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)
        self._ended = (
            threading.Event()
        )  # a thread whose join was interrupted says that it has ended, before Python 3.12
        self._failure: BaseException | None = None

    def __enter__(self) -> "PageServer":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait(self) -> None:
        """Return when the server has stopped, whoever stopped it; interrupts come through."""
        while not self._ended.wait(0.2):  # a wait without an end would hold signals back on some systems
            pass
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End soon, from any thread and as often as one likes: requests under way get their answers."""
        self._server.should_exit = True
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(JOIN)
        self._socket.close()

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        except BaseException as error:
            self._failure = error
        finally:
            self._ended.set()


def serve(desk: Desk, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve a page until something interrupts the wait; whoever wants to stop it otherwise holds a ``PageServer``.

    Args:
        desk: answers.
        port: on 127.0.0.1; 0: any that is free.
        on_ready: gets the link, which works once, when connections are accepted.

    Raises:
        PipelineError: the port is taken or out of range, or a package is missing.

    """
    with PageServer(desk, port) as server:
        on_ready(server.access.link())
        server.wait()


def listening(port: int) -> socket.socket:
    """Take a port of 127.0.0.1.

    Args:
        port: its number; 0: any that is free.

    Raises:
        PipelineError: it is taken or out of range.

    """
    if port != 0 and not LOWEST_PORT <= port < 2**16:
        raise PipelineError(f"expected a port from {LOWEST_PORT} to 65535, or 0 for any that is free, got {port}")
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # soon after a crash, too
        bound.bind((ADDRESS, port))
        bound.listen()  # what connects from now on waits until the server takes it
    except OSError as error:
        bound.close()
        raise PipelineError(
            f"port {port} of {ADDRESS} cannot be used ({error.strerror}): choose another, or 0 for any that is free"
        ) from None
    return bound


def _server(desk: Desk, access: Access, build: Callable[[Desk, Access], Any] | None) -> Any:
    try:
        import uvicorn

        from pipeline.page.app import build_app
    except ImportError as error:
        raise PipelineError(
            f'the page needs a package that cannot be imported ({error}): pip install -c constraints.txt ".[label]"'
        ) from None

    class Quiet(uvicorn.Server):
        """Leaves signals to whoever started it."""

        def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
            return nullcontext()

    return Quiet(
        uvicorn.Config(
            (build or build_app)(desk, access),
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=LAST_ANSWERS,
        )
    )
