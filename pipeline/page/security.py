"""Who may talk to the page: this machine's browser, from the page's own origin, with a link that works once.

Any web site can make a browser send requests to 127.0.0.1, and can give its own name that address (DNS rebinding); any
user of this machine can connect. So the Host must be ours, what changes something must come from our own page, and
everything but the static page needs a cookie that a random token bought.
"""

import hmac
import json
import secrets
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

TOKEN_BYTES = 32
OPEN_LINKS = 16  # unused links that work at a time; older ones are forgotten
NO_COOKIE_NEEDED = ("/", "/session")
USED = (
    "this link was used already, or is of an earlier start: in the browser where it was opened choose "
    "'link for another browser', or start again"
)
HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


class Access:
    """Links that work once, and the sessions that they opened.

    Args:
        port: that the page is served on.

    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        self.cookie = f"label_{port}"  # cookies do not tell the ports of a host apart
        self._open: deque[str] = deque(maxlen=OPEN_LINKS)
        self._sessions: list[str] = []
        self._lock = threading.Lock()

    def link(self, host: str | None = None) -> str:
        """Make an address that opens the page once; its token stands in the fragment, which is never sent.

        Args:
            host: one of ``hosts``; None: the first.

        """
        token = secrets.token_urlsafe(TOKEN_BYTES)
        with self._lock:
            self._open.append(token)
        return f"http://{host or self.hosts[0]}/#token={token}"

    def redeem(self, token: str) -> str | None:
        """Exchange a token for the value of a session's cookie; None if it is unknown or was used."""
        with self._lock:
            found = [known for known in self._open if _same(known, token)]
            if not found:
                return None
            self._open.remove(found[0])
            self._sessions.append(secrets.token_urlsafe(TOKEN_BYTES))
            return self._sessions[-1]

    def knows(self, cookies: str) -> bool:
        """Whether a Cookie header has a session of ours; the rest of it, of other ports' pages, may be anything."""
        pairs = (pair.strip().partition("=") for pair in cookies.split(";"))
        sent = [value for name, _, value in pairs if name == self.cookie]
        with self._lock:
            return any(_same(known, value) for known in self._sessions for value in sent)


def _same(known: str, sent: str) -> bool:
    return hmac.compare_digest(known.encode(), sent.encode("utf-8", "surrogatepass"))


class Guard:
    """ASGI middleware: refuses what is not ours before the application sees it, and adds the headers to everything.

    Args:
        app: what is guarded.
        access: decides.

    """

    def __init__(self, app: App, access: Access) -> None:
        self.app = app
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it here.

        Args:
            scope: what ASGI says of it.
            receive: gives its body.
            send: takes the answer.

        """
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        if scope["type"] != "http":  # there are no web sockets
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = list(message.get("headers", []))
                names = {name.lower() for name, _ in sent}
                more = [(key.encode(), value.encode()) for key, value in HEADERS.items() if key.encode() not in names]
                message = {**message, "headers": sent + more}
            await send(message)

        refused = self._refusal(scope)
        if refused is None:
            await self.app(scope, receive, with_headers)
            return
        status, reason = refused
        await _reply(with_headers, status, reason)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and reason, or None where the request may pass."""
        headers = _headers(scope)
        host = headers.get("host", "")
        if host not in self.access.hosts:
            return 421, f"expected the address {' or '.join(self.access.hosts)}: open the link that was printed"
        path = str(scope["path"])
        if path != "/" and headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return 403, "this comes from another site or port: open the link that was printed"
        if scope["method"] not in ("GET", "HEAD"):
            if headers.get("origin") != f"http://{host}":
                return 403, "this does not come from the page itself: open the link that was printed"
            if headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
                return 415, "expected a body of type application/json"
        if path in NO_COOKIE_NEEDED or path.startswith("/static/") or self.access.knows(headers.get("cookie", "")):
            return None
        return 401, "this browser has no access: open the link that was printed, or start again"


def _headers(scope: Scope) -> Mapping[str, str]:
    """By lower-case name; one that comes twice is joined, so that it equals nothing that is expected."""
    found: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name, text = raw.decode("latin-1").lower(), value.decode("latin-1")
        between = "; " if name == "cookie" else ", "
        found[name] = found[name] + between + text if name in found else text
    return found


async def _reply(send: Send, status: int, reason: str) -> None:
    body = json.dumps({"error": reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
