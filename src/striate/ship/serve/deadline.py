"""HTTP below the application: a client has so long to send its request, however slowly it trickles.

uvicorn has no such limit, and an application can't have one: it isn't called before the header is complete.
"""

import asyncio
import json
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from striate.ship.serve.contract import Refusal


class DeadlineProtocol(H11Protocol):
    """uvicorn's h11 protocol, which closes a connection whose request isn't complete in `seconds`."""

    seconds: ClassVar[float] = 20.0
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect()

    def data_received(self, data: bytes) -> None:
        self._expect()
        super().data_received(data)
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._forget()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        self.transport.write(_whole(Refusal(400, "http", "no valid HTTP request"), "400 Bad Request"))
        self.transport.close()

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


def _whole(refusal: Refusal, status: str) -> bytes:
    """An answer outside of any request that could be read."""
    body = json.dumps(refusal.body("none")).encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body
