"""A Label Studio server as its HTTP interface shows it: plain requests, bounded replies, one line for every failure."""

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from common.reading import parse_json
from pipeline.errors import PipelineError

PATIENCE = 30.0
"""Seconds that a reply may take: a server on a busy machine needs some for an import."""
LARGEST_REPLY = 2**27
LOOPBACK = ("127.0.0.1", "localhost", "::1")
SHOWN = 300
"""Letters of a reply that a message repeats."""


class Refused(PipelineError):
    """The server answered, but not as was hoped.

    Args:
        message: one line.
        status: of HTTP.

    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Unreachable(PipelineError):
    """The server does not answer."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirection, which would take the token elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        """Return nothing: a redirection is an error."""


class Server:
    """A server and who may talk to it.

    Args:
        url: of it.
        token: a personal access token, which buys tokens of some minutes, or a legacy token.

    Raises:
        PipelineError: the address is none.

    """

    def __init__(self, url: str, token: str) -> None:
        self.url = url.rstrip("/")
        try:
            parts = urllib.parse.urlsplit(self.url)
            host = parts.hostname
        except ValueError:
            host = None
        if not host or parts.scheme not in ("http", "https") or parts.username or parts.query or parts.fragment:
            raise PipelineError(f"--label-studio: expected an address such as http://localhost:8080, got {url!r}")
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise PipelineError(
                "--label-studio-token: expected an access token (Label Studio: Account & Settings, Personal Access "
                "Token), here or in the environment as LABEL_STUDIO_API_KEY"
            )
        self._token = token
        self._access: str | None = None
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
        if host in LOOPBACK:
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    def __repr__(self) -> str:
        """Show the address, and never the token."""
        return f"Server({self.url!r})"

    def get(self, path: str, **query: Any) -> Any:
        """Return what an address holds.

        Args:
            path: of it.
            **query: of it.

        Raises:
            PipelineError: the server refuses or does not answer.

        """
        return self.call("GET", f"{path}?{urllib.parse.urlencode(query)}" if query else path)

    def call(self, method: str, path: str, value: Any = None) -> Any:
        """Return the plain value of a reply; None where it has none.

        Args:
            method: of HTTP.
            path: of the address.
            value: sent as JSON, where there is one.

        Raises:
            PipelineError: the server refuses or does not answer.

        """
        content = self.content(method, path, value)
        try:
            return parse_json(content) if content.strip() else None
        except ValueError as error:
            raise Refused(f"{self.url}{path}: expected JSON: is it a Label Studio server?", 200) from error

    def content(self, method: str, path: str, value: Any = None) -> bytes:
        """Return the content of a reply.

        Args:
            method: of HTTP.
            path: of the address.
            value: sent as JSON, where there is one.

        Raises:
            PipelineError: the server refuses or does not answer.

        """
        if not self._renewable:
            return self._send(method, path, value, f"Token {self._token}")
        fresh = self._access is None
        try:
            return self._send(method, path, value, f"Bearer {self._access or self._renewed()}")
        except Refused as error:
            if error.status != http.HTTPStatus.UNAUTHORIZED or fresh:
                raise
            return self._send(method, path, value, f"Bearer {self._renewed()}")  # it lives for some minutes

    @property
    def _renewable(self) -> bool:
        """Whether the token is a personal access token, a JSON Web Token."""
        return self._token.count(".") == 2

    def _renewed(self) -> str:
        reply = self._send("POST", "/api/token/refresh/", {"refresh": self._token}, None)
        try:
            value = parse_json(reply)
        except ValueError:
            value = None
        access = value.get("access") if isinstance(value, dict) else None
        if not isinstance(access, str):
            raise Refused(f"{self.url}: it gives no access for this token: make a new one there", 401)
        self._access = access
        return access

    def _send(self, method: str, path: str, value: Any, authorization: str | None) -> bytes:
        headers = {"Accept": "application/json"} | ({"Authorization": authorization} if authorization else {})
        body = None
        if value is not None:
            headers["Content-Type"], body = "application/json", json.dumps(value).encode()
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        try:
            with self._opener.open(request, timeout=PATIENCE) as reply:
                content = reply.read(LARGEST_REPLY + 1)
        except urllib.error.HTTPError as error:
            with error:
                raise Refused(_refusal(self.url, path, error.code, error.read(2**16)), error.code) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise Unreachable(f"{self.url}: Label Studio does not answer ({reason}): is it running there?") from error
        if len(content) > LARGEST_REPLY:
            raise Refused(f"{self.url}{path}: the reply is too large", 200)
        return bytes(content)


def _refusal(url: str, path: str, status: int, content: bytes) -> str:
    """Say in one line what a server answered, and what may be done about it."""
    try:
        value = parse_json(content)
    except ValueError:
        value = None
    value = value if isinstance(value, dict) else {}
    said = [value.get("detail", "")] if isinstance(value.get("detail"), str) else []
    faults = value.get("validation_errors")
    if isinstance(faults, dict):
        said = [
            f"{name}: {fault}"
            for name, each in faults.items()
            for fault in (each if isinstance(each, list) else [each])
        ]
    reason = " ".join("; ".join(map(str, said)).split())[:SHOWN]
    if 300 <= status < 400:
        return f"{url}: it leads elsewhere (HTTP {status}): give the address that the browser ends at"
    if status == 401:
        return (
            f"{url}: Label Studio refuses the token{f' ({reason})' if reason else ''}: make a personal access token "
            "under Account & Settings and give it as --label-studio-token or LABEL_STUDIO_API_KEY"
        )
    if status == 404 and not reason:
        return f"{url}{path.partition('?')[0]}: there is no such address: is it a Label Studio server?"
    return f"{url}: Label Studio refuses {path.partition('?')[0]} (HTTP {status}{f': {reason}' if reason else ''})"
