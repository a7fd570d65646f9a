"""The solution of a lesson as the learner's file and as the printed answer.

A solution marks what the learner writes:

    # <write>
    # en: One linear layer gives queries, keys and values: (B, N, 3 D).
    # zh: 用一个线性层同时得到 q、k、v：(B, N, 3 D)。
    qkv = self.qkv(x)
    # </write>

In the stub, only the instructions of the learner's language remain, and an error that says that
the part is not written.
"""

import re

START, END = "# <write>", "# </write>"
LANGUAGES = ("en", "zh")
_TAGGED = re.compile(r"^(\s*)# (en|zh): (.*)$")


def make_stub(solution: str, language: str) -> str:
    """The file that a learner starts from.

    Args:
        solution: text of `solution.py`.
        language: "en" or "zh".

    Returns:
        The text with its marked parts cut out.

    Example:
        >>> print(make_stub("# <write>\\n# en: Add.\\n# zh: 相加。\\nx = 1 + 1\\n# </write>", "en"))
        # Add.
        raise NotImplementedError
    """
    lines: list[str] = []
    inside = False
    for line in solution.split("\n"):
        instruction = _TAGGED.match(line)
        if line.strip() == START:
            inside = True
        elif line.strip() == END:
            inside = False
            lines.append(line[: len(line) - len(line.lstrip())] + "raise NotImplementedError")
        elif instruction:
            if instruction[2] == language:
                lines.append(f"{instruction[1]}# {instruction[3]}")
        elif not inside:
            lines.append(line)
    return "\n".join(lines)


def make_answer(solution: str, language: str) -> str:
    """The solution as a learner reads it.

    Args:
        solution: text of `solution.py`.
        language: "en" or "zh".

    Returns:
        The text without marks, with the instructions of one language as comments.

    Example:
        >>> print(make_answer("# <write>\\n# zh: 相加。\\nx = 1 + 1\\n# </write>", "zh"))
        # 相加。
        x = 1 + 1
    """
    lines = []
    for line in solution.split("\n"):
        instruction = _TAGGED.match(line)
        if instruction:
            if instruction[2] == language:
                lines.append(f"{instruction[1]}# {instruction[3]}")
        elif line.strip() not in (START, END):
            lines.append(line)
    return "\n".join(lines)
