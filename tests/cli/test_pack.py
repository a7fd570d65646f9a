"""`vitrail pack`, and `vitrail predict --shard`."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from vitrail.cli.main import build_app
from vitrail.cli.predict import in_shard
from vitrail.data.registry import open_parts
from vitrail.errors import ConfigError

PATHS = [Path(f"photos/{number}.jpg") for number in range(1000)]


def test_a_dataset_is_packed(tmp_path: Path) -> None:
    arguments = ["pack", "digits", str(tmp_path / "shards")]
    result = CliRunner().invoke(build_app(), arguments)
    assert result.exit_code == 0 and "1,797 images in 2 shards" in result.output
    parts = open_parts(f"shards:{tmp_path / 'shards'}")
    assert {split: len(part()) for split, part in parts.items()} == {"train": 1442, "test": 355}
    assert isinstance(CliRunner().invoke(build_app(), arguments).exception, ConfigError)


def test_all_parts_have_every_image_once() -> None:
    parts = [in_shard(PATHS, f"{part}/7") for part in range(1, 8)]
    assert sorted(path for part in parts for path in part) == sorted(PATHS)
    assert all(100 < len(part) < 190 for part in parts)
    assert in_shard(PATHS[500:], "3/7") == [path for path in parts[2] if path in PATHS[500:]]
    for shard in ("0/7", "8/7", "7", "1/0", "a/b", "-1/7"):
        with pytest.raises(ConfigError, match="is no part such as 3/64"):
            in_shard(PATHS, shard)
