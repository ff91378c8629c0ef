"""What the predictor and the server cost over the bare runtime, beside peers; ratios of one run on one machine.

    python benchmarks/ship.py [PART...] [--nets resnet50,mobilenet_v2] [--seconds 5] [--clients 64] [--quick] [--json]

Parts, all but the last unless some are named:
    predictor  images/s of arrays at batch 1 and 16: striate, bare OpenVINO with the same graph, Keras' predict
    files      JPEG files end to end, beside decoding alone and inference alone
    server     images/s and p99 with many clients, beside the predictor itself, LitServe, and the notes' Flask + Keras
    start      seconds from the command to ready, the second time
    soak       ten minutes of requests, each with another picture: lost, swapped, memory

Peers that aren't installed are left out, and said to be. Contestants take turns; figures are medians. The clients run
on the same processors as the server.
"""

import argparse
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from importlib.util import find_spec
from pathlib import Path

PARTS = ("predictor", "files", "server", "start", "soak")
KERAS = {"resnet50": "ResNet50", "mobilenet_v2": "MobileNetV2"}


def data_folder():
    return Path(os.environ.get("STRIATE_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


def model_file(net, folder):
    """A model file of the zoo's network with fresh weights: speed doesn't depend on them."""
    from striate import zoo
    from striate.data import Preprocess
    from striate.train import Model

    c, h, w = zoo.card(net).input
    module = zoo.build(net)
    k = module.num_classes
    prepare = Preprocess((h, w), "crop", c, (0.45,) * c, (0.225,) * c, 0.875)
    classes = tuple(map(str, range(k)))
    model = Model(module.eval(), {"kind": "zoo", "name": net}, (c, h, w), k, classes, prepare)
    return model.save(folder / f"{net}.safetensors")


def rate(call, images, seconds):
    """Images a second of `call()`, after two warm-up calls."""
    call(), call()
    n, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds or n < 2:
        call()
        n += 1
    return n * images / (time.perf_counter() - began)


def turns(contestants, images, seconds, rounds=3):
    """The median rate of each, all taking turns."""
    found = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, call in contestants.items():
            found[name].append(rate(call, images, seconds / rounds))
    return {name: statistics.median(rates) for name, rates in found.items()}


def bare_openvino(file, batch):
    """The same graph with nothing around it, compiled for this batch."""
    import openvino

    from striate.ship.convert import converted
    from striate.ship.graph import answering
    from striate.train import load

    network = openvino.Core().read_model(answering(converted(load(file), file)).SerializeToString())
    shape = network.inputs[0].partial_shape
    shape[0] = batch
    network.reshape({network.inputs[0]: shape})
    compiled = openvino.Core().compile_model(network, "CPU", {"PERFORMANCE_HINT": "LATENCY"})
    return compiled.create_infer_request()


def predictor(file, net, seconds):
    import numpy as np

    import striate

    found = striate.load(file)
    result = {}
    for batch in (1, 16):
        x = np.random.default_rng(0).integers(0, 256, (batch, *found.preprocess.shape), dtype=np.uint8)
        request = bare_openvino(file, batch)
        contestants = {
            "striate": lambda x=x: found.probabilities(x),
            "openvino": lambda x=x, r=request: r.infer([x]),
        }
        if net in KERAS and find_spec("keras"):
            contestants["keras"] = keras_predict(net, x)
        rates = turns(contestants, batch, seconds)
        result[f"batch {batch}"] = rates | times(rates, "striate")
    return result


def times(rates, ours):
    """How many times as fast as each of the others."""
    return {f"{ours} / {name}": rates[ours] / r for name, r in rates.items() if name != ours}


def keras_predict(net, x):
    import numpy as np

    os.environ.setdefault("KERAS_BACKEND", "tensorflow" if find_spec("tensorflow") else "torch")
    import keras

    model = getattr(keras.applications, KERAS[net])(weights=None)
    floats = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).astype(np.float32) / 127.5 - 1
    return lambda: model.predict(floats, verbose=0)


def photographs(folder, copies):
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(data_folder() / "imagenet-samples-250.zip") as z:
        for name in z.namelist():
            for k in range(copies):
                (folder / f"{k}-{name}").write_bytes(z.read(name))
    return sorted(folder.iterdir())


def files(file, net, seconds, folder, quick):
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    import striate
    from striate.ship.engines import cores
    from striate.ship.sources import fitted

    found = striate.load(file)
    paths = photographs(folder / "photographs", 1)[: 32 if quick else None]
    x = np.zeros((16, *found.preprocess.shape), np.uint8)

    def decode():
        with ThreadPoolExecutor(cores()) as pool:
            list(pool.map(lambda p: fitted(str(p), p.name, found.preprocess), paths))

    def infer():
        for _ in range(-(-len(paths) // 16)):
            found.probabilities(x)

    rates = turns(
        {"end to end": lambda: found(paths), "decoding": decode, "inference": infer}, len(paths), seconds
    )
    slower = min(rates["decoding"], rates["inference"])
    shared = 1 / (1 / rates["decoding"] + 1 / rates["inference"])
    return {
        **rates,
        "of the slower": rates["end to end"] / slower,
        "of both on these cores": rates["end to end"] / shared,
    }


class Service:
    """A server process, and many clients that keep it busy."""

    def __init__(self, command, port=None):
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (as long as the process)
        self.began = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, start_new_session=True)
        self.port = port
        while True:
            if self.process.poll() is not None:
                raise SystemExit(self.text())
            self.port = self.port or self._told()
            if self.port and self.ready():
                break
            time.sleep(0.02)
        self.start_seconds = time.perf_counter() - self.began

    def text(self):
        self.log.seek(0)
        return self.log.read()

    def _told(self):
        found = re.search(r"http://[^ ]*:(\d+)", self.text())
        return int(found[1]) if found else None

    def ready(self, paths=("/health/ready", "/health")):
        for path in paths:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", path)
                if connection.getresponse().status == 200:
                    return True
            except OSError:
                pass
        return False

    def drive(self, bodies, kind, clients, seconds, path="/predict", check=None):
        """Requests a second, and their times in seconds; `check(i, reply)` looks at the answer to body i."""
        times, lost, ended, until = [], [], [], time.perf_counter() + seconds
        lock = threading.Lock()

        def client(number):
            connection, i = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60), number
            while time.perf_counter() < until:
                began, which = time.perf_counter(), i % len(bodies)
                try:
                    connection.request("POST", path, bodies[which], {"Content-Type": kind})
                    reply = connection.getresponse()
                    status, body = reply.status, reply.read()
                    good = status == 200 and (not check or check(which, body))
                except (
                    OSError,
                    ValueError,
                    http.client.HTTPException,
                ) as error:  # an answer that never came, or is none
                    connection.close()
                    status, good = type(error).__name__, False
                with lock:
                    times.append(time.perf_counter() - began)
                    if not good:
                        lost.append(status)
                i += clients
            connection.close()
            ended.append(number)

        threads = [threading.Thread(target=client, args=(n,)) for n in range(clients)]
        began = time.perf_counter()
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        lost += ["a client died"] * (clients - len(ended))
        return len(times) / (time.perf_counter() - began), sorted(times), lost

    def memory(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        with contextlib.suppress(ProcessLookupError):  # workers that a peer left behind
            os.killpg(self.process.pid, signal.SIGKILL)


def serve_command(file):
    return [sys.executable, "-m", "striate", "serve", str(file), "--port", "0"]


def server(file, net, seconds, clients, folder):
    import striate

    found = striate.load(file)
    paths = photographs(folder / "photographs", 1)
    bodies = [p.read_bytes() for p in paths]
    alone = rate(lambda: found(bodies[:64]), 64, seconds)
    batch = 16 / rate(lambda: found.probabilities(_zeros(found, 16)), 16, seconds / 2)
    result = {"predictor": alone}
    peers = {"striate": (serve_command(file), None)}
    peers |= {name: (command, port) for name, command, port in _peers(file, net, folder)}
    for name, (command, port) in peers.items():
        service = Service(command, port)
        sent, kind = bodies, "image/jpeg"
        if name == "litserve":
            sent, kind = [form(b) for b in bodies], "multipart/form-data; boundary=x"
        try:
            service.drive(sent, kind, clients, min(2, seconds))
            throughput, taken, lost = service.drive(sent, kind, clients, seconds)
        finally:
            service.stop()
        result[name] = throughput
        result[f"{name} p99 ms"] = 1000 * taken[int(0.99 * (len(taken) - 1))]
        result[f"{name} lost"] = len(lost)
    result |= times({name: result[name] for name in peers}, "striate")
    result["of the predictor"] = result["striate"] / alone
    result["p99 in full batches"] = result["striate p99 ms"] / 1000 / batch
    return result


def _zeros(found, n):
    import numpy as np

    return np.zeros((n, *found.preprocess.shape), np.uint8)


LITSERVE = """
import sys, litserve, numpy as np, torch, cv2
from striate.train import load
class Api(litserve.LitAPI):
    def setup(self, device):
        self.model = load(sys.argv[1]); self.engine = self.model.engine("cpu")
    def decode_request(self, request):
        image = cv2.imdecode(np.frombuffer(request["file"].file.read(), np.uint8), cv2.IMREAD_COLOR_RGB)
        return torch.from_numpy(np.ascontiguousarray(self.model.preprocess.fit(image)))
    def batch(self, inputs): return torch.stack(inputs)
    def predict(self, x):
        with self.engine.inference(): return self.engine(x).softmax(1)
    def unbatch(self, output): return list(output)
    def encode_response(self, output): return {"label": int(output.argmax())}
if __name__ == "__main__":
    litserve.LitServer(Api(max_batch_size=16, batch_timeout=0.005), accelerator="cpu").run(
        port=int(sys.argv[2]), generate_client_file=False
    )
"""
FLASK = """
import io, sys, json, time, uuid, base64, multiprocessing, numpy as np, flask, redis, keras
from PIL import Image
net, port = sys.argv[1], int(sys.argv[2])
db = redis.StrictRedis()
def work():
    model = getattr(keras.applications, net)(weights=None)
    side = model.input_shape[1]
    while True:
        with db.pipeline() as pipe:
            pipe.lrange("queue", 0, 31); pipe.ltrim("queue", 32, -1); taken, _ = pipe.execute()
        if taken:
            jobs = [json.loads(t) for t in taken]
            x = [np.frombuffer(base64.b64decode(j["image"]), np.float32).reshape(side, side, 3) for j in jobs]
            for j, row in zip(jobs, model.predict(np.stack(x), verbose=0)):
                db.set(j["id"], json.dumps(int(row.argmax())))
        time.sleep(0.25 if not taken else 0)
app = flask.Flask(__name__)
@app.get("/health")
def health(): return "ok"
@app.post("/predict")
def predict():
    side = 224
    image = Image.open(io.BytesIO(flask.request.data)).convert("RGB").resize((side, side))
    x = np.asarray(image, np.float32) / 127.5 - 1
    key = str(uuid.uuid4())
    db.rpush("queue", json.dumps({"id": key, "image": base64.b64encode(x.tobytes()).decode()}))
    while (found := db.get(key)) is None: time.sleep(0.25)
    db.delete(key)
    return {"label": int(found)}
if __name__ == "__main__":
    db.delete("queue"); multiprocessing.Process(target=work, daemon=True).start()
    app.run(port=port, threaded=True)
"""


def _peers(file, net, folder):
    """LitServe with torch, and the notes' service: Flask, a queue in Redis, a process with Keras."""
    if find_spec("litserve"):
        (folder / "lit.py").write_text(LITSERVE)
        port = free_port()
        yield "litserve", [sys.executable, str(folder / "lit.py"), str(file), str(port)], port
    else:
        print("  litserve: left out, not installed")
    if find_spec("flask") and find_spec("redis") and find_spec("keras") and net in KERAS:
        import redis

        try:
            redis.StrictRedis().ping()
        except redis.exceptions.ConnectionError:
            print("  flask + keras: left out, no Redis server on this machine")
            return
        (folder / "notes.py").write_text(FLASK)
        port = free_port()
        yield "flask + keras", [sys.executable, str(folder / "notes.py"), KERAS[net], str(port)], port
    else:
        print("  flask + keras: left out, flask and redis aren't installed")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def form(body):
    """A picture as a browser would send it, which is how LitServe takes files."""
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    return head + body + b"\r\n--x--\r\n"


def start(file):
    """Seconds to ready; the first start converts the network and keeps it."""
    seconds = []
    for _ in range(2):
        service = Service(serve_command(file))
        seconds.append(service.start_seconds)
        service.stop()
    return {"first": seconds[0], "again": seconds[1]}


def spread(file, folder):
    """The network with answers that differ from picture to picture: fresh weights give nearly one answer to all."""
    import numpy as np
    import torch

    from striate.train import load

    model = load(file)
    pixels = np.stack([model.preprocess.fit(p) for p in smooth(64, model.preprocess, seed=1)])
    x = (torch.from_numpy(pixels) / 255 - 0.45) / 0.225
    with torch.no_grad():
        model.module.train()(x)  # its batch norm now knows such pictures
        logits = model.module.eval()(x)
        last = [m for m in model.module.modules() if isinstance(m, torch.nn.Linear)][-1]
        scale = 3 / logits.std(0)
        last.bias.copy_((last.bias - logits.mean(0)) * scale)
        last.weight.mul_(scale[:, None])
    return model.save(folder / f"spread-{file.name}")


def smooth(n, preprocess, seed=0):
    """Pictures of soft patches of colour, all different."""
    import cv2
    import numpy as np

    rng, side = np.random.default_rng(seed), preprocess.size[0]
    for _ in range(n):
        patches = rng.integers(0, 256, (6, 6, preprocess.channels), dtype=np.uint8)
        yield cv2.resize(patches, (side, side), interpolation=cv2.INTER_CUBIC)


def soak(file, seconds, clients, folder):
    """Each body is a picture of its own; of all the answers, all k probabilities, its own must be the nearest."""
    import base64

    import cv2
    import numpy as np

    import striate

    file = spread(file, folder)
    found = striate.load(file)
    pictures = [
        cv2.imencode(".png", p[..., ::-1])[1].tobytes() for p in smooth(300, found.preprocess, seed=2)
    ]
    expected = np.stack([p.probabilities for p in found(pictures)])
    apart = min(np.delete(np.abs(expected - row).max(1), i).min() for i, row in enumerate(expected))
    wanted = [{"name": "probabilities", "parameters": {"binary_data": True}}]
    bodies = [
        json.dumps({
            "inputs": [{"name": "images", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(p).decode()]}],
            "outputs": wanted,
        })
        for p in pictures
    ]  # fmt: skip

    def check(i, body):
        row = np.frombuffer(body[-expected[0].nbytes :], np.float32)
        distances = np.abs(expected - row).max(1)
        return distances.argmin() == i and distances[i] < apart / 2

    service = Service(serve_command(file))
    drive = lambda n: service.drive(  # noqa: E731
        bodies, "application/json", clients, n, f"/v2/models/{file.stem}/infer", check
    )
    try:
        drive(min(20, seconds / 4))
        before = service.memory()
        throughput, taken, lost = drive(seconds)
        after = service.memory()
    finally:
        service.stop()
    return {
        "requests": len(taken), "requests/s": throughput, "lost or swapped": len(lost),
        "why": sorted(set(map(str, lost))),
        "answers apart by": float(apart),
        "MB before": before, "MB after": after, "MB a minute": (after - before) / seconds * 60,
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--nets", default="resnet50,mobilenet_v2")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--soak-seconds", type=float, default=600.0)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--quick", action="store_true", help="see that it works; the figures mean nothing")
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args()
    seconds = 0.3 if told.quick else told.seconds
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for net in told.nets.split(","):
            file = model_file(net, folder)
            jobs = {
                "predictor": lambda f=file, n=net: predictor(f, n, seconds),
                "files": lambda f=file, n=net: files(f, n, seconds, folder, told.quick),
                "server": lambda f=file, n=net: server(f, n, seconds * 3, told.clients, folder),
                "start": lambda f=file: start(f),
                "soak": lambda f=file: soak(f, 2 if told.quick else told.soak_seconds, told.clients, folder),
            }
            for part in told.parts or PARTS[:-1]:
                found[f"{net} {part}"] = result = jobs[part]()
                print(f"{net}, {part}: {json.dumps(result, indent=2)}", file=sys.stderr)
    if told.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
