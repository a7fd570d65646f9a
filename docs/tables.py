"""The tables of docs/en/choosing.md and docs/en/explaining.md, from the measurements.

A page says where a table is: `<!-- table NAME -->`, the table, `<!-- end -->`.
"""

import json
import math
import re
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import tomllib
import torch

from benchmarks import collages
from docs.drawings import CHINESE
from docs.twins import SETTINGS
from tools import evidence
from vitrail.hub.pretrained import published_ids
from vitrail.lens.faithfulness.compare import MAX_CORRELATION
from vitrail.lens.shapes import shapes
from vitrail.methods.purposes import METHOD_PURPOSES, Gain, measured_gains
from vitrail.methods.registry import get_method
from vitrail.models.catalog import Speed, measured_speed, multiply_adds
from vitrail.models.purposes import MODEL_PURPOSES
from vitrail.models.registry import new_model, variants

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
TABLE = re.compile(r"(<!-- table ([\w-]+) ?([\w-]*) -->\n).*?(<!-- end -->)", re.DOTALL)
QUADRATIC = "vit_small_patch16_224"  # beside the models that are linear in the number of tokens
IDS = {"scratch": ("supervised", ""), "distill_unlabelled": ("distill", "unlabelled")}

HEADS = {
    "models": ("| variant | parameters | multiply-adds | ms | weights | why |", "lrrrll"),
    "methods": ("| method | models | accuracy, 1,000 labels | gain | seconds | why |", "llrrrl"),
    "zoo": ("| model | accuracy | epochs | seconds |", "lrrr"),
    "growth": ("| variant | at its own size | at four times the sides | ratio |", "lrrr"),
    "resolution": ("| pixels | Vim-Ti, ms | DeiT-Ti, ms |", "rrr"),
    "machines": ("| table | processor | threads |", "llr"),
    "recommended": (
        "| model | explanation | in the box asked for ÷ in the other | follows the question | "
        "insertion less deletion, beyond random maps | correlation with random weights | seeds |",
        "llrrrrr",
    ),
    "collages": ("| explanation | ViT | Vision Mamba | Swin |", "lrrr"),
    "photographs": ("| in the box | `similarity` | `attention` | `rollout` |", "lrrr"),
    "small_models": (
        "| photograph | agreement: `small-vit` | `small-vim` | colors alone | "
        "in the box ÷ outside: `small-vit` | `small-vim` | colors alone | teacher |",
        "lrrrrrrr",
    ),
}
CHINESE_HEADS = {
    "models": "| 规格 | 参数量 | 乘加次数 | 毫秒 | 公开权重 | 理由 |",
    "methods": "| 方法 | 模型 | 准确率（1,000 个标签） | 提升 | 秒 | 理由 |",
    "zoo": "| 模型 | 准确率 | 轮数 | 秒 |",
    "growth": "| 规格 | 自身尺寸 | 边长四倍 | 比值 |",
    "resolution": "| 像素 | Vim-Ti，毫秒 | DeiT-Ti，毫秒 |",
    "machines": "| 表 | 处理器 | 线程数 |",
    "recommended": (
        "| 模型 | 解释方法 | 所问类别框内 ÷ 另一框内 | 随问题移动 | "
        "“插入减删除”超出随机图 | 与随机权重的相关系数 | 种子数 |"
    ),
    "collages": "| 解释方法 | ViT | Vision Mamba | Swin |",
    "photographs": "| 框中物体 | `similarity` | `attention` | `rollout` |",
    "small_models": (
        "| 照片 | 与教师的一致程度：`small-vit` | `small-vim` | 仅用颜色 | "
        "框内 ÷ 框外：`small-vit` | `small-vim` | 仅用颜色 | 教师 |"
    ),
}
REASONS = tomllib.loads(SETTINGS.read_text("utf-8"))["purposes"]  # English = Chinese
PURPOSES = {"models": MODEL_PURPOSES, "methods": METHOD_PURPOSES}
TIERS = {"SequenceBackbone": "序列", "PyramidBackbone": "金字塔", "Backbone": "全部"}
ENGLISH_TIERS = {"SequenceBackbone": "sequences", "PyramidBackbone": "pyramids", "Backbone": "all"}


def read(name: str) -> dict[str, Any]:
    """The content of benchmarks/results/NAME.json."""
    return json.loads((RESULTS / f"{name}.json").read_text("utf-8"))


def fill(page: str, chinese: bool) -> str:
    """A page with its tables as they are now."""

    def table(match: re.Match[str]) -> str:
        begin, name, purpose, end = match.groups()
        english_head, sides = HEADS[name]
        rules = " | ".join("---:" if side == "r" else "---" for side in sides)
        rows = [f"| {' | '.join(row)} |" for row in ROWS[name](purpose, chinese)]
        lines = [CHINESE_HEADS[name] if chinese else english_head, f"| {rules} |", *rows]
        if purpose:
            summary, _, limits = PURPOSES[name][purpose]
            if chinese:
                summary, limits = REASONS[summary], REASONS[limits]
            lines = [summary, "", *lines, "", limits]
        return begin + "\n".join(["", *lines, "", end])

    return TABLE.sub(table, page)


def model_rows(purpose: str, chinese: bool) -> Iterable[tuple[str, ...]]:
    """A row per variant that is recommended for a purpose."""
    for name, reason in MODEL_PURPOSES[purpose].reasons.items():
        milliseconds = measured_speed().milliseconds.get(name)
        yield (
            f"`{name}`",
            f"{variants()[name].variant.parameters / 1e6:.1f} M",
            f"{multiply_adds()[name] / 1e9:.2f} G",
            "" if milliseconds is None else f"{milliseconds:.0f}",
            published_ids().get(name, "").partition("/")[0],
            REASONS[reason] if chinese else reason,
        )


def method_rows(purpose: str, chinese: bool) -> Iterable[tuple[str, ...]]:
    """A row per method that is recommended for a purpose, with its first figures."""
    tiers, separator = (TIERS, "、") if chinese else (ENGLISH_TIERS, ", ")
    for name, reason in METHOD_PURPOSES[purpose].reasons.items():
        gains = [gain for gain in measured_gains() if gain.method == name]
        yield (
            f"`{name}`",
            separator.join(tiers[tier.__name__] for tier in get_method(name).tier),
            "<br>".join(f"{gain.accuracy:.1%}" for gain in gains),
            "<br>".join("" if g.gain is None else f"{100 * g.gain:+.1f}" for g in gains),
            "<br>".join(f"{gain.seconds:.0f}" for gain in gains),
            REASONS[reason] if chinese else reason,
        )


def zoo_rows(_: str, chinese: bool) -> Iterable[tuple[str, ...]]:
    """The models for small data among the small models that were trained, ViT beside them."""
    rows = read("zoo_training")["rows"]
    names = {variants()[name].model.__name__ for name in MODEL_PURPOSES["small-data"].reasons}
    fashion = [r for r in rows if r["data"] == "Fashion-MNIST" and r["model"] in {*names, "ViT"}]
    for row in sorted(fashion, key=lambda r: -r["accuracy"]):
        yield (
            f"`{row['model']}`",
            f"{row['accuracy']:.1%}",
            f"{row['epochs']:.0f}",
            f"{row['seconds']:.0f}",
        )


def growth(name: str) -> tuple[int, int]:
    """Multiply-adds of a variant at its own image size, and at four times the sides."""
    with torch.device("meta"):
        model = new_model(name)
    wide = tuple(4 * side for side in model.image_size)
    return multiply_adds()[name], shapes(model, wide)[-1].multiply_adds


def growth_rows(_: str, chinese: bool) -> Iterable[tuple[str, ...]]:
    """How the work of the models for long sequences grows, beside one that grows faster."""
    for name in (*MODEL_PURPOSES["long-sequences"].reasons, QUADRATIC):
        small, large = growth(name)
        yield (
            f"`{name}`",
            f"{small / 1e9:.2f} G",
            f"{large / 1e9:.1f} G",
            f"{large / small:.1f}",
        )


def resolution_rows(_: str, chinese: bool) -> Iterable[tuple[str, ...]]:
    """Time of Vision Mamba beside DeiT by image size."""
    for size, row in read("vim_resolution")["rivals"].items():
        count, pixels = size.split(" x ")
        if count == "1":
            times = [1000 * row[name]["wall"] for name in ("Vim-Ti, numba", "DeiT-Ti")]
            yield (pixels, *(f"{time:.0f}" for time in times))


def machine_rows(_: str, chinese: bool) -> Iterable[tuple[str, ...]]:
    """The machines that the tables of this page are from."""
    english = ("ms", "small models from scratch", "Vim-Ti beside DeiT-Ti")
    labels = ("毫秒", "从零训练的小模型", "Vim-Ti 与 DeiT-Ti") if chinese else english
    for label, name in zip(labels, ("recommended", "zoo_training", "vim_resolution"), strict=True):
        machine = read(name)["machine"]
        yield label, machine["processor"], str(machine["threads"])


def recommended_rows(_: str, chinese: bool) -> Iterable[tuple[str, ...]]:
    """The explanation that is recommended for each model, on test collages: the mean over seeds."""
    for model, results in read("collages")["runs"].items():
        name = collages.recommended(model)
        runs = [run["test"][name] for run in results.values() if "test" in run]
        ratios = [run["ratio"] for run in runs]
        errors = [run["gain"] / run["gain_error"] for run in runs]
        text = (
            "{ratio:.1f}（{low:.1f} 至 {high:.1f}）"
            if chinese
            else "{ratio:.1f} ({low:.1f} to {high:.1f})"
        )
        gain = (
            "{gain:+.2f}（至少 {errors:.0f} 个标准误）"
            if chinese
            else "{gain:+.2f} (at least {errors:.0f} standard errors)"
        )
        yield (
            model,
            f"`{name}`",
            text.format(ratio=statistics.mean(ratios), low=min(ratios), high=max(ratios)),
            f"{statistics.mean([run['moved'] for run in runs]):.0%}",
            gain.format(
                gain=statistics.mean([run["gain"] for run in runs]), errors=math.floor(min(errors))
            ),
            f"{statistics.mean([run['correlation'] for run in runs]):.2f}",
            str(len(runs)),
        )


def collage_rows(_: str, chinese: bool) -> Iterable[tuple[str, ...]]:
    """The ratio of every explanation, with a mark where it fails the check by random weights."""
    runs = read("collages")["runs"]
    for name in collages.OF_CLASSES:
        cells = []
        for model in collages.MODELS:
            figures = runs[model][collages.CHOOSING_SEED]["choose"].get(name)
            if figures is None:
                cells.append("–")
                continue
            ratio = f"{figures['ratio']:.1f}"
            if name == collages.recommended(model):
                ratio = f"**{ratio}**"
            cells.append(ratio + " †" * (figures["correlation"] >= MAX_CORRELATION))
        yield (f"`{name}`", *cells)


def photograph_rows(_: str, chinese: bool) -> Iterable[tuple[str, ...]]:
    """The ratio of each photograph."""
    ratios = read("photographs")["ratios"]
    for thing in ratios["similarity"]:
        values = [ratios[name][thing] for name in ("similarity", "attention", "rollout")]
        yield (CHINESE["photographs"][thing] if chinese else thing, *map(_ratio, values))


def _ratio(value: float) -> str:
    return f"{value:.1f}" if value < 100 else "> 100"


def small_model_rows(_: str, chinese: bool) -> Iterable[tuple[str, ...]]:
    """What the models that come with Vitrail make of each photograph, and the mean."""
    results = read("small_models")
    names = ("small-vit", "small-vim", "colors")
    for thing, row in results["agreement"].items():
        ratios = [results["ratio"][name].get(thing) for name in (*names, "teacher")]
        cells = [f"{row[name]:.2f}" for name in names]
        cells += ["–" if ratio is None else _ratio(ratio) for ratio in ratios]
        yield (CHINESE["photographs"][thing] if chinese else thing, *cells)
    cells = [f"{results['mean'][name]:.2f}" for name in names]
    cells += [f"{results['at_least_2'][name]} / 7" for name in (*names, "teacher")]
    yield ("平均；比值至少为 2 的张数" if chinese else "mean; ratio of at least 2", *cells)


ROWS: dict[str, Callable[[str, bool], Iterable[tuple[str, ...]]]] = {
    "models": model_rows,
    "methods": method_rows,
    "zoo": zoo_rows,
    "growth": growth_rows,
    "resolution": resolution_rows,
    "machines": machine_rows,
    "recommended": recommended_rows,
    "collages": collage_rows,
    "photographs": photograph_rows,
    "small_models": small_model_rows,
}


def speed() -> Speed:
    """What `vitrail models --for` shows of benchmarks/results/recommended.json."""
    results = read("recommended")
    milliseconds = {name: round(1000 * s, 2) for name, s in results["seconds"].items()}
    machine: dict[str, Any] = results["machine"]
    return Speed(machine["processor"], machine["threads"], milliseconds)


def gains() -> list[Gain]:
    """What `vitrail methods --for` shows of the evidence."""
    rows = {row.id: row for row in evidence.read_rows()}
    table = rows["scratch"].table
    results = {n: evidence.read_result(r, evidence.RESULTS) for n, r in rows.items()}
    measured = []
    for name, row in rows.items():
        if row.table == table and results[name]:
            mean, runs = results[name]["mean"]["accuracy"], results[name]["runs"]
            base = results[row.beside]["mean"]["accuracy"] if row.beside else None
            method, variant = IDS.get(name, (name, ""))
            measured.append(
                Gain(
                    method,
                    variant,
                    round(mean, 4),
                    None if base is None else round(mean - base, 4),
                    len(runs),
                    round(sum(sum(run["seconds"]) for run in runs) / len(runs), 1),
                )
            )
    return measured
