"""All layers and heads on one sheet."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.models.small import images_for, small
from vitrail.errors import TierError
from vitrail.lens.heat import Scale, read_colors
from vitrail.lens.sheet import attention_sheet, sheet_table
from vitrail.lens.trace import AttentionTrace, trace_attention


def traced(name: str = "ViT") -> AttentionTrace:
    model = small(name)
    return trace_attention(model, images_for(model))


@pytest.mark.parametrize("scale", ["head", "layer", "shared"])
def test_each_map_is_in_its_row_and_column(scale: str, tmp_path: Path) -> None:
    trace = traced()
    figure = attention_sheet(trace, index=1, scale=scale, title="猫", origin="a test")  # type: ignore[arg-type]
    assert len(figure.axes) == 3 * 2
    boxes = [axis.get_position() for axis in figure.axes]
    maps = [trace.attention[layer][1, head] for layer in range(3) for head in range(2)]
    shared = Scale.of(*maps)
    for number, (axis, box, weights) in enumerate(zip(figure.axes, boxes, maps, strict=True)):
        colors = np.asarray(axis.get_images()[0].get_array())
        layer = Scale.of(*maps[number - number % 2 :][:2])
        own = {"shared": shared, "layer": layer, "head": Scale.of(weights)}[scale]
        error = np.abs(read_colors(colors, own) - weights.numpy()).max()
        assert error < 0.01 * own.high
        assert (box.x0 > boxes[0].x1) == bool(number % 2)
        assert number < 2 or box.y1 < boxes[number - 2].y0
    texts = [text.get_text() for text in figure.texts]
    assert {"layer 2", "head 1", f"{maps[5].max().item():.3g}"} <= set(texts)
    figure.savefig(tmp_path / "sheet.png", dpi=40)


def test_a_page_has_the_same_with_numbers() -> None:
    table = sheet_table(traced("VisionMamba"), scale="shared")
    assert table.count("<img") == 6 and table.count("<tr>") == 4
    assert "scan from the end" in table and 'class="scale"' in table
    assert len(re.findall(r'title="layer \d, scan from the \w+\. largest [^"]* bits"', table)) == 6
    assert 'class="scale"' not in sheet_table(traced())


def test_patches_of_other_axes_have_no_sheet() -> None:
    trace = traced()
    trace.features = trace.features._replace(grid=(16,))
    with pytest.raises(TierError, match=r"the patches have the grid \(16,\)"):
        attention_sheet(trace)
