"""Several labels, numbers and weights in the columns of a table."""

import json
from pathlib import Path

import pytest
from PIL import Image

from vitrail.data.dataset import Dataset
from vitrail.data.joined import with_labels
from vitrail.data.registry import open_dataset
from vitrail.data.splits import split_off
from vitrail.errors import DataError


def opened(folder: Path, text: str, options: str = "", form: str = "csv") -> Dataset:
    for number in range(4):
        Image.new("RGB", (4, 4)).save(folder / f"{number}.png")
    (folder / f"t.{form}").write_text(text)
    return open_dataset(f"{form}:{folder / f't.{form}'}{options}")


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("path,label\n0.png,cat;dog\n1.png,\n2.png,dog\n", ""),
        ("path,Finding Labels\n0.png,cat|dog\n1.png,\n2.png,dog\n", "?label=Finding Labels"),
        ("path,labels\n0.png,cat|dog\n1.png,\n2.png,dog\n", ""),
        ("path,tags\n0.png,cat dog\n1.png,\n2.png,dog\n", "?labels=tags&separator=%20"),
        ("path,cat,dog\n0.png,1,1\n1.png,0,\n2.png,-1,True\n", "?labels=cat,dog"),
    ],
)
def test_several_labels_as_people_write_them(tmp_path: Path, text: str, options: str) -> None:
    dataset = opened(tmp_path, text, options)
    assert dataset.target == "labels" and dataset.labels == ["cat", "dog"]
    assert dataset.values is not None
    assert dataset.values.tolist() == [[1, 1], [0, 0], [0, 1]]
    assert dataset.counts() == {"cat": 1, "dog": 2}
    assert dataset.inventory is not None
    assert dataset.inventory.counts == {"all": {"cat": 1, "dog": 2}}


def test_lists_of_json_are_several_labels(tmp_path: Path) -> None:
    rows = [{"path": "0.png", "label": ["b", "a"]}, {"path": "1.png", "label": []}]
    dataset = opened(tmp_path, "\n".join(map(json.dumps, rows)), form="jsonl")
    assert dataset.values is not None and dataset.values.tolist() == [[1, 1], [0, 0]]


def test_fractions_are_numbers_and_whole_numbers_classes(tmp_path: Path) -> None:
    text = "path,label\n0.png,1\n1.png,{}\n2.png,3\n"
    numbers, classes = (opened(tmp_path, text.format(value)) for value in ("2.5", "2"))
    assert numbers.target == "numbers" and numbers.values is not None
    assert numbers.labels == ["label"] and numbers.values.flatten().tolist() == [1, 2.5, 3]
    assert classes.target == "class" and classes.labels == ["1", "2", "3"]
    named = opened(tmp_path, text.format("2"), "?numbers=label")
    assert named.values is not None and named.values.flatten().tolist() == [1, 2, 3]
    rows = [{"path": f"{i}.png", "label": label} for i, label in enumerate((1, 10**400, 3))]
    huge = opened(tmp_path, "\n".join(map(json.dumps, rows)), form="jsonl")
    assert huge.target == "class"
    versions = opened(tmp_path, text.format("2.5"), "?separator=")
    assert versions.target == "class" and versions.labels == ["1", "2.5", "3"]


def test_values_and_weights_stay_with_their_images(tmp_path: Path) -> None:
    text = "path,x,y,weight\n0.png,0,5,1\n1.png,1,6,2\n2.png,2,7,3\n3.png,3,8,4\n"
    dataset = opened(tmp_path, text, "?numbers=x,y")
    for part in (
        *split_off(dataset, 0.5),
        dataset.subset([3, 1]),
        with_labels(dataset, ["y", "x"]),
    ):
        assert part.values is not None and part.weights is not None
        for index, row in enumerate(part.values.tolist()):
            number = int(Path(part.name(index)).stem)
            assert dict(zip(part.labels, row, strict=True)) == {"x": number, "y": number + 5}
            assert part.weights[index] == number + 1
    digest = dataset.digest()
    assert digest != opened(tmp_path, text, "?numbers=y,x").digest()
    assert digest != opened(tmp_path, text, "?numbers=x,y&weight=").digest()
    assert opened(tmp_path, text, "?numbers=x,y&weight=").weights is None


def test_spreadsheets_of_many_countries_write_decimal_commas(tmp_path: Path) -> None:
    text = "\ufeffpath;age;weight\n0.png;4,5;0,25\n1.png;-3,125;1\n2.png;6;2\n"
    part = opened(tmp_path, text, "?label=age")
    rows = {Path(part.name(i)).name: part.values[i].item() for i in range(len(part))}
    weights = {Path(part.name(i)).name: part.weights[i].item() for i in range(len(part))}
    assert rows == {"0.png": 4.5, "1.png": -3.125, "2.png": 6.0}
    assert weights == {"0.png": 0.25, "1.png": 1.0, "2.png": 2.0}


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("path,a,b\n0.png,1,maybe\n", "?labels=a,b", "row 1 has 'maybe' in the column b"),
        ("path,a\n0.png,\n", "?numbers=a", "row 1 has '' in the column a, which is no number"),
        ('path,a\n0.png,"1,234"\n', "?numbers=a", "'1,234' in .*: write it with a decimal point"),
        ("path;a\n0.png;1.234\n1.png;2,5\n", "?numbers=a", "'2,5' in .*with a decimal point"),
        ("path,a\n0.png,inf\n", "?numbers=a", "row 1 has 'inf' in the column a"),
        ("path,a\n0.png,1\n", "?numbers=b", "has no column 'b': it has path, a"),
        ("path,label,weight\n0.png,a,-1\n", "", "the column weight has weights below 0"),
    ],
)
def test_what_is_amiss_is_told(tmp_path: Path, text: str, options: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        opened(tmp_path, text, options)


def test_unknown_labels_are_named(tmp_path: Path) -> None:
    dataset = opened(tmp_path, "path,label\n0.png,cat;dog\n1.png,fox\n")
    with pytest.raises(DataError, match="unknown classes 'fox'"):
        with_labels(dataset, ["dog", "cat"])
    renamed = with_labels(dataset.subset([0]), ["Dog", "emu", "cat"])
    assert renamed.values is not None and renamed.values.tolist() == [[1, 0, 1]]
