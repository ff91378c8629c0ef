"""What stands before every route: who may ask, how much, and the one shape of every refusal."""

import hmac
import json
import logging
import time
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from striate.ship.serve.contract import LOOPBACK, Refusal, Settings, overloaded
from striate.ship.serve.metrics import Metrics

OPEN = ("/", "/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready")  # without a token
SAFE = ("GET", "OPTIONS")
USUAL = {"http": ":80", "https": ":443"}  # ports that an address may leave out
log = logging.getLogger("striate.serve")


class Guard:
    """ASGI around the application: Host, Origin, token, size of the body, request id, metrics, the last error."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self.app, self.settings, self.metrics = app, settings, metrics
        self.held = 0  # bytes of bodies, of all requests together

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status, started = time.monotonic(), 500, False
        request_id = uuid.uuid4().hex[:16]
        scope = self._routed(scope)
        scope["state"].update(request_id=request_id, arrived=began)
        body = _Body(self, receive, scope)

        async def tell(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                started, status = True, message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
            self._check(scope, headers)
            await self.app(scope, body, tell)
        except Refusal as refusal:
            if not started:
                await refuse(refusal, request_id, tell)
        except Exception:  # never with its cause: that is for the log
            log.exception("request %s failed", request_id)  # a route's own error was answered already
            if not started:
                await refuse(Refusal(500, "internal", "internal error"), request_id, tell)
        finally:
            self.held -= body.taken
            route = getattr(scope.get("route"), "path", "none")
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(time.monotonic() - began)

    def _routed(self, scope: Scope) -> Scope:
        """The request as the routes know it: HEAD is a GET, of which the server below drops the body; a proxy may
        leave the path at which it shows the server, or take it off."""
        root, path = self.settings.root_path, scope["path"]
        if root and path != root and not path.startswith(f"{root}/"):
            path = root + path
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        path = f"{root}/" if path == root else path
        return {**scope, "method": method, "path": path, "root_path": root, "state": scope.get("state", {})}

    def _check(self, scope: Scope, headers: dict[str, str]) -> None:
        s = self.settings
        host = headers.get("host")
        if s.host in LOOPBACK and host is not None and _name(host) not in LOOPBACK:  # HTTP/1.0 may have none
            raise Refusal(403, "host", "this server answers for localhost only")
        origin = headers.get("origin")
        if origin is not None and scope["method"] not in SAFE and not self._may_ask(origin, host or ""):
            raise Refusal(403, "origin", "pages of other sites may not post here")
        if s.token and scope["path"].removeprefix(s.root_path) not in OPEN:
            scheme, _, token = headers.get("authorization", "").partition(" ")
            given = headers.get("x-api-key") or (token.strip() if scheme.lower() == "bearer" else "")
            if not hmac.compare_digest(given.encode(), s.token.encode()):
                raise Refusal(401, "token", "a token is needed", **{"WWW-Authenticate": "Bearer"})
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise Refusal(415, "content_encoding", "send the body as it is, not packed")
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > s.max_body:
            raise too_large(s)

    def _may_ask(self, origin: str, host: str) -> bool:
        """Whether a page's origin is this server, by the name that the page knows it by, or one that is let in."""
        scheme, _, there = origin.lower().partition("://")
        usual = USUAL.get(scheme, "")
        same = bool(there) and there.removesuffix(usual) == host.lower().removesuffix(usual)
        return same or not {origin, "*"}.isdisjoint(self.settings.allow_origins)


class _Body:
    """`receive`, which takes no more than is accepted, of this request and of all, whatever the header says."""

    def __init__(self, guard: Guard, receive: Receive, scope: Scope) -> None:
        self.guard, self.receive, self.scope, self.taken = guard, receive, scope, 0

    async def __call__(self) -> Message:
        message = await self.receive()
        if message["type"] != "http.request":
            return message
        size = len(message.get("body", b""))
        self.taken += size
        self.guard.held += size
        settings = self.guard.settings
        if self.taken > settings.max_body:
            raise too_large(settings)
        if self.guard.held > settings.max_held:
            raise overloaded(1)
        if not message.get("more_body", False):
            self.scope["state"]["arrived"] = time.monotonic()
        return message


def too_large(settings: Settings) -> Refusal:
    """413; what still comes is dropped."""
    return Refusal(413, "too_large", f"the body is over {settings.max_body:,} bytes")


async def refuse(refusal: Refusal, request_id: str, send: Send) -> None:
    """Send a refusal."""
    body = json.dumps(refusal.body(request_id)).encode()
    fixed = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    own = [(k.lower().encode(), v.encode()) for k, v in refusal.headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": fixed + own})
    await send({"type": "http.response.body", "body": body})


def _name(host: str) -> str:
    """The name in a Host header, in small letters, without the port."""
    host = host.lower()
    return host[1:].partition("]")[0] if host.startswith("[") else host.rpartition(":")[0] or host
