import math


def add_one_by_one(
    train, base: dict, additions: list[tuple[str, dict]], seeds: list[int]
) -> tuple[list[tuple[str, float, float, bool]], dict]:
    """train(settings, seed) -> accuracy -> rows of (name, mean, error, kept), final settings"""
    # <write>
    # en: 1. The plain settings; their accuracies are the ones to compare with.
    # zh: 1. 朴素设置；它的各个准确率是比较的基准。
    settings = dict(base)
    before = [train(settings, seed) for seed in seeds]
    rows = []
    for name, changes in additions:
        # en: 2. One addition, the same seeds.
        # zh: 2. 只加一样，种子相同。
        trial = {**settings, **changes}
        after = [train(trial, seed) for seed in seeds]
        # en: 3. Differences seed by seed: mean and standard error.
        # zh: 3. 逐个种子求差：平均与标准误。
        differences = [a - b for a, b in zip(after, before, strict=True)]
        n = len(differences)
        mean = sum(differences) / n
        error = math.sqrt(sum((d - mean) ** 2 for d in differences) / (n - 1) / n)
        # en: 4. Kept above two errors; then it is what the next one is compared with.
        # zh: 4. 超过两个标准误才保留，并成为下一项的基准。
        kept = mean > 2 * error
        if kept:
            settings, before = trial, after
        rows.append((name, mean, error, kept))
    return rows, settings
    # </write>
