"""Who may ask: the gate that every request passes before anything else sees it.

- *Host*: a page elsewhere that has its own name point here (DNS rebinding) is refused. An address in digits cannot be
  rebound, so a dashboard that is open to the network takes those.
- *Access token*: wherever others could reach the port. It comes once in the address and stays in a cookie.
- *Page token and Origin*: whatever changes something is a POST with a token that only our own page can read.
- *Size*: no body is read beyond its limit.

Answers carry headers that keep scripts, frames and other sites out.
"""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
import socket
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trimtab.dashboard.failures import error_answer, page

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
BODY_BYTES = 1 << 20
UPLOAD_BYTES = 20 << 20
TOKEN_HEADER = "X-Trimtab-Token"
SAFE_METHODS = frozenset({"GET", "HEAD"})
# Open to anyone who may ask at all: the style of the page that asks for the token.
OPEN_PATHS = frozenset({"/plain.css"})
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: with it browsers send `Origin: null` from our own page.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_ASK = """<form method="get" action="/"><label>Token <input name="token" autocomplete="off"></label>
<button>Open</button></form>"""
# The browser does not send a strict cookie along with a redirect from another site, so the page is asked for anew.
_WELCOME = '<meta http-equiv="refresh" content="0;url=/"><p><a href="/">Go on to the dashboard</a></p>'


def is_local(host: str) -> bool:
    """Whether only this machine can reach a server that is bound to `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


@dataclass(frozen=True)
class Policy:
    """What is asked of requests.

    Args:
        host: name or address that the server is bound to.
        access_token: without it, or the cookie it gave, nothing is answered; None where nobody else can ask.
        page_token: what a POST has to show.
        read_only: refuse every POST.
        names: further names that the server goes by, as behind a proxy.
    """

    host: str = "127.0.0.1"
    access_token: str | None = None
    page_token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    read_only: bool = False
    names: frozenset[str] = frozenset()

    def knows_host(self, header: str) -> bool:
        """Whether the `Host` of a request is a name of this server."""
        name = host_name(header)
        if name in LOCAL_NAMES or name == self.host.lower() or name in self.names:
            return True
        if is_local(self.host):
            return False
        return _is_address(name) or name in _machine_names()

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it: a further name is that of a proxy, behind which others are."""
        return is_local(self.host) and not self.names

    @property
    def cookie_value(self) -> str:
        """What the cookie holds: it gives access, and does not tell the token."""
        return hashlib.sha256(f"trimtab dashboard {self.access_token}".encode()).hexdigest()


def host_name(header: str) -> str:
    """The name in a `Host` header, in lower case, without port and brackets; empty when it cannot be read."""
    try:
        return "" if "@" in header else (urlsplit(f"//{header}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _machine_names() -> set[str]:
    name = socket.gethostname().lower()
    return {name, name.partition(".")[0], f"{name.partition('.')[0]}.local"}


class Gate:
    """ASGI middleware that lets through what the policy allows.

    Args:
        app: the application behind it.
        policy: what is asked.
    """

    def __init__(self, app: ASGIApp, policy: Policy) -> None:
        self.app = app
        self.policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on with its body limited and its answer's headers set."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # no WebSockets here
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)
        answer = self._refusal(scope, headers)
        if answer is not None:
            await answer(scope, receive, _with_headers(send))
            return
        limit = UPLOAD_BYTES if headers.get("content-type", "").startswith("multipart/") else BODY_BYTES
        if scope["method"] not in SAFE_METHODS:
            refused, receive = await _limited(scope, receive, headers, limit)
            if refused is not None:
                await refused(scope, receive, _with_headers(send))
                return
        await self.app(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        path: str = scope["path"]
        if not self.policy.knows_host(headers.get("host", "")):
            return error_answer(
                path,
                421,
                "This dashboard does not go by the name that the request asks for.",
                "Open the address that 'trimtab dashboard' printed; behind a proxy, name its host with --allow-host.",
            )
        refused = self._access_refusal(scope, headers)
        if refused is not None:
            return refused
        if path.startswith("/api") and headers.get("sec-fetch-site") == "cross-site":
            return error_answer(path, 403, "Another site asked for this.", "Open the dashboard itself.")
        if scope["method"] in SAFE_METHODS:
            return None
        return self._write_refusal(path, headers)

    def _access_refusal(self, scope: Scope, headers: Headers) -> Response | None:
        token, path = self.policy.access_token, scope["path"]
        if token is None or path in OPEN_PATHS:
            return None
        name = cookie_name(scope)
        if _same(_cookie(headers, name), self.policy.cookie_value):
            return None
        if _same(headers.get("authorization", "").removeprefix("Bearer "), token):
            return None
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        if scope["method"] == "GET" and path == "/" and _same(query.get("token", [""])[0].strip(), token):
            welcome = page("Trimtab", "The token is right.", more=_WELCOME)
            welcome.set_cookie(name, self.policy.cookie_value, httponly=True, samesite="strict", path="/")
            return welcome
        if path.startswith("/api"):
            return error_answer(path, 401, "A token is needed.", "Open the address that 'trimtab dashboard' printed.")
        said = "The token is not the right one." if "token" in query else "This dashboard asks for a token."
        return page(said, "'trimtab dashboard' printed an address that holds it.", status=401, more=_ASK)

    def _write_refusal(self, path: str, headers: Headers) -> Response | None:
        origin = headers.get("origin")
        if origin is not None and not _is_own_origin(origin, headers.get("host", "")):
            return error_answer(path, 403, "Another site sent this.", "Act from the dashboard's own page.")
        if self.policy.read_only:
            return error_answer(
                path,
                403,
                "This dashboard only shows: it was started with --read-only.",
                "Start it without --read-only to act from it.",
            )
        if not _same(headers.get(TOKEN_HEADER, ""), self.policy.page_token):
            return error_answer(path, 403, "The page's token is missing or old.", "Load the page again.")
        return None


def cookie_name(scope: Scope) -> str:
    """The name of the access cookie: ports of one host share their cookies, and two dashboards must not."""
    server = scope.get("server") or ("", 0)
    return f"trimtab-access-{server[1] or 0}"


def _same(given: str, wanted: str) -> bool:
    return secrets.compare_digest(given.encode("utf-8", "replace"), wanted.encode("utf-8", "replace"))


def _cookie(headers: Headers, name: str) -> str:
    jar: SimpleCookie = SimpleCookie()
    try:
        jar.load(headers.get("cookie", ""))
    except CookieError:
        return ""
    return jar[name].value if name in jar else ""


def _is_own_origin(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and _without_port(parts.netloc) == _without_port(host)


def _without_port(netloc: str) -> str:
    """Host and port in lower case; the ports of http and https, which browsers leave out, too."""
    netloc = netloc.lower()
    return netloc.removesuffix(":80").removesuffix(":443")


async def _limited(scope: Scope, receive: Receive, headers: Headers, limit: int) -> tuple[Response | None, Receive]:
    """Read the body up to `limit` bytes, so that it is refused before anything works on it.

    Returns:
        The refusal, if it is too long, and what gives the body to the application.
    """
    told = headers.get("content-length", "0")
    body, more = bytearray(), True
    too_long = told.isdigit() and int(told) > limit
    while more and not too_long:
        message = await receive()
        if message["type"] != "http.request":
            return None, receive  # the client left
        body += message.get("body", b"")
        more = message.get("more_body", False)
        too_long = len(body) > limit
    if too_long:
        words = f"The request is longer than {limit // (1 << 20)} MiB."
        return error_answer(scope["path"], 413, words, "Send less."), receive
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": bytes(body), "more_body": False}

    return None, again


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
        await send(message)

    return sending
