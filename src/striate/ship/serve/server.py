"""`striate serve`: a socket, workers, signals."""

import atexit
import json
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from striate.errors import StriateError, UsageError
from striate.ship import engines
from striate.ship.engines import cores
from striate.ship.predictor import check
from striate.ship.serve import metrics
from striate.ship.serve.app import application
from striate.ship.serve.contract import Settings
from striate.ship.serve.deadline import DeadlineProtocol
from striate.ship.serve.models import weights
from striate.ship.serve.worker import at_work

log = logging.getLogger("striate.serve")
LONG = 60  # seconds that a worker may take to load its model, and to say whether it has
TOLD = "STRIATE_SERVE"  # settings on their way to worker processes


class _Server(uvicorn.Server):
    """uvicorn's server, which stops when a model can't be loaded."""

    failure: Exception | None = None

    def fail(self, error: Exception) -> None:
        self.failure, self.should_exit = error, True


class _Workers(Multiprocess):
    """uvicorn's supervisor, for which a worker that can't load its model is no end while another answers.

    A worker is there until its process ends: one that starts, or is given no time to run, can't answer uvicorn's pings,
    nor can one that has ended, which would be waited for in vain.
    """

    failed = False
    pause = 30.0  # seconds before a worker that couldn't start is tried again
    _missing, _again_at = 0, 0.0

    def keep_subprocess_alive(self) -> None:
        if self.should_exit.is_set():
            return
        dead = [p for p in self.processes if p.exitcode is not None]
        self.processes = [p for p in self.processes if p not in dead]
        for process in dead:
            if process.pid is not None:
                metrics.forget(process.pid)
            if process.exitcode != STARTUP_FAILURE:
                self._begin()
            elif any(p.wait_until_ready(LONG, self.should_exit) for p in self.processes):
                self._missing, self._again_at = self._missing + 1, time.monotonic() + self.pause
                team = len(self.processes)
                log.warning("%d of %d workers answer; the rest is tried again", team, team + self._missing)
            else:
                self.failed = True
                self.should_exit.set()
                return
        if self._missing and time.monotonic() >= self._again_at:
            self._missing -= 1
            self._begin()

    def _begin(self) -> None:
        process = Process(self.config, self.sockets)
        process.start()
        self.processes.append(process)

    def terminate_all(self) -> None:
        """A socket takes clients for as long as any process holds it."""
        for sock in self.sockets:
            sock.close()
        super().terminate_all()


def serve(settings: Settings, workers: int = 1) -> None:
    """Answer until told to stop, then finish what was accepted.

    Raises UsageError or DataError before anything is bound, for a model that isn't there or is no good, or a port
    that is taken.
    """
    for path in settings.models.values():
        _checked(Path(path), settings.engine)
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


def _checked(path: Path, engine: str) -> None:
    try:
        weights(path)
        check(path, engine)
    except OSError as error:
        raise UsageError(f"{path} can't be read: {error.strerror}") from None


def from_environment() -> ASGIApp:
    """The application of a worker process."""
    _logging()
    settings = Settings(**json.loads(os.environ[TOLD]))
    _limits(settings)
    atexit.register(_leave_behind)

    def failed(error: Exception) -> None:
        log.error("%s", error)
        os._exit(STARTUP_FAILURE)

    return application(settings, failed, patient=True)


def _one(settings: Settings, sock: socket.socket) -> None:
    _logging()
    _limits(settings)
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
    _leave_behind()


def _leave_behind() -> None:
    """End here if a forward pass hangs inside a library, which might not let the interpreter end."""
    if at_work():
        sys.stdout.flush()
        os._exit(0)


def _many(settings: Settings, sock: socket.socket, workers: int) -> None:
    """Several processes on one port; one that dies is replaced."""
    _logging()
    os.environ[TOLD] = json.dumps(asdict(settings))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // workers)))
    with tempfile.TemporaryDirectory() as counters:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = counters
        config = _config(
            settings, "striate.ship.serve.server:from_environment", factory=True, workers=workers
        )
        team = _Workers(config, [sock])
        team.run()
    if team.failed:
        raise StriateError("a worker could not load its model; why stands above")


def _limits(settings: Settings) -> None:
    """What the protocol bounds, for this process: connections leave it a quarter of its files for all else."""
    DeadlineProtocol.seconds = settings.receive_timeout
    with suppress(ImportError):  # Windows
        import resource

        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if files != resource.RLIM_INFINITY:
            DeadlineProtocol.most = max(1, files * 3 // 4 - 16)


def _config(
    settings: Settings, app: ASGIApp | str, factory: bool = False, workers: int = 1
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=factory,
        workers=workers,
        http=DeadlineProtocol,
        loop="asyncio",  # short of files, uvloop hangs up on clients; asyncio leaves them in line
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_worker_healthcheck=LONG,
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
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)
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
