"""What is wrong with a run, told from its measures."""

import itertools
import statistics
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from vitrail.lens.health import HealthWarning, Measures
from vitrail.train.monitor.weights import ParameterChange

CONFIRMED = 3  # measurements in a row, after which a symptom is a warning
DEAD_HEAD = 1e-3  # of the largest head of its layer
LOOKS_ONLY = 0.95  # share of the attention of a head
DEAD_UNITS = 0.25  # share of the units of a block
FASTEST = 0.03  # change of the weights in a step, as a fraction of their norm
GROWTH, WINDOW = 8.0, 100  # of activations: factor, within so many steps
UNRELATED = 3.0  # standard deviations of chance


class Symptom(NamedTuple):
    """Something that a measurement shows.

    Args:
        kind: what it is, as in `HealthWarning`.
        part: where it is, as in `HealthWarning`.
        head: number of the head; None where it is of no head.
        value: the measure that shows it.

    Example:
        >>> Symptom("head_to_self", "block 4", 2, 0.99).part
        'block 4'
    """

    kind: str
    part: str
    head: int | None
    value: float


def find(measures: Measures) -> Iterator[Symptom]:
    """What is wrong by the measures of one step.

    Args:
        measures: of the monitor.

    Yields:
        Symptoms, of which the same may come twice.

    Example:
        >>> list(find({"gradient_norm": {"block 0": 0.5, "block 1": 0.1}}))
        []
    """
    for rule in (attention_symptoms, unit_symptoms, gradient_symptoms):
        yield from rule(measures)


def attention_symptoms(measures: Measures) -> Iterator[Symptom]:
    """Heads that look only at themselves or at one token, or add nothing.

    Args:
        measures: those of one step.

    Yields:
        A symptom per head.

    Example:
        >>> list(attention_symptoms({"attention_to_self": {"block 4": [0.1, 0.99]}}))
        [Symptom(kind='head_to_self', part='block 4', head=1, value=0.99)]
    """
    looks = {"attention_to_self": "head_to_self", "attention_to_one_token": "head_to_one_token"}
    for name, kind in looks.items():
        for part, shares in measures.get(name, {}).items():
            for head, share in enumerate(_per_head(shares)):
                if share > LOOKS_ONLY:
                    yield Symptom(kind, part, head, share)
    for name in ("head_output", "head_gradient"):
        for part, sizes in measures.get(name, {}).items():
            largest = max(_per_head(sizes))
            for head, size in enumerate(_per_head(sizes)):
                if size <= DEAD_HEAD * largest and (largest or name == "head_output"):
                    yield Symptom("dead_head", part, head, size)


def unit_symptoms(measures: Measures) -> Iterator[Symptom]:
    """Blocks many of whose hidden units fire for no token.

    Args:
        measures: those of one step.

    Yields:
        A symptom per block.

    Example:
        >>> list(unit_symptoms({"dead_units": {"block 1": 0.5}}))
        [Symptom(kind='dead_units', part='block 1', head=None, value=0.5)]
    """
    for part, share in measures.get("dead_units", {}).items():
        if isinstance(share, float) and share > DEAD_UNITS:
            yield Symptom("dead_units", part, None, share)


def gradient_symptoms(measures: Measures) -> Iterator[Symptom]:
    """Blocks that no gradient reaches, while it reaches another.

    Args:
        measures: those of one step.

    Yields:
        A symptom per block, or of the embedding.

    Example:
        >>> list(gradient_symptoms({"gradient_norm": {"block 0": 0.0, "block 1": 0.1}}))
        [Symptom(kind='no_gradient', part='block 0', head=None, value=0.0)]
    """
    norms = measures.get("gradient_norm", {})
    if any(norms.values()):
        for part, norm in norms.items():
            if norm == 0 and part not in ("head", "method"):  # a head need not be used
                yield Symptom("no_gradient", part, None, 0.0)


def frozen_symptoms(parameters: Sequence[ParameterChange]) -> Iterator[Symptom]:
    """Blocks, or parts of them, that do not change though the same parts of a block below do.

    Who freezes a model on purpose freezes it from below, or the same parts of every block. What is
    trained and yet does not change, because no output depends on it, is not frozen.

    Args:
        parameters: what a step did to each, from below.

    Yields:
        A symptom per block, at the path of the module that holds all that does not change.

    Example:
        >>> below = ParameterChange("block 0", "blocks.0.mlp.fc1.bias", "mlp.fc1.bias", True, True)
        >>> above = below._replace(part="block 1", path="blocks.1.mlp.fc1.bias", changed=False,
        ...                        trains=False)
        >>> [symptom.part for symptom in frozen_symptoms([below, above])]
        ['blocks.1.mlp.fc1.bias']
    """
    frozen: dict[str, list[str]] = {}
    learning: set[str] = set()
    for parameter in parameters:
        if parameter.role and parameter.changed:
            learning.add(parameter.role)
        elif parameter.role in learning and not (parameter.changed or parameter.trains):
            frozen.setdefault(parameter.part, []).append(parameter.path)
    for paths in frozen.values():
        yield Symptom("unchanged", _common_module(paths), None, float(len(paths)))


class RateRule:
    """Finds a learning rate that is far too high, by how fast the activations grow.

    Weights that each step changes by a large part of themselves make the activations of the last
    block grow tenfold and more within some ten steps. The loss need not tell: it often falls again,
    to a level that the model could have left behind.

    Example:
        >>> rule = RateRule()
        >>> def step(std):
        ...     return {"activation_std": {"block 0": std}, "update_ratio": {"block 0": 0.1}}
        >>> [len(rule(number, step(std))) for number, std in ((10, 1.0), (20, 5.0), (30, 20.0))]
        [0, 0, 1]
    """

    def __init__(self) -> None:
        # (step, standard deviation after the last block, update ratio) of the last 100 steps
        self.recent: list[tuple[int, float, float]] = []

    def __call__(self, step: int, measures: Measures) -> list[Symptom]:
        """step, its measures → a symptom at the last block, or none."""
        stds, ratios = (_numbers(measures, name) for name in ("activation_std", "update_ratio"))
        if not stds or not ratios:
            return []
        part, std = list(stds.items())[-1]
        self.recent.append((step, std, statistics.median(ratios.values())))
        self.recent = [entry for entry in self.recent if entry[0] > step - WINDOW]
        growth = std / max(min(entry[1] for entry in self.recent), 1e-30)
        fastest = max(entry[2] for entry in self.recent)
        if growth < GROWTH or fastest < FASTEST:
            return []
        return [Symptom("rate", part, None, growth)]

    def state(self) -> list[tuple[int, float, float]]:
        """What it remembers: plain values for JSON."""
        return self.recent

    def load_state(self, state: Sequence[tuple[int, float, float]]) -> None:
        """state → as it was."""
        self.recent = [(step, std, ratio) for step, std, ratio in state]


def _numbers(measures: Measures, name: str) -> dict[str, float]:
    """A measure by part, of those that have one number."""
    parts = measures.get(name, {}).items()
    return {part: value for part, value in parts if isinstance(value, float)}


def _common_module(paths: Sequence[str]) -> str:
    """The path of the smallest module that holds all of some parameters; of one, its own path."""
    names = [path.split(".") for path in paths]
    shared = itertools.takewhile(lambda level: len(set(level)) == 1, zip(*names, strict=False))
    return ".".join(level[0] for level in shared)


def _per_head(value: float | list[float]) -> list[float]:
    return value if isinstance(value, list) else [value]


class Alarm:
    """Makes warnings of symptoms that stay for a few measurements, each once.

    Args:
        confirmed: measurements in a row that must show a symptom.

    Example:
        >>> alarm, symptom = Alarm(confirmed=2), Symptom("head_to_self", "block 4", 2, 0.99)
        >>> [len(alarm(step, [symptom])) for step in (10, 20, 30)]
        [0, 1, 0]
    """

    def __init__(self, confirmed: int = CONFIRMED) -> None:
        self.confirmed = confirmed
        self.streaks: dict[str, tuple[int, int]] = {}  # since which step, and how many
        self.reported: set[str] = set()

    def __call__(self, step: int, symptoms: Sequence[Symptom]) -> list[HealthWarning]:
        """step, what it shows → new warnings."""
        warnings, streaks = [], {}
        for symptom in symptoms:
            key = f"{symptom.kind}/{symptom.part}/{symptom.head}"
            if key in streaks:
                continue
            since, count = self.streaks.get(key, (step, 0))
            streaks[key] = since, count + 1
            if count + 1 >= self.confirmed and key not in self.reported:
                self.reported.add(key)
                kind, part, head, value = symptom
                warnings.append(HealthWarning(step, kind, part, head, since, value))
        self.streaks = streaks
        return warnings

    def state(self) -> dict[str, Any]:
        """What it remembers: plain values for JSON."""
        return {"streaks": self.streaks, "reported": sorted(self.reported)}

    def load_state(self, state: dict[str, Any]) -> None:
        """state → streaks and reported symptoms as they were."""
        streaks = state.get("streaks", {})
        self.streaks = {key: (since, count) for key, (since, count) in streaks.items()}
        self.reported = set(state.get("reported", ()))
