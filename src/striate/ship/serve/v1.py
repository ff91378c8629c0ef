"""TensorFlow Serving's REST: `instances` or `inputs`, arrays of pixels (h, w, c) or {"b64": ...} of a picture."""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse

from striate.data.scale import White, on_one_scale
from striate.data.scale import picture as scaled
from striate.errors import DataError
from striate.ship.graph import INPUT, OUTPUT
from striate.ship.serve.answer import answer, arriving
from striate.ship.serve.contract import bad, unknown_version
from striate.ship.serve.models import Store
from striate.ship.serve.reading import apart, json_body, numbers, parse
from striate.ship.serve.schema import ASKED, SIGNATURES, predict_v1_route, refusals
from striate.ship.serve.v2 import base64_of
from striate.ship.sources import Picture


def router(store: Store) -> APIRouter:
    """The routes below /v1."""
    known = {"enum": list(store.models)}  # so that the description names what is served
    Name = Annotated[str, Path(json_schema_extra=known)]
    routes = APIRouter(prefix="/v1", tags=["TensorFlow Serving"], responses=refusals(404))

    def check(model: Name, version: str) -> None:
        if version and version != store.get(model).live.version:
            raise unknown_version()

    how: dict[str, Any] = {
        "openapi_extra": predict_v1_route(store.settings.max_images),
        "responses": refusals(*ASKED),
    }

    @routes.post("/models/{model}:predict", **how)
    @routes.post("/models/{model}/versions/{version}:predict", **how)
    async def predict(request: Request, model: Name, version: str = "") -> JSONResponse:
        check(model, version)
        with arriving(store, model):
            body = await json_body(request)
        white = store.get(model).live.predictor.preprocess.white
        out, pictures = await apart(store.readers, len(body), lambda: _pictures(parse(body), white))
        answered = await answer(request, store, model, pictures, version)
        return JSONResponse({out: answered.matrix().tolist()}, headers=answered.headers)

    @routes.get("/models/{model}")
    @routes.get("/models/{model}/versions/{version}")
    async def status(model: Name, version: str = "") -> dict[str, Any]:
        served = store.get(model)
        check(model, version)
        state = "AVAILABLE" if served.ready else "LOADING"
        number = served.live.version if served.ready else "1"
        ok = {"error_code": "OK", "error_message": ""}
        return {"model_version_status": [{"version": number, "state": state, "status": ok}]}

    @routes.get("/models/{model}/metadata")
    async def metadata(model: Name) -> dict[str, Any]:
        live = store.get(model).live
        c, k = live.predictor.preprocess.channels, len(live.predictor.classes)
        signature = {
            "inputs": {INPUT: _tensor("DT_UINT8", [-1, -1, -1, c])},
            "outputs": {OUTPUT: _tensor("DT_FLOAT", [-1, k])},
            "method_name": "tensorflow/serving/predict",
        }
        return {
            "model_spec": {"name": model, "signature_name": "", "version": live.version},
            "metadata": {"signature_def": {"signature_def": {"serving_default": signature}}},
        }

    return routes


def _pictures(told: Mapping[str, Any], white: White) -> tuple[str, list[Picture]]:
    """What the answer is called, and the pictures that are asked about."""
    rowwise = "instances" in told
    if rowwise == ("inputs" in told):
        raise bad("instances or inputs, one of them, is expected", "instances")
    if told.get("signature_name", "") not in SIGNATURES:
        raise bad(f"signature_name: there is {SIGNATURES[0]}", "signature_name")
    value = told["instances" if rowwise else "inputs"]
    if not rowwise and isinstance(value, dict):  # inputs may be named
        value = _named(value)
    if not isinstance(value, list):
        raise bad("a list of pictures is expected", "instances")
    pictures = [_picture(one) for one in value]
    try:
        on_one_scale([one for one in pictures if isinstance(one, np.ndarray)], "instances")
        read = [scaled(one, "instances", white) if isinstance(one, np.ndarray) else one for one in pictures]
    except DataError as error:
        raise bad(str(error), "instances") from None
    return "predictions" if rowwise else "outputs", read


def _named(value: Mapping[str, Any]) -> Any:
    """The one input in an object of inputs by name."""
    if set(value) != {INPUT}:
        raise bad(f"there is one input, {INPUT}", "instances")
    return value[INPUT]


def _picture(value: Any) -> Picture:
    if isinstance(value, Mapping) and "b64" not in value:
        value = _named(value)
    if isinstance(value, Mapping):
        if set(value) != {"b64"}:
            raise bad('{"b64": ...} or an array is expected', "instances")
        return base64_of(value["b64"])
    array = numbers(value, 1, "instances")
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or array.dtype.kind not in "iuf" or not array.size:
        raise bad("instances: pixels (h, w, c) of 0 to 255 are expected", "instances")
    return array


def _tensor(kind: str, shape: list[int]) -> dict[str, Any]:
    dim = [{"size": str(n), "name": ""} for n in shape]
    return {"dtype": kind, "tensor_shape": {"dim": dim, "unknown_rank": False}, "name": ""}
