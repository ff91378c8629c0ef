"""Downloads of weights from a server on 127.0.0.1: the real code, addresses apart."""

import hashlib
import http.server
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from striate import zoo
from striate.errors import DataError, UsageError
from striate.transfer import download as module
from striate.transfer import load_weights, to_torchvision
from striate.transfer.download import find_weights, place
from striate.transfer.published import published


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves `files`, counts requests, and stands in for the addresses of squeezenet1_1 and densenet121."""
    files, asked = {}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(b"")

        def do_GET(self):
            self.answer(files[self.path.rpartition("/")[2]])

        def answer(self, body):
            asked.append((self.command, self.path))
            stored = files[self.path.rpartition("/")[2]]
            self.send_response(302 if self.command == "HEAD" else 200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Linked-Size", str(len(stored)))
            if stored != b"no checksum":
                self.send_header("X-Linked-Etag", f'"{hashlib.sha256(stored).hexdigest()}"')
            if self.command == "HEAD":
                self.send_header("Location", "/elsewhere")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http_server:
        threading.Thread(target=http_server.serve_forever, args=(0.02,), daemon=True).start()
        address = f"http://127.0.0.1:{http_server.server_port}/"

        def moved(network):
            return tuple(
                replace(
                    row,
                    url=address + row.url.partition("://")[2],
                    digest=row.digest and hashlib.sha256(files[row.filename]).hexdigest()[: len(row.digest)],
                )
                for row in published(network)
                if row.layout != "keras"
            )

        monkeypatch.setattr(module, "published", moved)
        monkeypatch.setattr(module, "HUB", address + "huggingface.co/")
        monkeypatch.setattr(module, "TIMEOUT", 5)
        for name in ("TORCH_HOME", "HF_HOME", "KERAS_HOME", "STRIATE_HOME"):
            monkeypatch.setenv(name, str(tmp_path / name))
        monkeypatch.delenv("STRIATE_OFFLINE", raising=False)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        yield files, asked
        http_server.shutdown()


def weights(path):
    net = zoo.build("squeezenet1_1")
    torch.save(to_torchvision(net), path)
    return net, path.read_bytes()


def test_default_weights_are_fetched_once_into_torchs_own_cache(server, tmp_path):
    files, asked = server
    net, files["squeezenet1_1-b8a52dc0.pth"] = weights(tmp_path / "a.pth")
    path = find_weights("squeezenet1_1")
    assert path == tmp_path / "TORCH_HOME" / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    assert find_weights("squeezenet1_1", "IMAGENET1K_V1", offline=True) == path
    assert len(asked) == 1
    found = load_weights("squeezenet1_1", path)
    assert torch.equal(found.module.head.conv10.weight, net.head.conv10.weight)


def test_a_file_of_another_content_is_refused_and_removed(server, tmp_path, monkeypatch):
    files, _ = server
    files["squeezenet1_1-b8a52dc0.pth"] = b"right"
    rows = module.published("squeezenet1_1")
    monkeypatch.setattr(module, "published", lambda _: rows)
    files["squeezenet1_1-b8a52dc0.pth"] = b"wrong"
    with pytest.raises(DataError, match=r"isn't the published file: SHA-256 [0-9a-f]{8}, expected"):
        find_weights("squeezenet1_1")
    assert [p.suffix for p in (tmp_path / "TORCH_HOME").rglob("*.*")] == [".lock"]


def test_the_hub_states_the_checksum_itself(server, tmp_path):
    files, asked = server
    files["densenet121-a639ec97.pth"] = b""
    files["model.safetensors"] = b"a hub's file"
    path = find_weights("densenet121", "ra_in1k")
    assert path == tmp_path / "STRIATE_HOME/weights/timm/densenet121.ra_in1k/model.safetensors"
    assert path.read_bytes() == b"a hub's file"
    assert [kind for kind, _ in asked] == ["HEAD", "GET"]
    assert find_weights("densenet121", "ra_in1k", offline=True) == path
    assert len(asked) == 2


@pytest.mark.parametrize("content", [b"a hub's", b"a hub's fine", b""])
def test_a_file_that_changed_since_is_fetched_again(content, server):
    files, _ = server
    files["densenet121-a639ec97.pth"] = b""
    files["model.safetensors"] = b"a hub's file"
    path = find_weights("densenet121", "ra_in1k")
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"offline, and .* missing \(or not known to be the published file"):
        find_weights("densenet121", "ra_in1k", offline=True)
    assert find_weights("densenet121", "ra_in1k").read_bytes() == b"a hub's file"


def test_a_file_of_unknown_origin_is_compared_with_what_the_hub_states(server, tmp_path):
    files, asked = server
    files["densenet121-a639ec97.pth"] = b""
    files["model.safetensors"] = b"a hub's file"
    path = tmp_path / "STRIATE_HOME/weights/timm/densenet121.ra_in1k/model.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"a hub's file")
    with pytest.raises(DataError, match="offline") as caught:
        find_weights("densenet121", "ra_in1k", offline=True)
    assert "--weights FILE" in caught.value.hint
    assert find_weights("densenet121", "ra_in1k") == path
    assert [kind for kind, _ in asked] == ["HEAD"]
    assert find_weights("densenet121", "ra_in1k", offline=True) == path


def snapshot(folder, revision, content, digest=None):
    """A file as the hub's own client keeps it: a link to a blob that is named by its SHA-256."""
    blob = folder / "blobs" / (digest or hashlib.sha256(content).hexdigest())
    kept = folder / "snapshots" / revision / "model.safetensors"
    for path in (blob, kept):
        path.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    kept.symlink_to(blob)
    return kept


def test_what_the_hubs_own_client_has_fetched_is_used_the_newest_first(server, tmp_path):
    files, asked = server
    files["densenet121-a639ec97.pth"] = b""
    folder = tmp_path / "HF_HOME/hub/models--timm--densenet121.tv_in1k"
    new, old = snapshot(folder, "0ab", b"new"), snapshot(folder, "9cd", b"old")
    os.utime(old, (1, 1), follow_symlinks=False)
    assert find_weights("densenet121", "tv_in1k", offline=True) == new
    assert asked == []


def test_what_the_hubs_own_client_has_broken_is_not(server, tmp_path):
    files, _ = server
    files["densenet121-a639ec97.pth"] = b""
    files["model.safetensors"] = b"a hub's file"
    folder = tmp_path / "HF_HOME/hub/models--timm--densenet121.tv_in1k"
    digest = hashlib.sha256(b"a hub's file").hexdigest()
    broken = snapshot(folder, "abc", b"a hub's", digest)
    found = find_weights("densenet121", "tv_in1k")
    assert found == tmp_path / "STRIATE_HOME/weights/timm/densenet121.tv_in1k/model.safetensors"
    assert broken.read_bytes() == b"a hub's"


@pytest.mark.parametrize("how", ["flag", "STRIATE_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_says_which_file_goes_where(server, how, tmp_path, monkeypatch):
    files, asked = server
    files["squeezenet1_1-b8a52dc0.pth"] = b""
    if how != "flag":
        monkeypatch.setenv(how, "1")
    with pytest.raises(DataError, match=r"offline, and '.*squeezenet1_1-b8a52dc0\.pth' is missing") as caught:
        find_weights("squeezenet1_1", offline=how == "flag")
    assert "squeezenet1_1-b8a52dc0.pth there" in caught.value.hint
    assert asked == []


def test_a_server_without_a_checksum_is_refused(server):
    files, asked = server
    files["densenet121-a639ec97.pth"] = b""
    files["model.safetensors"] = b"no checksum"
    with pytest.raises(DataError, match="the server states no checksum: refused"):
        find_weights("densenet121", "ra_in1k")
    assert [kind for kind, _ in asked] == ["HEAD"]


def test_unknown_words():
    with pytest.raises(
        UsageError, match="neither a file nor a tag of published weights of resnet50"
    ) as caught:
        find_weights("resnet50", "IMAGENET1K_V3")
    assert "IMAGENET1K_V2" in caught.value.hint
    with pytest.raises(UsageError, match="no published weights of lenet5 are known"):
        find_weights("lenet5")
    with pytest.raises(UsageError, match="no file of weights at nowhere"):
        find_weights("lenet5", "nowhere.pth")


def test_keras_files_lie_where_keras_keeps_them(monkeypatch):
    monkeypatch.setenv("KERAS_HOME", "/keras")
    row = next(row for row in published("vgg16") if row.layout == "keras")
    assert place(row) == Path("/keras/models/vgg16_weights_tf_dim_ordering_tf_kernels.h5")


def test_a_run_is_what_it_is(tmp_path):
    assert find_weights("resnet50", str(tmp_path)) == tmp_path
