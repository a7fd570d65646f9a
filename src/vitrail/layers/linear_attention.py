"""Attention with a cost linear in the number of tokens: Linformer, Nyströmformer, Performer."""

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.layers.attention import Attend, divide
from vitrail.layers.linear import Linear
from vitrail.layers.position import Grid, resize_positions
from vitrail.layers.recording import RecordedMixer
from vitrail.layers.tokens import take
from vitrail.ops.guard import guarded, guarded_forward
from vitrail.values import NonNegativeFloat, NonNegativeInt, PositiveInt, Range, Rate

Iterations = Annotated[int, Range(0, 1000)]


class Linformer(nn.Module):
    """Linformer's attention (Wang et al. 2020, https://arxiv.org/abs/2006.04768).

    softmax(x W_q (Eᵀ x W_k)ᵀ / √d) Fᵀ x W_v. The projections E and F reduce the tokens to `rank`
    weighted sums; they are shared by the heads, and have one row per prefix token and per patch.
    On another grid the patches' rows are resampled, as positions are. If patches were dropped, the
    rows of the visible ones are used. In both cases the patches' rows are scaled so that a sum over
    fewer or more patches has the magnitude that was learned.

    Args:
        dim: width of a token.
        heads: number of heads, a divisor of `dim`.
        grid: number of patches per axis.
        prefix: number of prefix tokens.
        rank: number of weighted sums, the paper's k.
        dropout: dropout rate of the attention weights and of the output.

    Raises:
        ConfigError: `heads` does not divide `dim`.

    Example:
        >>> mixer = Linformer(8, 2, (4, 4), prefix=1, rank=3)
        >>> mixer(torch.zeros(1, 17, 8), (4, 4)).shape
        torch.Size([1, 17, 8])
    """

    @guarded
    def __init__(
        self,
        dim: PositiveInt,
        heads: PositiveInt,
        grid: Grid,
        *,
        prefix: NonNegativeInt,
        rank: PositiveInt,
        dropout: Rate = 0.0,
    ) -> None:
        super().__init__()
        divide(dim, heads)
        self.heads, self.grid, self.prefix, self.rank = heads, grid, prefix, rank
        self.q = Linear(dim, dim, bias=False)
        self.k = Linear(dim, dim, bias=False)
        self.v = Linear(dim, dim, bias=False)
        tokens = prefix + torch.Size(grid).numel()
        self.sums = nn.Parameter(torch.empty(tokens, 2 * rank))  # E and F, side by side
        self.attend = Attend(dropout)
        self.proj = Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws E and F from a normal distribution with variance 1 / rank, as the paper's proof."""
        nn.init.normal_(self.sums, std=self.rank**-0.5)

    def sums_at(self, grid: Grid) -> Tensor:
        """grid of N patches → E and F side by side (P + N, 2 · rank)."""
        if grid == self.grid:
            return self.sums
        prefix, patches = self.sums.split([self.prefix, len(self.sums) - self.prefix])
        resampled = resize_positions(patches[None], self.grid, grid)[0]
        return torch.cat([prefix, resampled * (len(patches) / len(resampled))])

    def resampled_to(self, other: "Linformer") -> dict[str, Tensor]:
        """other, the same mixer for another grid → its parameters by name, resampled."""
        return {"sums": self.sums_at(other.grid)}

    @guarded_forward
    def forward(self, x: Tensor, grid: Grid, keep_indices: Tensor | None = None) -> Tensor:
        """x (B, P + N, D), grid of N patches, visible patches (B, K) or None → the shape of x.

        With `keep_indices`, x has K patches, those of the grid that these indices name.
        """
        sums = self.sums_at(grid).expand(x.shape[0], -1, -1)
        if keep_indices is not None:
            prefix, patches = sums[:, : self.prefix], sums[:, self.prefix :]
            patches = take(patches, keep_indices) * (patches.shape[1] / keep_indices.shape[1])
            sums = torch.cat([prefix, patches], dim=1)
        if not torch.compiler.is_compiling() and sums.shape[1] != x.shape[1]:
            raise ConfigError(
                f"{x.shape[1]} tokens are not prefix={self.prefix} and the patches of {grid}: give "
                "the grid of the tokens."
            )
        # Sums before W_k and W_v: these are then applied to `rank` tokens instead of all.
        keys, values = (sums.transpose(1, 2) @ x).chunk(2, dim=1)
        q, k, v = (
            t.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for t in (self.q(x), self.k(keys), self.v(values))
        )
        return self.dropout(self.proj(self.attend(q, k, v).transpose(1, 2).flatten(2)))


class Nystrom(RecordedMixer):
    """Nyströmformer's attention (Xiong et al. 2021, https://arxiv.org/abs/2102.03902).

    softmax(q k̃ᵀ) softmax(q̃ k̃ᵀ)⁺ softmax(q̃ kᵀ) v, in the place of `Attend`. The landmarks q̃ and k̃
    are means of consecutive tokens, segments of equal length if `landmarks` divides the number of
    tokens; else the first segments have one token more. With no more tokens than landmarks this is
    exact attention. A convolution of the values along the sequence is added, as in the authors'
    code. The recorder is called with the product of the three matrices, rows scaled to sum to 1:
    an approximation, whose weights may be negative.

    Args:
        heads: number of heads.
        landmarks: number of landmarks.
        iterations: iterations of the pseudoinverse.
        kernel: width of the convolution, in tokens, an odd number.

    Raises:
        ConfigError: `kernel` is even.

    Example:
        >>> Nystrom(heads=2, landmarks=4)(*torch.zeros(3, 1, 2, 9, 8)).shape
        torch.Size([1, 2, 9, 8])
    """

    @guarded
    def __init__(
        self,
        heads: PositiveInt,
        landmarks: PositiveInt,
        *,
        iterations: Iterations = 6,
        kernel: PositiveInt = 33,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ConfigError(
                f"kernel={kernel} has no middle, so that it would move the tokens: give an odd one."
            )
        self.landmarks, self.iterations = landmarks, iterations
        self.conv = nn.Conv2d(
            heads, heads, (kernel, 1), padding=(kernel // 2, 0), groups=heads, bias=False
        )

    @guarded_forward
    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """q, k and v (B, H, N, d), no bias → (B, H, N, d). Raises `ConfigError` for a bias."""
        _refuse_bias(self, bias)
        if q.shape[2] <= self.landmarks:
            if self.recorder is not None:
                self.recorder(_softmax(q, k))
            return F.scaled_dot_product_attention(q, k, v) + self.conv(v)
        q_marks, k_marks = self._means(q), self._means(k)
        inverse = self._inverse(_softmax(q_marks, k_marks))
        if self.recorder is not None:
            weights = _softmax(q, k_marks) @ inverse @ _softmax(q_marks, k)
            self.recorder(weights / weights.sum(dim=-1, keepdim=True))
        mixed = inverse @ F.scaled_dot_product_attention(q_marks, k, v)
        return F.scaled_dot_product_attention(q, k_marks, mixed) + self.conv(v)

    def _means(self, x: Tensor) -> Tensor:
        """x (B, H, N, d) → landmarks (B, H, m, d)."""
        length, longer_count = x.shape[2] // self.landmarks, x.shape[2] % self.landmarks
        boundary = longer_count * (length + 1)
        longer, rest = x.split([boundary, x.shape[2] - boundary], dim=2)
        segments = (
            longer.unflatten(2, (longer_count, length + 1)),
            rest.unflatten(2, (-1, length)),
        )
        return torch.cat([segment.mean(dim=3) for segment in segments], dim=2)

    def _inverse(self, a: Tensor) -> Tensor:
        """a (B, H, m, m), whose rows sum to 1 → its pseudoinverse, by iteration.

        z ← z (13 - az (15 - az (7 - az))) / 4, from z = aᵀ / (‖a‖₁ ‖a‖∞).
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
    """Performer's attention, FAVOR+ (Choromanski et al. 2020, https://arxiv.org/abs/2009.14794).

    φ(q) (φ(k)ᵀ v) / (φ(q) φ(k)ᵀ 1) with E[φ(q) φ(k)ᵀ] = exp(q kᵀ / √d), in the place of `Attend`.
    φ(x) = exp(ω x - ‖x‖² / 2) + ε for random directions ω. They are orthogonal, which lowers the
    variance of the estimate, the same for all heads, drawn from `seed`, and saved with the
    weights. For numerical stability the maximum of the exponents is subtracted (per query; over
    all keys); it cancels in the ratio, but for the authors' ε.

    Args:
        head_dim: number of channels per head.
        features: number of random features.
        seed: seed of the directions.
        epsilon: added to every feature, which keeps the weights positive.

    Example:
        >>> Performer(head_dim=8, features=16, seed=0)(*torch.zeros(3, 1, 2, 9, 8)).shape
        torch.Size([1, 2, 9, 8])
    """

    omega: Tensor

    @guarded
    def __init__(
        self,
        head_dim: PositiveInt,
        features: PositiveInt,
        seed: NonNegativeInt,
        *,
        epsilon: NonNegativeFloat = 1e-4,
    ) -> None:
        super().__init__()
        self.seed, self.epsilon = seed, epsilon
        self.register_buffer("omega", torch.empty(features, head_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws rows that are orthogonal in blocks of d, with the lengths of normal vectors."""
        count, dim = self.omega.shape
        generator = torch.Generator().manual_seed(self.seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.double, device="cpu")

        square = normal(-(-count // dim), dim, dim)
        rows = torch.linalg.qr(square).Q.transpose(1, 2).flatten(0, 1)[:count]
        lengths = normal(count, dim).norm(dim=1)
        with torch.no_grad():
            self.omega.copy_(rows * lengths[:, None])

    @guarded_forward
    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """q (B, H, N, d), k and v (B, H, M, d), no bias → (B, H, N, d).

        Raises `ConfigError` for a bias.
        """
        _refuse_bias(self, bias)
        q, k = self._features(q, (-1,)), self._features(k, (-2, -1))
        if self.recorder is not None:
            weights = q @ k.transpose(-2, -1)
            self.recorder(weights / weights.sum(dim=-1, keepdim=True))
        total = q @ k.sum(dim=2)[..., None]
        return (q @ (k.transpose(-2, -1) @ v)) / total

    def _features(self, x: Tensor, axes: tuple[int, ...]) -> Tensor:
        """x (B, H, N, d) → φ(x) (B, H, N, m), divided by its maximum over `axes`."""
        x = x * x.shape[-1] ** -0.25
        projected = x @ self.omega.T.to(x.dtype)
        shift = x.square().sum(dim=-1, keepdim=True) / 2
        shift = shift + projected.detach().amax(dim=axes, keepdim=True)
        return (projected - shift).exp() + self.epsilon


def _softmax(q: Tensor, k: Tensor) -> Tensor:
    return (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(dim=-1)


def _refuse_bias(mixer: nn.Module, bias: Tensor | None) -> None:
    if bias is not None:
        raise ConfigError(
            f"{type(mixer).__name__} has no logits of all pairs of tokens to add a bias to: "
            "use Attend."
        )
