"""What a run trains on what: for the reader before it begins, and for programs in summary.json."""

import dataclasses
import sys
import time
from typing import Any

import torch

from vitrail.data.dataset import Dataset
from vitrail.data.folders import Inventory
from vitrail.messages import _, ngettext
from vitrail.methods.base import Method
from vitrail.run_folder import RunFolder
from vitrail.train.config import RunConfig
from vitrail.train.console import note
from vitrail.train.data_factory import Datasets
from vitrail.train.devices import choose_device, join_processes
from vitrail.train.remarks import data_remarks, warmup_remarks
from vitrail.train.streams import Stream
from vitrail.train.trainer import Trainer

MAX_CLASSES = 12  # classes in a line
MEASURED = 4  # steps; the first is slower, and is left out


def summarize_run(
    config: RunConfig, datasets: Datasets, method: Method, stream: Stream, run: RunFolder
) -> dict[str, Any]:
    """What is trained on what, as plain values for JSON.

    Args:
        config: the settings.
        datasets: its samples.
        method: what the model is trained to do.
        stream: its batches.
        run: its folder.

    Returns:
        "data", "model", "training", "device" and "report".

    Example:
        >>> from vitrail.train.config import make_config
        >>> from vitrail.train.data_factory import open_datasets
        >>> from vitrail.train.factory import build_trainer
        >>> options = {"patch_size": 4, "dim": 8, "depth": 1, "heads": 1, "mlp_dim": 8}
        >>> config = make_config({"data": {"source": "digits", "limit": 20, "batch_size": 6},
        ...                       "model": {"name": "ViT", "options": options}})
        >>> datasets, run = open_datasets(config), RunFolder("unused")
        >>> trainer, _ = build_trainer(config, run, datasets)
        >>> summary = summarize_run(config, datasets, trainer.method, trainer.stream, run)
        >>> summary["training"]["left_out_per_epoch"]
        2
    """
    backbone, epoch_steps = method.backbone, len(stream) // config.optim.accumulate
    used = epoch_steps * config.optim.accumulate * stream.batch_size
    inventory = datasets.train.inventory
    return {
        "data": {
            "source": config.data.source,
            "splits": {split: _count(dataset) for split, dataset in datasets.splits.items()},
            "inventory": None if inventory is None else dataclasses.asdict(inventory),
            "unreadable": len({bad for d in datasets.splits.values() for bad in d.bad_images}),
        },
        "model": {
            "architecture": type(backbone).__name__,
            "name": config.model.name,
            "weights": config.model.weights,
            "image_size": list(backbone.preprocess.size),
            "parameters": sum(p.numel() for p in method.parameters()),
            "trained_parameters": sum(p.numel() for p in method.parameters() if p.requires_grad),
        },
        "training": {
            "method": config.method.name,
            "epochs": config.schedule.epochs,
            "steps_per_epoch": epoch_steps,
            "steps": epoch_steps * config.schedule.epochs,
            "batch_size": stream.batch_size,
            "accumulate": config.optim.accumulate,
            "left_out_per_epoch": max(len(datasets.train) - used, 0),
        },
        "device": str(choose_device(config.train.device)),
        "precision": config.train.precision,
        "report": str(run.report_file),
    }


def announce_run(
    config: RunConfig,
    datasets: Datasets,
    run: RunFolder,
    summary: dict[str, Any],
    remarks: list[str],
    method: Method,
    stream: Stream,
) -> None:
    """Prints what is trained on what.

    Args:
        config: the settings.
        datasets: its samples.
        run: its folder.
        summary: an empty dictionary, which is filled by what `summarize_run` returns.
        remarks: sentences to print after it, to which those on the data are added.
        method: what the model is trained to do.
        stream: its batches.

    Example:
        >>> callable(announce_run)  # `vitrail.fit` calls it
        True
    """
    summary.update(summarize_run(config, datasets, method, stream, run))
    remarks.extend(data_remarks(config, method, datasets.train))
    remarks.extend(warmup_remarks(config.schedule, len(stream) // config.optim.accumulate))
    if join_processes().is_main_process:
        note(*describe_run(summary, datasets), *remarks)


def describe_run(summary: dict[str, Any], datasets: Datasets) -> list[str]:
    """The same for a reader.

    Args:
        summary: as `summarize_run` returns it.
        datasets: the samples.

    Returns:
        Lines.

    Example:
        >>> callable(describe_run)  # `vitrail.fit` prints them
        True
    """
    data, model, training = summary["data"], summary["model"], summary["training"]
    lines = [_("data: {source}").format(source=data["source"])]
    inventory = datasets.train.inventory
    for split, counts in data["splits"].items():
        line = describe_split(split, counts) + split_origin(split, inventory)
        lines.append("  " + line)
    if inventory is not None and (aside := describe_left_aside(inventory)):
        lines.append("  " + _("left aside: {what}").format(what=", ".join(aside)))
    text = _(
        "model: {model}, {size} pixels, {parameters:,} parameters, {trained:,} of them trained"
    )
    weights = _(", from {weights}").format(weights=model["weights"]) if model["weights"] else ""
    lines.append(
        text.format(
            model=model["architecture"],
            size=" x ".join(map(str, model["image_size"])),
            parameters=model["parameters"],
            trained=model["trained_parameters"],
        )
        + weights
    )
    text = ngettext(
        "training: {method}, {epochs} epoch of {one_epoch}, with batches of {batch}; {device}, "
        "{precision}",
        "training: {method}, {epochs} epochs of {each} steps, {steps:,} steps in all, with batches "
        "of {batch}; {device}, {precision}",
        training["epochs"],
    )
    batch = training["batch_size"]
    batch = batch if training["accumulate"] == 1 else f"{training['accumulate']} x {batch}"
    lines.append(
        text.format(
            method=training["method"],
            epochs=training["epochs"],
            each=training["steps_per_epoch"],
            one_epoch=ngettext("{n:,} step", "{n:,} steps", training["steps"]).format(
                n=training["steps"]
            ),
            steps=training["steps"],
            batch=batch,
            device=summary["device"],
            precision=summary["precision"],
        )
    )
    if left := training["left_out_per_epoch"]:
        text = _("  each epoch leaves out {left} of {count:,} training images, others each time")
        lines.append(text.format(left=left, count=data["splits"]["train"]["images"]))
    lines.append(_("report: {path}").format(path=summary["report"]))
    return lines


def describe_split(split: str, counts: dict[str, Any]) -> str:
    """A split in one line.

    Args:
        split: its name.
        counts: its number of "images", and of each of its "classes".

    Returns:
        The line.

    Example:
        >>> describe_split("val", {"images": 3, "classes": {"cat": 2, "dog": 1}})
        'val: 3 images in 2 classes (cat 2, dog 1)'
    """
    images, classes = counts["images"], counts["classes"]
    text = ngettext("{split}: {images:,} image", "{split}: {images:,} images", images)
    line = text.format(split=split, images=images)
    if "weights" in counts:
        low, high = counts["weights"]
        line += _(" with weights of {low:g} to {high:g}").format(low=low, high=high)
    for name, (low, high) in counts.get("numbers", {}).items():
        line += ", " + _("{name} {low:g} to {high:g}").format(name=name, low=low, high=high)
    if not classes:
        return line
    each = set(classes.values())
    if len(each) == 1:
        detail = _("{count:,} each").format(count=each.pop())
    else:
        entries = [f"{label} {count}" for label, count in list(classes.items())[:MAX_CLASSES]]
        detail = ", ".join([*entries, "..."] if len(classes) > MAX_CLASSES else entries)
    if counts.get("target") == "labels":
        text = _("{line} with any of {count} labels ({detail})")
    else:
        text = _("{line} in {count} classes ({detail})")
    return text.format(line=line, count=len(classes), detail=detail)


def split_origin(split: str, inventory: Inventory | None) -> str:
    """Where the samples of a split come from, after what `describe_split` says.

    Args:
        split: its name.
        inventory: what the folder or file holds; None where that is unknown.

    Returns:
        The end of a line; "" where all samples are of one folder or file.

    Example:
        >>> split_origin("test", Inventory("pets", {}, {"test": "Testing"}))
        ', from Testing/'
        >>> split_origin("val", Inventory("pets", {"train": {"cat": 9}}))
        ', held out of the training images'
    """
    if inventory is None:
        return ""
    names = (split, "all") if split == "train" else (split,)
    if folder := next((f for name in names if (f := inventory.folders.get(name))), ""):
        return _(", from {folder}/").format(folder=folder)
    if split != "train" and split not in inventory.counts:
        return _(", held out of the training images")
    return ""


def describe_left_aside(inventory: Inventory) -> list[str]:
    """What a folder holds that is not used.

    Args:
        inventory: what it holds.

    Returns:
        Parts of a sentence.

    Example:
        >>> from vitrail.data.folders import LeftAside
        >>> aside = LeftAside({".txt": 2}, beside=1)
        >>> describe_left_aside(Inventory("pets", {}, left_aside=aside))
        ['2 .txt', '1 image beside the class folders']
    """
    aside = inventory.left_aside
    parts = [f"{count} {suffix or _('without suffix')}" for suffix, count in aside.suffixes.items()]
    parts += [_("class {name!r} is empty").format(name=name) for name in aside.empty]
    if aside.beside:
        text = ngettext(
            "{count} image beside the class folders",
            "{count} images beside the class folders",
            aside.beside,
        )
        parts.append(text.format(count=aside.beside))
    for name, count in aside.folders.items():
        text = ngettext("{count} image in {name}/", "{count} images in {name}/", count)
        parts.append(text.format(count=count, name=name))
    if aside.hidden:
        text = ngettext("{count} hidden file", "{count} hidden files", aside.hidden)
        parts.append(text.format(count=aside.hidden))
    return parts


def estimate(trainer: Trainer, evaluated: int) -> dict[str, float]:
    """Makes a few steps, and estimates what the whole run takes. The weights change.

    Args:
        trainer: a trainer that has not trained.
        evaluated: number of images of all evaluations; each takes a third of a step's time.

    Returns:
        "seconds" of the run and "memory_bytes" at its peak so far.

    Example:
        >>> from vitrail.methods.linear_probe import LinearProbe
        >>> from vitrail.train.schedule import Schedule
        >>> from vitrail.train.streams import FeatureStream
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, num_classes=2, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> stream = FeatureStream(torch.randn(8, 8), torch.arange(8) % 2, batch_size=4)
        >>> optimizer = torch.optim.SGD(model.head.parameters(), lr=0.1)
        >>> trainer = Trainer(LinearProbe(model), stream, optimizer, schedule=Schedule(total=6))
        >>> sorted(estimate(trainer, 8))
        ['memory_bytes', 'seconds']
    """
    batches, times = trainer.stream.epoch(0, 0, trainer.device), []
    for _number in range(min(MEASURED, trainer.epoch_steps)):
        start = time.monotonic()
        trainer.train_step(batches)
        trainer.check_finite(0)
        times.append(time.monotonic() - start)
    step = sorted(times[1:] or times)[len(times[1:] or times) // 2]
    images = trainer.stream.batch_size * trainer.accumulate
    return {
        "seconds": step * (trainer.total + evaluated / images / 3),
        "memory_bytes": float(_peak_memory(trainer.device)),
    }


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _count(dataset: Dataset) -> dict[str, Any]:
    """The number of samples, and of each class."""
    counts: dict[str, Any] = {"images": len(dataset), "classes": {}}
    if dataset.streamed:
        return counts
    counts["classes"] = dataset.counts()
    if dataset.values is not None:
        counts["target"] = dataset.target
    if dataset.target == "numbers" and dataset.values is not None:
        columns = zip(dataset.labels, dataset.values.T, strict=True)
        counts["numbers"] = {name: [float(v.min()), float(v.max())] for name, v in columns}
    if dataset.weights is not None:
        counts["weights"] = [float(dataset.weights.min()), float(dataset.weights.max())]
    return counts
