"""The paper that a model or a training method is from."""

from typing import NamedTuple


class Paper(NamedTuple):
    """A paper, stated as the class attribute `paper` of models and methods.

    Args:
        title: the full title.
        authors: in short, "Dosovitskiy et al.".
        year: of the first version.
        url: where it can be read.
        change: what the paper changed, one line of at most 72 characters; "": not stated.

    Example:
        >>> url = "https://arxiv.org/abs/2010.11929"
        >>> paper = Paper("An Image is Worth 16x16 Words", "Dosovitskiy et al.", 2020, url)
        >>> str(paper)
        'Dosovitskiy et al. 2020'
    """

    title: str
    authors: str
    year: int
    url: str
    change: str = ""

    def __str__(self) -> str:
        """The short citation: authors and year."""
        return f"{self.authors} {self.year}"
