"""`vitrail pack`, and `vitrail predict --shard`."""

import json
from pathlib import Path

import pytest
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from tests.cli.conftest import Command
from vitrail.cli.main import build_app
from vitrail.cli.predict import in_shard
from vitrail.cli.predictions_file import PARTIAL
from vitrail.data.registry import open_parts
from vitrail.errors import ConfigError
from vitrail.hub.model_folder import save
from vitrail.models.vit import ViT
from vitrail.train.prediction import Predictor

PATHS = [Path(f"photos/{number}.jpg") for number in range(1000)]


def test_a_dataset_is_packed(tmp_path: Path) -> None:
    arguments = ["pack", "digits", str(tmp_path / "shards")]
    result = CliRunner().invoke(build_app(), arguments)
    assert result.exit_code == 0 and "1,797 images in 2 shards" in result.output
    parts = open_parts(f"shards:{tmp_path / 'shards'}")
    assert {split: len(part()) for split, part in parts.items()} == {"train": 1442, "test": 355}
    assert isinstance(CliRunner().invoke(build_app(), arguments).exception, ConfigError)
    for label in "ab":
        (tmp_path / "signals" / label).mkdir(parents=True)
        (tmp_path / "signals" / label / "1.csv").write_text("1\n2\n3\n")
    arguments = ["pack", f"signals:{tmp_path / 'signals'}", str(tmp_path / "packed")]
    assert "2 signals in 1 shards" in CliRunner().invoke(build_app(), arguments).output
    assert len(open_parts(f"shards:{tmp_path / 'packed'}")["train"]()) == 2


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_prediction_that_was_stopped_goes_on(
    tmp_path: Path, vitrail: Command, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """The file is that of a command that was never stopped, and no image is predicted twice."""
    model = ViT(8, 4, 3, dim=8, depth=1, heads=1, mlp_dim=8)
    model.labels = ["a", "b", "c"]
    save(model, tmp_path / "model")
    (tmp_path / "images").mkdir()
    for number in range(9):
        Image.effect_noise((9, 9), 10 + number).convert("RGB").save(
            tmp_path / "images" / f"{number}.png"
        )
    broken = tmp_path / "images" / "5.png"
    whole = broken.read_bytes()
    command = ["predict", str(tmp_path / "images"), "--model", str(tmp_path / "model"),
               "--batch-size", "2", "--out"]  # fmt: skip
    expected, file = tmp_path / f"whole.{suffix}", tmp_path / f"out.{suffix}"
    assert vitrail(*command, str(expected))[0] == 0
    broken.write_bytes(b"damaged")
    code, _out, error = vitrail(*command, str(file))
    assert code == 2 and "5.png" in error and not file.exists()
    partial = tmp_path / f"out.{suffix}{PARTIAL}"
    names = [json.loads(line)["image"][-5:] for line in partial.read_text().splitlines()[1:]]
    assert names == ["0.png", "1.png", "2.png", "3.png"]
    partial.write_text(partial.read_text() + '{"image": "cut o')
    broken.write_bytes(whole)
    counts: list[int] = []
    probabilities = Predictor.probabilities

    def counted(self: Predictor, crops: Tensor) -> Tensor:
        counts.append(len(crops))
        return probabilities(self, crops)

    monkeypatch.setattr(Predictor, "probabilities", counted)
    code, _out, error = vitrail(*command, str(file))
    assert code == 0 and "going on after 2 images" in error
    assert counts == [2, 2, 2, 1]  # the last whole batch again, in case nothing else can be read
    assert file.read_bytes() == expected.read_bytes() and not partial.exists()
    # Nor are rows of other images, or of other settings.
    (tmp_path / "others").mkdir()
    Image.effect_noise((9, 9), 50).convert("RGB").save(tmp_path / "others" / "0.png")
    broken.write_bytes(b"damaged")
    assert vitrail(*command, str(file), "--force")[0] == 2 and partial.exists()
    broken.write_bytes(whole)
    code, _out, error = vitrail(
        "predict", str(tmp_path / "others"), *command[2:], str(file), "--force"
    )
    assert code == 0 and "going on" not in error
    assert "others" in file.read_text() and "images" not in file.read_text()
    partial.write_text('{"settings": {}}\n{"image": "x.png", "classes": {"a": 1.0}}\n')
    code, _out, error = vitrail(*command, str(file), "--force")
    assert code == 0 and "going on" not in error
    assert file.read_bytes() == expected.read_bytes()


def test_all_parts_have_every_image_once() -> None:
    parts = [in_shard(PATHS, f"{part}/7") for part in range(1, 8)]
    assert sorted(path for part in parts for path in part) == sorted(PATHS)
    assert all(100 < len(part) < 190 for part in parts)
    assert in_shard(PATHS[500:], "3/7") == [path for path in parts[2] if path in PATHS[500:]]
    for shard in ("0/7", "8/7", "7", "1/0", "a/b", "-1/7"):
        with pytest.raises(ConfigError, match="is no part such as 3/64"):
            in_shard(PATHS, shard)
