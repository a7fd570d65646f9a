"""The verdict on a learner's file, as data and as lines to read. It needs no torch."""

import unicodedata
from dataclasses import asdict, dataclass, field
from typing import Any

from vitrail.messages import _

STAGES = ("import", "shapes", "parameters", "output", "gradients", "behaviour", "swap")


@dataclass(frozen=True)
class Row:
    """A line of the table that a learner reads.

    Args:
        line: number of the line.
        name: the variable's name.
        shape: its shape.
        expected: the shape of the solution's variable of that name; "" where it has none.
        agrees: whether the values are those of the solution; None where it has no such variable.
        values: the first numbers.
        expected_values: the solution's.
        relation: what the values are instead, such as "attn is 2 times the expected one."; or "".

    Example:
        >>> Row(3, "q", "(1, 2)", "(1, 2)", True, "", "").agrees
        True
    """

    line: int
    name: str
    shape: str
    expected: str
    agrees: bool | None
    values: str
    expected_values: str
    relation: str = ""


@dataclass(frozen=True)
class Report:
    """The verdict on a file.

    Args:
        lesson: "stage/name".
        passed: whether all stages passed.
        stage: where it stopped; "" where it passed.
        message: what is wrong.
        case: which call.
        mistakes: names of the wrong versions that fail in the same way.
        diagnosis: what they are, in the user's language.
        walk: the learner's variables up to the first wrong one.
        output: what the file printed.

    Example:
        >>> Report("core/attention", True).passed
        True
    """

    lesson: str
    passed: bool
    stage: str = ""
    message: str = ""
    case: str = ""
    mistakes: tuple[str, ...] = ()
    diagnosis: tuple[str, ...] = ()
    walk: tuple[Row, ...] = field(default=())
    output: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Lines to read, in the user's language."""
        if self.passed:
            return [_("{lesson}: all stages pass.").format(lesson=self.lesson)]
        names = stage_names()
        head = _("{lesson}: stage {number} of {count}, {stage}").format(
            lesson=self.lesson,
            number=STAGES.index(self.stage) + 1,
            count=len(STAGES),
            stage=names[self.stage],
        )
        lines = [f"{head} ({self.case})" if self.case else head, f"  {self.message}"]
        lines += _table(self.walk)
        lines += [_("  Diagnosis: {text}").format(text=text) for text in self.diagnosis]
        return lines


def stage_names() -> dict[str, str]:
    """What each stage looks at, in the user's language.

    Returns:
        Names by stage.

    Example:
        >>> stage_names()["import"]
        'import and signature'
    """
    return {
        "import": _("import and signature"),
        "shapes": _("shapes"),
        "parameters": _("parameters: count and names"),
        "output": _("output in float64"),
        "gradients": _("gradients"),
        "behaviour": _("behaviour"),
        "swap": _("in the library's model"),
    }


def _table(rows: tuple[Row, ...]) -> list[str]:
    if not rows:
        return []
    cells = [[_("line"), _("variable"), _("yours"), _("expected"), ""]]
    for row in rows:
        mark = {True: "=", False: _("<- first difference"), None: ""}[row.agrees]
        cells.append([str(row.line), row.name, row.shape, row.expected, mark])
    widths = [max(width(line[i]) for line in cells) for i in range(5)]
    lines = [
        "  " + "  ".join(pad(c, w) for c, w in zip(line, widths, strict=True)) for line in cells
    ]
    last = rows[-1]
    if last.agrees is False:
        text = _("  {name}: yours {values} ..., expected {expected} ...")
        lines.append(text.format(name=last.name, values=last.values, expected=last.expected_values))
    return [line.rstrip() for line in lines]


def width(text: str) -> int:
    """Columns that a text takes in a terminal; Chinese characters take two.

    Args:
        text: the text.

    Returns:
        The number of columns.

    Example:
        >>> width("ab"), width("变量")
        (2, 4)
    """
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def pad(text: str, columns: int) -> str:
    """A text, filled up with spaces.

    Args:
        text: the text.
        columns: how many it is to take.

    Returns:
        The text with spaces behind it.

    Example:
        >>> pad("ab", 4)
        'ab  '
    """
    return text + " " * (columns - width(text))
