"""HTTP below the application: how long a client may take to send a request, and how many connections there may be.

uvicorn has no such limits, and an application can't have them: it isn't called before the header is complete.
"""

import asyncio
import json
import socket
from typing import Any, ClassVar

import h11
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from striate.ship.serve.contract import Refusal
from striate.ship.serve.guard import refuse

LOOK_EVERY = 0.05  # seconds between looks at a client that sends no more


class DeadlineProtocol(H11Protocol):
    """uvicorn's h11 protocol, which closes a connection whose request isn't complete in `seconds`.

    Connections over `most` are answered 503, before the process runs out of descriptors for them.
    """

    seconds: ClassVar[float] = 20.0
    most: ClassVar[int] = 1 << 30
    _late: asyncio.TimerHandle | None = None
    _ended = False  # the client sends no more

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self.most:
            self.app = _crowded
        self._watch()

    def data_received(self, data: bytes) -> None:
        self._expect()
        before, cycle = self.conn.their_state, self.cycle
        super().data_received(data)
        if before is h11.SEND_BODY and (self.conn.their_state is h11.IDLE or self.cycle is not cycle):
            self._forget()  # that request, answered before it was whole, is over: the next has its own time
        self._watch()

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio closes unless this is true
        """Whether the answer is still owed: a client may shut its side when it has asked, as `nc -N` does.

        One that left looks the same until something is sent to it: an interim answer, which it refuses.
        """
        self._ended = self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body
        if self._ended and self.conn.our_state is h11.SEND_RESPONSE and self.scope["http_version"] != "1.0":
            self.transport.write(self.conn.send(h11.InformationalResponse(status_code=100, headers=[])))
            self._look()
        return self._ended

    def _look(self) -> None:
        """asyncio no longer watches a socket that has ended."""
        if self.transport.is_closing():
            return
        if self.transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.transport.abort()
        else:
            self.loop.call_later(LOOK_EVERY, self._look)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._ended and self.cycle.response_complete:  # else another request had come before the end
            self.transport.close()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        self.transport.write(_whole(Refusal(400, "http", "no valid HTTP request"), "400 Bad Request"))
        self.transport.close()

    def _watch(self) -> None:
        """The clock runs while a request is under way to us, and on a new connection."""
        state = self.conn.their_state
        begun = state is h11.IDLE and (self.cycle is None or bool(self.conn.trailing_data[0]))
        if state is h11.SEND_BODY or begun:
            self._expect()
        else:
            self._forget()

    def _expect(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self.seconds, self._too_late)

    def _forget(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        self._late = None
        if self.transport.is_closing():
            return
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):  # no answer has begun
            slow = Refusal(408, "slow", "the request came too slowly")
            self.transport.write(_whole(slow, "408 Request Timeout"))
        self.transport.close()


async def _crowded(scope: Scope, receive: Receive, send: Send) -> None:
    headers = {"Retry-After": "1", "Connection": "close"}
    await refuse(Refusal(503, "crowded", "too many connections", **headers), "none", send)


def _whole(refusal: Refusal, status: str) -> bytes:
    """An answer outside of any request that could be read."""
    body = json.dumps(refusal.body("none")).encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body
