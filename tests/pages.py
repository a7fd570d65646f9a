"""The code blocks of pages: READMEs and what is in docs/."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"(<!-- not run: .+? -->\n)?```(\w+)\n(.*?)```", re.DOTALL)


def blocks(page: str, language: str) -> list[str]:
    """Code blocks that are not marked as not to be run."""
    text = (ROOT / page).read_text("utf-8")
    return [code for skip, kind, code in BLOCK.findall(text) if kind == language and not skip]


def run_python(page: str, *, one_session: bool = False) -> int:
    """Runs the Python of a page, each block by itself or all in one session.

    Returns the number of blocks.
    """
    examples = blocks(page, "python")
    session: dict[str, Any] = {}
    for code in examples:
        exec(compile(code, page, "exec"), session if one_session else {})
    return len(examples)
