"""What a user should know about the data and the method before training begins."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence

from vitrail.data.augment_config import AugmentConfig, MultiCropConfig
from vitrail.data.captions import all_captions, count_captions
from vitrail.data.dataset import Dataset
from vitrail.data.folders import Inventory
from vitrail.messages import _, ngettext
from vitrail.methods.base import Method
from vitrail.train.config import RunConfig
from vitrail.train.training_sections import ScheduleConfig


def data_remarks(config: RunConfig, method: Method, dataset: Dataset) -> list[str]:
    """Sentences on odd images, captions, settings that the method does not read, and its size.

    Args:
        config: the settings.
        method: the method.
        dataset: training samples.

    Returns:
        Sentences, one per remark.

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> from vitrail.methods.supervised import Supervised
        >>> model = vitrail.create_model("vit_tiny_patch16_224", num_classes=10)
        >>> data_remarks(RunConfig(), Supervised(model), open_dataset("digits", limit=20))
        []
    """
    remarks = _unread_settings(config, method)
    remarks += odd_remarks(dataset)
    if "captions" in method.inputs and not dataset.streamed:
        remarks += caption_remarks(method, dataset)
    model = sum(p.numel() for p in method.backbone.parameters())
    more = sum(p.numel() for p in method.parameters() if p.requires_grad) - model
    if more > model:
        text = _("the method adds {more:,} parameters to the {model:,} of the model.")
        remarks.append(text.format(more=more, model=model))
    return remarks


def odd_remarks(dataset: Dataset) -> list[str]:
    """What is odd about samples that can be read, and about their labels.

    Args:
        dataset: samples that were checked.

    Returns:
        Sentences, one per remark.

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> odd_remarks(open_dataset("digits", limit=20))
        []
    """
    remarks = twin_remarks([] if dataset.target == "numbers" else dataset.labels)
    if dataset.inventory is not None:
        remarks += _repeated_remarks(dataset.inventory)
    if not dataset.odd_images:
        return remarks
    text = ngettext(
        "{count} image is odd, and its pixels are taken: {name} ({reason})",
        "{count} images are odd, and their pixels are taken: {name} ({reason}), ...",
        len(dataset.odd_images),
    )
    name, reason = dataset.odd_images[0]
    return [*remarks, text.format(count=len(dataset.odd_images), name=name, reason=reason)]


def twin_remarks(labels: Sequence[str]) -> list[str]:
    """Classes that are one to a reader: their names differ in case, spaces, - or _ only.

    Args:
        labels: the names of the classes.

    Returns:
        A sentence for each such class.

    Example:
        >>> twin_remarks(["Cat", "cat", "dog"])
        ["the classes 'Cat', 'cat' are told apart: if they are one, give them one name."]
    """
    names: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        plain = unicodedata.normalize("NFKC", label).casefold()
        names[re.sub(r"[\s_-]+", " ", plain).strip()].append(label)
    text = _("the classes {names} are told apart: if they are one, give them one name.")
    twins = [same for same in names.values() if len(same) > 1]
    return [text.format(names=", ".join(map(repr, same))) for same in twins]


def _repeated_remarks(inventory: Inventory) -> list[str]:
    """Of files that a table lists more than once."""
    remarks = []
    for names, text in (
        (
            inventory.contradicted,
            ngettext(
                "{count} file is listed with different labels, {name}: correct them; several "
                "labels of one image go into one row, as in cat;dog.",
                "{count} files are listed with different labels, such as {name}: correct them; "
                "several labels of one image go into one row, as in cat;dog.",
                len(inventory.contradicted),
            ),
        ),
        (
            inventory.shared,
            ngettext(
                "{count} file is listed in more than one split, {name}: a test of what was "
                "trained on tells nothing.",
                "{count} files are listed in more than one split, such as {name}: a test of what "
                "was trained on tells nothing.",
                len(inventory.shared),
            ),
        ),
        (
            inventory.repeated,
            ngettext(
                "{count} file is listed more than once, {name}, and counts as often.",
                "{count} files are listed more than once, such as {name}, and count as often.",
                len(inventory.repeated),
            ),
        ),
    ):
        if names:
            remarks.append(text.format(count=len(names), name=names[0]))
    return remarks


def caption_remarks(method: Method, dataset: Dataset) -> list[str]:
    """How long captions are, and how many were cut, became equal or are empty.

    Args:
        method: a method that reads captions.
        dataset: training samples, with captions or labels.

    Returns:
        Sentences, one per remark.

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> from vitrail.data.text import Tokenizer
        >>> from vitrail.methods.clip import CLIP
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, channels=1, dim=8,
        ...                              num_classes=0, depth=1, heads=1, mlp_dim=8)
        >>> clip = CLIP(model, Tokenizer.train(["a photo of a 7."], 300), templates=("a {}.",),
        ...             text_dim=8, text_depth=1, text_heads=1)
        >>> caption_remarks(clip, open_dataset("digits", limit=20))
        ['10 captions, 10 of them different, of up to 6 of 32 tokens.']
    """
    tokenizer = method.tokenizer
    figures = count_captions(all_captions(dataset, method.templates), tokenizer)
    text = _(
        "{number:,} captions, {distinct:,} of them different, of up to {longest} of {context} "
        "tokens."
    )
    remarks = [text.format(**figures._asdict(), context=tokenizer.context)]
    if figures.cut:
        text = ngettext(
            "{cut:,} caption is cut after {context} tokens: method.tokenizer=train:SIZE learns a "
            "vocabulary whose context fits.",
            "{cut:,} captions are cut after {context} tokens: method.tokenizer=train:SIZE learns a "
            "vocabulary whose context fits.",
            figures.cut,
        )
        remarks.append(text.format(cut=figures.cut, context=tokenizer.context))
    if equal := figures.distinct - figures.distinct_ids:
        text = ngettext(
            "{equal:,} caption became equal to another one, and counts as the right one for its "
            "image.",
            "{equal:,} captions became equal to others, and count as the right ones for their "
            "images.",
            equal,
        )
        remarks.append(text.format(equal=equal))
    if figures.empty:
        text = ngettext(
            "{empty:,} caption is empty.", "{empty:,} captions are empty.", figures.empty
        )
        remarks.append(text.format(empty=figures.empty))
    if figures.number > 1 and figures.distinct_ids == 1:
        remarks.append(_("all captions are equal: there is nothing to learn from them."))
    return remarks


def warmup_remarks(schedule: ScheduleConfig, epoch_steps: int) -> list[str]:
    """Whether the learning rate never falls, nor stays at its peak, for want of steps.

    Args:
        schedule: the settings.
        epoch_steps: number of steps of an epoch.

    Returns:
        A sentence, or none.

    Example:
        >>> warmup_remarks(ScheduleConfig(epochs=2, warmup_epochs=5), 10)[0][:35]
        'the warm-up of 50 steps is longer t'
    """
    total, warmup = epoch_steps * schedule.epochs, schedule.warmup_steps
    if warmup is None:
        warmup = round(epoch_steps * (schedule.warmup_epochs or 0))
    if warmup <= total:
        return []
    text = _(
        "the warm-up of {warmup:,} steps is longer than the training of {total:,}, and ends with "
        "it: the learning rate only rises."
    )
    return [text.format(warmup=warmup, total=total)]


def _unread_settings(config: RunConfig, method: Method) -> list[str]:
    """What is set of the data and has no effect."""
    data = config.data
    if "features" not in method.inputs:
        if "crops" in method.inputs or data.crops == MultiCropConfig():
            return []
        text = _("data.crops: without effect, for {method} reads whole images.")
        return [text.format(method=config.method.name)]
    unread = {
        "data.augment": data.augment != AugmentConfig(),
        "data.transforms": bool(data.transforms),
        "data.repeats": data.repeats != 1,
    }
    names = [name for name, differs in unread.items() if differs]
    if not names:
        return []
    text = _("{names}: without effect, for features are computed once, of images as they are.")
    return [text.format(names=", ".join(names))]
