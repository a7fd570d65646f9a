"""What a dataset holds, as lines and as a page: classes, examples, copies and leaks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vitrail.data.dataset import Dataset
from vitrail.data.duplicates import Copy, Duplicates, label_of
from vitrail.data.image_augment import ImageAugment
from vitrail.data.splits import balanced
from vitrail.lens.figures import Panel
from vitrail.lens.html import escape, headline, panel_row, paragraph, section, write_page
from vitrail.messages import _, ngettext
from vitrail.preprocess import Preprocess
from vitrail.train.summary import describe_left_aside, split_origin

EXAMPLES = 16
MOST_GROUPS, MOST_COPIES = 20, 4  # in a list, in a line of it


def describe_data(splits: Mapping[str, Dataset], duplicates: Duplicates | None) -> list[str]:
    """Lines on the splits of a dataset.

    Args:
        splits: its splits by name.
        duplicates: copies of images; None if nobody looked for them.

    Returns:
        The lines.

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> describe_data({"train": open_dataset("digits", limit=20)}, None)[0]
        'train: 20 images'
    """
    lines = []
    for split, dataset in splits.items():
        count = ngettext("{n:,} image", "{n:,} images", len(dataset)).format(n=len(dataset))
        line = _("{title}: {count}").format(title=split, count=count)
        lines.append(line + split_origin(split, dataset.inventory))
        lines += [f"  {label}: {number:,}" for label, number in dataset.counts().items()]
    inventory = next((d.inventory for d in splits.values()), None)
    if inventory is not None and (aside := describe_left_aside(inventory)):
        lines.append(_("left aside: {what}").format(what=", ".join(aside)))
    if duplicates is None:
        return lines
    for title, groups in _findings(duplicates):
        lines.append(_("{title}: {count}").format(title=title, count=len(groups)))
        lines += [f"  {_in_words(group)}" for group in groups[:MOST_GROUPS]]
        if len(groups) > MOST_GROUPS:
            lines.append(_("  and {n} more").format(n=len(groups) - MOST_GROUPS))
    return lines


def write_data_page(
    path: Path,
    name: str,
    splits: Mapping[str, Dataset],
    duplicates: Duplicates | None,
    preprocess: Preprocess,
    augment: ImageAugment | None = None,
) -> Path:
    """Writes a page on a dataset.

    Args:
        path: the file.
        name: name of the dataset.
        splits: its splits by name.
        duplicates: copies of images; None if nobody looked for them.
        preprocess: of the model, which examples are shown through.
        augment: augmentation of training, which examples are shown through too; None for none.

    Returns:
        The path.

    Example:
        >>> import tempfile
        >>> from vitrail.data.registry import open_dataset
        >>> splits = {"train": open_dataset("digits", limit=20)}
        >>> preprocess = Preprocess((8, 8), None, mean=(0.5,), std=(0.5,))
        >>> path = Path(tempfile.mkdtemp()) / "digits.html"
        >>> write_data_page(path, "digits", splits, None, preprocess).name
        'digits.html'
    """
    counts = {split: dataset.counts() for split, dataset in splits.items()}
    labels = [*next(iter(counts.values()))]
    figures = [(f"{len(dataset):,}", split) for split, dataset in splits.items()]
    if labels:
        figures.append((f"{len(labels):,}", _("classes")))
    parts = [headline(figures)]
    rows = [
        "".join(
            f"<td>{escape(cell)}</td>" for cell in (label, *(c[label] for c in counts.values()))
        )
        for label in labels
    ]
    head = "".join(f"<th>{escape(title)}</th>" for title in (_("class"), *splits))
    table = f"<tr>{head}</tr>" + "".join(f"<tr>{row}</tr>" for row in rows)
    if labels:
        parts.append(
            section(_("Classes"), f'<div class="scroll"><table class="list">{table}</table></div>')
        )
    for split, dataset in splits.items():
        few = balanced(dataset, EXAMPLES)
        titles = [label_of(few, i) or Path(few.name(i)).name for i in range(len(few))]
        whole = [Panel(t, _pixels(preprocess.crop(few.read(i)))) for i, t in enumerate(titles)]
        parts.append(
            section(_("{split}, as the model sees it").format(split=split), panel_row(whole))
        )
        if augment is not None and split == "train":
            changed = [
                Panel(title, _pixels(augment(few.open(i), seed=i)))
                for i, title in enumerate(titles)
            ]
            parts.append(section(_("The same in training, augmented"), panel_row(changed)))
    for title, groups in _findings(duplicates) if duplicates is not None else ():
        items = "".join(f"<li>{escape(_in_words(group))}</li>" for group in groups[:MOST_GROUPS])
        parts.append(section(f"{title}: {len(groups)}", f"<ul>{items}</ul>"))
    if duplicates is None:
        parts.append(paragraph(_("Nobody looked for copies of images."), "quiet"))
    return write_page(path, name, _("What the data hold"), parts)


def _pixels(image) -> np.ndarray:  # type: ignore[no-untyped-def]
    """uint8 (C, H, W) → (H, W, 3); of many channels the first one or three."""
    image = image[:3] if image.shape[0] >= 3 else image[:1].expand(3, -1, -1)
    return image.permute(1, 2, 0).numpy()


def _findings(duplicates: Duplicates) -> list[tuple[str, Sequence[Sequence[Copy]]]]:
    return [
        (_("images in more than one split"), duplicates.leaks()),
        (_("copies with different labels"), duplicates.contradictions()),
        (_("groups of equal images"), duplicates.exact),
        (_("groups of nearly equal images"), duplicates.near),
    ]


def _in_words(group: Sequence[Copy]) -> str:
    names = [f"{copy.name} ({copy.split})" for copy in group[:MOST_COPIES]]
    if len(group) > MOST_COPIES:
        names.append(_("{n} more").format(n=len(group) - MOST_COPIES))
    return " = ".join(names)
