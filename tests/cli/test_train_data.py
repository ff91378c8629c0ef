"""What `striate train` does with data: which images, in which order, kept where, counted how."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from striate.cli import main
from striate.data import make_shapes
from striate.errors import DataError
from striate.train import recipe, report, resume, train
from striate.train.events import Listener
from striate.train.run import open_data

NET = "INPUT(16,16,3) => CONV(4) => RELU => POOL(4) => FC"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Trains on a folder `shapes` of 3 x 10 JPEGs -> exit code, summary, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STRIATE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(report, "write_report", lambda run, data: None)  # takes longer than all the rest
    make_shapes("shapes", 3, 10, size=32)

    def trained(*flags: str, data: str = "shapes", output: str = "run"):
        argv = [
            "train",
            data,
            "--model",
            NET,
            "--epochs",
            "1",
            "--batch-size",
            "8",
            "--output",
            output,
            "--json",
        ]
        code = main([*argv, *flags])
        out, err = capsys.readouterr()
        return code, json.loads(out.splitlines()[-1]) if out else None, err

    return trained


def weights(folder: str) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "model.safetensors")


def splits(folder: str) -> dict:
    return json.loads((Path(folder) / "splits.json").read_text())


def spoil(*names: str) -> None:
    for name in names:
        (Path("shapes") / name).write_bytes(b"\xff\xd8\xff\xe0 no picture")


def test_bad_images_stop_before_the_first_epoch_or_are_left_out_and_listed(run) -> None:
    spoil("circle/0001.jpg", "square/0002.jpg", "triangle/0003.jpg")
    code, _, err = run()
    assert code == 3
    assert "3 of 30 images can't be read" in err
    assert all(name in err for name in ("circle/0001.jpg", "square/0002.jpg", "triangle/0003.jpg"))
    assert "--on-bad-image skip" in err
    assert not Path("run").exists()
    code, summary, _ = run("--on-bad-image", "skip")
    assert code == 0
    assert sorted(summary["skipped"]) == ["circle/0001.jpg", "square/0002.jpg", "triangle/0003.jpg"]
    assert sum(len(splits("run")[s]["ids"]) for s in ("train", "val", "test")) == 27
    assert main(["train", "--resume", "run", "--epochs", "2", "--json"]) == 0
    spoil(*(f"circle/{i:04d}.jpg" for i in range(10)))
    code, _, err = run("--on-bad-image", "skip", output="other")
    assert code == 3
    assert "class folder 'circle'" in err


def test_where_images_are_kept_changes_no_bit(run) -> None:
    for cache in ("off", "ram", "disk"):
        limit = () if cache == "off" else ("--cache-limit", "10kB")
        code, summary, _ = run("--cache", cache, *limit, output=cache)
        assert code == 0
        assert ("cache" in summary) == (cache != "off")
        assert not summary.get("cache") or "up to 0.0 MB" in summary["cache"]  # 13 images of 768 bytes
    off, ram, disk = (weights(cache) for cache in ("off", "ram", "disk"))
    assert all(torch.equal(off[k], ram[k]) and torch.equal(off[k], disk[k]) for k in off)


def test_a_list_of_classes_decides_their_order(run) -> None:
    Path("names.txt").write_text("triangle\ncircle\nsquare\nhexagon\n")
    code, _, err = run("--classes", "names.txt")
    assert code == 3
    assert "not those of the given list: 'hexagon' missing" in err
    assert run("--classes", "names.txt", "--allow-empty")[0] == 0
    assert splits("run")["classes"] == ["triangle", "circle", "square", "hexagon"]
    Path("names.txt").unlink()  # the run knows them by now
    assert main(["train", "--resume", "run", "--epochs", "2", "--json"]) == 0
    Path("names.txt").write_text("triangle\ncircle\n")
    code, _, err = run("--classes", "names.txt", output="other")
    assert code == 3
    assert "'square' not in the given list" in err


def test_columns_of_a_table_and_groups_that_stay_together(run) -> None:
    with open("t.csv", "w", newline="") as f:
        table = csv.writer(f)
        table.writerow(["where", "what", "who", "counts"])
        for i, path in enumerate(sorted(Path("shapes").rglob("*.jpg"))):
            table.writerow([path, path.parent.name, i // 2, 1 + i % 3])
    code, _, _ = run("--columns", "path=where,label=what,group=who,weight=counts", data="t.csv")
    assert code == 0
    rows = csv.DictReader(Path("t.csv").read_text().splitlines())
    group = {row["where"]: row["who"] for row in rows}
    of = [{group[i] for i in splits("run")[s]["ids"]} for s in ("train", "val", "test")]
    assert not of[0] & of[1]
    assert not of[0] & of[2]
    assert not of[1] & of[2]
    code, _, err = run("--columns", "path=where,label=whta", data="t.csv", output="other")
    assert code == 3
    assert "no column 'whta'" in err


def test_an_image_of_weight_zero_teaches_nothing(run) -> None:
    """A wrong label that counts 0 leaves the gradient as it is; one that counts 1 doesn't."""
    paths = sorted(Path("shapes").rglob("*.jpg"))
    for name, wrong, weight in (("plain", "circle", 0), ("wrong", "square", 0), ("counted", "square", 1)):
        rows = [["path", "label", "split", "weight"]]
        for i, path in enumerate(paths):
            label, split = path.parent.name, ("val", "test", "train", "train", "train")[i % 5]
            doubtful = label == "circle" and i % 5 == 2
            rows.append([str(path), wrong if doubtful else label, split, str(weight if doubtful else 1)])
        Path(f"{name}.csv").write_text("\n".join(map(",".join, rows)))
        flags = ("--opt", "gd", "--lr", "0.1", "--augment", "none")
        assert run(*flags, data=f"{name}.csv", output=name)[0] == 0
    plain, wrong, counted = (weights(name) for name in ("plain", "wrong", "counted"))
    assert all(torch.equal(plain[k], wrong[k]) for k in plain)
    assert not all(torch.equal(plain[k], counted[k]) for k in plain)


def test_balanced_and_weighted_runs_differ_from_plain_ones(run) -> None:
    for i in range(8):
        Path(f"shapes/circle/{i:04d}.jpg").unlink()
    for name, flags in (("plain", ()), ("drawn", ("--balanced",)), ("weighted", ("--class-weights",))):
        assert run(*flags, output=name)[0] == 0
    first = next(iter(weights("plain")))
    assert not torch.equal(weights("plain")[first], weights("drawn")[first])
    assert not torch.equal(weights("plain")[first], weights("weighted")[first])


def test_transforms_of_the_command_line_and_of_a_file(run) -> None:
    Path("r.yaml").write_text("augment:\n- {name: random_crop, padding: 2}\n- alternating_flip\n- cutmix\n")
    assert run("-c", "r.yaml", output="file")[0] == 0
    assert run("--augment", "random_crop(2), alternating-flip, cutmix", output="flag")[0] == 0
    a, b = weights("file"), weights("flag")
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert "augment: random_crop(padding=2), alternating_flip, cutmix" in Path("file/recipe.yaml").read_text()


@pytest.mark.parametrize(
    ("flags", "cause", "hint"),
    [
        (["--augment", "mixpu"], "augment: unknown augmentation 'mixpu'", "did you mean mixup"),
        (["--augment", "mixup(alpha=-1)"], "augment: alpha -1", ""),
        (["--cache", "rma"], "cache: ", "did you mean ram"),
        (["--cache-limit", "much"], "cache_limit: ", ""),
        (["--cache-limit", "-1"], "cache_limit: ", ""),
        (["--on-bad-image", "skpi"], "on_bad_image: ", "did you mean skip"),
        (["--columns", "path"], "columns: expected ROLE=NAME, got 'path'", "roles are"),
    ],
)
def test_refusals(run, flags: list[str], cause: str, hint: str) -> None:
    code, summary, err = run(*flags)
    assert (code, summary) == (2, None)
    assert cause in err
    assert hint in err
    assert len(err.splitlines()) <= 2
    assert not Path("run").exists()


class Removing(Listener):
    def __init__(self, path: Path) -> None:
        self.path = path

    def on_epoch(self, state) -> None:
        self.path.unlink(missing_ok=True)


def test_a_file_that_goes_away_is_named_with_the_epoch_and_the_run_goes_on(run) -> None:
    r = recipe({"data": "shapes", "model": NET, "epochs": 2, "cache": "off", "save_every": 1})
    shutil.copytree("shapes", "spare")
    name = open_data(r).train.ids[0]
    with pytest.raises(DataError, match=rf"{name}.*\(epoch 2\)"):
        train(r, "run", [Removing(Path("shapes") / name)])
    shutil.copy(Path("spare") / name, Path("shapes") / name)
    assert resume("run").summary["epochs"] == 2


def test_batches_larger_than_the_data_and_a_last_one_of_one(run) -> None:
    net = "INPUT(16,16,3) => CONV(4) => BN => RELU => GAP => FC"
    assert run("--batch-size", "999", "--model", net, output="large")[0] == 0
    assert (
        run("--batch-size", "20", "--model", net, "--split", "70/15/15", output="one")[0] == 0
    )  # 21 images train


def test_files_that_are_passed_over_are_told(run, capsys: pytest.CaptureFixture[str]) -> None:
    Path("shapes/notes.txt").write_text("x")
    Path("shapes/circle/@eaDir").mkdir()
    shutil.copy("shapes/circle/0000.jpg", "shapes/circle/@eaDir/thumb.jpg")
    Path("shapes/circle/0001.jpg").rename("shapes/circle/0001")
    summary = run()[1]
    assert summary["passed_over"] == [
        "passed over: 1 text file: 'notes.txt'",
        "passed over: 1 system file: 'circle/@eaDir/thumb.jpg'",
    ]
    assert sum(len(splits("run")[split]["ids"]) for split in ("train", "val", "test")) == 30
    assert main(["train", "shapes", "--model", NET, "--epochs", "1", "--output", "again"]) == 0
    assert "passed over: 1 system file: 'circle/@eaDir/thumb.jpg'" in capsys.readouterr().out.splitlines()
    assert main(["data", "preview", "shapes", "--first", "1"]) == 0
    assert "passed over: 1 text file: 'notes.txt'" in capsys.readouterr().err.splitlines()
    assert main(["data", "preview", "shapes/circle/0001"]) == 0
