"""CSV files and data frames: what people call their columns, and errors that name the line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from striate.data import load
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
        ("path,label,split\np/0.png,a,test\np/1.png,b,val\n", "no row .* is 'train'"),
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


def test_a_data_frame(images: Path) -> None:
    frame = Frame(
        {"path": [str(images / f"p/{i}.png") for i in range(12)], "label": [i % 2 for i in range(12)]}
    )
    data = load(frame)
    assert data.classes == ("0", "1")
    assert (data.train.read([0]) == int(Path(data.train.ids[0]).stem)).all()


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
