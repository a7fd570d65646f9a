"""What the fuzz tests feed to Vitrail: nearly right files, and what reads them.

`python -m tests.security.fuzz 10000` runs as many cases of every target, for `make fuzz`, in two
processes: others at each call, unless a seed follows.
"""

import json
import multiprocessing
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.security.draws import Draws
from vitrail.data.image_folders import open_captioned
from vitrail.data.images import decode
from vitrail.data.manifests import open_manifest
from vitrail.errors import VitrailError
from vitrail.hub.fitting import reading
from vitrail.hub.load import load
from vitrail.hub.model_folder import save, shards
from vitrail.lens.explanation_page import comparison_section
from vitrail.lens.report_classes import class_sections
from vitrail.lens.report_data import read_report
from vitrail.models.vit import ViT
from vitrail.run_folder import RunFolder
from vitrail.train.config import RunConfig, make_config, read_config

SECONDS = 1.0
MEMORY = Path("/dev/shm")  # where files are written in microseconds; on a disk it takes most of all
YAML_PIECES = (
    "model", "optim", "method", "data", "train", "lr", "name", ": ", "\n", "  ", "[", "]", "{",
    "}", ",", "&a ", "*a", "<<: ", "!!int ", "!x ", "- ", "'", '"', "1e-3", ".nan", "null", "|",
    ">", "?", "#", "%", "@", "\t", "2001-01-01", "0x", "1:1", "mae", "base", "recipe.yaml",
)  # fmt: skip
IMAGES = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\xff\xd8\xff\xe0\0\x10JFIF", b"RIFF\xff\0\0\0WEBPVP8 ",
    b"GIF89a", b"BM", b"II*\0\x08\0\0\0", b"MM\0*", b"P6 9 9 255 ", b"%!PS-Adobe-3.0 EPSF-3.0\n",
)  # fmt: skip


RUN_FILES: dict[str, dict[str, Any]] = {
    "evaluation.json": {
        "top1": 0.5, "labels": ["a", "b"], "confusion": [[1, 1], [1, 1]], "scores": {"f1": 0.5},
        "classes": [{"label": "a", "images": 2, "precision": 0.5}], "split": "pets test",
        "mistakes": [{"image": 0, "name": "1.png", "truth": 0, "predicted": 1, "confidence": 1.0}],
        "examples": [], "per_class": [0.5, 0.5], "count": 4, "loss": 0.7,
    },
    "summary.json": {
        "data": {"source": "digits", "splits": {"train": {"images": 5, "classes": {"a": 5}}}},
        "training": {"method": "mae", "epochs": 1, "steps_per_epoch": 2, "batch_size": 3},
        "device": "cpu", "precision": "fp32",
    },
    "metrics.jsonl": {"step": 1, "split": "val", "epoch": 0.5, "loss": 2.0, "top1": 0.5},
    "timing.jsonl": {"step": 1, "seconds": 0.5, "images_per_second": 9.0},
    "notes.jsonl": {"date": "2026-11-29", "text": "better"},
    "explanations.json": {
        "images": 4, "split": "test",
        "explanations": [
            {"explanation": "rollout", "deletion": 0.2, "deletion_error": 0.1, "insertion": 0.5,
             "insertion_error": 0.1, "correlation": 0.1, "correlation_error": 0.2,
             "beats_random": True, "depends_on_weights": True},
            {"explanation": "random", "deletion": 0.3, "deletion_error": 0.1, "insertion": 0.3,
             "insertion_error": 0.1, "correlation": None, "correlation_error": None,
             "beats_random": False, "depends_on_weights": True},
        ],
    },
}  # fmt: skip


class Targets:
    """The targets, by name: each draws a case and returns what reads it.

    Args:
        folder: an empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tiny = ViT(8, 4, num_classes=3, dim=8, depth=1, heads=2, mlp_dim=8)
        save(tiny, folder / "model")
        self.config = json.loads((folder / "model" / "config.json").read_text())
        (folder / "model" / "manifest.json").unlink(missing_ok=True)  # or its digests refuse all
        self.settings = RunConfig().plain()
        (folder / "data").mkdir()

    def config_json(self, draws: Draws) -> Callable[[], Any]:
        text = json.dumps(draws.changed(self.config))
        if draws.often(10):
            text = text[: draws.randint(0, len(text))]
        (self.folder / "model" / "config.json").write_text(text, "utf-8", "surrogatepass")
        return lambda: load(self.folder / "model")

    def run_yaml(self, draws: Draws) -> Callable[[], Any]:
        if draws.often(2):
            text = draws.pieces(YAML_PIECES, 24)
        else:
            text = json.dumps(draws.changed(self.settings))
        recipe = self.folder / "recipe.yaml"
        recipe.write_text(text, "utf-8", "surrogatepass")
        return lambda: read_config(recipe)

    def override(self, draws: Draws) -> Callable[[], Any]:
        section = draws.choice(sorted(self.settings))
        keys = [section, *(f"{section}.{key}" for key in sorted(self.settings[section])), "x", ""]
        key = draws.choice(keys)
        kind = draws.randrange(3)
        if kind == 0:
            value = draws.pieces(YAML_PIECES, 24)
        else:
            value = draws.letters(12) if kind == 1 else json.dumps(draws.value())
        return lambda: make_config({}, [f"{key}={value}"])

    def index(self, draws: Draws) -> Callable[[], Any]:
        content = {"metadata": {"total_size": 3}, "weight_map": {"a": "x", "b": "y"}}
        index = self.folder / "model.safetensors.index.json"
        index.write_text(json.dumps(draws.changed(content)), "utf-8", "surrogatepass")
        return lambda: shards(self.folder)

    def manifest(self, draws: Draws) -> Callable[[], Any]:
        row = {"file_name": "a.png", "text": "x", "label": "y", "split": "train"}
        lines = [json.dumps(draws.changed(row)) for _ in range(2)]
        lines.append(draws.letters(12))
        folder = self.folder / "data"
        table = folder / "metadata.jsonl"
        table.write_text("\n".join(lines), "utf-8", "surrogatepass")
        if draws.often(2):
            return lambda: open_captioned(str(folder))["train"]()
        return lambda: open_manifest(f"{table}?path=file_name")["train"]()

    def image(self, draws: Draws) -> Callable[[], Any]:
        data = draws.choice(IMAGES) + draws.randbytes(draws.randint(0, 64))
        return lambda: decode(data, 3, "x.png")

    def run_json(self, draws: Draws) -> Callable[[], Any]:
        run = RunFolder(self.folder / "run")
        run.path.mkdir(exist_ok=True)
        name = draws.choice(sorted(RUN_FILES))
        for other, content in RUN_FILES.items():
            text = json.dumps(draws.changed(content) if other == name else content)
            (run.path / other).write_text(text + "\n", "utf-8", "surrogatepass")
        return lambda: read_run(run)


def read_run(run: RunFolder) -> None:
    """Reads all JSON of a run as its report does, but draws nothing."""
    data = read_report(run)
    notes, timing, comparison = run.notes, data.timing, run.explanations
    with reading(run.path):
        sections = [class_sections(data), data.setup, data.last_validation]
        if comparison is not None:
            sections.append(comparison_section(*comparison))
    assert len(notes) + len(timing) + len(sections) > 0


NAMES = ("config_json", "run_yaml", "run_json", "override", "index", "manifest", "image")


def run(name: str, cases: int, *, seed: int = 0, first: int = 0) -> None:
    """Runs a target: nothing but `VitrailError` may be raised, of one line, within a second.

    Args:
        name: of `NAMES`.
        cases: number of cases.
        seed: of the cases.
        first: number of the first case. The case of a message is run again by `cases=1, first=it`.

    Raises:
        AssertionError: a case ended otherwise; the message names it.
    """
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        draw_case = getattr(Targets(Path(folder)), name)
        for number in range(first, first + cases):
            action = draw_case(Draws(f"{name} {seed} {number}"))
            start, message = time.process_time(), ""
            try:
                action()
            except VitrailError as problem:
                message = str(problem)
            except (Exception, SystemExit) as problem:
                raise AssertionError(f"{name}, seed {seed}, case {number}") from problem
            seconds = time.process_time() - start
            assert seconds < SECONDS, f"{name}, seed {seed}, case {number}: {seconds:.1f} s"
            assert not {"\n", "\x1b"} & set(message), f"{name}, seed {seed}, case {number}"


def _piece(task: tuple[str, int, int]) -> tuple[str, int, float]:
    warnings.filterwarnings("ignore")  # Pillow warns of odd files
    name, cases, seed = task
    start = time.monotonic()
    run(name, cases, seed=seed)
    return name, cases, time.monotonic() - start


def main(cases: int, seed: int | None = None, processes: int = 2) -> None:
    """Runs so many cases of every target, in pieces, and prints the seconds that each took."""
    pieces, first = max(1, cases // 1000), random.randrange(2**31) if seed is None else seed
    tasks = [(name, cases // pieces, first + piece) for piece in range(pieces) for name in NAMES]
    seconds = dict.fromkeys(NAMES, 0.0)
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        for name, _cases, duration in pool.imap_unordered(_piece, tasks):
            seconds[name] += duration
    for name, duration in seconds.items():
        count = cases // pieces * pieces
        sys.stdout.write(f"{name}: {count} cases, {duration:.0f} s, 0 uncaught\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
