import math


def learning_rate(step: int, steps: int, warmup: int, peak: float, lowest: float) -> float:
    """Step 0 to steps - 1, number of warm-up steps, peak and lowest rate -> rate of this step"""
    # <write>
    # en: 1. In the warm-up it rises linearly. The first step is not 0, the last one has the peak.
    # zh: 1. 预热阶段线性上升：第一步不为 0，最后一步达到峰值。
    if step < warmup:
        return peak * (step + 1) / warmup
    # en: 2. Which fraction of the steps after the warm-up is done.
    # zh: 2. 预热之后的部分完成了多少。
    progress = (step - warmup) / (steps - warmup)
    # en: 3. Half a cosine from the peak to the lowest rate.
    # zh: 3. 沿半个余弦从峰值降到最低学习率。
    return lowest + (peak - lowest) * (1 + math.cos(math.pi * progress)) / 2
    # </write>
