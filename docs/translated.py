"""Which English page each Chinese page was last compared with.

python -m docs.translated guide looking    # these Chinese pages say what the English ones say now

docs/translated.json holds a digest of each English page, tables left out, because many are made
from measurements. tests/test_book.py fails where a page has changed since.
"""

import hashlib
import json
import sys
from pathlib import Path

from docs.twins import MADE

DOCS = Path(__file__).parent
DIGESTS = DOCS / "translated.json"


def twins() -> list[str]:
    """Names of the pages that are written by hand in both languages."""
    return sorted({path.stem for path in (DOCS / "zh").glob("*.md")} - {*MADE})


def digest(name: str) -> str:
    """The digest of an English page, without its tables."""
    lines = (DOCS / "en" / f"{name}.md").read_text("utf-8").splitlines()
    prose = "\n".join(line for line in lines if not line.startswith("|"))
    return hashlib.sha256(prose.encode()).hexdigest()[:16]


def stale() -> list[str]:
    """Names of the pages whose English version has changed since the Chinese one was compared."""
    digests = json.loads(DIGESTS.read_text("utf-8"))
    return [name for name in twins() if digests.get(name) != digest(name)]


def main(names: list[str]) -> None:
    """Notes that Chinese pages are up to date.

    Args:
        names: of pages; none for all.
    """
    digests = json.loads(DIGESTS.read_text("utf-8")) if DIGESTS.exists() else {}
    digests |= {name: digest(name) for name in names or twins()}
    DIGESTS.write_text(json.dumps({n: digests[n] for n in twins()}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
