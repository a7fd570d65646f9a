from core.attention import Attention
from torch import Tensor, nn
from variants.spatial_reduction import SpatialReductionAttention
from variants.windows import in_windows


class TwinsPair(nn.Module):
    def __init__(self, dim: int, heads: int, window: tuple[int, int], ratio: int) -> None:
        super().__init__()
        self.window = window
        # <write>
        # en: self.norm1, and self.local_attention: Attention, for the windows.
        # en: Both norms are LayerNorms with PyTorch's own eps.
        # zh: self.norm1，以及窗口内使用的 self.local_attention：Attention。
        # zh: 两个归一化都是 LayerNorm，eps 用默认值。
        self.norm1 = nn.LayerNorm(dim)
        self.local_attention = Attention(dim, heads)
        # en: self.position: a 3 x 3 convolution with one filter per channel, padded by 1.
        # zh: self.position：3 x 3 卷积，每个通道一个卷积核，padding 为 1。
        self.position = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        # en: self.norm2, and self.global_attention: spatial reduction by ratio.
        # zh: self.norm2，以及按 ratio 缩减的 self.global_attention。
        self.norm2 = nn.LayerNorm(dim)
        self.global_attention = SpatialReductionAttention(dim, heads, ratio)
        # </write>

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, D) -> (B, H, W, D)"""
        # <write>
        # en: 1. Locally grouped attention: within windows, after norm1, with a residual.
        # zh: 1. 局部分组注意力（LSA）：经 norm1 后在窗口内做，带残差。
        x = x + in_windows(self.norm1(x), self.window, self.local_attention)
        # en: 2. Conditional position: the convolution of x, added to x.
        # zh: 2. 条件位置编码：对 x 做卷积，再加到 x 上。
        x = x + self.position(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        # en: 3. Global sub-sampled attention: after norm2, with a residual.
        # zh: 3. 全局下采样注意力（GSA）：经 norm2 后做，带残差。
        x = x + self.global_attention(self.norm2(x))
        return x
        # </write>
