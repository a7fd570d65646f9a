import torch
from torch import Tensor, nn


class Recompute(torch.autograd.Function):
    """Runs a block; backward computes it once more."""

    @staticmethod
    def forward(ctx, block: nn.Module, x: Tensor, *parameters: Tensor) -> Tensor:
        # <write>
        # en: 1. Keep the block, the state of the random numbers, and x alone.
        # zh: 1. 保存 block、随机数状态，张量只保存 x。
        ctx.block = block
        ctx.random = torch.get_rng_state()
        ctx.save_for_backward(x)
        # en: 2. The block's output, without a graph.
        # zh: 2. 不建计算图，算出 block 的输出。
        with torch.no_grad():
            return block(x)
        # </write>

    @staticmethod
    def backward(ctx, gradient: Tensor):
        # <write>
        (x,) = ctx.saved_tensors
        x = x.detach().requires_grad_()
        # en: 3. Compute it again, with a graph and the same random numbers; afterwards these are
        # en: as they were.
        # zh: 3. 带计算图重算一遍，随机数与当时相同；之后把随机数状态放回原样。
        now = torch.get_rng_state()
        torch.set_rng_state(ctx.random)
        with torch.enable_grad():
            y = ctx.block(x)
        torch.set_rng_state(now)
        # en: 4. None for the block, then the gradients of x and of the parameters.
        # zh: 4. block 对应 None，然后是 x 与各参数的梯度。
        inputs = (x, *ctx.block.parameters())
        return None, *torch.autograd.grad(y, inputs, gradient)
        # </write>


class Checkpointed(nn.Module):
    def __init__(self, dim: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Linear(dim, 2 * dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * dim, dim)
            )
            for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)"""
        # <write>
        # en: 5. x plus the block's output, for one block after the other.
        # zh: 5. 逐个 block：x 加上该 block 的输出。
        for block in self.blocks:
            x = x + Recompute.apply(block, x, *block.parameters())
        return x
        # </write>
