"""From settings to datasets: what a run learns from, and what it is evaluated on."""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

from vitrail.arguments import checked
from vitrail.data.dataset import Dataset
from vitrail.data.folders import FILLERS
from vitrail.data.joined import with_labels
from vitrail.data.registry import open_parts, prepared
from vitrail.data.splits import SPLITS, Parts, balanced, split_fold, split_off
from vitrail.errors import ConfigError, DataError
from vitrail.messages import _, ngettext
from vitrail.methods.registry import get_method, list_methods
from vitrail.train.config import RunConfig
from vitrail.train.console import note

Progress = Callable[[int, int], None]


class Datasets(NamedTuple):
    """Samples to learn from, and samples to evaluate on.

    Args:
        train: training samples.
        validation: samples that epochs are judged by; None where there are none.
        test: samples that the trained weights are judged by, once; None where there are none.

    Example:
        >>> Datasets._fields
        ('train', 'validation', 'test')
    """

    train: Dataset
    validation: Dataset | None = None
    test: Dataset | None = None

    @property
    def evaluation(self) -> Dataset:
        """Samples that are not learned from: for validation or else for the test."""
        dataset = self.test if self.validation is None else self.validation
        assert dataset is not None, "`open_datasets` sees to it"
        return dataset

    @property
    def splits(self) -> dict[str, Dataset]:
        """The samples by the name of their split, "train", "val" or "test"."""
        named = zip(SPLITS, self, strict=True)
        return {split: dataset for split, dataset in named if dataset is not None}


# What a label may be.
DESCRIPTIONS = {"class": "one class per image", "labels": "several labels per image",
                "numbers": "numbers"}  # fmt: skip

# Arguments of `open_dataset` and the settings that they come from, for errors.
SETTINGS = {"bad_images=": "data.bad_images=", "stream_limit": "data.limit"}


@checked
def open_datasets(
    config: RunConfig,
    progress: Progress | None = None,
    parts: Parts | None = None,
    *,
    check_method: bool = True,
    must_divide: bool = True,
) -> Datasets:
    """Opens and checks what `config.data` names.

    Where there is no validation split, one is held out of the training samples.

    Args:
        config: the settings.
        progress: called with (done, total) while files are checked.
        parts: the splits, in place of what the settings name.
        check_method: whether the method must suit the labels.
        must_divide: whether too few images to hold some out are an error; otherwise none are.

    Returns:
        Training samples, and those to evaluate on, with the classes of the training samples.

    Raises:
        ConfigError: the method needs labels and there are none, or there is nothing to evaluate on.
        DataError: something is missing or unreadable, or a split has classes of its own.

    Example:
        >>> from vitrail.train.config import make_config
        >>> datasets = open_datasets(make_config({"data": {"source": "digits", "limit": 50}}))
        >>> {split: len(dataset) for split, dataset in datasets.splits.items()}
        {'train': 50, 'val': 285, 'test': 355}
    """
    data = config.data
    try:
        parts = open_parts(data.source) if parts is None else parts
        opened = {
            split: prepared(
                part().with_pixels(data.channels, data.white),
                bad_images=data.bad_images,
                check=data.check,
                stream_limit=data.limit,
                progress=progress,
            )
            for split, part in parts.items()
        }
        datasets = _arrange(config, opened, must_divide)
    except DataError as problem:
        message = str(problem)
        for argument, setting in SETTINGS.items():
            message = message.replace(argument, setting)
        raise DataError(message) from None
    if check_method:
        _check_labels(config, datasets.train)
    if data.limit is not None and not datasets.train.streamed:
        datasets = datasets._replace(train=balanced(datasets.train, data.limit))
    return datasets


def open_with_method(
    config: RunConfig, progress: Progress | None = None, parts: Parts | None = None
) -> tuple[RunConfig, Datasets]:
    """Opens what `config.data` names, and chooses the method that suits it, if none is named.

    Args:
        config: the settings.
        progress: called with (done, total) while files are checked.
        parts: the splits, in place of what the settings name.

    Returns:
        The settings and the samples.

    Raises:
        ConfigError: the method that is named does not suit the labels.
        DataError: something is missing or unreadable.

    Example:
        >>> from vitrail.train.config import make_config
        >>> open_with_method(make_config({"data": {"source": "digits"}}))[0].method.name
        'supervised'
    """
    datasets = open_datasets(config, progress, parts, check_method=False)
    config = choose_method(config, datasets.train)
    _check_labels(config, datasets.train)
    return config, datasets


def choose_method(config: RunConfig, train: Dataset) -> RunConfig:
    """The settings with the method that suits the labels, if none is named.

    Args:
        config: the settings.
        train: training samples.

    Returns:
        The settings; the same ones where a method is named, or each image has one class.

    Example:
        >>> choose_method(RunConfig(), open_parts("digits")["test"]()).method.name
        'supervised'
    """
    if "method" in config.model_fields_set or train.target == "class":
        return config
    name = next(m for m in list_methods() if suits(m, train))
    values = {**config.model_dump(exclude_unset=True), "method": {"name": name}}
    return RunConfig.model_validate(values)


def suits(method: str, dataset: Dataset) -> bool:
    """Whether a method learns from images and what a dataset says of them.

    Args:
        method: its name.
        dataset: training samples.

    Returns:
        Whether it does.

    Example:
        >>> suits("supervised", open_parts("digits")["test"]())
        True
    """
    described = get_method(method)
    return described.target == dataset.target and described.inputs == ("images", "labels")


def run_parts(config: RunConfig, progress: Progress | None = None) -> Parts:
    """The splits of the data of a run, as they are in training.

    Args:
        config: its settings.
        progress: called with (done, total) while files are checked.

    Returns:
        Functions that return datasets, by "train", "val" and "test". They tell on stderr if the
        samples are not those of the training any more.

    Raises:
        DataError: something is missing.

    Example:
        >>> from vitrail.train.config import make_config
        >>> parts = run_parts(make_config({"data": {"source": "digits"}}))
        >>> {split: len(part()) for split, part in parts.items()}
        {'train': 1157, 'val': 285, 'test': 355}
    """
    data, parts = config.data, open_parts(config.data.source)
    arranged = functools.cache(lambda: open_datasets(config, progress, parts).splits)

    def open_one(split: str) -> Dataset:
        stored = split in parts and split != "train" and not (split == "test" and data.folds)
        dataset = parts[split]() if stored else arranged().get(split)
        if dataset is None:
            raise DataError(f"{data.source} is streamed, and no {split} split is held out of it.")
        for remark in changed_samples(config, {split: dataset}):
            note(remark)
        return dataset

    names = [s for s in SPLITS if s in parts or (s == "val" and data.validation != 0)
             or (s == "test" and data.folds is not None)]  # fmt: skip
    return {split: functools.partial(open_one, split) for split in names}


def digests(datasets: Mapping[str, Dataset]) -> dict[str, str]:
    """What a run notes of its samples, by which changed data are noticed.

    Args:
        datasets: its splits.

    Returns:
        The number of samples and a hash of their keys and labels, by split.

    Example:
        >>> digests({"test": open_parts("digits")["test"]()})["test"][:10]
        '355 x f296'
    """
    return {s: f"{len(dataset)} x {dataset.digest()[:32]}" for s, dataset in datasets.items()}


def changed_samples(config: RunConfig, datasets: Mapping[str, Dataset]) -> list[str]:
    """Which splits hold other samples than when a run began.

    Args:
        config: settings of the run, with the digests that it noted.
        datasets: splits as they are now.

    Returns:
        A sentence per split.

    Example:
        >>> from vitrail.train.config import make_config
        >>> config = make_config({"data": {"source": "digits", "digests": {"test": "300 x 1234"}}})
        >>> changed_samples(config, {"test": open_parts("digits")["test"]()})
        ['digits: the test images are not those of the run: 300 then, 355 now.']
    """
    noted, remarks = config.data.digests, []
    for split, digest in digests({s: d for s, d in datasets.items() if s in noted}).items():
        if digest != noted[split]:
            text = _(
                "{source}: the {split} images are not those of the run: {before} then, {now} now."
            )
            before, now = noted[split].split()[0], digest.split()[0]
            text = text.format(source=config.data.source, split=split, before=before, now=now)
            remarks.append(text)
    return remarks


def absent_classes(dataset: Dataset, name: str) -> str:
    """Which classes a dataset has no image of.

    Args:
        dataset: samples with labels.
        name: what to call it.

    Returns:
        A sentence; "" if there is none.

    Example:
        >>> absent_classes(open_parts("digits")["test"]().subset([0]), "digits")[:42]
        'digits has no image of 9 classes: 0, 1, 2,'
    """
    absent = [label for label, count in dataset.counts().items() if not count]
    if not absent:
        return ""
    text = ngettext(
        "{name} has no image of the class {absent}.",
        "{name} has no image of {count} classes: {absent}.",
        len(absent),
    )
    listed = ", ".join(absent[:10]) + (", ..." if len(absent) > 10 else "")
    return text.format(name=name, count=len(absent), absent=listed)


def _arrange(config: RunConfig, opened: Mapping[str, Dataset], must_divide: bool) -> Datasets:
    """Training, validation and test samples, which are held out where there are none."""
    data = config.data
    train, validation, test = (opened.get(split) for split in SPLITS)
    if train is None:
        raise DataError(
            f"{data.source} has no training split: it has {', '.join(map(repr, opened))}."
        )
    if data.folds is not None:
        if data.fold > data.folds:
            raise ConfigError(f"data.fold={data.fold} is more than data.folds={data.folds}.")
        train, test = split_fold(train, data.fold, data.folds)
    if validation is None and data.validation != 0 and not (train.streamed and test is not None):
        try:
            train, validation = split_off(train, data.validation)
        except DataError:
            if must_divide:
                raise
            return Datasets(train)
    elif data.validation and "val" in opened:
        raise ConfigError(
            f"data.validation={data.validation}: {data.source} has a validation split of its own, "
            "which is used: leave the setting out."
        )
    if validation is None and test is None:
        raise ConfigError(
            f"data.validation=0 leaves nothing to evaluate on, for {data.source} has only training "
            "images: leave it out, or give a test split."
        )
    others = {"validation": validation, "test": test}
    for split, dataset in others.items():
        if dataset is not None:
            try:
                others[split] = with_labels(dataset, train.labels)
            except DataError as problem:
                message = f"{data.source}: the {split} images have {problem}"
                raise DataError(message) from None
    return Datasets(train, **others)


def _check_labels(config: RunConfig, train: Dataset) -> None:
    """Raises `ConfigError` if the method learns from labels and there are none, or one only."""
    one_class = not train.streamed and len(train.labels) > 1 and train.target == "class"
    if config.data.sampler == "balanced" and not one_class:
        raise ConfigError(
            "data.sampler='balanced' needs one class for every image, known in advance, and "
            f"{config.data.source} has none: leave it out."
        )
    inputs = get_method(config.method.name).inputs
    if "captions" in inputs and train.target != "class" and not train.captions:
        raise ConfigError(
            f"{config.data.source} has {DESCRIPTIONS[train.target]}, of which method "
            f"{config.method.name!r} makes no captions: take captions:PATH, or another method."
        )
    if train.weights is not None and not get_method(config.method.name).weighs_samples:
        raise ConfigError(
            f"{config.data.source} has weights of the samples, and method {config.method.name!r} "
            "has no use for them: leave them out, as labels.csv?weight=."
        )
    if "labels" not in inputs:
        return
    if not train.labels:
        raise ConfigError(
            f"{config.data.source} has no labels and method {config.method.name!r} learns from "
            "them: give folder:PATH, or another method."
        )
    # Of a probe, which learns all three, a setting says it.
    target = getattr(config.method, "target", get_method(config.method.name).target)
    if train.target != target:
        cure = next(m for m in ("supervised", *list_methods()) if suits(m, train))
        if hasattr(config.method, "target"):
            cure = f"{config.method.name} method.target={train.target}"
        raise ConfigError(
            f"{config.data.source} has {DESCRIPTIONS[train.target]}, and method "
            f"{config.method.name!r} learns {DESCRIPTIONS[target]}: set method.name={cure}, or "
            "name other columns of the table."
        )
    if config.data.augment.mixup + config.data.augment.cutmix and train.weights is not None:
        raise ConfigError(
            "data.augment.mixup and cutmix mix images, and their weights cannot be: set them to 0, "
            "or leave the weights out, as labels.csv?weight=."
        )
    if len(train.labels) < 2 and target == "class":
        if train.labels[0].casefold() in FILLERS:
            raise ConfigError(
                f"{config.data.source} holds no folders of classes, only {train.labels[0]!r}: make "
                "one for each class, or name a table of paths and labels, as table:FILE."
            )
        raise ConfigError(
            f"{config.data.source} holds only one class, {train.labels[0]!r}: give images of two "
            "or more, each in a folder of its class or a row with its label."
        )
