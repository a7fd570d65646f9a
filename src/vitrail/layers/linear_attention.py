"""Attention whose cost grows linearly with the tokens, because it never compares all with all."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.layers.attention import Attend, divide
from vitrail.layers.linear import Linear
from vitrail.layers.position import Grid, resize_positions
from vitrail.layers.recording import RecordedMixer
from vitrail.layers.tokens import take


class Linformer(nn.Module):
    """Every token attends to `rank` weighted sums of all tokens (Wang et al. 2020).

    softmax(x W_q (Eᵀ x W_k)ᵀ / √d) Fᵀ x W_v, https://arxiv.org/abs/2006.04768. E and F are shared
    by the heads and have a row for each prefix token and each place of the grid. On another grid
    they are resampled, as positions are. Where patches were dropped, those that were kept take the
    rows of their own places. Either way the patches' rows are scaled such that a sum over fewer or
    more of them is as large as it was learned to be.
    """

    def __init__(
        self, dim: int, heads: int, grid: Grid, *, prefix: int, rank: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        divide(dim, heads)
        self.heads, self.grid, self.prefix, self.rank = heads, grid, prefix, rank
        self.q = Linear(dim, dim, bias=False)
        self.k = Linear(dim, dim, bias=False)
        self.v = Linear(dim, dim, bias=False)
        tokens = prefix + torch.Size(grid).numel()
        self.sums = nn.Parameter(torch.empty(tokens, 2 * rank))  # E and F side by side
        self.attend = Attend(dropout)
        self.proj = Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Normal with variance 1 / rank, as in the paper's proof."""
        nn.init.normal_(self.sums, std=self.rank**-0.5)

    def sums_at(self, grid: Grid) -> Tensor:
        """(P + N, 2 · rank) for a grid of N patches."""
        if grid == self.grid:
            return self.sums
        prefix, patches = self.sums.split([self.prefix, len(self.sums) - self.prefix])
        resized = resize_positions(patches[None], self.grid, grid)[0]
        return torch.cat([prefix, resized * (len(patches) / len(resized))])

    def forward(self, x: Tensor, grid: Grid, kept: Tensor | None = None) -> Tensor:
        """x (B, P + N, D), or P + K where patches `kept` (B, K) are left → the same shape."""
        sums = self.sums_at(grid).expand(x.shape[0], -1, -1)
        if kept is not None:
            prefix, patches = sums[:, : self.prefix], sums[:, self.prefix :]
            patches = take(patches, kept) * (patches.shape[1] / kept.shape[1])
            sums = torch.cat([prefix, patches], dim=1)
        # First the sums, then the projections, of `rank` tokens and not of all.
        keys, values = (sums.transpose(1, 2) @ x).chunk(2, dim=1)
        q, k, v = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for t in (self.q(x), self.k(keys), self.v(values))
        )
        return self.dropout(self.proj(self.attend(q, k, v).transpose(1, 2).flatten(2)))


class Nystrom(RecordedMixer):
    """softmax(q k̃ᵀ) softmax(q̃ k̃ᵀ)⁺ softmax(q̃ kᵀ) v, by landmarks q̃ and k̃ (Xiong et al. 2021).

    https://arxiv.org/abs/2102.03902. In place of `Attend`. A landmark is the mean of a run of
    tokens, as many for each as can be: where their number does not divide, the first runs have one
    more. With as many landmarks as tokens, or more, this is attention itself. A convolution of
    the values along the sequence is added, as the authors do. The tap sees the product of the
    three, rows scaled to sum to 1: an approximation, so a weight may be negative.
    """

    def __init__(
        self, heads: int, landmarks: int, *, iterations: int = 6, kernel: int = 33
    ) -> None:
        super().__init__()
        self.landmarks, self.iterations = landmarks, iterations
        self.conv = nn.Conv2d(
            heads, heads, (kernel, 1), padding=(kernel // 2, 0), groups=heads, bias=False
        )

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """q, k and v (B, H, N, d) → (B, H, N, d)."""
        _no_bias(self, bias)
        if q.shape[2] <= self.landmarks:
            if self.tap is not None:
                self.tap(_softmax(q, k))
            return F.scaled_dot_product_attention(q, k, v) + self.conv(v)
        q_marks, k_marks = self._means(q), self._means(k)
        inverse = self._inverse(_softmax(q_marks, k_marks))
        if self.tap is not None:
            weights = _softmax(q, k_marks) @ inverse @ _softmax(q_marks, k)
            self.tap(weights / weights.sum(dim=-1, keepdim=True))
        gathered = inverse @ F.scaled_dot_product_attention(q_marks, k, v)
        return F.scaled_dot_product_attention(q, k_marks, gathered) + self.conv(v)

    def _means(self, x: Tensor) -> Tensor:
        """x (B, H, N, d) → landmarks (B, H, m, d)."""
        length, more = divmod(x.shape[2], self.landmarks)
        longer, rest = x.split([more * (length + 1), x.shape[2] - more * (length + 1)], dim=2)
        runs = longer.unflatten(2, (more, length + 1)), rest.unflatten(2, (-1, length))
        return torch.cat([run.mean(dim=3) for run in runs], dim=2)

    def _inverse(self, a: Tensor) -> Tensor:
        """The pseudoinverse of a (B, H, m, m), whose rows sum to 1, by iteration.

        z ← z (13 − az (15 − az (7 − az))) / 4, from z = aᵀ / (‖a‖₁ ‖a‖∞).
        """
        shape = a.shape
        a = a.flatten(0, 1)
        z = a.transpose(1, 2) / a.sum(dim=1).amax(dim=1)[:, None, None]
        for _ in range(self.iterations):
            az = a @ z
            inner = torch.baddbmm(az, az, az, beta=7, alpha=-1)
            inner = torch.baddbmm(az, az, inner, beta=15, alpha=-1)
            z = torch.baddbmm(z, z, inner, beta=13 / 4, alpha=-1 / 4)
        return z.view(shape)


class Performer(RecordedMixer):
    """φ(q) (φ(k)ᵀ v) / (φ(q) φ(k)ᵀ 1), with E[φ(q) φ(k)ᵀ] = exp(q kᵀ / √d): FAVOR+.

    Choromanski et al. 2020, https://arxiv.org/abs/2009.14794. In place of `Attend`. φ(x) =
    exp(ω x − ‖x‖² / 2) for random directions ω, orthogonal so that the estimate varies less, the
    same for all heads, drawn from `seed` and kept with the weights. What all features of a query,
    or of all keys, have in common cancels; it is taken out of the exponents to keep them small.
    The authors' ε keeps every weight positive.
    """

    omega: Tensor

    def __init__(self, head_dim: int, features: int, seed: int, *, epsilon: float = 1e-4) -> None:
        super().__init__()
        self.seed, self.epsilon = seed, epsilon
        self.register_buffer("omega", torch.empty(features, head_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Rows orthogonal in blocks of d, each as long as a normal vector of its own."""
        count, dim = self.omega.shape
        generator = torch.Generator().manual_seed(self.seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.double, device="cpu")

        square = normal(-(-count // dim), dim, dim)
        rows = torch.linalg.qr(square).Q.transpose(1, 2).flatten(0, 1)[:count]
        lengths = normal(count, dim).norm(dim=1)
        with torch.no_grad():
            self.omega.copy_(rows * lengths[:, None])

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """q (B, H, N, d), k and v (B, H, M, d) → (B, H, N, d)."""
        _no_bias(self, bias)
        q, k = self._features(q, (-1,)), self._features(k, (-2, -1))
        if self.tap is not None:
            weights = q @ k.transpose(-2, -1)
            self.tap(weights / weights.sum(dim=-1, keepdim=True))
        total = q @ k.sum(dim=2)[..., None]
        return (q @ (k.transpose(-2, -1) @ v)) / total

    def _features(self, x: Tensor, common: tuple[int, ...]) -> Tensor:
        """x (B, H, N, d) → φ(x) (B, H, N, m), less what `common` axes have in common."""
        x = x * x.shape[-1] ** -0.25
        along = x @ self.omega.T.to(x.dtype)
        less = x.square().sum(dim=-1, keepdim=True) / 2
        less = less + along.detach().amax(dim=common, keepdim=True)
        return (along - less).exp() + self.epsilon


def _softmax(q: Tensor, k: Tensor) -> Tensor:
    return (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(dim=-1)


def _no_bias(mixer: nn.Module, bias: Tensor | None) -> None:
    if bias is not None:
        raise ConfigError(f"{type(mixer).__name__} has no logits of all tokens to add a bias to.")
