"""The page of a run: its figures by hand, and that nothing in it reaches out or was let through unescaped."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from striate.errors import UsageError
from striate.train import Run, recipe, resume, train
from striate.train.metrics import Evaluation
from striate.train.report import SPLITS, confusions, curves, findings, interval, matrix, write_report

EVIL = ("<img src=x onerror=alert(1)>", "\"&'{{ 7*7 }}")
NET = "INPUT(8,8,1) => CONV(6,3) => RELU => POOL => FC"


class Page(HTMLParser):
    """Collects tags with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two classes of noise with names that attack the page: half the answers are wrong."""
    folder = tmp_path_factory.mktemp("report")
    draw = np.random.default_rng(0)
    for name in EVIL:
        (folder / "data" / name).mkdir(parents=True)
        for i in range(40):
            pixels = draw.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "data" / name / f"<b>{i}.png")
    (folder / "data" / EVIL[0] / "<u>.png").write_bytes(b"no picture")
    settings = {"data": str(folder / "data"), "model": NET, "epochs": 2, "split": (0.4, 0.2, 0.4)}
    return train(recipe({**settings, "on_bad_image": "skip"}), folder / "run <i>")


@pytest.fixture(scope="module")
def page(run: Run) -> Page:
    return Page((run.folder / "report.html").read_text(encoding="utf-8"))


def test_it_stands_alone_and_is_small(run: Run, page: Page) -> None:
    assert (run.folder / "report.html").stat().st_size < 5 << 20
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "srcset", "action", "data"):
                assert value.startswith("data:image/")
    html = (run.folder / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"@import|url\((?!#)", html)


def test_names_are_shown_and_never_run(page: Page) -> None:
    assert "img src=x" in page.text
    assert "{{ 7*7 }}" in page.text
    assert "run <i>" in page.text
    assert not [a for tag, a in page.tags if tag in ("b", "i") and a]
    assert all(a.get("src", "").startswith("data:") for tag, a in page.tags if tag == "img")


def test_the_figures_are_those_of_the_run(run: Run, page: Page) -> None:
    evaluation = run.evaluate()
    right = round(evaluation.accuracy * len(evaluation))
    assert f"{100 * evaluation.accuracy:.2f}\u00a0%" in page.text
    assert f"{right} of {len(evaluation)} test images are right" in page.text
    assert f"{run.summary['params']:,}" in page.text
    assert run.command in page.text
    headings = (
        "Learning curves, Confusion, Class by class, as right as it is sure, Worst mistakes, The network"
    )
    for heading in (
        *headings.split(", "),
        "Anatomy",
        "First layer",
        "stages see",
        "network sees",
        "Health",
        "Do it again",
        "Recipe",
        "Environment",
    ):
        assert heading in page.text
    for fact, value in run.environment.items():
        assert fact in page.text
        assert str(value) in page.text
    pictures = [a for tag, a in page.tags if tag == "img"]
    shown = min(24, len(evaluation.mistakes()))
    assert shown > 0
    maps = 2 * 2  # an image of each class beside the maps of its one convolution
    weights = 2  # layers
    assert (
        len(pictures) == 2 * shown + 6 + maps + 1 + weights
    )  # mistakes with their heat maps, filters, the plane


def test_an_image_left_out_is_listed_with_the_reason(run: Run, page: Page) -> None:
    assert list(run.summary["skipped"]) == [f"{EVIL[0]}/<u>.png"]
    listed = page.text.partition("Images left out")[2].partition("Do it again")[0]
    assert all(name + why in listed for name, why in run.summary["skipped"].items())


def test_it_can_be_written_again(run: Run) -> None:
    before = (run.folder / "report.html").read_bytes()
    assert write_report(Run.open(run.folder)) == run.folder / "report.html"
    assert (run.folder / "report.html").read_bytes() == before


def test_without_a_test_split_the_page_tells_of_validation(tmp_path: Path) -> None:
    run = train(
        recipe({"data": "digits", "model": NET, "epochs": 1, "split": (0.8, 0.2, 0.0)}), tmp_path / "run"
    )
    text = Page((run.folder / "report.html").read_text(encoding="utf-8")).text
    assert "validation images are right" in text
    assert "test images" not in text


def test_a_run_that_has_not_ended_has_no_story_yet(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.folder, tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    with pytest.raises(UsageError, match="run is not finished"):
        write_report(Run.open(tmp_path / "run"))


def separable(path: Path, test: int, k: int = 2, several: bool = False) -> str:
    """Grey planes, one brightness a class, in a file: what any network tells apart."""

    def part(n: int) -> tuple[np.ndarray, np.ndarray]:
        y = np.arange(n) % k
        x = np.broadcast_to((250 // (k - 1) * y)[:, None, None], (n, 8, 8)).astype(np.uint8)
        return x, np.insert(np.eye(k, dtype=np.uint8)[y], 0, 1, axis=1) if several else y

    splits = {"train": part(80), "test": part(test)} if test else {"train": part(80)}
    np.savez(
        path, **{f"{axis}_{name}": pair[i] for name, pair in splits.items() for i, axis in enumerate("xy")}
    )
    return str(path)


@pytest.mark.parametrize(
    ("data", "settings"),
    [
        ({"test": 20}, {}),
        ({"test": 1}, {}),
        ({"test": 0}, {"split": (1.0, 0.0, 0.0)}),
        ({"test": 20}, {"model": "INPUT(8,8,1) => FC"}),
        ({"test": 20, "k": 3, "several": True}, {"epochs": 12}),
        ({"test": 20}, {"loss": "binary-cross-entropy", "split": (0.8, 0.0, 0.2)}),
    ],
    ids=["test", "one test image", "training images alone", "dense", "several labels", "one logit"],
)
def test_a_network_without_a_mistake_is_told_as_any_other(
    data: dict[str, Any], settings: dict[str, Any], tmp_path: Path
) -> None:
    given = {"model": NET, "epochs": 6, "lr": 0.03, "batch_size": 16, **settings}
    run = train(recipe({"data": separable(tmp_path / "planes.npz", **data), **given}), tmp_path / "run")
    split = "test" if data["test"] else "train"
    evaluation = run.evaluate(split=split)
    assert evaluation.mistakes() == []
    assert evaluation.to_json()["accuracy"] == 1
    assert f"None: every {SPLITS[split]} image is right." in Page(write_report(run).read_text("utf-8")).text
    assert resume(run.folder, epochs=given["epochs"] + 1).summary["epochs"] == given["epochs"] + 1


def evaluation_of(labels: list[int], predicted: list[int], k: int = 3) -> Evaluation:
    probabilities = np.eye(k, dtype=np.float32)[predicted]
    names = [f"c{i}" for i in range(k)]
    return Evaluation(names, [str(i) for i in range(len(labels))], np.array(labels), probabilities)


def test_confusions_and_matrix_by_hand() -> None:
    evaluation = evaluation_of([0, 0, 0, 1, 1, 2], [0, 1, 1, 1, 0, 2])
    assert confusions(evaluation) == [("c0", "c1", 2), ("c1", "c0", 1)]
    assert matrix(evaluation) == [
        ("c0", [(1, 34), (2, 67), (0, 0)]),
        ("c1", [(1, 50), (1, 50), (0, 0)]),
        ("c2", [(0, 0), (0, 0), (1, 100)]),
    ]


@pytest.mark.parametrize(("right", "n"), [(0, 10), (10, 10), (243, 269), (1, 2)])
def test_the_interval_solves_wilsons_equation(right: int, n: int) -> None:
    low, high = interval(right, n)
    assert 0 <= low <= right / n <= high <= 1
    for p in (low, high):
        assert abs((right / n - p) ** 2 - 1.959964**2 * p * (1 - p) / n) < 1e-9


def test_findings_name_what_matters() -> None:
    history = [{"train_accuracy": 0.99, "val_accuracy": 0.9}, {"train_accuracy": 1.0, "val_accuracy": 0.85}]
    said = " ".join(findings(evaluation_of([0, 0, 0, 1, 1, 2], [0, 1, 1, 1, 0, 2]), "test", history, 1))
    assert "3 of 6 test images are right" in said
    assert "epoch 1 of 2" in said
    assert "15.0 points more of the training images" in said
    assert "c0 taken for c1, twice" in said
    assert "The hardest class: c0, 33.33\u00a0% of 3" in said
    perfect = findings(evaluation_of([0, 1, 2], [0, 1, 2]), "validation", [], None)
    assert len(perfect) == 1
    assert perfect[0].startswith("3 of 3 validation images are right")


def test_curves_without_validation_or_without_epochs() -> None:
    assert curves([]) == []
    (_, loss), (_, accuracy), (_, rate) = curves(
        [{"epoch": 1, "train_loss": 1.0, "train_accuracy": 0.5, "lr": 0.1}]
    )
    assert 'class="training"' in loss
    assert 'class="validation"' not in accuracy
    assert "0.1" in rate


def test_the_loss_is_called_by_its_name() -> None:
    history = [{"epoch": 1, "train_loss": 1.0, "train_accuracy": 0.5, "lr": 0.1}]
    assert "cross-entropy in nats" in curves(history)[0][1]
    assert "focal loss in nats" in curves(history, loss_name="focal")[0][1]
    assert "binary cross-entropy in nats" in curves(history, loss_name="binary-cross-entropy")[0][1]


def test_a_network_that_cannot_be_followed_still_gets_its_page(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_: object) -> None:
        raise UsageError("its shapes depend on <its> values")

    monkeypatch.setattr("striate.anatomy.anatomy", refuse)
    before = (run.folder / "report.html").read_bytes()
    text = write_report(run).read_text(encoding="utf-8")
    assert "its shapes depend on &lt;its&gt; values" in text
    assert "Worst mistakes" in text
    (run.folder / "report.html").write_bytes(before)


def test_many_classes_are_told_by_their_confusions(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    arrays = {"x_train": draw.integers(0, 256, (320, 8, 8), np.uint8), "y_train": np.arange(320) % 40}
    np.savez(tmp_path / "many.npz", **arrays)
    run = train(recipe({"data": str(tmp_path / "many.npz"), "model": NET, "epochs": 1}), tmp_path / "run")
    page = Page((run.folder / "report.html").read_text(encoding="utf-8"))
    assert "The most frequent confusions among 40 classes" in page.text
    assert not [a for tag, a in page.tags if tag == "table" and "matrix" in (a.get("class") or "")]
