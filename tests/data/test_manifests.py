"""Tables of paths and labels, and the columns that are recognized in them."""

import json
from pathlib import Path

import pytest
from PIL import Image

from vitrail.data.registry import open_dataset, open_parts
from vitrail.errors import VitrailError

ROWS = [("a.png", "cat", "train"), ("b.png", "dog", "Training"), ("c.png", "cat", "valid")]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name, _label, _split in ROWS:
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(
    ("header", "delimiter"),
    [("path,label", ","), ("File Name;Class", ";"), ("image_path\tcategory", "\t")],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_as_people_write_them(
    images: Path, header: str, delimiter: str, encoding: str
) -> None:
    lines = [header, *(f"{name}{delimiter}{label}" for name, label, _split in ROWS)]
    (images / "t.csv").write_bytes("\r\n".join(lines).encode(encoding))
    for kind in ("csv", "table"):
        dataset = open_dataset(f"{kind}:{images / 't.csv'}")
        assert dataset.labels == ["cat", "dog"] and dataset.targets() == [0, 1, 0]
        assert [dataset.key(i) for i in range(3)] == ["a.png", "b.png", "c.png"]
        assert dataset.inventory is not None
        assert dataset.inventory.counts == {"all": {"cat": 2, "dog": 1}}


@pytest.mark.parametrize("form", ["jsonl", "parquet", "csv"])
def test_every_form_has_splits(images: Path, form: str) -> None:
    rows = [{"img": name, "target": label, "split": split} for name, label, split in ROWS]
    file = images / f"rows.{form}"
    if form == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(rows), file)
    elif form == "jsonl":
        file.write_text("\n".join(map(json.dumps, rows)))
    else:
        text = [",".join(row) for row in (rows[0], *(map(str, row.values()) for row in rows))]
        file.write_text("\n".join(text))
    parts = open_parts(f"{form}:{file}")
    assert {split: len(part()) for split, part in parts.items()} == {"train": 2, "val": 1}
    assert len(open_dataset(f"table:{file}", "all")) == 3


def test_columns_folder_and_suffix_may_be_named(images: Path) -> None:
    (images / "lists").mkdir()
    (images / "lists" / "t.csv").write_text("id,breed,label\na,10,x\nb,9,y\n")
    query = "path=id&label=breed&root=..&suffix=.png"
    dataset = open_dataset(f"csv:{images}/lists/t.csv?{query}")
    assert dataset.labels == ["9", "10"]  # as numbers
    assert dataset.targets() == [1, 0] and dataset.read(0).shape == (3, 4, 4)


@pytest.mark.parametrize(
    ("text", "query", "message"),
    [
        ("", "", "has no rows"),
        ("path,colour\na.png,red\n", "", r"none of which is called label: .*t\.csv\?label=COLUMN"),
        ("path,label\na.png,\n", "", "row 1 has no label"),
        ("path,label,split\na.png,cat,holiday\n", "", "row 1 has the split 'holiday'"),
        ("path,label\na.png,cat\n", "?label=breed", "has no column 'breed': it has path, label"),
        ("path,label\na.png,cat\n", "?breed=x", "option='breed' is not one of 'path', 'label'"),
        ("path,label\nno.png,cat\n", "", "1 of 1 images cannot be read: .*no.png"),
    ],
)
def test_what_is_amiss_is_told(images: Path, text: str, query: str, message: str) -> None:
    (images / "t.csv").write_text(text)
    with pytest.raises(VitrailError, match=message):
        open_dataset(f"csv:{images / 't.csv'}{query}")


def test_what_is_no_table_is_told(images: Path) -> None:
    with pytest.raises(VitrailError, match="is a folder: name the table itself"):
        open_dataset(f"csv:{images}")
    with pytest.raises(VitrailError, match=r"a table of suffix '\.png' is not known"):
        open_dataset(f"table:{images / 'a.png'}")
