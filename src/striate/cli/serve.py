"""`striate serve RUN...`."""

from typing import Annotated

import typer

from striate.cli.common import Debug, Json, emit
from striate.data.header import MAX_PIXELS


def serve(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="[NAME=]RUN...", help="run, model or exported file", show_default=False),
    ],
    host: Annotated[
        str, typer.Option("--host", help="address; another than loopback needs a token")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one")] = 8000,
    token: Annotated[
        str, typer.Option("--token", envvar="STRIATE_TOKEN", help="what clients must send", show_envvar=True)
    ] = "",
    origins: Annotated[
        list[str] | None,
        typer.Option("--allow-origin", metavar="URL", help="site whose pages may ask; may be repeated"),
    ] = None,
    root_path: Annotated[
        str, typer.Option("--root-path", metavar="/PATH", help="where a proxy shows the server")
    ] = "",
    workers: Annotated[int, typer.Option("-j", "--workers", min=1, help="processes")] = 1,
    engine: Annotated[
        str, typer.Option("--engine", metavar="auto|openvino|onnx|torch", help="what computes")
    ] = "auto",
    max_batch: Annotated[int, typer.Option("--max-batch", min=1, help="images in a forward pass")] = 16,
    max_queue: Annotated[int, typer.Option("--max-queue", min=1, help="images that may wait")] = 256,
    max_images: Annotated[int, typer.Option("--max-images", min=1, help="images in a request")] = 64,
    max_body: Annotated[int, typer.Option("--max-body", min=1024, help="bytes of a request")] = 32 << 20,
    max_pixels: Annotated[
        int, typer.Option("--max-pixels", min=1, max=MAX_PIXELS, help="pixels of a picture")
    ] = MAX_PIXELS,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="seconds to answer in")] = 10.0,
    receive_timeout: Annotated[
        float, typer.Option("--receive-timeout", min=0.1, help="seconds to send a request in")
    ] = 20.0,
    hang_timeout: Annotated[
        float, typer.Option("--hang-timeout", min=0.1, help="seconds after which the model is opened anew")
    ] = 60.0,
    grace: Annotated[float, typer.Option("--grace", min=1, help="seconds to finish in when stopped")] = 30.0,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Answer over HTTP, several requests in one batch."""
    from striate.ship.extra import needs

    needs("fastapi", "uvicorn", "python_multipart", "prometheus_client", "onnx")
    from striate.ship.serve.contract import Settings, named
    from striate.ship.serve.server import serve as run

    settings = Settings(
        models=named(runs), host=host, port=port, token=token, allow_origins=tuple(origins or ()),
        root_path=root_path, engine=engine, max_batch=max_batch, max_queue=max_queue, max_images=max_images,
        max_body=max_body, max_pixels=max_pixels, timeout=timeout,
        receive_timeout=receive_timeout, hang_timeout=hang_timeout, grace=grace,
    )  # fmt: skip
    run(settings, workers)
    emit({"models": settings.models}, as_json, "stopped")
