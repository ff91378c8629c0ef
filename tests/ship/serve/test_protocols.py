"""The same picture gives the same probabilities through every protocol, to clients that others wrote."""

import base64
import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from PIL import Image

from striate.ship import Predictor, load
from striate.train import Run


@pytest.fixture(scope="module")
def local(run: Run) -> Predictor:
    return load(run.folder, "onnx")


@pytest.fixture(scope="module")
def files(digits_folder: Path) -> list[Path]:
    return sorted(digits_folder.iterdir())[:6]


@pytest.fixture(scope="module")
def raw(files: list[Path]) -> np.ndarray:
    return np.stack([np.asarray(Image.open(f)) for f in files])[..., None]


def test_predict_one_and_several(served, local: Predictor, files: list[Path]) -> None:
    expected = local(files)
    one = served.predict(files[0].read_bytes(), "/predict?top=2").json
    assert (one["model"], one["version"]) == ("digits", served.version)
    (row,) = one["predictions"]
    assert (row["label"], len(row["top"])) == (expected[0].label, 2)
    assert row["probability"] == pytest.approx(expected[0].probability, abs=1e-5)
    parts = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="f"; filename="%s"\r\n\r\n%s\r\n'
        % (f.name.encode(), f.read_bytes())
        for f in files
    )
    rows = served(
        "POST", "/predict", parts + b"--x--\r\n", Content_Type="multipart/form-data; boundary=x"
    ).json
    assert [r["file"] for r in rows["predictions"]] == [f.name for f in files]
    assert [r["label"] for r in rows["predictions"]] == [p.label for p in expected]


def test_one_bad_picture_fails_alone(served, local: Predictor, files: list[Path]) -> None:
    good, bad = files[0].read_bytes(), files[1].read_bytes()[:60]
    parts = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="f"; filename="%d"\r\n\r\n%s\r\n' % (i, data)
        for i, data in enumerate((good, bad, good))
    )
    reply = served("POST", "/predict", parts + b"--x--\r\n", Content_Type="multipart/form-data; boundary=x")
    assert reply.status == 200
    assert ["error" in row for row in reply.json["predictions"]] == [False, True, False]
    assert reply.json["predictions"][2]["label"] == local(files[0])[0].label


@pytest.mark.parametrize("binary", [False, True])
def test_tritons_own_client(served, local: Predictor, raw: np.ndarray, binary: bool) -> None:
    client = triton.InferenceServerClient(f"127.0.0.1:{served.port}")
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("digits")
    assert client.get_server_metadata()["name"] == "striate"
    assert client.get_model_metadata("digits")["inputs"][0] == {
        "name": "images", "datatype": "UINT8", "shape": [-1, -1, -1, 1],
    }  # fmt: skip
    tensor = triton.InferInput("images", list(raw.shape), "UINT8")
    tensor.set_data_from_numpy(raw, binary_data=binary)
    wanted = [triton.InferRequestedOutput(n, binary_data=binary) for n in ("probabilities", "labels")]
    result = client.infer("digits", [tensor], outputs=wanted, request_id="7")
    expected = local(raw)
    assert result.get_response()["id"] == "7"
    assert (
        np.abs(result.as_numpy("probabilities") - np.stack([p.probabilities for p in expected])).max() < 1e-5
    )
    assert [v.decode() if isinstance(v, bytes) else v for v in result.as_numpy("labels")] == [
        p.label for p in expected
    ]
    client.close()


@pytest.mark.parametrize("binary", [False, True])
def test_tritons_classification(served, local: Predictor, raw: np.ndarray, binary: bool) -> None:
    """`value:index:label` of the best classes, as Triton's classification extension has it."""
    client = triton.InferenceServerClient(f"127.0.0.1:{served.port}")
    assert "classification" in client.get_server_metadata()["extensions"]
    tensor = triton.InferInput("images", list(raw.shape), "UINT8")
    tensor.set_data_from_numpy(raw)
    wanted = [triton.InferRequestedOutput("probabilities", binary_data=binary, class_count=3)]
    result = client.infer("digits", [tensor], outputs=wanted)
    told = [
        [v.decode() if isinstance(v, bytes) else v for v in row] for row in result.as_numpy("probabilities")
    ]
    assert result.get_output("probabilities")["shape"] == [len(raw), 3]
    for row, expected in zip(told, local(raw, top=3), strict=True):
        value, index, label = zip(*(one.split(":") for one in row), strict=True)
        assert list(label) == list(expected.top)
        assert [local.classes[int(i)] for i in index] == list(label)
        assert [float(v) for v in value] == pytest.approx(list(expected.top.values()), abs=1e-6)
    client.close()


@pytest.mark.parametrize(
    ("output", "field"),
    [
        ({"name": "labels", "parameters": {"classification": 2}}, "classification"),
        ({"name": "probabilities", "parameters": {"classification": -1}}, "classification"),
        ({"name": "probabilities", "parameters": {"classification": "2"}}, "classification"),
        ({"name": "probabilities", "parameters": {"binary_data": "no"}}, "binary_data"),
        ({"name": "probabilities", "parameters": {"shared_memory_region": "a"}}, "shared_memory_region"),
    ],
)
def test_outputs_that_can_not_be_had_name_their_field(served, output: dict, field: str) -> None:
    reply = served.json("POST", "/v2/models/digits/infer", tensor() | {"outputs": [output]})
    assert (reply.status, reply.json["code"]) == (400, field)


def test_several_labels_are_all_told(start, picture) -> None:
    """The fake network answers with the first two pixels over 255: a label is said from 128 on."""
    server = start("several").wait()
    pixels = [(0, 127), (128, 0), (0, 255), (200, 130)]
    said = ["", "a", "b", "a|b"]
    encoded = [base64.b64encode(picture(*p)).decode() for p in pixels]
    told = tensor(datatype="BYTES", shape=[4], data=encoded)
    outputs = {o["name"]: o for o in server.json("POST", "/v2/models/fake/infer", told).json["outputs"]}
    assert (outputs["labels"]["shape"], outputs["labels"]["data"]) == ([4], said)
    assert outputs["probabilities"]["data"] == pytest.approx(np.array(pixels).ravel() / 255)
    for p, label in zip(pixels, said, strict=True):
        (row,) = server.predict(picture(*p)).json["predictions"]
        assert (row["label"], row["labels"]) == (label, label.split("|") if label else [])
    assert server.stop() == 0


def test_triton_sends_encoded_pictures(served, local: Predictor, files: list[Path]) -> None:
    client = triton.InferenceServerClient(f"127.0.0.1:{served.port}")
    tensor = triton.InferInput("images", [len(files)], "BYTES")
    tensor.set_data_from_numpy(np.array([f.read_bytes() for f in files], object))
    result = client.infer("digits", [tensor])
    expected = np.stack([p.probabilities for p in local(files)])
    assert np.abs(result.as_numpy("probabilities") - expected).max() < 1e-5
    client.close()


def test_tensorflow_servings_rest(served, local: Predictor, files: list[Path], raw: np.ndarray) -> None:
    expected = np.stack([p.probabilities for p in local(raw)])
    encoded = [{"b64": base64.b64encode(f.read_bytes()).decode()} for f in files]
    for key, value, out in (
        ("instances", raw.tolist(), "predictions"),
        ("instances", encoded, "predictions"),
        ("instances", [{"images": v} for v in encoded], "predictions"),
        ("instances", (raw / 255).tolist(), "predictions"),  # 0..1 means what it means to the predictor
        ("instances", (raw.astype(int) * 257).tolist(), "predictions"),
        ("inputs", raw[..., 0].astype(float).tolist(), "outputs"),
        ("inputs", {"images": raw.tolist()}, "outputs"),
    ):
        reply = served.json(
            "POST", "/v1/models/digits:predict", {key: value, "signature_name": "serving_default"}
        )
        assert reply.status == 200, reply.body
        assert np.abs(np.array(reply.json[out]) - expected).max() < 1e-5
    pinned = f"/v1/models/digits/versions/{served.version}:predict"
    reply = served.json("POST", pinned, {"instances": encoded})
    assert (reply.status, reply.headers["x-model-version"]) == (200, served.version)
    status = served("GET", "/v1/models/digits").json["model_version_status"]
    assert status == [
        {"version": served.version, "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    ]
    signature = served("GET", "/v1/models/digits/metadata").json["metadata"]["signature_def"]["signature_def"]
    assert signature["serving_default"]["inputs"]["images"]["dtype"] == "DT_UINT8"


def test_base64_as_programs_write_it(served, files: list[Path]) -> None:
    """A data URL as browsers make, line ends as `base64` sets, the alphabet of addresses, no padding."""
    data = files[0].read_bytes()
    plain = base64.b64encode(data).decode()
    ways = [
        plain, f"data:image/png;base64,{plain}", base64.encodebytes(data).decode(), plain.rstrip("="),
        base64.urlsafe_b64encode(data).decode(),
    ]  # fmt: skip
    v1 = served.json("POST", "/v1/models/digits:predict", {"instances": [{"b64": way} for way in ways]})
    rows = np.array(v1.json["predictions"])
    assert np.abs(rows - rows[0]).max() == 0
    v2 = served.json(
        "POST", "/v2/models/digits/infer", tensor(datatype="BYTES", shape=[len(ways)], data=ways)
    )
    assert len(set(v2.json["outputs"][1]["data"])) == 1
    for way in ("data:image/png,abcd", "data:text/plain;base64,data:;base64,AAAA", "A", "AA=A", "é", 3, None):
        reply = served.json("POST", "/v1/models/digits:predict", {"instances": [{"b64": way}]})
        assert (reply.status, reply.json["code"]) == (400, "base64"), way


def test_a_telephone_s_48_million_pixels(served, start) -> None:
    """As `predict` takes them; a server may be told to take less."""
    whole = io.BytesIO()
    Image.new("L", (8064, 6048), 200).save(whole, "JPEG")
    assert served.predict(whole.getvalue()).status == 200
    small = start(max_pixels=1000).wait()
    reply = small.predict(whole.getvalue())
    assert (reply.status, reply.json["code"]) == (422, "unreadable_image")
    assert "8064x6048 pixels: over the limit of 1,000 (--max-pixels)" in reply.json["error"]
    assert small.stop() == 0


def test_every_batch_size_gives_the_same_row(served, raw: np.ndarray) -> None:
    one = served.json("POST", "/v1/models/digits:predict", {"instances": raw[:1].tolist()}).json[
        "predictions"
    ][0]
    for n in range(1, 17):
        many = [raw[i % 6].tolist() for i in range(n)]
        rows = served.json("POST", "/v1/models/digits:predict", {"instances": many}).json["predictions"]
        assert np.abs(np.array(rows[0]) - one).max() < 1e-5


def tensor(**changes: object) -> dict:
    return {
        "inputs": [
            {"name": "images", "datatype": "UINT8", "shape": [1, 2, 2, 1], "data": [1, 2, 3, 4], **changes}
        ]
    }


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"datatype": "FP32"}, "datatype"),
        ({"datatype": 3}, "datatype"),
        ({"name": "input_1"}, "name"),
        ({"shape": [1, 2, 2]}, "shape"),
        ({"shape": [1, 2, 2, 5]}, "shape"),
        ({"shape": [1, -2, -2, 1]}, "shape"),
        ({"shape": [0, 2, 2, 1]}, "shape"),
        ({"shape": [1, 2.0, 2, 1]}, "shape"),
        ({"shape": [True, 2, 2, 1]}, "shape"),
        ({"shape": [16, 2**60 + 2, 1, 1]}, "data"),
        ({"shape": [10_001, 2, 2, 1]}, "data"),
        ({"data": [1, 2, 3]}, "data"),
        ({"data": [[1, 2], [3]]}, "data"),
        ({"data": [1, 2, 3, 256]}, "data"),
        ({"data": [1, 2, 3, -1]}, "data"),
        ({"data": [1, 2, 3, 0.5]}, "data"),
        ({"data": ["1", 2, 3, 4]}, "data"),
        ({"data": None}, "data"),
        ({"parameters": 3}, "parameters"),
        ({"parameters": {"binary_data_size": 4}}, "binary_data_size"),
        ({"datatype": "BYTES", "shape": [1], "data": ["%%%"]}, "base64"),
        ({"datatype": "BYTES", "shape": [2], "data": ["AA=="]}, "data"),
    ],
)
def test_r6_tensors_that_make_no_sense_name_their_field(served, changes: dict, field: str) -> None:
    reply = served.json("POST", "/v2/models/digits/infer", tensor(**changes))
    assert (reply.status, reply.json["code"]) == (400, field), reply.body


@pytest.mark.parametrize("value", [2e5, -0.1, "1", None, [1, 2]])
def test_pixels_of_no_known_scale_are_refused(served, value: object) -> None:
    reply = served.json("POST", "/v1/models/digits:predict", {"instances": [[[0.5, value], [0.1, 0.2]]]})
    assert (reply.status, reply.json["code"]) == (400, "instances")


@pytest.mark.parametrize(
    "instances",
    [
        [[[0, 200], [9, 30]], [[0.0, 0.5], [0.1, 0.2]]],
        [[[0, 1], [1, 1]], [[0.0, 0.5], [0.1, 0.2]]],  # whole numbers on 0..255, or white among fractions?
        [[[0, 200], [9, 30]], [[0, 40000], [257, 514]]],
    ],
)
def test_pictures_of_one_request_are_on_one_scale(served, instances: list) -> None:
    reply = served.json("POST", "/v1/models/digits:predict", {"instances": instances})
    assert (reply.status, reply.json["code"]) == (400, "instances")
    assert "together" in reply.json["error"]
    for one in instances:
        assert served.json("POST", "/v1/models/digits:predict", {"instances": [one]}).status == 200


def test_an_output_is_sent_once(served) -> None:
    told = tensor() | {"outputs": [{"name": "labels"}] * 2}
    reply = served.json("POST", "/v2/models/digits/infer", told)
    assert (reply.status, reply.json["error"]) == (400, "outputs: labels stands twice")


def test_r7_json_that_is_none(served) -> None:
    deep = [b'{"inputs":' + b"[" * n + b"]" * n + b"}" for n in (120, 250_000)]
    broken = [
        b"{",
        b"[1]",
        b'{"a":NaN}',
        b'{"a":1,"a":2}',
        b'{"a":"\xff"}',
        b"\xef\xbb\xbf{}",
        b"[" * 1_000_000,
        b"",
    ]
    for body in deep + broken:
        reply = served("POST", "/v2/models/digits/infer", body, Content_Type="application/json")
        assert reply.status == 400, body[:20]
        assert {"error", "code", "request_id"} == reply.json.keys()


@pytest.mark.parametrize("stated", ["-1", "99999999999", "9" * 5000, "x", "1e3", "", "²"])
def test_r8_a_header_length_that_lies(served, stated: str) -> None:
    body = json.dumps(tensor()).encode()
    headers = {"Inference-Header-Content-Length": stated.encode("utf-8").decode("latin-1")}
    reply = served("POST", "/v2/models/digits/infer", body, **headers)
    assert reply.status == 400


def test_binary_tensors_that_lie(served) -> None:
    for size, tail in ((3, b"123"), (4, b"12345"), (-1, b"1234"), (True, b"1")):
        told = tensor(parameters={"binary_data_size": size})
        del told["inputs"][0]["data"]
        head = json.dumps(told).encode()
        headers = {"Inference-Header-Content-Length": str(len(head))}
        assert served("POST", "/v2/models/digits/infer", head + tail, **headers).status == 400
    told = tensor(datatype="BYTES", shape=[1], parameters={"binary_data_size": 4})
    del told["inputs"][0]["data"]
    head = json.dumps(told).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    reply = served("POST", "/v2/models/digits/infer", head + struct.pack("<I", 2**32 - 1), **headers)
    assert reply.status == 400


def test_the_page_and_the_description(served) -> None:
    page = served("GET", "/")
    assert page.status == 200
    assert b"Drop pictures here" in page.body
    assert b"http" not in page.body.replace(b"${location.origin}", b"")  # nothing comes from elsewhere
    paths = served("GET", "/openapi.json").json["paths"]
    assert {"/predict", "/v2/models/{model}/infer", "/v1/models/{model}:predict", "/metrics"} <= paths.keys()
    routes = served("GET", "/docs").body
    assert b"POST /v2/models/{model}/infer" in routes
    assert b"http" not in routes
    assert b"<script" not in routes
    assert routes.count(b"waited too long") == 1  # what a status means stands once, not at every route
    told = served("GET", "/models").json["models"]
    assert [(m["name"], m["ready"], m["input"]) for m in told] == [("digits", True, [1, 32, 32])]
