"""The application: one store of models behind four ways to ask."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from striate import __version__
from striate.ship.serve import describe, schema, v1, v2
from striate.ship.serve.answer import answer, arriving
from striate.ship.serve.contract import Refusal, Settings, bad, starting
from striate.ship.serve.guard import Guard
from striate.ship.serve.metrics import Metrics
from striate.ship.serve.models import Store
from striate.ship.serve.reading import pictures_of


def application(
    settings: Settings, failed: Callable[[Exception], None] = lambda error: None, patient: bool = False
) -> ASGIApp:
    """The server's ASGI application; `failed` hears of a model that can't be loaded.

    A patient one has started when its models answer: until then the server below takes no connection.
    """
    metrics = Metrics()
    store = Store(settings, metrics)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        store.start(failed)
        if patient:
            with _stoppable():
                await store.until_ready()
        yield
        await store.close()

    app = _Described(
        title="striate",
        version=__version__,
        lifespan=life,
        docs_url=None,
        redoc_url=None,
        responses=schema.refusals(*schema.ANY),
    )
    _routes(app, store, metrics)
    app.include_router(v2.router(store))
    app.include_router(v1.router(store))
    _refusals(app)
    guard = Guard(app, settings, metrics)
    return _shared(guard, settings) if settings.allow_origins else guard


class _Described(FastAPI):
    """FastAPI, without the 422 that it describes for every parameter: here such a parameter is answered 400."""

    def openapi(self) -> dict[str, Any]:
        return schema.without_validation(super().openapi())


@contextmanager
def _stoppable() -> Iterator[None]:
    """Around what uvicorn waits for before it looks at signals: they end the process, which has accepted nothing."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _shared(guard: Guard, settings: Settings) -> ASGIApp:
    """Answers that pages of the allowed sites may read. A token travels in a header: cookies are never asked for."""
    return CORSMiddleware(
        guard,
        allow_origins=settings.allow_origins,
        allow_methods=("GET", "HEAD", "POST"),
        allow_headers=("Authorization", "X-API-Key", schema.HEADER),
        expose_headers=("X-Model-Version", "X-Request-Id", "Retry-After", schema.HEADER),
        allow_private_network=True,
    )


def _routes(app: FastAPI, store: Store, metrics: Metrics) -> None:
    page = files("striate.ship.serve").joinpath("page.html").read_text(encoding="utf-8")

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def drop_a_picture() -> str:
        root = store.settings.root_path
        return page.replace("<base>", f'<base href="{root}/">' if root else "")

    @app.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    async def routes() -> str:
        return describe.page(app.openapi())

    @app.get("/models")
    async def models() -> dict[str, Any]:
        return {"models": [_told(model) for model in store.models.values()]}

    @app.get("/health/live")
    async def live() -> dict[str, str]:
        return {"status": "live"}

    @app.get("/health/ready")
    async def ready() -> dict[str, str]:
        if not store.ready:
            raise starting()
        return {"status": "ready"}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def numbers() -> Response:
        text = await asyncio.get_running_loop().run_in_executor(None, metrics.text)
        return Response(text, media_type="text/plain; version=0.0.4")

    @app.post(
        "/predict",
        openapi_extra=schema.predict_route(store.settings.max_images),
        responses=schema.refusals(*schema.ASKED),
    )
    async def predict(
        request: Request,
        model: str | None = Query(
            None, description="name; default: the first", json_schema_extra={"enum": list(store.models)}
        ),
        top: int = Query(5, ge=1, le=1000, description="how many classes to name"),
    ) -> JSONResponse:
        for key in request.query_params.keys() - {"model", "top"}:
            raise bad(f"{key[:100]}: there are model and top", "parameter")
        with arriving(store, model):
            found = await pictures_of(request, store.settings.max_images)
        answered = await answer(request, store, model, [data for _, data in found])
        served = answered.live
        rows = []
        for (name, _), row in zip(found, answered.rows, strict=True):
            if isinstance(row, Refusal):
                rows.append({"file": name, "error": str(row), "code": row.code})
            else:
                rows.append(served.predictor.prediction(name, row, top).to_json())
        if all("error" in row for row in rows):
            raise Refusal(422, "unreadable_image", rows[0]["error"])
        body = {"model": store.get(model).name, "version": served.version, "predictions": rows}
        return JSONResponse(body, headers=answered.headers)


def _told(model: Any) -> dict[str, Any]:
    if not model.ready:
        return {"name": model.name, "ready": False}
    live = model.live
    return {
        "name": model.name,
        "ready": True,
        "version": live.version,
        "engine": live.predictor.engine,
        "classes": list(live.predictor.classes),
        "input": list(live.predictor.preprocess.shape),
    }


def _refusals(app: FastAPI) -> None:
    """Every error in the one shape, FastAPI's and Starlette's own too."""

    def told(request: Request, refusal: Refusal) -> JSONResponse:
        return JSONResponse(refusal.body(request.state.request_id), refusal.status, refusal.headers)

    @app.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> JSONResponse:
        return told(request, error)

    @app.exception_handler(HTTPException)
    async def routing(request: Request, error: HTTPException) -> JSONResponse:
        codes = {404: "not_found", 405: "method"}
        refusal = Refusal(error.status_code, codes.get(error.status_code, "http"), str(error.detail))
        refusal.headers.update(error.headers or {})
        return told(request, refusal)

    @app.exception_handler(RequestValidationError)
    async def validation(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return told(request, Refusal(400, "parameter", f"{where}: {first['msg']}"))

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        return told(request, Refusal(500, "internal", "internal error"))
