"""Arrays in JSON: 16 bits per value, with the two ends of each row's scale; or float32."""

import base64
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitrail.arguments import checked
from vitrail.errors import ConfigError, LoadError

LEVELS = 2**16 - 1  # between the lowest and the highest value of a row


@checked
def encode_array(values: Tensor) -> dict[str, Any]:
    """An array as plain values for JSON.

    Each row, the last axis, has a scale of its own from its lowest to its highest value, so that a
    value is off by at most a 131,070th of that range: 8e-6 for attention weights.

    Args:
        values: (..., N), finite.

    Returns:
        `shape`; `codes`, base64 of the little-endian uint16 codes of all values; `lows` and
        `highs`, base64 of the float32 ends of each row. A value is low + code / 65535 · (high -
        low).

    Raises:
        ConfigError: a value is not finite.

    Example:
        >>> encode_array(torch.tensor([[0.0, 0.5, 1.0]]))["shape"]
        [1, 3]
    """
    rows = values.detach().float().cpu().reshape(-1, values.shape[-1])
    if not bool(rows.isfinite().all()):
        raise ConfigError("a map with NaN or infinite values has no colors: the model gives them.")
    lows, highs = rows.aminmax(dim=1)
    spans = (highs - lows).double()
    fractions = (rows - lows[:, None]).double() / torch.where(spans > 0, spans, 1.0)[:, None]
    codes = (fractions * LEVELS).round().clamp(0, LEVELS).numpy().astype("<u2")
    return {
        "shape": list(values.shape),
        "codes": _text(codes),
        "lows": _text(lows.numpy().astype("<f4")),
        "highs": _text(highs.numpy().astype("<f4")),
    }


@checked
def encode_floats(values: Tensor) -> dict[str, Any]:
    """An array of float32 as plain values for JSON, for numbers that a page computes with.

    Args:
        values: of any shape, finite.

    Returns:
        `shape`, and `floats`, base64 of the little-endian float32 values.

    Raises:
        ConfigError: a value is not finite.

    Example:
        >>> encode_floats(torch.ones(1))
        {'shape': [1], 'floats': 'AACAPw=='}
    """
    numbers = values.detach().float().cpu()
    if not bool(numbers.isfinite().all()):
        raise ConfigError("NaN or infinite values cannot be shown: the model gives them.")
    return {"shape": list(values.shape), "floats": _text(numbers.numpy().astype("<f4"))}


def decode_array(array: dict[str, Any]) -> Tensor:
    """The inverse of `encode_array` and of `encode_floats`.

    Args:
        array: what one of them returns.

    Returns:
        float64 (..., N).

    Raises:
        LoadError: the sizes do not fit each other.

    Example:
        >>> decode_array(encode_array(torch.tensor([[0.0, 0.5, 1.0]]))).round(decimals=4)
        tensor([[0.0000, 0.5000, 1.0000]], dtype=torch.float64)
    """
    if "floats" in array:
        values = np.frombuffer(base64.b64decode(array["floats"]), "<f4").astype(np.float64)
        if values.size != np.prod(array["shape"]):
            raise LoadError(f"an array of shape {array['shape']} has {values.size} values.")
        return torch.from_numpy(values.reshape(array["shape"]))
    codes, lows, highs = (
        np.frombuffer(base64.b64decode(array[name]), kind)
        for name, kind in (("codes", "<u2"), ("lows", "<f4"), ("highs", "<f4"))
    )
    shape = array["shape"]
    if codes.size != np.prod(shape) or not lows.size == highs.size == codes.size // shape[-1]:
        raise LoadError(
            f"an array of shape {shape} has {codes.size} codes and {lows.size} rows: it is damaged."
        )
    fractions = codes.reshape(-1, shape[-1]) / LEVELS
    low, high = (ends.astype(np.float64)[:, None] for ends in (lows, highs))
    return torch.from_numpy((low + fractions * (high - low)).reshape(shape))


def _text(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")
