"""Every model against its original: same weights, same numbers, same gradients."""

import pytest
import torch
from torch import Tensor

from parity.pairs import Pair, pairs

FLOAT64, FLOAT32 = 1e-9, 1e-5  # the largest difference, in units of `difference`


def difference(ours: Tensor, theirs: Tensor, least: float = 1.0) -> float:
    """The largest, in units of the largest number where that is above `least`."""
    largest = theirs.abs().max()
    assert theirs.std() > 0.01 * min(largest, 1), "the original is too flat to prove anything"
    return ((ours - theirs).abs().max() / largest.clamp(min=least)).item()


@pytest.mark.parametrize("pair", pairs(), ids=lambda pair: f"{pair.model}-{pair.original}")
def test_equals_its_original(pair: Pair, parity_table: list[dict[str, object]]) -> None:
    ours, theirs = pair.build(False)
    assert type(ours).__name__ == pair.model
    worst: dict[str, float] = {"float32": 0.0, "float64": 0.0, "gradient": 0.0}
    for kind, limit in ((torch.float32, FLOAT32), (torch.float64, FLOAT64)):
        ours, theirs = ours.to(kind), theirs.to(kind)
        name = str(kind).removeprefix("torch.")
        for size in pair.sizes:
            pixels = pair.inputs(size).to(kind)
            twin = pixels.clone().requires_grad_()
            mine, original = ours(pixels.requires_grad_()), pair.run(theirs, twin)
            found = difference(mine, original)
            assert found <= limit, f"{name} at {size} differs by {found:.1e}, more than {limit}"
            worst[name] = max(worst[name], found)
            if kind == torch.float64:
                weights = torch.linspace(-1, 1, mine.shape[-1], dtype=kind)
                (mine @ weights).sum().backward()
                (original @ weights).sum().backward()
                found = difference(pixels.grad, twin.grad, least=0)
                assert found <= limit, f"gradient at {size} differs by {found:.1e}"
                worst["gradient"] = max(worst["gradient"], found)
    row = {"model": pair.model, "original": pair.original, "sizes": pair.sizes, "note": pair.note}
    parity_table.append({**row, **worst})
