from torch import Tensor


def fold(
    gain: Tensor, offset: Tensor, weight: Tensor, bias: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """LayerNorm's gain, offset (D,), linear (K, D), (K,), LayerScale (K,) -> new weight and bias"""
    # <write>
    # en: What is computed: scale * (weight @ (gain * x + offset) + bias), with x normalized.
    # zh: 原来的计算：scale * (weight @ (gain * x + offset) + bias)，x 已归一化。
    # en: 1. The offset reaches the output as a constant: into the bias.
    # zh: 1. offset 对输出的影响是常数，并入偏置。
    new_bias = bias + weight @ offset
    # en: 2. The gain multiplies the columns of the weight, one per input channel.
    # zh: 2. gain 乘到权重的各列上，每个输入通道一列。
    new_weight = weight * gain
    # en: 3. LayerScale multiplies the rows, and the bias.
    # zh: 3. LayerScale 乘到各行上，偏置也要乘。
    new_weight = scale[:, None] * new_weight
    new_bias = scale * new_bias
    return new_weight, new_bias
    # </write>
