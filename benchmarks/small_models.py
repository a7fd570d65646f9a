"""What the small models that come with Vitrail make of photographs that they have not seen.

    python -m benchmarks.small_models     # a minute

No picture that they learned from (tools/small_models.py) came from these photographs, of
scikit-image, scikit-learn and matplotlib. `agreement` is the correlation of the cosine similarities
between patches, which `vitrail explore` shows, with those of their teacher, over all pairs of
patches of a photograph; beside it that of the colors of patches, which need no model. `ratio` is
that of benchmarks/photographs.py, for maps of similarity.
"""

import statistics
from pathlib import Path

import torch
from torch import Tensor, nn

import vitrail
from benchmarks.common import write
from benchmarks.photographs import (
    PHOTOGRAPHS,
    SCIKIT_IMAGE,
    middle,
    photographs,
    ratio,
    ratio_of,
)
from tools.small_models import GRID, open_teacher, similarities, teach
from vitrail.hub.bundled import bundled_models
from vitrail.models.base import Backbone

FILES = {"the cat": SCIKIT_IMAGE / "chelsea.png", **{each.thing: each.path for each in PHOTOGRAPHS}}
COLORS = "colors"


def coarse(pixels: Tensor) -> Tensor:
    """The 4 x 4 mean colors of each patch, (N, 196, 48)."""
    means = nn.functional.avg_pool2d(pixels.float() / 255, 4)  # (N, 3, 56, 56)
    return nn.functional.unfold(means, 4, stride=4).transpose(1, 2)


def agreement(patches: Tensor, truth: Tensor) -> float:
    """The correlation of the similarities between patches, of each pair of patches once."""
    pairs = torch.triu_indices(GRID**2, GRID**2, offset=1).unbind()
    values = torch.stack([similarities(each)[0][pairs] for each in (patches, truth)])
    return torch.corrcoef(values)[0, 1].item()


def agreements(models: dict[str, Backbone], teacher: Backbone, path: Path) -> dict[str, float]:
    """The agreement of each model with the teacher on a photograph, and that of colors."""
    results: dict[str, float] = {}
    for name, model in models.items():
        pixels = model.preprocess.crop(path)[None]
        truth = teach(teacher, pixels).patches
        patches = model.features(model.preprocess.normalise(pixels)).patches
        results |= {name: agreement(patches, truth), COLORS: agreement(coarse(pixels), truth)}
    return results


def ratios(model: Backbone) -> dict[str, float]:
    """The ratio of each photograph with a box."""
    return {
        thing: ratio(model, model.preprocess.normalise(pixels[None]), box, "similarity")
        for thing, pixels, box in photographs(model)
    }


def ratios_of_colors(model: Backbone) -> dict[str, float]:
    """The same of the similarity of colors, in the pictures that a model sees."""
    results = {}
    for thing, pixels, box in photographs(model):
        maps = similarities(coarse(pixels[None]))[0].unflatten(0, (GRID, GRID))
        results[thing] = ratio_of(maps[middle(box, GRID, GRID)].view(1, GRID, GRID), box)
    return results


def main() -> None:
    """Measures, and writes benchmarks/results/small_models.json."""
    torch.set_num_threads(1)
    models = {name: vitrail.load(name) for name in bundled_models()}
    teacher = open_teacher()
    with torch.no_grad():
        rows = {thing: agreements(models, teacher, path) for thing, path in FILES.items()}
        maps = {name: ratios(each) for name, each in {**models, "teacher": teacher}.items()}
        maps[COLORS] = ratios_of_colors(next(iter(models.values())))
    means = {name: statistics.mean(row[name] for row in rows.values()) for name in rows["the cat"]}
    counts = {name: sum(each >= 2 for each in row.values()) for name, row in maps.items()}
    print("mean agreement", means, "ratio of at least 2", counts)
    write("small_models", {"agreement": rows, "mean": means, "at_least_2": counts, "ratio": maps})


if __name__ == "__main__":
    main()
