"""The Mamba mixer in one or two directions (Gu & Dao 2023, https://arxiv.org/abs/2312.00752)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vitrail.errors import ConfigError, TierError, check_choice
from vitrail.layers.linear import Linear
from vitrail.layers.recording import RecordedMixer
from vitrail.ops import causal_conv as conv
from vitrail.ops import selective_scan as ssm
from vitrail.ops.linear import linear
from vitrail.ops.selective_scan.matrix import attention

# How many sets of parameters, and how many directions, each kind has.
KINDS = {"forward": (1, 1), "v1": (1, 2), "v2": (2, 2)}
FUSIONS = ("mean", "sum", "gate")


class State(NamedTuple):
    """What a causal mixer remembers between two tokens."""

    window: Tensor  # (B, inner, taps): the last inputs of the convolution
    hidden: Tensor  # (B, inner, states)


class Mamba(RecordedMixer):
    """Tokens mixed by a selective scan: projection, short convolution, scan, gate, projection.

        x (B, N, D) ─ in_proj ─┬ signal ─ conv ─ SiLU ─┬───────── u ──────┬ scan ─ × ─ out_proj
                               │                       └ Δ, B, C ─────────┘        │
                               └ z ────────────────────────────────────── SiLU ────┘

    kind: "forward", one direction; "v1", a second scan of the same signal with its own A only;
    "v2", a second convolution, projection and scan from the end (Vision Mamba, Zhu et al. 2024,
    https://arxiv.org/abs/2401.09417). The projections in and out and the gate z are shared.
    fusion: how two directions join: their "mean", "sum", or "gate", a learned α : 1 − α.
    rank: of the step sizes' projection; 0 means ⌈D / 16⌉. backend (an attribute): of the kernels.
    first_gate: the gate learns from the first direction only, as in the official code's v1, whose
    backward pass forgets the other; results are the same, gradients are not.

    Parameters of the directions are stacked along their first axis.
    """

    undecayed = ("A_log", "D", "conv_bias", "dt_bias")  # as Mamba's authors

    def __init__(
        self,
        dim: int,
        kind: str = "v2",
        *,
        states: int = 16,
        taps: int = 4,
        expand: int = 2,
        rank: int = 0,
        fusion: str = "mean",
        bias: bool = False,
        first_gate: bool = False,
    ) -> None:
        super().__init__()
        check_choice("mixer", kind, tuple(KINDS))
        check_choice("fusion", fusion, FUSIONS)
        for name, value in (("states", states), ("taps", taps), ("expand", expand)):
            if value < 1:
                raise ConfigError(f"{name}={value} of the mixer is not at least 1.")
        sets, self.directions = KINDS[kind]
        self.head_names = ("scan from the start", "scan from the end")[: self.directions]
        self.kind, self.fusion, self.first_gate = kind, fusion, first_gate
        self.backend = "auto"
        self.states, self.rank = states, rank or math.ceil(dim / 16)
        inner = expand * dim
        self.in_proj = Linear(dim, 2 * inner, bias=bias)
        self.conv_weight = nn.Parameter(torch.empty(sets, inner, taps))
        self.conv_bias = nn.Parameter(torch.empty(sets, inner))
        self.x_proj = nn.Parameter(torch.empty(sets, self.rank + 2 * states, inner))
        self.dt_weight = nn.Parameter(torch.empty(sets, inner, self.rank))
        self.dt_bias = nn.Parameter(torch.empty(sets, inner))
        self.A_log = nn.Parameter(torch.empty(self.directions, inner, states))
        self.D = nn.Parameter(torch.empty(sets, inner))
        gated = fusion == "gate" and self.directions == 2
        self.gate = nn.Parameter(torch.empty(1)) if gated else None
        self.out_proj = Linear(inner, dim, bias=bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """As Mamba's authors: step sizes from 0.001 to 0.1 in every direction, A = −1 … −N."""
        for weight in (self.in_proj.weight, self.out_proj.weight, *self.x_proj):
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
        for projection in (self.in_proj, self.out_proj):
            if projection.bias is not None:
                nn.init.zeros_(projection.bias)
        bound = self.conv_weight.shape[-1] ** -0.5
        nn.init.uniform_(self.conv_weight, -bound, bound)
        nn.init.uniform_(self.conv_bias, -bound, bound)
        nn.init.uniform_(self.dt_weight, -(self.rank**-0.5), self.rank**-0.5)
        with torch.no_grad():
            size = torch.empty_like(self.dt_bias).uniform_(math.log(1e-3), math.log(1e-1)).exp()
            self.dt_bias.copy_(size + torch.log(-torch.expm1(-size)))  # softplus of it is the size
            self.A_log.copy_(torch.arange(1, self.states + 1.0).log().expand_as(self.A_log))
        nn.init.ones_(self.D)
        if self.gate is not None:
            nn.init.zeros_(self.gate)  # sigmoid(0): the mean

    def forward(self, x: Tensor, reverse: bool = False, order: Tensor | None = None) -> Tensor:
        """x (B, N, D) → (B, N, D).

        reverse: as if the sequence stood the other way round. order (N,): where the tokens of the
        sequence are listed elsewhere, so that a tap sees them as listed.
        """
        signal, z = self.in_proj(x).chunk(2, dim=-1)
        ways = [(k == 1) != reverse for k in range(self.directions)]
        scan = self._scan(signal, z, ways[: len(self.conv_weight)])
        if self.tap is not None:
            self._show(scan, ways, order)
        if self.first_gate and self.directions == 2 and torch.is_grad_enabled():
            ungated = scan._replace(z=None)
            first = ungated.map(lambda t: t[:1])._replace(z=z)
            y = ssm.selective_scan(first, ways[:1], self.backend)
            second = ungated.map(lambda t: t[1:])._replace(z=z.detach())
            y = y + ssm.selective_scan(second, ways[1:], self.backend)
        else:
            y = ssm.selective_scan(scan, ways, self.backend)
        return self.out_proj(y)

    def _scan(self, signal: Tensor, z: Tensor, ways: Sequence[bool]) -> ssm.Scan:
        u = conv.causal_conv(signal, self.conv_weight, self.conv_bias, ways, self.backend)
        batch, length, inner = u.shape[1:]
        projected = torch.bmm(u.flatten(1, 2), self.x_proj.transpose(1, 2).to(u.dtype))
        low, B, C = projected.split([self.rank, self.states, self.states], dim=-1)
        delta = torch.bmm(low, self.dt_weight.transpose(1, 2).to(u.dtype))
        u, delta, B, C = (t.unflatten(1, (batch, length)) for t in (u.flatten(1, 2), delta, B, C))
        D: Tensor = self.D
        if self.directions == 2 and self.fusion != "sum":
            # Each direction's output is linear in what reads its states and in what skips them.
            shares = self._shares()
            C = C * shares.to(C.dtype)[:, None, None, None]
            D = D * shares[:, None]
        k = self.directions
        u, delta = u.expand(k, -1, -1, inner), delta.expand(k, -1, -1, inner)
        B, C = B.expand(k, -1, -1, -1), C.expand(k, -1, -1, -1)
        A, bias = -_exact(self.A_log).exp(), self.dt_bias.expand(k, -1)
        return ssm.Scan(u, delta, A, B, C, D.expand(k, -1), bias, z)

    def _shares(self) -> Tensor:
        """(2,) or (1,): of each direction in the output."""
        if self.gate is None:
            return self.D.new_full((1,), 0.5)
        alpha = self.gate.sigmoid()
        return torch.cat([alpha, 1 - alpha])

    @torch.no_grad()
    def _show(self, scan: ssm.Scan, ways: Sequence[bool], order: Tensor | None) -> None:
        """A head a direction: what its scan carries over, without the skip and the gate."""
        maps = torch.stack([attention(scan, k, way) for k, way in enumerate(ways)], dim=1)
        if order is not None:
            places = order.argsort()
            maps = maps[..., places, :][..., places]
        if self.tap is not None:
            self.tap(maps)

    def start(self, batch: int) -> State:
        """The state before the first token."""
        inner, taps = self.conv_weight.shape[1:]
        weight = self.conv_weight
        return State(
            weight.new_zeros(batch, inner, taps),
            weight.new_zeros(batch, inner, self.states, dtype=self.A_log.dtype),
        )

    def step(self, x: Tensor, state: State, *, forward_only: bool = False) -> tuple[Tensor, State]:
        """One token x (B, D) after those before → (B, D), and the state after it.

        A mixer of two directions needs the tokens that come: it raises `TierError`, unless
        `forward_only` asks for its forward direction alone, unshared, which is what the official
        code computes whenever it is given a cache.
        """
        if self.directions > 1 and not forward_only:
            raise TierError(
                f'mixer="{self.kind}" looks at later tokens too: step through kind "forward", or '
                "ask for forward_only=True, which computes something else."
            )
        signal, z = self.in_proj(x).chunk(2, dim=-1)
        window = torch.cat([state.window[..., 1:], signal[..., None]], dim=-1)
        u = conv.step(window, self.conv_weight[0], self.conv_bias[0])
        low, B, C = linear(u, self.x_proj[0]).split([self.rank, *[self.states] * 2], dim=-1)
        delta = linear(low, self.dt_weight[0])
        u, delta, B, C = (t[None, :, None] for t in (u, delta, B, C))
        A = -_exact(self.A_log[:1]).exp()
        scan = ssm.Scan(u, delta, A, B, C, self.D[:1], self.dt_bias[:1], z[:, None])
        y, hidden = ssm.step(scan, state.hidden)
        return self.out_proj(y), State(window, hidden)


def _exact(t: Tensor) -> Tensor:
    return t.to(torch.promote_types(t.dtype, torch.float32))
