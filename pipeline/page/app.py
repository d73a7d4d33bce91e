"""The page's addresses: each checks what came, asks the desk in a thread, and answers in JSON."""

import hashlib
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.page import fields
from pipeline.page.security import USED, Access, Guard
from pipeline.session.desk import Desk, DeskError

STATIC = Path(__file__).parent / "static"
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
LARGEST_BODY = 64 * 1024
SIDES = (256, 512, 1024, 2048)  # that an image may be asked for in
PICTURES = ("image/png", "image/jpeg", "image/webp", "image/gif")
PICTURE_CACHE = "private, max-age=3600"  # the page's addresses of images name the run, so that another run's never show
RUN = "x-run"  # header: a tab that is left over from another run on the same port must not label this one

Handler = Callable[[Request], Awaitable[Response]]
POSTS: Mapping[str, tuple[str, Sequence[str]]] = {  # of each address the method of the desk and its arguments
    "/answer": ("answer", ("annotator", "sample", "label", "seconds")),
    "/skip": ("skip", ("annotator", "sample", "reason", "seconds")),
    "/undo": ("undo", ("annotator", "sample")),
    "/class": ("add_class", ("name",)),
    "/grid": ("grid", ("annotator", "label", "size")),
    "/grid/confirm": ("confirm", ("annotator", "label", "right", "wrong", "seconds")),
    "/copies": ("near_copies", ("annotator", "sample")),
    "/copies/label": ("label_copies", ("annotator", "sample", "label", "right", "wrong", "seconds")),
    "/copies/undo": ("undo_copies", ("annotator", "sample")),
    "/keep": ("keep", ("annotator", "sample")),
    "/finish": ("finish", ()),
}
NULLABLE = {"undo": ("sample",)}


def build_app(desk: Desk, access: Access) -> Starlette:
    """Make the ASGI application of a labelling page.

    Args:
        desk: answers; its methods are called from threads.
        access: who may ask.

    """
    endpoints = Endpoints(desk, access)
    routes = [Route("/", _static("index.html"))]
    routes += [Route(f"/static/{path.name}", _static(path.name)) for path in STATIC.iterdir() if path.suffix in KINDS]
    routes += [
        Route(f"/{name}", _said(getattr(endpoints, name))) for name in ("state", "question", "history", "doubts")
    ]
    routes.append(Route("/image/{sample}", _said(endpoints.image)))
    routes.append(Route("/product/{name}", _said(endpoints.product)))
    routes += [Route(f"/{name}", _said(getattr(endpoints, name)), methods=["POST"]) for name in ("session", "link")]
    routes += [Route(path, _said(endpoints.post(*called)), methods=["POST"]) for path, called in POSTS.items()]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, access=access)],
        exception_handlers={HTTPException: _unknown_address},
    )


class Endpoints:
    """What the addresses do.

    Args:
        desk: answers; its methods are called from threads.
        access: who may ask.

    """

    def __init__(self, desk: Desk, access: Access) -> None:
        self.desk = desk
        self.access = access
        self._run: str | None = None

    async def state(self, request: Request) -> Response:
        """GET /state?annotator="""
        return await self._reply(self.desk.state, _annotator(request))

    async def question(self, request: Request) -> Response:
        """GET /question?annotator="""
        return await self._reply(self.desk.question, _annotator(request))

    async def history(self, request: Request) -> Response:
        """GET /history?annotator=&limit="""
        limit = fields.checked("limit", fields.number("limit", request.query_params.get("limit", "")))
        return await self._reply(self.desk.history, _annotator(request), limit)

    async def doubts(self, request: Request) -> Response:
        """GET /doubts?annotator="""
        return await self._reply(self.desk.doubts, _annotator(request))

    async def image(self, request: Request) -> Response:
        """GET /image/{sample}?side="""
        sample = fields.checked("sample", fields.number("sample", request.path_params["sample"]))
        side = fields.number("side", request.query_params.get("side", ""))
        if side not in SIDES:
            raise DeskError(f"expected side as one of {', '.join(map(str, SIDES))}", 400)
        content, kind = await _in_thread(self.desk.picture, sample, side)
        if kind not in PICTURES:  # others (SVG) may run scripts
            raise ValueError(f"expected an image of type {', '.join(PICTURES)}, got {kind}")
        return Response(content, media_type=kind, headers={"cache-control": PICTURE_CACHE})

    async def product(self, request: Request) -> Response:
        """GET /product/{name}: one file of what was made in the end, to be saved."""
        finished = (await _in_thread(self.desk.state, ""))["finished"] or {}
        name = request.path_params["name"]
        if name not in finished.get("products", ()):
            raise DeskError(f"there is no {name!r} among the products", 404)
        try:
            content = await _in_thread((Path(finished["folder"]) / name).read_bytes)
        except OSError as error:
            raise DeskError(f"{name} cannot be read any more: {error.strerror}", 404) from error
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        return Response(content, media_type="application/octet-stream", headers=headers)

    async def session(self, request: Request) -> Response:
        """POST /session: a link's token for a cookie."""
        sent = fields.fields(await _body(request), ("token",))
        value = self.access.redeem(sent["token"])
        if value is None and not self.access.knows(request.headers.get("cookie", "")):
            return JSONResponse({"error": USED}, 403)
        response = JSONResponse({"ok": True})
        if value is not None:
            response.set_cookie(self.access.cookie, value, path="/", httponly=True, samesite="strict")
        return response

    async def link(self, request: Request) -> Response:
        """POST /link: one more link that works once."""
        fields.fields(await _body(request), ())
        return JSONResponse({"url": self.access.link(request.headers["host"])})

    def post(self, method: str, names: Sequence[str]) -> Handler:
        """Make the handler of a method of the desk.

        Args:
            method: its name.
            names: of its arguments, in order.

        Returns:
            The handler.

        """
        call = getattr(self.desk, method)

        async def handler(request: Request) -> Response:
            sent = fields.fields(await _body(request), names, NULLABLE.get(method, ()))
            known = request.headers.get(RUN)
            if known is not None and known != await self._run_key():
                raise DeskError("this page is of another run: load it again")
            return await self._reply(call, *sent.values())

        return handler

    async def _reply(self, method: Callable[..., dict[str, Any]], *arguments: Any) -> Response:
        key = await self._run_key()
        return JSONResponse(await _in_thread(method, *arguments), headers={RUN: key})

    async def _run_key(self) -> str:
        """Tells runs apart, and stays the same when one is gone on with."""
        if self._run is None:
            run = (await _in_thread(self.desk.state, ""))["run"]
            self._run = hashlib.sha256(str(Path(run).resolve()).encode()).hexdigest()[:16]
        return self._run


async def _in_thread(method: Callable[..., Any], *arguments: Any) -> Any:
    """Call the desk; a server that has to stop does not wait for a call that never ends."""
    return await run_sync(method, *arguments, abandon_on_cancel=True)


def _annotator(request: Request) -> str:
    return str(fields.checked("annotator", request.query_params.get("annotator", "")))


async def _body(request: Request) -> bytes:
    """At most 64 KiB, counted while they come."""
    received = bytearray()
    async for part in request.stream():
        received += part
        if len(received) > LARGEST_BODY:
            raise DeskError(f"expected a body of at most {LARGEST_BODY} bytes", 413)
    return bytes(received)


def _said(handler: Handler) -> Handler:
    """Turn every failure into one line of JSON."""

    async def wrapped(request: Request) -> Response:
        try:
            return await handler(request)
        except DeskError as error:
            return JSONResponse({"error": _one_line(error)}, error.status)
        except ClientDisconnect:
            return Response(status_code=400)  # which nobody reads
        except Exception as error:  # the browser gets no traceback
            line = f"{type(error).__name__}: {_one_line(error)}"
            print(f"{request.method} {request.url.path}: {line}", file=sys.stderr, flush=True)
            return JSONResponse({"error": f"the labelling process failed at this ({line})"}, 500)

    return wrapped


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _static(name: str) -> Handler:
    content = (STATIC / name).read_bytes()

    async def handler(_request: Request) -> Response:
        return Response(content, media_type=KINDS[Path(name).suffix])

    return handler


async def _unknown_address(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)
