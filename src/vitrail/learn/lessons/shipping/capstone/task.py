"""`judge` on made-up evaluations, then on the learner's own run."""

import json
import math
from pathlib import Path

import torch

from vitrail.learn import Case, Claim, Task

EXAMPLE = "example"
FILES = ("run.yaml", "summary.json", "metrics.jsonl", "evaluation.json")


def evaluation(*confusion: list[int]):
    """Its content as a run writes it, with mistakes in no order."""

    def draw():
        labels = ["cat", "dog", "fox", "owl"][: len(confusion)]
        confidences = torch.rand(5).tolist()
        mistakes = [
            {"name": f"{labels[n % len(labels)]}/{n}.jpg", "confidence": round(confidence, 4)}
            for n, confidence in enumerate(confidences)
        ]
        return ({"labels": labels, "confusion": [*confusion], "mistakes": mistakes},)

    return draw


def example() -> dict:
    """The evaluation of a run that does not exist."""
    names = ("cat/1.jpg", "dog/3.jpg", "cat/7.jpg", "dog/5.jpg")
    confidences = (0.51, 0.98, 0.91, 0.77)
    mistakes = [{"name": n, "confidence": c} for n, c in zip(names, confidences, strict=True)]
    content = {"labels": ["cat", "dog"], "confusion": [[28, 2], [2, 28]], "mistakes": mistakes}
    return {**content, "split": "folder:example test"}


def run_of(judge) -> Path:
    """The learner's run, as seen from the folder of the lessons, above that of the stage."""
    folder = Path(judge.__code__.co_filename).parent.parent
    return folder / Path(judge.__globals__.get("RUN", "")).expanduser()


def evaluation_of(judge) -> dict:
    """What the learner's run says about itself; empty where there is none."""
    if judge.__globals__.get("RUN") == EXAMPLE:
        return example()
    file = run_of(judge) / "evaluation.json"
    return json.loads(file.read_text("utf-8")) if file.is_file() else {}


def answer(judge, holds: bool, more: object = "") -> str:
    """ "yes", or the run of which it does not hold: no mistake in the example looks like that."""
    return "yes" if holds else f"{judge.__globals__.get('RUN')}: {more}"


def is_whole(judge) -> str:
    """Whether the files are there and every loss is a number."""
    if judge.__globals__.get("RUN") == EXAMPLE:
        return answer(judge, True)
    run = run_of(judge)
    if not all((run / file).is_file() for file in FILES):
        return answer(judge, False)
    lines = (run / "metrics.jsonl").read_text("utf-8").splitlines()
    return answer(judge, all(math.isfinite(json.loads(line).get("loss", 0.0)) for line in lines))


def is_tested(judge) -> str:
    return answer(judge, evaluation_of(judge).get("split", "").endswith("test"))


def has_learned(judge) -> str:
    content = evaluation_of(judge)
    return answer(judge, bool(content) and bool(judge(content)["learned"]))


def has_looked(judge) -> str:
    """Whether a sentence stands by every one of the surest mistakes."""
    content, looked = evaluation_of(judge), judge.__globals__.get("LOOKED", {})
    notes = {name: str(note) for name, note in looked.items()}
    surest = judge(content)["surest"] if content else ["?"]
    missing = [
        name
        for name in surest
        if not any(name.endswith(key) and len(note) > 5 for key, note in notes.items())
    ]
    return answer(judge, not missing, missing)


TASK = Task(
    subject="judge",
    cases=(
        Case("3 classes, 60 images", evaluation([20, 3, 1], [6, 12, 2], [0, 4, 12])),
        Case("2 classes, 10 images", evaluation([5, 0], [2, 3])),
        Case("4 classes, one rare",
             evaluation([30, 2, 0, 1], [9, 21, 0, 0], [1, 0, 3, 0], [2, 5, 0, 11])),
        Case("2 classes, all right", evaluation([7, 0], [0, 3])),
    ),
    gradients=False,
    dtype=False,
    meta=False,
    claims=(
        Claim(
            "RUN is the folder of a whole run (run.yaml, summary.json, metrics.jsonl and "
            "evaluation.json), all of whose losses are numbers.",
            "RUN 应是一次完整训练的目录（含 run.yaml、summary.json、metrics.jsonl 和 "
            "evaluation.json），其中每个 loss 都是有限的数。",
            is_whole,
            stage="swap",
        ),
        Claim(
            "Your run was judged on its test images: give it a test folder.",
            "你的训练应在测试集上评判：请准备 test 文件夹。",
            is_tested,
            stage="swap",
        ),
        Claim(
            "Your model beats the baseline: the lower end of its accuracy lies above it. If not: "
            "more images, fewer classes, or features of public weights.",
            "你的模型应超过基线：准确率的下界高于基线。若不然，可增加图片、减少类别，"
            "或使用公开权重的特征。",
            has_learned,
            stage="swap",
        ),
        Claim(
            "LOOKED has a sentence on each of the three surest mistakes of your run, by the name "
            "of its file.",
            "LOOKED 里应有你的训练中置信度最高的三个错误，以文件名为键，各写一句话。",
            has_looked,
            stage="swap",
        ),
    ),
)  # fmt: skip
