"""The Mamba mixer in one or two directions (Gu & Dao 2023, https://arxiv.org/abs/2312.00752)."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import ConfigError, TierError
from vitrail.layers.dtypes import at_least_float32
from vitrail.layers.inference_params import InferenceParams, MambaState
from vitrail.layers.linear import Linear
from vitrail.layers.recording import RecordedMixer
from vitrail.ops import causal_conv as conv
from vitrail.ops import selective_scan as ssm
from vitrail.ops.guard import guarded, guarded_forward
from vitrail.ops.linear import product
from vitrail.ops.selective_scan.matrix import attention
from vitrail.values import NonNegativeInt, PositiveInt

ScanKind = Literal["forward", "v1", "v2"]
Fusion = Literal["mean", "sum", "gate", "concat"]


class RecordedScan(NamedTuple):
    """The scan of one forward of a mixer, for what has to compute with its matrix.

    Args:
        inputs: inputs of the scan, K directions.
        backwards: whether each direction starts at the end.
        order: (N,), index of each token in the order of recorded weights; None for the same order.
        output: (B, N, E), gated, part of the graph; (B, N, 2 E) where directions are side by side.

    Example:
        >>> mixer, scans = Mamba(8, "v2"), []
        >>> mixer.scan_recorder = scans.append
        >>> _ = mixer(torch.zeros(1, 5, 8))
        >>> scans[0].backwards, scans[0].output.shape
        ([False, True], torch.Size([1, 5, 16]))
    """

    inputs: ssm.Scan
    backwards: Sequence[bool]
    order: Tensor | None
    output: Tensor


class Mamba(RecordedMixer):
    """Mixes tokens by a selective scan: projection, short convolution, scan, gate, projection.

        x (B, N, D) ─ in_proj ─┬ signal ─ conv ─ SiLU ─┬───────── u ──────┬ scan ─ × ─ out_proj
                               │                       └ Δ, B, C ─────────┘        │
                               └ z ────────────────────────────────────── SiLU ────┘

    The scans "v1" and "v2" are Vision Mamba's (Zhu et al. 2024, https://arxiv.org/abs/2401.09417).
    Both run in two directions, which share the projections in and out and the gate z. Parameters of
    the directions are stacked along their first axis. Weight decay spares what Mamba's authors
    spare.

    Args:
        dim: width of a token.
        scan: "forward" scans from the start only. "v1" adds a scan from the end over the same
            signal, which has an A of its own. "v2" gives the scan from the end its own convolution
            and projections too.
        d_state: number of states per channel.
        d_conv: width of the convolution.
        expand: inner width divided by `dim`.
        dt_rank: rank of the projection to step sizes Δ; None for dim / 16, rounded up.
        fusion: how the outputs of two directions are joined: their "mean", their "sum", a "gate",
            which is α of the first and 1 - α of the second with one learned α, or "concat", where
            the projection out reads both, side by side.
        bias: whether the projections in and out have biases.
        layer_idx: key of this layer's state in `InferenceParams`.

    Attributes:
        backend: backend of the convolution and the scan, as in `ops.selective_scan`; "auto".
        scan_recorder: function that every forward calls with its scan, or None.

    Raises:
        ConfigError: `scan` or `fusion` is not one of its choices.

    Example:
        >>> Mamba(8, "v2")(torch.zeros(1, 5, 8)).shape
        torch.Size([1, 5, 8])
    """

    undecayed = ("A_log", "D", "conv_bias", "dt_bias")

    @guarded
    def __init__(
        self,
        dim: PositiveInt,
        scan: ScanKind = "v2",
        *,
        d_state: PositiveInt = 16,
        d_conv: PositiveInt = 4,
        expand: PositiveInt = 2,
        dt_rank: PositiveInt | None = None,
        fusion: Fusion = "mean",
        bias: bool = False,
        layer_idx: NonNegativeInt = 0,
    ) -> None:
        super().__init__()
        sets = 2 if scan == "v2" else 1  # of parameters
        self.directions = 1 if scan == "forward" else 2
        self.head_names = ("scan from the start", "scan from the end")[: self.directions]
        self.scan_kind, self.fusion = scan, fusion
        self.backend, self.layer_idx = "auto", layer_idx
        self.scan_recorder: Callable[[RecordedScan], None] | None = None
        self.d_state, self.dt_rank = d_state, dt_rank or math.ceil(dim / 16)
        inner = expand * dim
        self.in_proj = Linear(dim, 2 * inner, bias=bias)
        self.conv_weight = nn.Parameter(torch.empty(sets, inner, d_conv))
        self.conv_bias = nn.Parameter(torch.empty(sets, inner))
        self.x_proj = nn.Parameter(torch.empty(sets, self.dt_rank + 2 * d_state, inner))
        self.dt_weight = nn.Parameter(torch.empty(sets, inner, self.dt_rank))
        self.dt_bias = nn.Parameter(torch.empty(sets, inner))
        self.A_log = nn.Parameter(torch.empty(self.directions, inner, d_state))
        self.D = nn.Parameter(torch.empty(sets, inner))
        gated = fusion == "gate" and self.directions == 2
        self.gate = nn.Parameter(torch.empty(1)) if gated else None
        outputs = self.directions if fusion == "concat" else 1
        self.out_proj = Linear(outputs * inner, dim, bias=bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initializes all parameters as Mamba's authors: Δ from 0.001 to 0.1, A from -1 to -N."""
        for weight in (self.in_proj.weight, self.out_proj.weight, *self.x_proj):
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
        for projection in (self.in_proj, self.out_proj):
            if projection.bias is not None:
                nn.init.zeros_(projection.bias)
        bound = self.conv_weight.shape[-1] ** -0.5
        nn.init.uniform_(self.conv_weight, -bound, bound)
        nn.init.uniform_(self.conv_bias, -bound, bound)
        nn.init.uniform_(self.dt_weight, -(self.dt_rank**-0.5), self.dt_rank**-0.5)
        with torch.no_grad():
            size = torch.empty_like(self.dt_bias).uniform_(math.log(1e-3), math.log(1e-1)).exp()
            self.dt_bias.copy_(size + torch.log(-torch.expm1(-size)))  # inverse softplus
            self.A_log.copy_(torch.arange(1, self.d_state + 1.0).log().expand_as(self.A_log))
        nn.init.ones_(self.D)
        if self.gate is not None:
            nn.init.zeros_(self.gate)  # sigmoid(0) gives the mean

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "scan_recorder": None}

    @property
    def last_linear(self) -> nn.Linear:
        """The projection out, whose outputs are those of the mixer."""
        return self.out_proj

    @guarded_forward
    def forward(
        self,
        x: Tensor,
        reverse: bool = False,
        order: Tensor | None = None,
        inference_params: InferenceParams | None = None,
    ) -> Tensor:
        """Mixes tokens.

        Args:
            x: (B, N, D).
            reverse: computes what the mixer gives for the reversed sequence, in the order of `x`.
            order: (N,), index of each token in the order that recorded weights have; None for the
                order of `x`.
            inference_params: cache of a sequence that `x` begins or goes on with; None for the
                whole sequence. With a cache nothing is recorded.

        Returns:
            (B, N, D).

        Raises:
            TierError: there is a cache, and the mixer reads later tokens too.
            ConfigError: the cache holds no state of this layer to go on from.
        """
        if inference_params is not None:
            return self._resume(x, inference_params)
        signal, z = self.in_proj(x).chunk(2, dim=-1)
        backwards = [(k == 1) != reverse for k in range(self.directions)]
        inputs = self._scan_inputs(signal, z, backwards)
        if self.recorder is not None:
            self._record(inputs, backwards, order)
        y = self.run_scan(inputs, backwards)
        if self.scan_recorder is not None:
            self.scan_recorder(RecordedScan(inputs, backwards, order, y))
        return self.out_proj(y)

    def run_scan(self, inputs: ssm.Scan, backwards: Sequence[bool]) -> Tensor:
        """Scans in all directions and gates the result.

        Args:
            inputs: inputs of the scan, K directions.
            backwards: whether each direction starts at the end.

        Returns:
            (B, N, E), E the inner width; (B, N, 2 E) for "concat".
        """
        if self.fusion != "concat":
            return ssm.selective_scan(inputs, backwards, self.backend)
        directions = [
            ssm.selective_scan(inputs.direction(k), [b], self.backend)
            for k, b in enumerate(backwards)
        ]
        return torch.cat(directions, dim=-1)

    def _scan_inputs(self, signal: Tensor, z: Tensor, backwards: Sequence[bool]) -> ssm.Scan:
        """signal, z (B, N, E) → inputs of the scan, the fusion of directions included."""
        convolved = backwards[: len(self.conv_weight)]
        u = conv.causal_conv(signal, self.conv_weight, self.conv_bias, convolved, self.backend)
        batch, length, inner = u.shape[1:]
        projected = _products(u.flatten(1, 2), self.x_proj)
        low, B, C = projected.split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        delta = _products(low, self.dt_weight)
        D: Tensor = self.D
        if self.directions == 2 and self.fusion in ("mean", "gate"):
            # A direction's output is linear in C and D, so its weight goes into them. Before the
            # tokens have two axes, whose strides a program of any size would be bound to.
            weights = self._direction_weights()
            C = C * weights.to(C.dtype)[:, None, None]
            D = D * weights[:, None]
        u, delta, B, C = (t.unflatten(1, (batch, length)) for t in (u.flatten(1, 2), delta, B, C))
        k = self.directions
        u, delta = u.expand(k, -1, -1, inner), delta.expand(k, -1, -1, inner)
        B, C = B.expand(k, -1, -1, -1), C.expand(k, -1, -1, -1)
        A, bias = -at_least_float32(self.A_log).exp(), self.dt_bias.expand(k, -1)
        return ssm.Scan(u, delta, A, B, C, D.expand(k, -1), bias, z)

    def _direction_weights(self) -> Tensor:
        """Factor of each direction in the output: (2,), or (1,) for the same factor."""
        if self.gate is None:
            return self.D.new_full((1,), 0.5)
        alpha = self.gate.sigmoid()
        return torch.cat([alpha, 1 - alpha])

    @torch.no_grad()
    def _record(self, inputs: ssm.Scan, backwards: Sequence[bool], order: Tensor | None) -> None:
        """Calls the recorder with one head per direction, without the skip D and the gate."""
        weights = torch.stack([attention(inputs, k, b) for k, b in enumerate(backwards)], dim=1)
        if self.recorder is not None:
            self.recorder(in_order(weights, order))

    def start(self, batch: int) -> MambaState:
        """The state before the first token.

        Args:
            batch: batch size B.

        Returns:
            A state of zeros.
        """
        inner, d_conv = self.conv_weight.shape[1:]
        weight = self.conv_weight
        return MambaState(
            weight.new_zeros(batch, inner, d_conv),
            weight.new_zeros(batch, inner, self.d_state, dtype=self.A_log.dtype),
        )

    def _resume(self, x: Tensor, cache: InferenceParams) -> Tensor:
        """x (B, T, D), the tokens after those that `cache` remembers → (B, T, D)."""
        if self.directions > 1 and not cache.forward_only:
            raise TierError(
                f'scan="{self.scan_kind}" reads later tokens too: use a model with scan="forward", '
                "or InferenceParams(..., forward_only=True), which computes something else."
            )
        memory, index = cache.key_value_memory_dict, self.layer_idx
        if cache.seqlen_offset == 0:
            memory[index] = self.start(len(x))
        if index not in memory:
            raise ConfigError(
                f"seqlen_offset={cache.seqlen_offset}, and there is no state of layer {index}: "
                "begin with seqlen_offset=0."
            )
        state = memory[index]
        if state.ssm.shape[1:] != self.A_log.shape[1:]:
            raise ConfigError(
                f"a state of shape {tuple(state.ssm.shape[1:])} is not of this layer, whose have "
                f"{tuple(self.A_log.shape[1:])}: give each model a cache of its own."
            )
        if len(state.conv) != len(x):
            raise ConfigError(
                f"a batch of {len(x)} cannot go on after one of {len(state.conv)}: give the same "
                "images, or call reset."
            )
        signal, z = self.in_proj(x).chunk(2, dim=-1)
        window = torch.cat([state.conv.mT, signal], dim=1)  # (B, d_conv + T, E)
        weight, bias = self.conv_weight[:1], self.conv_bias[:1]
        u = conv.causal_conv(window, weight, bias, [False], self.backend)[:, :, weight.shape[-1] :]
        low, B, C = product(u, self.x_proj[0]).split([self.dt_rank, *[self.d_state] * 2], dim=-1)
        A = -at_least_float32(self.A_log[:1]).exp()
        delta = product(low, self.dt_weight[0])
        inputs = ssm.Scan(u, delta, A, B, C, self.D[:1], self.dt_bias[:1], z)
        y, after = ssm.resume(inputs, state.ssm)
        memory[index] = MambaState(window[:, -state.conv.shape[-1] :].mT.contiguous(), after)
        if self.out_proj.in_features > y.shape[-1]:  # "concat" without the other direction
            y = F.pad(y, (0, self.out_proj.in_features - y.shape[-1]))
        return self.out_proj(y.to(u.dtype))

    def extra_repr(self) -> str:
        """Shows the options in the model's printout."""
        return f"scan={self.scan_kind!r}, d_state={self.d_state}, fusion={self.fusion!r}"


def _products(x: Tensor, weight: Tensor) -> Tensor:
    """x (K, M, C), weight (K, D, C) → (K, M, D), the product of each direction."""
    if torch.compiler.is_exporting():  # quantizers of other runtimes know matrices only
        return torch.stack([F.linear(of, by.to(x.dtype)) for of, by in zip(x, weight, strict=True)])
    return torch.bmm(x, weight.transpose(1, 2).to(x.dtype))


def in_order(weights: Tensor, order: Tensor | None) -> Tensor:
    """Weights between tokens, in another order of the tokens.

    Args:
        weights: (..., N, N).
        order: (N,), index of each token in the other order; None for the same order.

    Returns:
        (..., N, N).

    Raises:
        ConfigError: the order is of another number of tokens.

    Example:
        >>> in_order(torch.diag(torch.arange(3)), torch.tensor([2, 0, 1])).diag()
        tensor([1, 2, 0])
    """
    if order is None:
        return weights
    if len(order) != weights.shape[-1]:
        raise ConfigError(
            f"order has {len(order)} entries for {weights.shape[-1]} tokens: give one each."
        )
    position = order.argsort()
    return weights[..., position, :][..., position]
