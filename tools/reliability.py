"""The table of proofs in docs/en/reliability.md and docs/zh/reliability.md, from what was measured.

It stands between `<!-- table proofs -->` and `<!-- end -->`. `make evidence` and `make docs` write
it. What was not run is not there.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tools.source import ROOT

if TYPE_CHECKING:
    from tools.evidence import Row

PAGES = tuple(ROOT / "docs" / language / "reliability.md" for language in ("en", "zh"))
TABLE = re.compile(r"(<!-- table proofs -->\n).*?(<!-- end -->)", re.DOTALL)
HEAD = "| what was done | result | pieces | commit |\n| --- | --- | ---: | --- |"
CHINESE_HEAD = "| 做了什么 | 结果 | 批次 | commit |\n| --- | --- | ---: | --- |"


class Line(NamedTuple):
    """What a proof did and what came out, in English and in Chinese, with places for its counts."""

    done: str
    result: str
    chinese_done: str
    chinese_result: str


LINES = {
    "proof_kills": Line(
        "`kill -9` at {kills} random moments, {in_a_save} of them inside a save, then `--resume`. "
        "All pieces together: supervised, MAE, DINO, CLIP, distillation; data in memory, and image "
        "files read by 2 workers; one process, and two",
        "{equal} of {kills} end with the same bytes in every file",
        "在 {kills} 个随机时刻 `kill -9`（其中 {in_a_save} 次正在写 checkpoint），"
        "再 `--resume`。全部批次合起来：有监督、MAE、"
        "DINO、CLIP、蒸馏；内存数据，以及由 2 个 worker 读取的图片文件；单进程和双进程",
        "{kills} 次中 {equal} 次的所有文件逐字节相同",
    ),
    "proof_signals": Line(
        "SIGTERM at {SIGTERM} and SIGHUP at {SIGHUP} random moments, then `--resume`",
        "exit code 143: {code_143}; no step lost: {no_step_lost}; same bytes: {equal}",
        "在随机时刻发送 {SIGTERM} 次 SIGTERM、{SIGHUP} 次 SIGHUP，再 `--resume`",
        "退出码 143：{code_143}；没有丢失任何 step：{no_step_lost}；逐字节相同：{equal}",
    ),
    "proof_launcher": Line(
        "{runs} runs of two processes under `torchrun`, SIGTERM to the launcher or to all. All "
        "pieces together: without and with sharding (FSDP)",
        "of {workers} processes, saved and said so: {saved}; exit code 143: {code_143}; runs that "
        "lost no step: {no_step_lost}",
        "用 `torchrun` 启动双进程训练 {runs} 次，把 SIGTERM 发给启动器或所有进程。"
        "全部批次合起来：不分片，以及 FSDP 分片",
        "{workers} 个进程中，保存成功并给出提示：{saved}；退出码 143：{code_143}；"
        "没有丢失任何 step 的训练：{no_step_lost}",
    ),
    "proof_damage": Line(
        "{damages} random flips and truncations of any file of a checkpoint, a model, a method or "
        "the best weights",
        "typed error: {typed}; announced return to the older checkpoint: {announced}",
        "对 checkpoint、模型、方法或最佳权重中的任意文件做 {damages} 次随机翻转或截断",
        "抛出明确类型的错误：{typed}；退回上一个 checkpoint 并给出提示：{announced}",
    ),
    "proof_disk": Line(
        "{faults} failing calls. All pieces together: EIO, ENOSPC or EACCES at each of the first "
        "40 calls of fsync, replace, write and open",
        "one line: {one_line}; all checkpoints whole: {loadable}; resumed to the same bytes: "
        "{equal} of {resumed} tried",
        "制造 {faults} 次调用失败。全部批次合起来：fsync、replace、write、open 前 40 次调用中的"
        "每一次，分别返回 EIO、ENOSPC、EACCES",
        "只报一行：{one_line}；checkpoint 全部完整：{loadable}；续训 {resumed} 次，"
        "逐字节相同 {equal} 次",
    ),
    "proof_not_finite": Line(
        "NaN or infinity at {places} places. All pieces together: loss, gradient, input and "
        "weights, at five steps each",
        "finite checkpoints: {finite}; resumed to the end: {resumed}",
        "在 {places} 处制造 NaN/Inf。全部批次合起来：loss、梯度、输入、权重各五个 step",
        "checkpoint 全部有限：{finite}；续训到底：{resumed}",
    ),
    "proof_memory": Line(
        "a limit of the address space, set at {places} of five places of a run",
        "went on, each loss within 1e-6: {went_on}; stopped with one line: {stopped_in_a_line}; "
        "checkpoints whole: {checkpoints_whole}",
        "在训练的五个位置中选 {places} 个限制地址空间",
        "继续训练且每个 loss 相差不超过 1e-6：{went_on}；只报一行后停止：{stopped_in_a_line}；"
        "checkpoint 完整：{checkpoints_whole}",
    ),
    "proof_hostile": Line(
        "{inputs} readings of hostile pickles, configs, YAML files, indexes, paths and images",
        "faults: {faults}; at most {milliseconds_max} ms and {mebibytes_max} MiB each",
        "读取 {inputs} 次恶意的 pickle、config、YAML、索引、路径和图片",
        "问题：{faults}；每次最多 {milliseconds_max} 毫秒、{mebibytes_max} MiB",
    ),
    "proof_fuzz": Line(
        "{cases} random cases of config.json, run.yaml, the JSON of runs, overrides, indexes, "
        "tables and images",
        "uncaught, or slower than a second: {uncaught}",
        "对 config.json、run.yaml、训练目录中的 JSON、命令行参数、索引、"
        "表格和图片做 {cases} 次随机测试",
        "未捕获的异常或超过一秒：{uncaught}",
    ),
    "proof_cost": Line(
        "the time of all guards in a step of ViT-Ti (batch 8), and of a checkpoint (91 MB) beside "
        "that of a plain write of the same bytes and an fsync of each file, in turns",
        "at most {step_permille_max} thousandths of the step; at most {save_permille_max} "
        "thousandths of the plain write by the least times, {save_median_permille_max} by the "
        "median of the pairs",
        "ViT-Ti（batch 8）一个 step 中各种检查的耗时；交替写 checkpoint（91 MB），"
        "并与直接写入相同字节加逐个文件 fsync 对比",
        "最多占一个 step 的千分之 {step_permille_max}；写 checkpoint 最多为直接写入的千分之 "
        "{save_permille_max}（按最短时间）、千分之 {save_median_permille_max}（各对的中位数）",
    ),
}


def table(rows: Sequence["Row"], results: Path, *, chinese: bool) -> str:
    """The table of what is measured; only its head where nothing is."""
    from tools.evidence import read_result, totals

    lines = [CHINESE_HEAD if chinese else HEAD]
    for row in rows:
        result = read_result(row, results)
        if row.id not in LINES or not result:
            continue
        line = LINES[row.id]
        texts = (line.chinese_done, line.chinese_result) if chinese else (line.done, line.result)
        counts = {name: f"{count:,}" for name, count in totals(row, results).items()}
        done, outcome = (text.format(**counts) for text in texts)
        commits = ", ".join(dict.fromkeys(run["commit"] for run in result["runs"]))
        pieces = f"{len(result['runs'])} / {len(row.seeds)}"
        lines.append(f"| {done} | {outcome} | {pieces} | {commits} |")
    return "\n".join(lines) + "\n"


def write(rows: Sequence["Row"], results: Path) -> None:
    """Writes the table into both pages."""
    for page in PAGES:
        text = table(rows, results, chinese=page.parent.name == "zh")
        content = page.read_text("utf-8")
        page.write_text(TABLE.sub(lambda match, text=text: match[1] + text + match[2], content))
