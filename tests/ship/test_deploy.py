"""The files for containers, as far as they can be proven where none can run."""

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from striate.cli import main
from striate.ship.serve.contract import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "examples" / "deploy"
INSTRUCTIONS = {
    "FROM", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL", "ENTRYPOINT", "CMD", "ENV",
}  # fmt: skip


@pytest.fixture(scope="module")
def docker() -> list[tuple[str, str]]:
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines]


def flags(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Every flag of a command line is one that `striate serve` has."""
    assert main(["serve", "--help"]) == 0
    known = set(re.findall(r"--[\w-]+", capsys.readouterr().out))
    assert {a for a in argv if a.startswith("--")} <= known


def test_the_dockerfile(docker: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert {name for name, _ in docker} <= INSTRUCTIONS
    told = dict(docker)
    assert re.fullmatch(r"[\w./-]+:[\w.-]+", told["FROM"])
    assert not told["FROM"].endswith(":latest")
    names = [name for name, _ in docker]
    assert names.index("USER") > names.index("RUN")  # what is served doesn't run as root
    for name, rest in docker:
        if name == "COPY":
            *sources, _ = shlex.split(rest)
            assert all((ROOT / source).exists() for source in sources)
    assert json.loads(told["ENTRYPOINT"]) == ["striate", "serve"]  # as a list: signals reach the server
    flags(json.loads(told["CMD"]), capsys)
    torch = re.search(r"torch==([\d.]+)", told["RUN"])
    assert torch is not None
    assert f"torch=={torch[1]}\n" in (ROOT / "constraints.txt").read_text()


def test_compose(capsys: pytest.CaptureFixture[str]) -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    serve = services["serve"]
    assert (DEPLOY / serve["build"]["context"]).resolve() == ROOT
    assert (ROOT / serve["build"]["dockerfile"]).is_file()
    flags(serve["command"], capsys)
    assert ":?" in serve["environment"]["STRIATE_TOKEN"]  # compose stops where there is none
    assert int(serve["stop_grace_period"].removesuffix("s")) > Settings({"m": "m"}).grace
    assert all(port.startswith("127.0.0.1:") for port in services["proxy"]["ports"])
    mounted = services["proxy"]["volumes"][0].split(":")[0]
    text = (DEPLOY / mounted).read_text()
    assert text.count("{") == text.count("}")
    assert "Host $http_host;" in text  # with the port, as browsers name it in Origin
    limit = re.search(r"client_max_body_size (\d+)m;", text)
    assert limit is not None
    assert int(limit[1]) << 20 == Settings({"m": "m"}).max_body


def test_kserve(capsys: pytest.CaptureFixture[str]) -> None:
    told = yaml.safe_load((DEPLOY / "kserve.yaml").read_text())
    predictor = told["spec"]["predictor"]
    (container,) = predictor["containers"]
    flags(container["args"], capsys)
    assert container["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/health/live"
    assert predictor["terminationGracePeriodSeconds"] > Settings({"m": "m"}).grace
    assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in predictor["volumes"]}
