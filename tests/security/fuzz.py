"""What the fuzz tests feed to Vitrail: nearly right files, and what reads them.

`python -m tests.security.fuzz 10000` runs as many cases of every target, for `make fuzz`, in two
processes. They are other ones at each call, unless a seed follows.
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

import hypothesis
from hypothesis import strategies as st

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
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.integers(-2, 20), st.floats(),
    st.text(max_size=8), st.sampled_from(["ViT", "cls", "mean", "vitrail", "../x", "\0", "\x1b["]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)  # fmt: skip
YAML_PIECES = st.lists(
    st.sampled_from(
        ["model", "optim", "method", "data", "train", "lr", "name", ": ", "\n", "  ", "[", "]", "{",
         "}", ",", "&a ", "*a", "<<: ", "!!int ", "!x ", "- ", "'", '"', "1e-3", ".nan", "null",
         "|", ">", "?", "#", "%", "@", "\t", "2001-01-01", "0x", "1:1", "mae", "base",
         "recipe.yaml"]
    ),
    max_size=24,
).map("".join)  # fmt: skip
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


def changed(draw: Any, content: Any) -> Any:
    """The content with one to three entries replaced, removed or added, anywhere."""
    content = json.loads(json.dumps(content))
    for _change in range(draw(st.integers(1, 3))):
        section = content
        while isinstance(section, dict) and section:
            key = draw(st.sampled_from(sorted(section)))
            if not isinstance(section[key], dict) or draw(st.booleans()):
                break
            section = section[key]
        if not isinstance(section, dict):
            break
        how = draw(st.sampled_from(["replace", "remove", "add"]))
        if how == "remove" and section:
            section.pop(draw(st.sampled_from(sorted(section))))
        elif how == "replace" and section:
            section[draw(st.sampled_from(sorted(section)))] = draw(VALUES)
        else:
            section[draw(st.text(max_size=6))] = draw(VALUES)
    return content


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

    def config_json(self, draw: Any) -> Callable[[], Any]:
        text = json.dumps(changed(draw, self.config))
        if draw(st.integers(0, 9)) == 0:
            text = text[: draw(st.integers(0, len(text)))]
        (self.folder / "model" / "config.json").write_text(text, "utf-8", "surrogatepass")
        return lambda: load(self.folder / "model")

    def run_yaml(self, draw: Any) -> Callable[[], Any]:
        if draw(st.booleans()):
            text = draw(YAML_PIECES)
        else:
            text = json.dumps(changed(draw, self.settings))
        recipe = self.folder / "recipe.yaml"
        recipe.write_text(text, "utf-8", "surrogatepass")
        return lambda: read_config(recipe)

    def override(self, draw: Any) -> Callable[[], Any]:
        sections = sorted(self.settings)
        section = draw(st.sampled_from(sections))
        keys = sorted(self.settings[section])
        path = draw(st.sampled_from([section, *(f"{section}.{key}" for key in keys), "x", ""]))
        value = draw(YAML_PIECES | VALUES.map(json.dumps) | st.text(max_size=12))
        return lambda: make_config({}, [f"{path}={value}"])

    def index(self, draw: Any) -> Callable[[], Any]:
        content = changed(draw, {"metadata": {"total_size": 3}, "weight_map": {"a": "x", "b": "y"}})
        index = self.folder / "model.safetensors.index.json"
        index.write_text(json.dumps(content), "utf-8", "surrogatepass")
        return lambda: shards(self.folder)

    def manifest(self, draw: Any) -> Callable[[], Any]:
        row = {"file_name": "a.png", "text": "x", "label": "y", "split": "train"}
        lines = [json.dumps(changed(draw, row)) for _ in range(2)]
        lines.append(draw(st.text(max_size=12)))
        table = self.folder / "data" / "metadata.jsonl"
        table.write_text("\n".join(lines), "utf-8", "surrogatepass")
        folder = self.folder / "data"
        if draw(st.booleans()):
            return lambda: open_captioned(str(folder))["train"]()
        return lambda: open_manifest(f"{table}?path=file_name")["train"]()

    def image(self, draw: Any) -> Callable[[], Any]:
        data = draw(st.sampled_from(IMAGES)) + draw(st.binary(max_size=64))
        return lambda: decode(data, 3, "x.png")

    def run_json(self, draw: Any) -> Callable[[], Any]:
        run = RunFolder(self.folder / "run")
        run.path.mkdir(exist_ok=True)
        name = draw(st.sampled_from(sorted(RUN_FILES)))
        for other, content in RUN_FILES.items():
            text = json.dumps(changed(draw, content) if other == name else content)
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


def run(name: str, cases: int, *, seed: int | None = None) -> None:
    """Runs a target: nothing but `VitrailError` may be raised, of one line, within a second.

    Args:
        name: of `NAMES`.
        cases: number of cases.
        seed: of the cases; None for the same ones at each call.
    """
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        targets = Targets(Path(folder))

        @hypothesis.settings(
            max_examples=cases,
            derandomize=seed is None,
            database=None,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(st.data())
        def case(data: st.DataObject) -> None:
            action = getattr(targets, name)(data.draw)
            start = time.process_time()
            try:
                action()
            except VitrailError as problem:
                assert "\n" not in str(problem)
                assert "\x1b" not in str(problem)
            assert time.process_time() - start < SECONDS

        (case if seed is None else hypothesis.seed(seed)(case))()


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
