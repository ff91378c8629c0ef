"""`striate serve`: a socket, workers, signals."""

import json
import logging
import os
import signal
import socket
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from striate.errors import StriateError, UsageError
from striate.ship import engines
from striate.ship.engines import cores
from striate.ship.serve.app import application
from striate.ship.serve.contract import Settings
from striate.ship.serve.deadline import DeadlineProtocol
from striate.ship.serve.guard import Guard
from striate.ship.serve.models import weights

TOLD = "STRIATE_SERVE"  # settings on their way to worker processes


class _Server(uvicorn.Server):
    """uvicorn's server, which stops when a model can't be loaded."""

    failure: Exception | None = None

    def fail(self, error: Exception) -> None:
        self.failure, self.should_exit = error, True


def serve(settings: Settings, workers: int = 1) -> None:
    """Answer until told to stop, then finish what was accepted.

    Raises UsageError before anything is bound for a model that isn't there or a port that is taken.
    """
    for path in settings.models.values():
        weights(Path(path))
    engines.pick(settings.engine)
    sock = _bind(settings)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"http://{host}:{sock.getsockname()[1]}"
    _log(f"serving {', '.join(settings.models)} on {address}")
    try:
        if workers > 1:
            _many(settings, sock, workers)
        else:
            _one(settings, sock)
    finally:
        sock.close()


def from_environment() -> Guard:
    """The application of a worker process."""
    _logging()
    settings = Settings(**json.loads(os.environ[TOLD]))
    DeadlineProtocol.seconds = settings.receive_timeout

    def failed(error: Exception) -> None:
        logging.getLogger("striate.serve").error("%s", error)
        os._exit(error.exit_code if isinstance(error, StriateError) else 1)

    return application(settings, failed)


def _one(settings: Settings, sock: socket.socket) -> None:
    _logging()
    DeadlineProtocol.seconds = settings.receive_timeout
    server: _Server
    app = application(settings, lambda error: server.fail(error))
    server = _Server(_config(settings, app))

    def stop(number: int, frame: Any) -> None:
        """uvicorn raises the signal again when all is answered: it has done its work by then."""
        server.should_exit = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.run(sockets=[sock])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if server.failure is not None:
        raise server.failure


def _many(settings: Settings, sock: socket.socket, workers: int) -> None:
    """Several processes on one port; one that dies is replaced."""
    os.environ[TOLD] = json.dumps(asdict(settings))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // workers)))
    with tempfile.TemporaryDirectory() as counters:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = counters
        config = _config(
            settings, "striate.ship.serve.server:from_environment", factory=True, workers=workers
        )
        Multiprocess(config, [sock]).run()


def _config(settings: Settings, app: Guard | str, factory: bool = False, workers: int = 1) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=factory,
        workers=workers,
        http=DeadlineProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=int(settings.grace),
        h11_max_incomplete_event_size=1 << 16,
    )


def _bind(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((settings.host, settings.port))
        sock.listen(2048)
    except OSError as error:
        sock.close()
        raise UsageError(
            f"can't listen on {settings.host}:{settings.port}: {error.strerror}", "--port 0 takes a free one"
        ) from None
    sock.set_inheritable(True)
    return sock


def _logging() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("striate.serve")
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers = [handler]
        logging.getLogger(name).setLevel(logging.WARNING)
        logging.getLogger(name).propagate = False


class _OneLine(logging.Formatter):
    """An event is one line, whatever names a client chose; a trace follows indented."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        text = super().formatMessage(record)
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
