"""The lesson on export traces by torch.fx, which is quicker; torch.export agrees with it."""

import pytest
import torch

from vitrail.learn import find_lesson
from vitrail.learn.checker.subject import load_subject

PYTHON_DECIDES = (
    "batch_as_number",
    "length_of_batch",
    "branch_on_values",
    "loop_over_images",
    "float_of_a_tensor",
)


def exported(code: str) -> torch.nn.Module:
    """A program of the code's model for any batch."""
    model = load_subject(code, "lesson.py", "Classifier").object(4, 4, 8, 3).eval()
    shapes = {"images": {0: torch.export.Dim("batch", min=1, max=64)}}
    program = torch.export.export(
        model, (torch.rand(2, 3, 8, 8),), dynamic_shapes=shapes, strict=False
    )
    images = torch.rand(5, 3, 8, 8) * 2
    torch.testing.assert_close(program.module()(images), model(images))
    return program.module()


@pytest.mark.slow
def test_the_solution_exports_and_what_python_decides_does_not() -> None:
    lesson = find_lesson("shipping/export")
    exported(lesson.solution)
    refused = set()
    for wrong in lesson.wrong:
        try:
            exported(wrong.apply(lesson.solution))
        except Exception:
            refused.add(wrong.name)
    assert refused == set(PYTHON_DECIDES)
