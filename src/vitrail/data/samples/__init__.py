"""Photographs to try things on: a cat, a cup of coffee, an astronaut, a rocket, the moon.

From scikit-image, made smaller. Nobody's copyright binds them: the cat by Stéfan van der Walt and
the cup by Rachel Michetti are CC0; the astronaut and the moon (NASA) and the rocket (SpaceX) are in
the public domain.
"""

from pathlib import Path

from vitrail.arguments import checked


@checked
def sample_images() -> list[Path]:
    """The photographs.

    Returns:
        Paths of JPEG files.

    Example:
        >>> [path.stem for path in sample_images()]
        ['astronaut', 'cat', 'coffee', 'moon', 'rocket']
    """
    return sorted(Path(__file__).parent.glob("*.jpg"))
