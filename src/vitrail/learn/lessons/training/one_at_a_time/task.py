"""Here training is a table with noise."""

import random

from vitrail.learn import Case, Claim, Task

ADDITIONS = [
    ("rope", {"position": "rope"}),
    ("drop_path", {"drop_path": 0.1}),
    ("large_lr", {"lr": 0.1}),
    ("cutmix", {"cutmix": 1.0}),
    ("ema", {"ema": 0.999}),
    ("smoothing", {"smoothing": 0.1}),  # of no use
    ("jitter", {"jitter": 0.4}),  # of some use, which three seeds do not show
]
BASE = {"position": "learned", "lr": 0.001}


def accuracy(settings, seed):
    """Gains that do not simply add up, luck of the seed, and noise of the run."""
    score = 70 + 3 * random.Random(seed).random()
    score += 1.5 * (settings.get("position") == "rope")
    score += 0.2 * (settings.get("drop_path", 0) > 0)
    score -= 4 * (settings["lr"] > 0.01)
    score += 0.9 * (settings.get("cutmix", 0) > 0) * (settings.get("position") == "rope")
    score += 0.12 * (settings.get("ema", 0) > 0)
    score += 0.11 * (settings.get("jitter", 0) > 0)
    noise = random.Random(f"{sorted(settings.items())}{seed}")
    return score + 0.3 * noise.random()


def seeds(*numbers: int, base=BASE):
    return lambda: (accuracy, dict(base), ADDITIONS, list(numbers))


def trainings(add_one_by_one):
    """How often it trains, and whether the caller's settings are as they were."""
    calls, base = [], dict(BASE)

    def counted(settings, seed):
        calls.append(1)
        return accuracy(settings, seed)

    add_one_by_one(counted, base, ADDITIONS, [1, 2, 3])
    return [len(calls), base == BASE]


TASK = Task(
    subject="add_one_by_one",
    cases=(
        Case("seeds 4 to 8", seeds(4, 5, 6, 7, 8)),
        Case("seeds 1, 2, 3", seeds(1, 2, 3)),
    ),
    gradients=False,
    dtype=False,
    meta=False,
    claims=(
        Claim("Each pair of settings and seed is trained once; the plain settings stay.",
              "每组“设置 + 种子”只训练一次；不改动传入的设置。", trainings),
    ),
)  # fmt: skip
