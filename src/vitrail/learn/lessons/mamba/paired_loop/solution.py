from collections.abc import Callable, Sequence

from torch import Tensor

Layer = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]  # hidden, residual -> the same


def paired_loop(
    layers: Sequence[Layer], hidden: Tensor, residual: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Layers in pairs, hidden and residual (B, N, D), residual None at first -> both (B, N, D)"""
    # <write>
    for i in range(len(layers) // 2):
        # en: 1. The first layer of the pair reads the sequence from the start.
        # zh: 1. 每对的第一层从头读序列。
        hidden_f, residual_f = layers[2 * i](hidden, residual)
        # en: 2. The second reads it from the end: hidden and residual are flipped along N.
        # zh: 2. 第二层从尾读：hidden 与 residual 都沿 N 维翻转。
        flipped = None if residual is None else residual.flip([1])
        hidden_b, residual_b = layers[2 * i + 1](hidden.flip([1]), flipped)
        # en: 3. Flip its results back and add: both, the residual too.
        # zh: 3. 把结果翻回来再相加：两者都要，包括 residual。
        hidden = hidden_f + hidden_b.flip([1])
        residual = residual_f + residual_b.flip([1])
    return hidden, residual
    # </write>
