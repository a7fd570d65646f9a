"""Random values for the fuzz tests, the odd ones often.

hypothesis draws better ones, but takes five times as long to draw them as Vitrail to refuse them: a
million cases of each target would be a working day.
"""

import json
import math
import random
import struct
from collections.abc import Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")

ODD_NUMBERS = (
    0, 1, -1, 2**31 - 1, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 10**20, 10**400, 0.0, -0.0, 0.5,
    1e-320, 1e308, -1e308, math.nan, math.inf, -math.inf,
)  # fmt: skip
ODD_TEXTS = (
    "", " ", "ViT", "cls", "mean", "vitrail", "../x", "/", "~", ".", "a/b", "a\\b", "\0",
    "\x1b[31m", "\n", "\r", "\u2028", "\u202e", "\ufeff", "\ud800", "null", "true", "nan", "1e3",
    "0x1f", "--", "${HOME}", "%s", "{0}", "<b>", "猫", "é", "e\u0301", "😀", "İ", "CON", "a" * 300,
)  # fmt: skip
# First and last character of what a letter is drawn from: most are printable ASCII.
ALPHABETS = (
    (32, 126), (32, 126), (32, 126), (0, 31), (127, 591), (0x370, 0x1FFF), (0x4E00, 0x9FFF),
    (0xD800, 0xDFFF), (0xE000, 0xFFFF), (0x10000, 0x10FFFF),
)  # fmt: skip


class Draws(random.Random):
    """Draws of one case; the same seed draws the same.

    Example:
        >>> Draws("image 0 5").value() == Draws("image 0 5").value()
        True
    """

    def often(self, odds: int) -> bool:
        """True once in so many draws."""
        return self.randrange(odds) == 0

    def letters(self, most: int = 8) -> str:
        """Up to so many characters of one alphabet, or an odd text."""
        if self.often(4):
            return self.choice(ODD_TEXTS)
        first, last = self.choice(ALPHABETS)
        return "".join(chr(self.randint(first, last)) for _ in range(self.randint(0, most)))

    def number(self) -> int | float:
        """A small or an odd integer, or a float of any bits."""
        kind = self.randrange(4)
        if kind == 0:
            return self.choice(ODD_NUMBERS)
        if kind == 1:
            return struct.unpack("<d", self.randbytes(8))[0]
        return self.randint(-2, 20) if kind == 2 else self.randint(-(10**20), 10**20)

    def value(self, depth: int = 3) -> Any:
        """Anything that JSON holds, as deep as this."""
        kind = self.randrange(8 if depth else 6)
        if kind < 2:
            return self.number()
        if kind < 4:
            return self.letters()
        if kind < 6:
            return self.choice((None, True, False))
        size = self.randint(0, 4)
        if kind == 6:
            return [self.value(depth - 1) for _ in range(size)]
        return {self.letters(5): self.value(depth - 1) for _ in range(size)}

    def pieces(self, pieces: Sequence[str], most: int) -> str:
        """Up to so many of the pieces, joined."""
        return "".join(self.choices(pieces, k=self.randint(0, most)))

    def changed(self, content: Any) -> Any:
        """A copy of the content with one to three entries replaced, removed or added, anywhere."""
        content = json.loads(json.dumps(content))
        for _change in range(self.randint(1, 3)):
            section = content
            while isinstance(section, dict) and section:
                key = self.choice(sorted(section))
                if not isinstance(section[key], dict) or self.often(2):
                    break
                section = section[key]
            if not isinstance(section, dict):
                break
            how = self.choice(("replace", "remove", "add"))
            if how == "remove" and section:
                del section[self.choice(sorted(section))]
            elif how == "replace" and section:
                section[self.choice(sorted(section))] = self.value()
            else:
                section[self.letters(6)] = self.value()
        return content
