"""What is set up before any test module is imported."""

import os

os.environ["LANGUAGE"] = "en"  # whose words the tests expect
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test reaches for the net
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for commands that a test starts

import gc
import sys
import tempfile
from collections.abc import Iterator

os.environ["VITRAIL_CACHE"] = tempfile.mkdtemp(prefix="vitrail-cache-")  # not the user's

import pytest
import torch

import parity  # noqa: F401, before any original asks for torchvision
from vitrail import plugins
from vitrail.messages import use_language
from vitrail.registry import snapshot

torch.set_num_threads(1)  # the models are small, and pytest-xdist has a worker per core
gc.set_threshold(20_000, 10, 10)  # Python's own 700 cost a tenth of all the time
for accelerator in (torch.cuda, torch.xpu):
    if not accelerator.is_available():  # else each seed is kept for later, with the whole stack
        accelerator.manual_seed_all = lambda _seed: None


@pytest.fixture(autouse=True)
def registered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a test registers or imports from a file that it wrote is gone after it."""
    restore, before, path = snapshot(), set(plugins.PLUGINS), [*sys.path]
    modules = set(sys.modules)
    yield
    restore()
    sys.path[:] = path
    files = {str(plugins.PLUGINS.pop(key).module.__file__) for key in {*plugins.PLUGINS} - before}
    written = str(tmp_path_factory.getbasetemp())
    for name in sys.modules.keys() - modules:  # of thousands, a few are new
        file = str(getattr(sys.modules[name], "__file__", None))
        if file in files or file.startswith(written):
            del sys.modules[name]


@pytest.fixture(autouse=True)
def in_english() -> Iterator[None]:
    """A language that a test has chosen is gone after it."""
    yield
    if os.environ.get("LANGUAGE") != "en":
        use_language("en")


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test starts from the same random numbers."""
    torch.manual_seed(0)


def pytest_collection_finish() -> None:
    """Modules and tests stay, and are not searched for garbage again and again."""
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish() -> None:
    """What looks for references to its objects, such as hypothesis, finds them again."""
    gc.unfreeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--parity-table` writes docs/en/parity.md from the figures of the comparisons."""
    parser.addoption("--parity-table", action="store_true", help="write docs/en/parity.md")
