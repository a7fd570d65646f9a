"""Builds the documentation: pages from the code, then docs/site/ from all pages.

docs/config.md comes from the settings; docs/models.md, and the multiply-adds that `vitrail models`
shows, from the models; docs/zoo.md and docs/it_helps.md from benchmarks/results.
docs/parity.md says itself what writes it.
"""

import inspect
import json
import math
import re
import statistics
from pathlib import Path
from typing import Any

import markdown
import pydantic

from tools import evidence
from vitrail.data.transforms import AugmentConfig
from vitrail.hub.converters import published_weights
from vitrail.lens.shapes import count_multiply_adds
from vitrail.models import catalog
from vitrail.train.config import METHODS, MethodConfig, RunConfig

DOCS = Path(__file__).parent
ROOT = DOCS.parent
RESULTS = ROOT / "benchmarks" / "results"
HEAD = "| setting | type | default | |\n| --- | --- | --- | --- |"
FRAME = """<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<style>
body { max-width: 50em; margin: 2em auto; padding: 0 1em; font: 16px/1.6 system-ui }
img { max-width: 100% } td, th { padding: .2em .8em .2em 0; text-align: left }
pre { overflow-x: auto; background: #f4f6fa; padding: .8em }
</style>
"""
PAGES = ("README.md", "README.zh.md", "CONTRIBUTING.md")


def rows(model: type[pydantic.BaseModel], prefix: str) -> list[str]:
    """A line of a table for each setting."""
    lines = []
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = "needed" if field.is_required() else f"`{default}`"
        if name == "views":
            lines += views(f"{prefix}views.")
            continue
        kind = getattr(field.annotation, "__name__", None) if not _args(field) else None
        told = (kind or str(field.annotation)).replace("typing.", "").replace("|", "or")
        lines.append(f"| `{prefix}{name}` | {told} | {shown} | {field.description or ''} |")
    return lines


def views(prefix: str) -> list[str]:
    """The settings of views, which are told in their class's docstring."""
    fields = AugmentConfig.__dataclass_fields__.items()
    return [
        f"| `{prefix}{n}` | {getattr(f.type, '__name__', f.type)} | `{f.default}` | see below |"
        for n, f in fields
    ]


def methods_part() -> str:
    """The settings of every method, which are told in its class's docstring."""
    parts = [f"## method\n\n{MethodConfig.__doc__}\n\n{HEAD}"]
    parts.append("\n".join(rows(MethodConfig, "method.")) + "\n")
    for name, section in METHODS.items():
        told = inspect.cleandoc(section.__doc__ or "").replace("\nArgs:\n", "\n")
        told = re.sub(r"\n {4}(?=\S)", "\n- ", told).replace("\n" + 8 * " ", "\n  ")
        parts.append(f"### {name}\n\n{told}\n\n{HEAD}")
        parts.append("\n".join(rows(section, "method.")[1:]) + "\n")
    return "\n".join(parts)


def config_page() -> str:
    """docs/config.md."""
    parts = ["# Settings\n\nMade by `make docs` from `vitrail/train/run.py`; do not edit.\n"]
    for name, field in RunConfig.model_fields.items():
        if name == "method":
            parts.append(methods_part())
            continue
        section: Any = field.annotation
        parts.append(f"## {name}\n\n{section.__doc__}\n\n{HEAD}")
        parts.append("\n".join(rows(section, f"{name}.")) + "\n")
    told = " ".join((AugmentConfig.__doc__ or "").split())
    parts.append(f"## Views\n\n{told}\n")
    return "\n".join(parts)


MODELS = """# Models

Made by `make docs` from the code; do not edit. `create_model("NAME")` builds one; `vitrail models`
shows this table in a terminal. Multiply-adds are of one image, as papers count them: matrix
products, convolutions, attention and scans. Weights: whose folders and files `load` reads.
[Parity](parity.md) says how each was compared with its original, [the zoo](zoo.md) how small ones
train.

Tiers: of a *sequence* patches may be dropped, so every method can train it; a *pyramid* needs the
whole grid, and gives maps at several strides; a *backbone* has a forward pass and intermediates.
"""


def models_page(counted: dict[str, int]) -> str:
    """docs/models.md, with multiply-adds by variant."""
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


ZOO = """# The zoo: how models train, and how fast they are

Made by `make docs` from `benchmarks/results`; do not edit.

## Small ones train

Models of about equal size, on one thread of a CPU ({processor}): accuracy on the test images, the
loss of the first and the last batches logged, and what a batch of 64 keeps in memory for its
backward pass. Made by `python -m benchmarks.zoo_training`. The figures show that a model learns
within minutes, not what it can reach: one seed, and the same settings for all but the number of
epochs, which was raised for CaiT, CrossViT, DeepViT, SepViT and Twins, at first just below the
linear classifier. That has the time of the slower models beside it. What is NaViT's own, images of
many sizes in one batch, is in `benchmarks/navit.py`; spectra and cubes are many-band pixels, for
models on one and three axes.

| data | model | accuracy | loss | seconds | epochs | parameters | MiB | command |
| --- | --- | ---: | --- | ---: | ---: | ---: | ---: | --- |
{training}

## Fast ones

Time of the original over ours, the same weights in both, in turn in one run, {threads} threads,
float32: above 1 ours is faster. Made by `python -m benchmarks.zoo`; the input is (batch, channels,
size).

| model | original | input | forward | training step | bar |
| --- | --- | --- | ---: | ---: | ---: |
{speed}
"""


def zoo_page() -> str:
    """docs/zoo.md."""
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
            f"| {r['model']} | {r['original']} | {', '.join(map(str, r['input']))} | "
            f"{r['forward']:.2f} | {r['training step']:.2f} | {r['bar']:.1f} |"
            for r in speed["rows"]
        ),
    )


HELPS = """# What pretraining, a teacher and captions are worth

Made by `make docs` from `benchmarks/results`; do not edit. Fashion-MNIST, a ViT of 307,000
parameters with 16 patches of 7 pixels, one thread of a CPU. Fine-tuning is 800 steps of 50 on 1,000
labels, 100 of each class, the same recipe with and without pretraining; accuracy is on the 10,000
test images, its mean over seeds, ± half of its 95 % interval. Methods without labels are trained on
the 60,000 training images. Seconds are of the processor, of each command in turn. Made by
`make evidence`; [the page of all evidence](evidence.md) has the commands.

| | accuracy | gain over scratch | seeds | seconds |
| --- | ---: | ---: | --- | ---: |
{rows}

`mae`, `simmim` and the fine-tuning were tuned, a little, on 6,000 training images held out; `dino`
was tuned on the test images, which flatters it somewhat; the rest were not tuned. All runs leave
out mixup, with which (α = 1, three seeds) training from scratch has 76.4, `distill` 79.7, and
fine-tuning after `mae` 81.0. `clip` learned from captions made from all 60,000 labels, so it is
compared with nothing here; the teacher of `distill` learned all labels, too.

## A training step beside others

Time of others over ours, and the most memory that a step allocates: ViT-Ti/16, 224 pixels, batch 8
(`dino` 4), {threads} threads, float32. Made by `python -m benchmarks.methods`.

| method | library | ms | their time over ours | peak MiB |
| --- | --- | ---: | ---: | ---: |
{speed}
"""


def helps_page() -> str:
    """docs/it_helps.md."""
    speed = json.loads((RESULTS / "methods.json").read_text("utf-8"))
    table = next(iter(evidence.read_rows())).table
    rows = [row for row in evidence.read_rows() if row.table == table]
    results = {row.id: evidence.read_result(row, evidence.RESULTS) for row in rows}
    measured = [
        evidence_line(row, results[row.id]["runs"], results.get(row.beside, {}).get("runs", []))
        for row in rows
        if results[row.id]
    ]
    told = []
    for case, found in speed["cases"].items():
        told += [
            f"| {case} | {name} | {1000 * row['median']:.0f} | {row['ratio']:.2f} | "
            f"{row['peak MiB']:.0f} |"
            for name, row in found["rows"].items()
        ]
        told += [f"| {case} | {name} | fails: {why} | | |" for name, why in found["failed"].items()]
    return HELPS.format(
        threads=speed["machine"]["threads"],
        rows="\n".join(measured),
        speed="\n".join(told),
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


def _args(field: Any) -> bool:
    return bool(getattr(field.annotation, "__args__", None))


def main() -> None:
    """Writes config.md and the site."""
    (DOCS / "config.md").write_text(config_page(), "utf-8")
    names = [name for entry in catalog.model_infos() for name in entry.variants]
    counted = {name: count_multiply_adds(name) for name in sorted(names)}
    catalog.MULTIPLY_ADDS.write_text(json.dumps(counted, indent=1) + "\n", "utf-8")
    (DOCS / "models.md").write_text(models_page(counted), "utf-8")
    (DOCS / "zoo.md").write_text(zoo_page(), "utf-8")
    (DOCS / "it_helps.md").write_text(helps_page(), "utf-8")
    evidence.PAGE.write_text(evidence.page(evidence.read_rows(), evidence.RESULTS), "utf-8")
    site = DOCS / "site"
    site.mkdir(exist_ok=True)
    sources = [*(ROOT / name for name in PAGES), *sorted(DOCS.glob("*.md"))]
    for source in sources:
        text = (
            source.read_text("utf-8").replace("docs/images/", "../images/").replace("](docs/", "](")
        )
        body = markdown.markdown(
            text.replace(".md)", ".html)"), extensions=["tables", "fenced_code"]
        )
        (site / f"{source.stem}.html").write_text(FRAME + body, "utf-8")
    print(f"written: {len(sources)} pages in docs/site")


if __name__ == "__main__":
    main()
