"""A caption for every sample of a dataset, and what a tokenizer makes of all of them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vitrail.data.dataset import Dataset
from vitrail.data.text import clean
from vitrail.errors import DataError
from vitrail.prompts import fill_template

TEMPLATE_STREAM = 0x2545F4914F6CDD1D  # so that templates and crops of one seed draw differently
COUNTED = 50_000  # captions, of a dataset with more, whose figures are counted


class Captions:
    """A caption for every sample of a dataset: its own, or a prompt made of its label's name.

    Args:
        dataset: samples with captions, or with labels.
        tokenizer: texts → ids (B, L).
        templates: prompts with {} for the label; one is drawn for each sample. Samples that have
            captions need none.

    Raises:
        DataError: the dataset has neither captions nor labels.

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> from vitrail.data.text import Tokenizer
        >>> tokenizer = Tokenizer.train(["a photo of a 7."], 300, context=16)
        >>> captions = Captions(open_dataset("digits", limit=20), tokenizer)
        >>> captions(torch.tensor([3, 7]), torch.tensor([0, 1]), seed=0).shape
        torch.Size([2, 16])
    """

    def __init__(
        self,
        dataset: Dataset,
        tokenizer: Any,
        templates: Sequence[str] = ("a photo of a {}.",),
    ) -> None:
        self.dataset, self.tokenizer = dataset, tokenizer
        self.table: Tensor | None = None
        if not dataset.captions:
            labels = _labels(dataset)
            rows = [tokenizer([fill_template(t, label) for label in labels]) for t in templates]
            self.table = torch.stack(rows)  # (templates, labels, L)

    def __call__(self, labels: Tensor, indices: Tensor, seed: int) -> Tensor:
        """Captions of a batch.

        Args:
            labels: (B,), class indices.
            indices: (B,), positions in the dataset.
            seed: seed of the draw of templates.

        Returns:
            ids (B, L).
        """
        if self.table is None:
            return self.tokenizer([self.dataset.captions[i] for i in indices.tolist()])
        generator = torch.Generator().manual_seed(seed ^ TEMPLATE_STREAM)
        template = torch.randint(len(self.table), labels.shape, generator=generator)
        return self.table[template, labels.cpu()]


def all_captions(dataset: Dataset, templates: Sequence[str]) -> list[str]:
    """Every text that `Captions` may use, from which a vocabulary is learned.

    Args:
        dataset: samples with captions, or with labels.
        templates: prompts with {} for a label.

    Returns:
        The captions of all samples, or the prompts of all labels.

    Raises:
        DataError: the dataset has neither captions nor labels.

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> all_captions(open_dataset("digits", limit=20), ["a {}."])[:2]
        ['a 0.', 'a 1.']
    """
    if dataset.captions:
        return list(dataset.captions)
    return [fill_template(template, label) for label in _labels(dataset) for template in templates]


class CaptionFigures(NamedTuple):
    """What a tokenizer makes of the captions of a dataset.

    Args:
        number: of captions that were looked at.
        cut: how many were longer than the context.
        longest: length of the longest in ids; 0 where the tokenizer does not say.
        empty: how many have no word.
        distinct: number of different captions.
        distinct_ids: number of different sequences of ids that they became.

    Example:
        >>> from vitrail.data.text import Tokenizer
        >>> tokenizer = Tokenizer.train(["a cat", "a dog"], 300, context=3)
        >>> count_captions(["a cat", "a dog", ""], tokenizer).cut
        2
    """

    number: int
    cut: int
    longest: int
    empty: int
    distinct: int
    distinct_ids: int


def count_captions(captions: Sequence[str], tokenizer: Any) -> CaptionFigures:
    """Counts what a tokenizer makes of captions.

    Args:
        captions: texts; of more than 50,000 evenly spread ones are looked at.
        tokenizer: texts → ids (B, L). `lengths` of it, if there is one, says how long texts are.

    Returns:
        The figures.

    Example:
        >>> from vitrail.data.text import Tokenizer
        >>> tokenizer = Tokenizer.train(["a cat"], 300, context=8)
        >>> count_captions(["a cat", "a cat", " "], tokenizer).empty
        1
    """
    captions = captions[:: max(1, -(-len(captions) // COUNTED))]
    distinct = list(dict.fromkeys(captions))
    rows = [tuple(row) for text in distinct for row in tokenizer([text]).tolist()]
    measure = getattr(tokenizer, "lengths", None)
    lengths = dict(
        zip(distinct, measure(distinct) if measure else [0] * len(distinct), strict=True)
    )
    return CaptionFigures(
        number=len(captions),
        cut=sum(lengths[text] > tokenizer.context for text in captions) if measure else 0,
        longest=max(lengths.values(), default=0),
        empty=sum(not clean(text).strip() for text in captions),
        distinct=len(distinct),
        distinct_ids=len(set(rows)),
    )


def _labels(dataset: Dataset) -> list[str]:
    if not dataset.labels:
        raise DataError(
            "these images have neither captions nor labels: name them as captions:PATH, a folder "
            "with metadata.jsonl, or as folder:PATH, one of classes."
        )
    return dataset.labels
