"""Logistic regression on raw pixels or values, beside the recipes for videos, volumes and signals.

    python -m tools.linear_baseline recipes/video.yaml 2      # in at most two minutes
    python -m tools.linear_baseline recipes/signal.yaml 1 data.source=signals:data/leaves

It sees what the recipe's model sees in evaluation. Its penalty is chosen on a fifth of the training
samples, as long as there is time; then it is fitted to all of them.
"""

import argparse
import time
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vitrail.data.dataset import Dataset
from vitrail.data.splits import split_off
from vitrail.preprocess import Preprocess, unit
from vitrail.train.config import read_config
from vitrail.train.data_factory import open_datasets
from vitrail.train.model_factory import build_model

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # inverse penalties


def samples(dataset: Dataset, preprocess: Preprocess) -> tuple[np.ndarray, np.ndarray]:
    """Raw values (N, D) and targets of a dataset, one part of each sample."""
    dataset = dataset.for_input(preprocess.single)
    rows = [unit(preprocess.crop(dataset.read(i))).flatten().numpy() for i in range(len(dataset))]
    return np.stack(rows), np.array(dataset.targets())


def main() -> None:
    """Fits and prints the accuracy on the test split."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("minutes", type=float)
    parser.add_argument("settings", nargs="*")
    arguments = parser.parse_args()
    config = read_config(arguments.recipe, arguments.settings)
    datasets = open_datasets(config)
    preprocess = build_model(config, datasets.train).preprocess
    assert datasets.test is not None
    rest, part = split_off(datasets.train, 0.2)
    whole, learned, chosen_by, test = (
        samples(d, preprocess) for d in (datasets.train, rest, part, datasets.test)
    )

    def fit(strength: float, data: tuple[np.ndarray, np.ndarray]) -> object:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
        return model.fit(*data)

    warnings.simplefilter("ignore", ConvergenceWarning)
    start, scores = time.perf_counter(), {}
    for strength in STRENGTHS:
        scores[strength] = fit(strength, learned).score(*chosen_by)
        elapsed = (time.perf_counter() - start) / 60
        print(f"C={strength:g}: {scores[strength]:.1%} on held-out samples, {elapsed:.2f} min")
        if elapsed * (1 + 2 / len(scores)) > arguments.minutes:  # the final fit takes as long
            break
    best = max(scores, key=scores.__getitem__)
    accuracy = fit(best, whole).score(*test)
    minutes = (time.perf_counter() - start) / 60
    print(f"linear classifier, C={best:g}: {accuracy:.2%} on {len(test[1])} in {minutes:.2f} min")


if __name__ == "__main__":
    main()
