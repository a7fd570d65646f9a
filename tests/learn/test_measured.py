"""Figures that lessons quote are those of the benchmarks' results."""

import json
from pathlib import Path
from statistics import mean

from vitrail.learn import find_lesson

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def test_the_lesson_on_inductive_bias_quotes_its_benchmark() -> None:
    """In its texts and in its diagram, which draws as many points."""
    runs = json.loads((RESULTS / "inductive_bias.json").read_text())["runs"]
    lesson = find_lesson("foundations/inductive_bias")
    sizes = {key.split("/")[1] for key in runs}
    points = 0
    for size in sizes:
        for model in ("CNN", "ViT"):
            rows = [row for key, row in runs.items() if key.startswith(f"{model}/{size}/")]
            assert rows, (model, size)
            for kind in ("test", "shifted"):
                percent = f"{100 * mean(row[kind] for row in rows):.1f}"
                points += 1
                for language in ("en", "zh"):
                    table = [
                        line
                        for line in lesson.text(language).splitlines()
                        if line.startswith(f"| {int(size):,} |")
                    ]
                    assert len(table) == 1
                    assert f"| {percent} |" in table[0], (model, size, kind, language)
    assert lesson.diagram("en").count('width="10" height="10"') == points
