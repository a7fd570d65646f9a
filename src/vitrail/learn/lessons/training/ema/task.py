"""`make_ema` of `train/optim.py` averages parameters; PyTorch's AveragedModel copies no buffers."""

import torch

from vitrail.learn import Case, Claim, Task


def states(step: int, decay: float):
    def draw():
        average, state = (
            {
                "norm.weight": torch.randn(3),
                "norm.running_mean": torch.randn(3),
                "norm.num_batches_tracked": torch.tensor(count),
                "head.weight": torch.randn(2, 3),
            }
            for count in (0, 7)
        )
        return average, state, {"norm.weight", "head.weight"}, step, decay

    return draw


def reference(average, state, parameters, step, decay):
    share = max(1 - decay, 9 / (10 + step))
    with torch.no_grad():
        return {
            name: torch.lerp(average[name], value, share) if name in parameters else value + 0
            for name, value in state.items()
        }


def memory(ema_step):
    """Whether the result has a graph, and whether it shares memory with the model."""
    average, state, parameters, *_ = states(3, 0.9)()
    state["head.weight"].requires_grad_()
    with torch.enable_grad():
        new = ema_step(average, state, parameters, 3, 0.9)
    shared = {value.data_ptr() for value in state.values()}
    return [new["head.weight"].requires_grad, any(v.data_ptr() in shared for v in new.values())]


def many_steps(ema_step):
    """The average of weights 1 after steps from 0."""
    average, state = {"w": torch.zeros(1)}, {"w": torch.ones(1)}
    for step in range(20):
        average = ema_step(average, state, {"w"}, step, 0.99)
    return average["w"]


TASK = Task(
    subject="ema_step",
    cases=(
        Case("step 0, decay 0.999", states(0, 0.999)),
        Case("step 8, decay 0.999", states(8, 0.999)),
        Case("step 5000, decay 0.9", states(5000, 0.9)),
    ),
    reference=reference,
    gradients=False,
    claims=(
        Claim(
            "The average has no graph and shares no memory with the model.",
            "平均值不带计算图，也不与模型共用内存。",
            memory,
        ),
        Claim(
            "After 20 steps the average is nearly the weights.",
            "20 步之后，平均值已接近权重。",
            many_steps,
        ),
    ),
)
