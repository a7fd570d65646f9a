"""What errors say."""

import importlib.metadata
import re
from pathlib import Path

import pytest

import vitrail
from vitrail.errors import PACKAGES

SOURCE = Path(vitrail.__file__).parent


def test_messages_advise_packages_that_exist() -> None:
    """There is no `vitrail` on the package index: extras cannot be installed by its name."""
    advice = re.compile(r"pip install[^\n]*vitrail")
    docs = SOURCE.parents[1] / "docs"
    pages = [*SOURCE.rglob("*.py"), *docs.glob("en/*.md"), *docs.glob("zh/*.md")]
    assert len(pages) > 200
    assert [str(page) for page in pages if advice.search(page.read_text("utf-8"))] == []


@pytest.mark.parametrize("module, package", PACKAGES.items())
def test_modules_are_known_by_their_packages(module: str, package: str) -> None:
    names = importlib.metadata.packages_distributions()[module]
    assert package in [name.lower().replace("_", "-") for name in names]
