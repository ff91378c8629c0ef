"""CSV files and data frames: what people call their columns, and errors that name the line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from striate.data import load
from striate.data.table import named_columns
from striate.errors import DataError, UsageError


class Frame:
    """As much of a pandas data frame as is used."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self._columns = columns
        self.columns = list(columns)

    def __getitem__(self, name: str) -> Any:
        column = np.empty(len(self._columns[name]), object)
        column[:] = self._columns[name]
        return column.view(type("Column", (np.ndarray,), {"to_list": np.ndarray.tolist}))


@pytest.fixture
def images(write_folder) -> Path:
    return write_folder({"p": 12})


def write(root: Path, text: str, encoding: str = "utf-8") -> Path:
    (root / "labels.csv").write_bytes(text.encode(encoding))
    return root / "labels.csv"


def rows(form: str, n: int = 12) -> str:
    return "".join(form.format(i=i, k="ab"[i % 2]) for i in range(n))


@pytest.mark.parametrize(
    ("head", "row", "encoding"),
    [
        ("path,label\n", "p/{i}.png,{k}\n", "utf-8"),
        ("filename;class\r\n", "p/{i}.png;{k}\r\n", "utf-8-sig"),
        ("Image\tCategory\textra\n", "./p/{i}.png\t{k}\tx\n", "utf-8"),
        ("target,file\n", '"{k}","p/{i}.png"\n\n', "utf-8"),
    ],
)
def test_names_separators_and_line_ends(images: Path, head: str, row: str, encoding: str) -> None:
    data = load(write(images, head + rows(row), encoding))
    assert data.classes == ("a", "b")
    for part in data.parts().values():
        for image, name, label in zip(part.read(range(len(part))), part.ids, part.labels, strict=True):
            number = int(Path(name).stem)
            assert (image == number).all()
            assert label == number % 2


def test_columns_named_by_the_caller(images: Path) -> None:
    path = write(images, "a,b\n" + rows("p/{i}.png,{k}\n"))
    assert load(path, columns={"path": "a", "label": "b"}).classes == ("a", "b")
    with pytest.raises(DataError, match="line 1: no column 'c'; there are 'a', 'b'"):
        load(path, columns={"path": "c"})
    with pytest.raises(UsageError, match="unknown column role 'lable'") as e:
        load(path, columns={"lable": "b"})
    assert "label" in e.value.hint


def test_split_group_and_weight(images: Path) -> None:
    text = "file,label,split,weight\n" + "".join(
        f"p/{i}.png,{'ab'[i % 2]},{'train' if i < 8 else 'valid' if i < 10 else 'test'},{i / 2}\n"
        for i in range(12)
    )
    data = load(write(images, text))
    assert [len(p) for p in data.parts().values()] == [8, 2, 2]
    assert data.train.weights is not None
    assert data.train.weights.tolist() == [i / 2 for i in range(8)]
    grouped = load(
        write(
            images, "file,label,patient\n" + "".join(f"p/{i}.png,{'ab'[i % 2]},{i // 3}\n" for i in range(12))
        )
    )
    patients = [{int(Path(i).stem) // 3 for i in p.ids} for p in grouped.parts().values()]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 4


def test_several_labels_in_one_column(images: Path) -> None:
    data = load(
        write(
            images,
            "file,tags\n" + "".join(f"p/{i}.png,{'red|round' if i % 2 else 'red; big'}\n" for i in range(12)),
        )
    )
    assert data.several
    assert data.classes == ("big", "red", "round")
    for part in data.parts().values():
        odd = [int(Path(i).stem) % 2 for i in part.ids]
        assert part.labels.tolist() == [[1 - o, 1, o] for o in odd]


def test_a_column_for_each_class(images: Path) -> None:
    data = load(
        write(
            images, "file,sun,rain\n" + "".join(f"p/{i}.png,{i % 2},{int(i % 3 == 0)}\n" for i in range(12))
        )
    )
    assert data.classes == ("sun", "rain")
    for part in data.parts().values():
        numbers = [int(Path(i).stem) for i in part.ids]
        assert part.labels.tolist() == [[i % 2, i % 3 == 0] for i in numbers]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,label\np/0.png,a\np/99.png,b\n", "line 3: no file 'p/99.png'"),
        ("path,label\np/0.png,a\n../x.png,b\n", "line 3: path '../x.png' leads out"),
        ("path,label\np/0.png,a\n/etc/passwd,b\n", "line 3: path '/etc/passwd' leads out"),
        ("path,label\np/0.png,a\n./p/0.png,b\n", "line 3: file './p/0.png' is listed before, in line 2"),
        ("path,label\np/0.png,a\np/1.png,\n", "line 3: column 'label' is empty"),
        ("path,label\np/0.png,a\np/1.png\n", "line 3: 1 values for 2 columns"),
        ("path,label,weight\np/0.png,a,1\np/1.png,b,-1\n", "line 3: weight '-1'"),
        ("path,label,split\np/0.png,a,train\np/1.png,b,holdout\n", "line 3: split 'holdout'"),
        ("path,label,split\np/0.png,a,test\np/1.png,b,val\n", "no images in train/, only in test and val"),
        ("path,label,split\np/0.png,a,train\np/1.png,b,train\np/2.png,c,test\n", "'c' not in train"),
        ("name,label\np/0.png,a\n", "line 1: no column of file names; there are 'name', 'label'"),
        ("path,comment\np/0.png,a\n", "line 1: no column of labels"),
        ("path,label,label\np/0.png,a,b\n", "column 'label' is there twice"),
        ("path,label\n", "no rows"),
        ("", "no rows"),
        ('path,label\n"p/0.png,a\n', "line 2"),
    ],
)
def test_wrong_lines_are_named(images: Path, text: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        load(write(images, text))


def test_text_that_is_not_utf8(images: Path) -> None:
    with pytest.raises(DataError, match="line 2: not UTF-8"):
        load(write(images, "path,label\np/0.png,ä\n", "latin-1"))
    with pytest.raises(DataError, match="line 1: not UTF-8 text, it seems to be UTF-16"):
        load(write(images, "path,label\np/0.png,a\n", "utf-16-le"))


def test_a_data_frame(images: Path) -> None:
    frame = Frame(
        {"path": [str(images / f"p/{i}.png") for i in range(12)], "label": [i % 2 for i in range(12)]}
    )
    data = load(frame)
    assert data.classes == ("0", "1")
    assert (data.train.read([0]) == int(Path(data.train.ids[0]).stem)).all()


def test_a_cell_of_a_frame_may_hold_several_labels(images: Path) -> None:
    paths = [str(images / f"p/{i}.png") for i in range(12)]
    data = load(Frame({"path": paths, "label": [["b", "a"], ("a",), "c"] * 4}))
    assert data.classes == ("a", "b", "c")
    for part in data.parts().values():
        numbers = [int(Path(i).stem) % 3 for i in part.ids]
        assert part.labels.tolist() == [[[1, 1, 0], [1, 0, 0], [0, 0, 1]][n] for n in numbers]


def test_labels_that_changed_are_other_data(images: Path) -> None:
    head = "path,label\n"
    stored = load(write(images, head + rows("p/{i}.png,{k}\n"))).splits()
    swapped = "".join(f"p/{i}.png,{'ba'[i % 2] if i < 6 else 'ab'[i % 2]}\n" for i in range(12))
    with pytest.raises(DataError, match=r"labels of the stored \w+ split changed"):
        load(write(images, head + swapped), splits=stored)


def test_rows_that_moved_to_another_split_are_named(images: Path) -> None:
    def table(first: int) -> Path:
        lines = (f"p/{i}.png,{'ab'[i % 2]},{'train' if i < first else 'test'}\n" for i in range(12))
        return write(images, "path,label,split\n" + "".join(lines))

    stored = load(table(8), split=(1, 0, 0)).splits()
    with pytest.raises(DataError, match=r"the stored test split lies in several splits now: 'p/9.png'"):
        load(table(9), splits=stored)


def test_missing_cells_of_a_frame_are_empty(images: Path) -> None:
    columns: dict[str, list[Any]] = {
        "path": [str(images / f"p/{i}.png") for i in range(12)],
        "label": [i % 2 for i in range(12)],
        "group": [float("nan")] * 12,
    }
    parts = load(Frame(columns)).parts().values()
    assert all(len(part) < 12 for part in parts)  # those without a group aren't one
    columns["label"][3] = None
    with pytest.raises(DataError, match=r"line 3: column 'label' is empty"):
        load(Frame(columns))


def test_folders_of_classes_beside_a_csv_stay_folders(write_folder) -> None:
    root = write_folder({"cat": 6, "dog": 6})
    (root / "notes.csv").write_text("a,b\n1,2\n")
    assert load(root).classes == ("cat", "dog")


HEAD = "path,label\n"


def test_shards_beside_a_table_take_their_labels_from_it(write_folder) -> None:
    root = write_folder({"part_1": 6, "part_2": 6})
    for shard in (1, 2):
        for i in range(6):
            (root / f"part_{shard}/{i}.png").rename(root / f"part_{shard}/ISIC_{shard}{i}.png")
    lines = "".join(f"ISIC_{s}{i},{'ab'[i % 2]}\n" for s in (1, 2) for i in range(6))
    write(root, "image_id,label\n" + lines)
    data = load(root)
    assert data.classes == ("a", "b")
    assert {i for p in data.parts().values() for i in p.ids} == {
        f"part_{s}/ISIC_{s}{i}.png" for s in (1, 2) for i in range(6)
    }
    assert "12 of 12 file names were completed: 'ISIC_10' is 'part_1/ISIC_10.png'" in data.notes
    write(root, "image_id,dx\n" + lines)
    with pytest.raises(DataError, match="no column of labels; there are 'image_id', 'dx'"):
        load(root)
    assert load(root, columns={"label": "dx"}).classes == ("a", "b")


def test_a_table_of_the_images_counts_more_than_their_folders_and_less_than_splits(write_folder) -> None:
    root = write_folder({"north": 6, "south": 6})
    table = "".join(f"{c}/{i}.png,{'ab'[i % 2]}\n" for c in ("north", "south") for i in range(6))
    write(root, HEAD + table[: table.index("south/3")])
    data = load(root)
    assert data.classes == ("a", "b")
    assert data.passed == {"unlisted image": tuple(f"south/{i}.png" for i in range(3, 6))}
    (root / "other.csv").write_text(HEAD + table)
    with pytest.raises(DataError, match="more than one of them lists these images"):
        load(root)
    (root / "other.csv").unlink()
    write(root, HEAD + "north/0.png,a\n")  # some of the images only
    assert load(root).classes == ("north", "south")


def test_paths_are_completed_where_one_image_fits(write_folder) -> None:
    root = write_folder({"deep/down": 6, "p": 6})
    for i in range(6):
        (root / f"deep/down/{i}.png").rename(root / f"deep/down/e\u0301{i}.png")
    cells = [*(f"\u00e9{i}" for i in range(3)), *(f"down/\u00e9{i}.png" for i in range(3, 6))]
    cells += [str(root / "p/0.png"), "./p/1", "p\\2.png"]
    data = load(write(root, HEAD + "".join(f"{cell},{'ab'[i % 2]}\n" for i, cell in enumerate(cells))))
    ids = {i for p in data.parts().values() for i in p.ids}
    assert ids == {*(f"deep/down/e\u0301{i}.png" for i in range(6)), *(f"p/{i}.png" for i in range(3))}
    write(root, HEAD + "e\u03010,a\nq/0.png,b\n")
    with pytest.raises(DataError, match=r"line 3: no file 'q/0.png'"):  # another folder is another file
        load(root / "labels.csv")
    (root / "p/e\u03010.jpg").write_bytes((root / "p/0.png").read_bytes())
    with pytest.raises(DataError, match=r"line 2: file .* may be 'deep/down/.*' or 'p/.*'"):
        load(root / "labels.csv")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_as_spreadsheets_write_it(images: Path, encoding: str) -> None:
    text = "path\tlabel\r\n" + "".join(f"p/{i}.png\t{'äß'[i % 2]}\r\n" for i in range(12))
    mark = "" if encoding == "utf-16" else "\ufeff"
    assert load(write(images, mark + text, encoding)).classes == ("ß", "ä")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["B&amp;B", "hotel", "B"], None),
        (["Smith; John", "hotel"], None),
        (["cat;dog", "cat", "bird"], {"cat", "dog", "bird"}),
        (["big;red", "small;blue"], {"big", "red", "small", "blue"}),
        (["cat|dog", "bird"], {"cat", "dog", "bird"}),
        (["cat;", "cat", "dog"], {"cat", "dog"}),
        (["R&D;x", "x"], {"R&D", "x"}),
        (["B&amp;B|x", "x"], {"B&amp;B", "x"}),
    ],
)
def test_a_semicolon_parts_labels_only_where_the_others_know_them(
    images: Path, labels: list[str], expected: set[str] | None
) -> None:
    lines = "".join(f"p/{i}.png,{labels[i % len(labels)]}\n" for i in range(12))
    data = load(write(images, HEAD + lines))
    assert data.several == (expected is not None)
    assert set(data.classes) == (expected or set(labels))
    assert any("several labels an image: " in note for note in data.notes) == data.several


def test_what_was_made_of_the_columns_is_told(images: Path) -> None:
    lines = "".join(f"p/{i}.png,{'ab'[i % 2]},{60 + i},{i % 5}\n" for i in range(12))
    path = write(images, "file,label,weight,fold\n" + lines)
    data = load(path)
    assert data.notes == (
        "labels.csv: path is column 'file', label is column 'label', weight is column 'weight'",
        "column 'weight' is what an image counts in the loss; --columns weight= leaves the column out",
        "column 'fold' divides nothing: no value of it is train, val or test",
    )
    assert data.train.weights is not None
    assert load(path, columns=named_columns("weight=, split=")).train.weights is None


def test_columns_that_nothing_is_taken_from_are_told(images: Path) -> None:
    lines = "".join(f"p/{i}.png,{'ab'[i % 2]},{'train' if i < 9 else 'test'},{i % 2},x\n" for i in range(12))
    data = load(write(images, "path,label,split,is_valid,dx\n" + lines))
    assert data.notes[1:] == ("not used: 'is_valid', 'dx'",)


@pytest.mark.parametrize("words", [("True", "False"), ("1", "0"), ("yes", "")])
def test_columns_of_yes_and_no_are_splits(images: Path, words: tuple[str, str]) -> None:
    yes, no = words
    lines = (
        f"p/{i}.png,{'ab'[i % 2]},{yes if i in (8, 9) else no},{yes if i > 9 else no}\n" for i in range(12)
    )
    data = load(write(images, "path,label,is_valid,is_test\n" + "".join(lines)))
    assert [len(part) for part in data.parts().values()] == [8, 2, 2]
    assert sorted(data.val.ids) == ["p/8.png", "p/9.png"]
    assert not any("not used" in note for note in data.notes)
    write(images, "path,label,is_valid\np/0.png,a,1\np/1.png,b,maybe\n")
    with pytest.raises(DataError, match="line 3: is_valid 'maybe' is neither yes nor no"):
        load(images / "labels.csv")
