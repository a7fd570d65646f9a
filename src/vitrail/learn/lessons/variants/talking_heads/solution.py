from torch import Tensor, nn


class TalkingHeads(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        # <write>
        # en: self.before and self.after: linear layers from heads numbers to heads numbers.
        # zh: self.before 与 self.after：把 heads 个数变成 heads 个数的线性层。
        self.before = nn.Linear(heads, heads)
        self.after = nn.Linear(heads, heads)
        # </write>

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)"""
        B, N, D = x.shape
        qkv = self.qkv(x).reshape(B, N, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        # <write>
        # en: 1. Scaled products, the logits: attn (B, heads, N, N).
        # zh: 1. 缩放点积，即 logits：attn (B, heads, N, N)。
        attn = q @ k.transpose(-2, -1) * self.scale
        # en: 2. The heads exchange logits: self.before on the axis of the heads.
        # zh: 2. 各头交换 logits：沿“头”这一维做 self.before。
        attn = self.before(attn.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        # en: 3. The softmax over the keys.
        # zh: 3. 沿 key 做 softmax。
        attn = attn.softmax(dim=-1)
        # en: 4. The heads exchange weights: self.after on the axis of the heads.
        # zh: 4. 各头交换权重：沿“头”这一维做 self.after。
        attn = self.after(attn.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        # </write>
        return self.proj((attn @ v).transpose(1, 2).reshape(B, N, D))
