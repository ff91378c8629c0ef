"""Pages of other sites, proxies that show the server at a path of their own, and the server's own pages."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from starlette.testclient import TestClient

from striate.errors import UsageError
from striate.ship.serve.app import application
from striate.ship.serve.contract import Settings

SITE, OTHER = "https://shop.example", "https://evil.example"


@pytest.fixture
def client(tmp_path: Path) -> Any:
    """A client of an application whose model is never loaded: what reaches it is answered 503."""
    (tmp_path / "m.onnx").write_text("")

    def make(**settings: Any) -> TestClient:
        app = application(Settings({"m": str(tmp_path / "m.onnx")}, **settings))
        return TestClient(app, "http://localhost:8000")

    return make


def preflight(client: TestClient, origin: str, path: str = "/predict") -> Any:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-api-key",
    }
    return client.options(path, headers=asked)


def test_no_site_may_ask_unless_it_is_told(client) -> None:
    alone = client()
    assert preflight(alone, SITE).status_code == 405
    assert alone.post("/predict", headers={"Origin": SITE}).status_code == 403


@pytest.mark.parametrize("allowed", [(SITE,), ("*",)])
def test_a_site_that_may_ask(client, allowed: tuple[str, ...]) -> None:
    shop = client(allow_origins=allowed, token="hush")
    reply = preflight(shop, SITE)
    assert reply.status_code == 200
    assert "POST" in reply.headers["access-control-allow-methods"]
    assert "x-api-key" in reply.headers["access-control-allow-headers"].lower()
    for headers, status in (({}, 401), ({"X-API-Key": "hush"}, 503)):  # which the page may read
        answer = shop.post("/predict", headers={"Origin": SITE, **headers})
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] in (SITE, "*")
        assert "access-control-allow-credentials" not in answer.headers


def test_another_site_than_the_one_that_may_ask(client) -> None:
    shop = client(allow_origins=(SITE,))
    assert preflight(shop, OTHER).status_code == 400
    refused = shop.post("/predict", headers={"Origin": OTHER})
    assert refused.status_code == 403
    assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize("given", ["Bearer hush", "bearer hush", "BEARER  hush"])
def test_the_name_of_a_scheme_has_no_case(client, given: str) -> None:
    assert client(token="hush").get("/models", headers={"Authorization": given}).status_code == 200


@pytest.mark.parametrize("given", ["hush", "Basic hush", "bearerhush", "Bearer", "Bearer husk"])
def test_what_is_no_bearer_of_the_token(client, given: str) -> None:
    assert client(token="hush").get("/models", headers={"Authorization": given}).status_code == 401


def test_parameters_are_described_as_they_are_refused(client) -> None:
    server = client()
    assert server.post("/predict?top=none").status_code == 400
    paths = server.get("/openapi.json").json()["paths"]
    pictured = {
        name for name, path in paths.items() if any("422" in told["responses"] for told in path.values())
    }
    assert pictured == {name for name, path in paths.items() if "post" in path}  # 422 is for pictures alone
    assert "Validation Error" not in server.get("/docs").text


@pytest.mark.parametrize("proxy", ["keeps", "strips"])
def test_every_link_stays_below_the_path_of_the_proxy(client, proxy: str) -> None:
    """The pages as a browser at http://site/classify/ sees them; the token is asked for as without a proxy."""
    server = client(root_path="/classify", token="hush")
    seen = {"/classify/", "/classify"}
    for path in ("/classify/", "/classify", "/classify/docs"):
        inner = path if proxy == "keeps" else path.removeprefix("/classify") or "/"
        reply = server.get(inner, headers={"X-API-Key": "hush"})
        assert reply.status_code == 200
        base = re.search(r'<base href="([^"]+)">', reply.text)
        here = urljoin(f"http://site{path}", base[1] if base else "")
        links = re.findall(r'(?:href|fetch\()[=]?["`]([^"`?$]+)', re.sub("<base[^>]*>", "", reply.text))
        assert links
        seen |= {urlsplit(urljoin(here, link)).path for link in links}
    assert all(path.startswith("/classify") for path in seen)
    assert {"/classify/docs", "/classify/openapi.json", "/classify/models", "/classify/predict"} <= seen
    told = server.get("/openapi.json", headers={"X-API-Key": "hush"}).json()
    assert told["servers"] == [{"url": "/classify"}]
    assert server.get("/classify/health/live").status_code == 200
    assert server.get("/classify/models").status_code == 401
    assert server.get("/classifyothers", headers={"X-API-Key": "hush"}).status_code == 404


@pytest.mark.parametrize(
    "told",
    [
        {"allow_origins": ("https://shop.example/",)},
        {"allow_origins": ("shop.example",)},
        {"allow_origins": ("null",)},
        {"root_path": "classify"},
        {"root_path": "/classify/"},
        {"root_path": '/"><script>'},
    ],
)
def test_settings_that_no_browser_or_proxy_means(told: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"--(allow-origin|root-path)"):
        Settings({"m": "m"}, **told)
