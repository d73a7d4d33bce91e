"""What Label Studio calls: a machine-learning backend, as far as it takes to be told that something happened.

It answers at once, for Label Studio waits a second for a webhook and three for the set-up. Nothing of what it sends is
believed: a call only wakes up who then asks the server itself. So a forged call does no more than that, and it would
have to know the address, which is random.
"""

import hmac
from collections.abc import Awaitable, Callable, Mapping

from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from common.reading import parse_json
from pipeline.handoff.label_studio_tasks import choice_of
from pipeline.live.project import BACKEND
from pipeline.page.security import Access

LARGEST_CALL = 2**24
"""Bytes of a call that are taken; an import of many tasks is told with all of them."""
Handler = Callable[[Request], Awaitable[Response]]
ONLY_BROWSERS_SEND = ("origin", "cookie", "sec-fetch-site", "referer")


def build_backend(
    access: Access, key: str, wake: Callable[[], None], predict: Callable[[list[int]], Mapping[int, str]]
) -> Starlette:
    """Make the ASGI application of a backend.

    Args:
        access: which names of a host are ours.
        key: part of the address that nobody can guess.
        wake: called when something happened.
        predict: names the classes of samples, as far as people are to be shown them.

    """
    calls = _Calls(wake, predict)
    base = f"/{BACKEND}/{{key}}"
    routes = [Route(f"{base}/health", _guarded(calls.health, access, key))]
    routes += [
        Route(f"{base}/{name}", _guarded(getattr(calls, name), access, key), methods=["POST"])
        for name in ("setup", "predict", "webhook")
    ]
    return Starlette(routes=routes)


class _Calls:
    """What the addresses do."""

    def __init__(self, wake: Callable[[], None], predict: Callable[[list[int]], Mapping[int, str]]) -> None:
        self._wake, self._predict = wake, predict

    async def health(self, _request: Request) -> Response:
        return JSONResponse({"status": "UP", "model_class": BACKEND})

    async def setup(self, request: Request) -> Response:
        await _body(request)  # holds a token of the project's owner, which is not looked at
        return JSONResponse({"model_version": BACKEND})

    async def webhook(self, request: Request) -> Response:
        await _body(request)
        self._wake()
        return JSONResponse({"status": "ok"})

    async def predict(self, request: Request) -> Response:
        samples = _samples(await _body(request))
        known = await run_sync(self._predict, [sample for sample in samples if sample is not None])
        labels = [None if sample is None else known.get(sample) for sample in samples]
        results = [[] if label is None else [choice_of(label)] for label in labels]
        return JSONResponse({"results": [{"model_version": BACKEND, "result": result} for result in results]})


def _guarded(handler: Handler, access: Access, key: str) -> Handler:
    """Let a call through that comes from a program of this machine which knows the address."""

    async def checked(request: Request) -> Response:
        if request.headers.get("host") not in access.hosts:
            return JSONResponse({"error": "this address is served to this machine alone"}, 421)
        if not hmac.compare_digest(request.path_params["key"].encode(), key.encode()):
            return JSONResponse({"error": "not found"}, 404)
        if any(name in request.headers for name in ONLY_BROWSERS_SEND):
            return JSONResponse({"error": "no page may call this"}, 403)
        try:
            return await handler(request)
        except ClientDisconnect:
            return Response(status_code=400)
        except ValueError:
            return JSONResponse({"error": "expected JSON as Label Studio sends it"}, 400)

    return checked


async def _body(request: Request) -> bytes:
    received = bytearray()
    async for part in request.stream():
        received += part
        if len(received) > LARGEST_CALL:
            raise ValueError("too large")
    return bytes(received)


def _samples(body: bytes) -> list[int | None]:
    """Return the samples of the tasks of a call."""
    sent = parse_json(body)
    tasks = sent.get("tasks") if isinstance(sent, dict) else None
    if not isinstance(tasks, list):
        raise ValueError("expected tasks")
    data = [task.get("data") if isinstance(task, dict) else None for task in tasks]
    found = [each.get("sample_id") if isinstance(each, dict) else None for each in data]
    return [sample if isinstance(sample, int) and not isinstance(sample, bool) else None for sample in found]
