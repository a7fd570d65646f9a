"""Writes the pages that are made from code; docs/book.py makes a site of all pages.

docs/en/config.md comes from the settings; docs/en/models.md, and the multiply-adds that `vitrail
models` shows, from the models; docs/en/zoo.md, docs/en/it_helps.md, the tables of
docs/en/choosing.md and docs/en/explaining.md, and the figures that `vitrail models --for` and
`vitrail methods --for` show, from benchmarks/results; docs/images/*.svg from the papers and the
purposes. docs/en/parity.md says itself what writes it.
"""

import inspect
import json
import math
import re
import statistics
from pathlib import Path
from typing import Any

from docs import tables
from docs.drawings import diagrams, drawings
from tools import evidence, reliability
from vitrail.hub.converters import published_weights
from vitrail.learn.flow_map import flow_map
from vitrail.lens.shapes import count_multiply_adds
from vitrail.methods.purposes import GAINS
from vitrail.methods.registry import get_method, list_methods
from vitrail.models import catalog
from vitrail.models.builtin_names import MULTIPLY_ADDS
from vitrail.train.config import RunConfig
from vitrail.train.sections import MethodConfig
from vitrail.train.settings import REQUIRED, Setting, list_settings

DOCS = Path(__file__).parent
ROOT = DOCS.parent
RESULTS = ROOT / "benchmarks" / "results"
HEAD = "| setting | value | default | meaning |\n| --- | --- | --- | --- |"
CHOOSING, EXPLAINING = (
    [DOCS / language / f"{name}.md" for language in ("en", "zh")]
    for name in ("choosing", "explaining")
)


def summary(docstring: str | None) -> str:
    """A docstring up to its first section, as one paragraph per paragraph."""
    return re.split(
        r"\n\n(?:Args|Example|Raises|Attributes):\n", inspect.cleandoc(docstring or "")
    )[0]


def table(settings: list[Setting]) -> str:
    """The table of settings."""
    rows = []
    for setting in settings:
        value = "required" if setting.default is REQUIRED else f"`{setting.default}`"
        kind = setting.kind.replace("|", "or")
        rows.append(f"| `{setting.name}` | {kind} | {value} | {setting.meaning} |")
    return "\n".join([HEAD, *rows])


def config_page() -> str:
    """docs/en/config.md."""
    settings = list_settings()
    parts = ["# Settings\n\nMade by `make docs` from `vitrail/train/*sections.py`; do not edit.\n"]
    for name, field in RunConfig.model_fields.items():
        section: Any = MethodConfig if name == "method" else field.annotation
        rows = [s for s in settings if s.name.startswith(f"{name}.") and not s.method]
        parts.append(f"## {name}\n\n{summary(section.__doc__)}\n\n{table(rows)}\n")
        for method in list_methods() if name == "method" else ():
            rows = [s for s in settings if s.method == method]
            text = summary(get_method(method).__doc__)
            parts.append(f"### {method}\n\n{text}\n\n{table(rows)}\n")
    return "\n".join(parts)


MODELS = """# Models

Made by `make docs` from the code; do not edit. `create_model("NAME")` creates one; `vitrail
models` shows this table in a terminal. Multiply-adds are for one image, as papers count them:
matrix products, convolutions, attention and scans. "Weights" are the libraries whose folders and
files `load` reads. See also [parity](parity.md), the comparison with the originals, and [the
zoo](zoo.md), accuracy and speed of small models.

Tiers: a *sequence* may drop patches, so every method can train it; a *pyramid* needs the whole
grid and returns feature maps at several strides; a *backbone* has a forward pass and intermediate
features.
"""


def models_page(counted: dict[str, int]) -> str:
    """docs/en/models.md, with multiply-adds by variant."""
    parts = [MODELS]
    for entry in catalog.model_infos():
        paper, origins = entry.paper, published_weights().get(entry.model, ())
        weights = ", ".join(origins) or "none published, or not read"
        parts.append(
            f"## {entry.model.__name__}\n\n[{paper.title}]({paper.url}), {paper.year}. "
            f"Tier: {entry.tier}. Weights: {weights}.\n\n"
            "| name | parameters | multiply-adds |\n| --- | ---: | ---: |"
        )
        parts += [
            f"| {name} | {parameters:,} | {counted[name] / 1e9:.2f} G |"
            for name, parameters in entry.variants.items()
        ]
        parts.append("")
    return "\n".join(parts)


ZOO = """# The zoo: accuracy and speed of small models

Made by `make docs` from `benchmarks/results`; do not edit.

## Training small models

Models of about equal size, on one thread of a CPU ({processor}): accuracy on the test images, the
loss of the first and the last batches logged, and the memory that a batch of 64 keeps for its
backward pass. Made by `python -m benchmarks.zoo_training`. The figures show that a model learns
within minutes, not the accuracy that it can reach: one seed, and the same settings for all models
except the number of epochs, which was raised for CaiT, CrossViT, DeepViT, SepViT and Twins, at
first just below the linear classifier. The linear classifier has as much time as the slower
models. NaViT's batches of images of many sizes are in `benchmarks/navit.py`; spectra and cubes
are many-band pixels, for models on one and three axes.

| data | model | accuracy | loss | seconds | epochs | parameters | MiB | command |
| --- | --- | ---: | --- | ---: | ---: | ---: | ---: | --- |
{training}

## Speed beside the originals

Time of the original divided by ours, with the same weights, in turn in one run, {threads}
threads, float32: above 1 ours is faster. Made by `python -m benchmarks.zoo`; the input is (batch,
channels, size). On AMD processors our float32 products go through oneDNN (`vitrail.ops.linear`).

| model | original | processor | input | forward | training step | bar |
| --- | --- | --- | --- | ---: | ---: | ---: |
{speed}
"""


def zoo_page() -> str:
    """docs/en/zoo.md."""
    training, speed = (
        json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
        for name in ("zoo_training", "zoo")
    )
    rows = sorted(training["rows"], key=lambda r: (r["data"], -r["accuracy"]))
    return ZOO.format(
        processor=training["machine"]["processor"],
        threads=speed["machine"]["threads"],
        training="\n".join(
            f"| {r['data']} | {r['model']} | {r['accuracy']:.1%} | {r['first loss']:.2f} to "
            f"{r['last loss']:.2f} | {r['seconds']:.0f} | {r['epochs']:.1f} | "
            f"{r['parameters']:,} | {r['MiB']:.0f} | {r.get('command', '')} |"
            for r in rows
        ),
        speed="\n".join(
            f"| {r['model']} | {r['original']} | {r['processor']} | "
            f"{', '.join(map(str, r['input']))} | "
            f"{r['forward']:.2f} | {r['training step']:.2f} | {r['bar']:.1f} |"
            for r in speed["rows"]
        ),
    )


HELPS = """# What pretraining, a teacher and captions gain

Made by `make docs` from `benchmarks/results`; do not edit. Fashion-MNIST, a ViT of 307,000
parameters with 16 patches of 7 pixels, one thread of a CPU. Fine-tuning is 800 steps of 50 on
1,000 labels, 100 of each class, the same recipe with and without pretraining; accuracy is on the
10,000 test images, its mean over seeds, ± half of its 95 % interval. Self-supervised methods are
trained on the 60,000 training images. Seconds are processor time, per command. Made by `make
evidence`; [the page of all evidence](evidence.md) has the commands.

| | accuracy | gain over scratch | seeds | seconds |
| --- | ---: | ---: | --- | ---: |
{rows}

`mae`, `simmim` and fine-tuning were tuned slightly on 6,000 held-out training images; `dino` was
tuned on the test images, so its figure is somewhat optimistic; the others were not tuned. No run
uses mixup. With it (α = 1, three seeds) training from scratch reaches 76.4, `distill` 79.7, and
fine-tuning after `mae` 81.0. `clip` learned from captions made from all 60,000 labels, so it is
not comparable with the others; the teacher of `distill` learned from all labels, too.

## A training step beside other libraries

Time of the other library divided by ours, and the peak memory that a step allocates: ViT-Ti/16,
224 pixels, batch 8 (`dino` 4), {threads} threads, float32. Made by `python -m
benchmarks.methods`.

| method | library | ms | their time over ours | peak MiB |
| --- | --- | ---: | ---: | ---: |
{speed}
"""


def helps_page() -> str:
    """docs/en/it_helps.md."""
    speed = json.loads((RESULTS / "methods.json").read_text("utf-8"))
    table = next(iter(evidence.read_rows())).table
    rows = [row for row in evidence.read_rows() if row.table == table]
    results = {row.id: evidence.read_result(row, evidence.RESULTS) for row in rows}
    measured = [
        evidence_line(row, results[row.id]["runs"], results.get(row.beside, {}).get("runs", []))
        for row in rows
        if results[row.id]
    ]
    steps = []
    for case, results in speed["cases"].items():
        steps += [
            f"| {case} | {name} | {1000 * row['median']:.0f} | {row['ratio']:.2f} | "
            f"{row['peak MiB']:.0f} |"
            for name, row in results["rows"].items()
        ]
        steps += [
            f"| {case} | {name} | fails: {why} | | |" for name, why in results["failed"].items()
        ]
    return HELPS.format(
        threads=speed["machine"]["threads"],
        rows="\n".join(measured),
        speed="\n".join(steps),
    )


def evidence_line(
    row: evidence.Row, runs: list[dict[str, Any]], others: list[dict[str, Any]]
) -> str:
    """A row of the table: accuracy, gain over the row beside it, seeds, seconds by command."""
    mean, half = evidence.mean_and_interval([r["figures"]["accuracy"] for r in runs])
    gain = ""
    if others:
        base, base_half = evidence.mean_and_interval([r["figures"]["accuracy"] for r in others])
        both = None if half is None or base_half is None else math.hypot(half, base_half)
        gain = _points(mean - base, both, "+")
    seconds = zip(*(r["seconds"] for r in runs), strict=True)
    cells = (
        row.id.replace("_", ", "), _points(mean, half), gain,
        ", ".join(str(r["seed"]) for r in runs),
        " + ".join(f"{statistics.mean(s):.0f}" for s in seconds),
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _points(fraction: float, half: float | None, sign: str = "") -> str:
    """0.7406 → "74.06 ± 0.30"; without the interval for one seed."""
    return f"{100 * fraction:{sign}.2f}" + ("" if half is None else f" ± {100 * half:.2f}")


def package_figures() -> dict[Path, str]:
    """The measurements that the command line shows, by the file in the package that has them."""
    values = {
        catalog.SPEED: tables.speed()._asdict(),
        GAINS: [gain._asdict() for gain in tables.gains()],
    }
    return {path: json.dumps(value, indent=1) + "\n" for path, value in values.items()}


def main() -> None:
    """Writes the pages, the figures that the package shows, and the site."""
    for path, content in package_figures().items():
        path.write_text(content, "utf-8")
    (DOCS / "en" / "config.md").write_text(config_page(), "utf-8")
    names = [name for entry in catalog.model_infos() for name in entry.variants]
    counted = {name: count_multiply_adds(name) for name in sorted(names)}
    MULTIPLY_ADDS.write_text(json.dumps(counted, indent=1) + "\n", "utf-8")
    (DOCS / "en" / "models.md").write_text(models_page(counted), "utf-8")
    (DOCS / "en" / "zoo.md").write_text(zoo_page(), "utf-8")
    (DOCS / "en" / "it_helps.md").write_text(helps_page(), "utf-8")
    evidence.PAGE.write_text(evidence.page(evidence.read_rows(), evidence.RESULTS), "utf-8")
    reliability.write(evidence.read_rows(), evidence.RESULTS)
    for name, drawing in (drawings() | diagrams()).items():
        (DOCS / "images" / name).write_text(drawing, "utf-8")
    for language, ending in (("en", ""), ("zh", ".zh")):
        (DOCS / "images" / f"flow_map{ending}.svg").write_text(flow_map(language), "utf-8")
    for page in (*CHOOSING, *EXPLAINING):
        page.write_text(tables.fill(page.read_text("utf-8"), page.parent.name == "zh"), "utf-8")


if __name__ == "__main__":
    main()
