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
        ("path,label\na.png,cat,,\na.png,a cat, small\n", "", "line 3 has more cells than the f"),
        ("path,label,split\na.png,cat,holiday\n", "", "row 1 has the split 'holiday'"),
        ("path,label\na.png,cat\n", "?label=breed", "has no column 'breed': it has path, label"),
        ("path,label\na.png,cat\n", "?breed=x", "option='breed' is not one of 'path', 'label'"),
        ("path,label\nno.png,cat\na.png,cat\n", "", "1 of 2 images cannot be read: .*no.png"),
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


def labels_of(source: str) -> list[str]:
    """The labels of the training split of a source, and how many images are there."""
    dataset = open_dataset(source)
    return [*dataset.labels, str(len(dataset))]


@pytest.mark.parametrize(
    ("cells", "options"),
    [
        ("C:\\Users\\Anna\\scans\\{}.png", "strip=C:\\Users\\Anna\\"),
        ("/data/old/scans/{}.png", "strip=/data/old/"),
        ("{}.png", "root=scans"),
        ("{}", "root=scans&suffix=.png"),
        ("photos/{}", "strip=photos/&root=scans&suffix=.png"),
    ],
)
def test_files_that_are_elsewhere_are_found_and_the_cure_works(
    images: Path, cells: str, options: str
) -> None:
    (images / "scans").mkdir()
    for name in ("a", "b", "c"):
        (images / f"{name}.png").rename(images / "scans" / f"{name}.png")
    table = images / "t.csv"
    table.write_text("image_id,label\n" + "".join(f"{cells.format(n)},x{n}\n" for n in "abc"))
    with pytest.raises(VitrailError, match="nor is any other of its 3 paths") as caught:
        open_dataset(f"csv:{table}")
    cure = str(caught.value).split("write '")[1].split("'")[0]
    assert cure == f"{table}?{options}"
    assert labels_of(f"csv:{cure}") == ["xa", "xb", "xc", "3"]


def test_paths_of_windows_are_read_here(images: Path) -> None:
    (images / "in").mkdir()
    for name in ("a", "b"):
        (images / f"{name}.png").rename(images / "in" / f"{name}.png")
    (images / "t.csv").write_text("path,label\nin\\a.png,x\nin\\b.png,y\n")
    assert labels_of(f"csv:{images}/t.csv") == ["x", "y", "2"]


@pytest.mark.parametrize("name", ["no.png", "n" * 300])
def test_no_file_at_all_says_how_to_name_the_folder(images: Path, name: str) -> None:
    (images / "t.csv").write_text(f"path,label\n{name},x\n")
    with pytest.raises(
        VitrailError, match=r"('no.png'|<str of 300>) is not there: name the folder .*\?root=FOLDER"
    ):
        open_dataset(f"csv:{images}/t.csv")


def test_spreadsheets_name_their_separator_and_may_have_another_encoding(images: Path) -> None:
    file = images / "t.csv"
    file.write_bytes('sep=;\r\nfile;tags\r\na.png;"x;y"\r\nb.png;x\r\n'.encode("utf-8-sig"))
    assert labels_of(f"csv:{file}?labels=tags") == ["x", "y", "2"]
    file.write_bytes("路径,类别\r\na.png,猫\r\nb.png,狗\r\n".encode("gbk"))
    with pytest.raises(VitrailError, match=r"is not in UTF-8 .*\?encoding=gbk'"):
        open_dataset(f"csv:{file}")
    assert labels_of(f"csv:{file}?encoding=gbk") == ["狗", "猫", "2"]
    with pytest.raises(VitrailError, match="encoding='ascii' does not fit"):
        open_dataset(f"csv:{file}?encoding=ascii")


def test_a_list_of_json_is_a_table_and_a_workbook_is_none(images: Path) -> None:
    (images / "t.json").write_text(json.dumps([{"path": a, "label": b} for a, b, _s in ROWS]))
    assert labels_of(f"table:{images}/t.json") == ["cat", "dog", "3"]
    (images / "t.json").write_text('{"images": []}')
    with pytest.raises(VitrailError, match="no list of objects"):
        open_dataset(f"table:{images}/t.json")
    (images / "t.xlsx").touch()
    with pytest.raises(VitrailError, match="save it as CSV, in UTF-8"):
        open_dataset(f"table:{images}/t.xlsx")
