"""The text of a solution, its expressions, and what it becomes when some of them are replaced."""

import ast
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MOST_CHARACTERS = 60  # of an expression that is shown
FEWEST_CHARACTERS = 12


@dataclass(frozen=True)
class Change:
    """A solution with one change.

    Args:
        text: the changed solution.
        old: what was changed, shortened.
        new: what stands there now; of an exchange, the other of both; of a move, the
            statement that it has passed.
        kind: "replace", "exchange", "drop", or of a statement that has moved "down" or "up".
        line: number of the line that was changed.

    Example:
        >>> Change("y = 1", "2", "1").kind
        'replace'
    """

    text: str
    old: str
    new: str
    kind: str = "replace"
    line: int = 0


class Source:
    """The text of a solution and its expressions, function by function.

    Args:
        text: the text.

    Attributes:
        functions: its functions and methods.
        attributes: what each attribute of self is made by, such as {"norm1": "nn.LayerNorm"}.
        parents: the expression or statement around each expression.
        fixed: nodes that must stay, or a loop may never end.

    Example:
        >>> source = Source("def f(x):\\n    return x + 1\\n")
        >>> [source.text(node) for node in source.expressions(source.functions[0])]
        ['(x + 1)', 'x', '1']
    """

    def __init__(self, text: str) -> None:
        self.bytes = text.encode()
        self.starts = [0, *itertools.accumulate(map(len, self.bytes.splitlines(keepends=True)))]
        tree = ast.parse(text)
        self.functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
        self.attributes = _kinds(tree)
        self.parents = {
            child: node
            for node in ast.walk(tree)
            if isinstance(node, ast.expr | ast.stmt | ast.keyword)
            and not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.For | ast.With | ast.If)
            for child in ast.iter_child_nodes(node)
        }
        self.fixed = set(_of_loops(tree))

    def span(self, node: ast.AST) -> tuple[int, int]:
        """First and last byte of a node.

        Args:
            node: the node.

        Returns:
            Both positions.
        """
        start = self.starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
        end = self.starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]
        return start, end

    def text(self, node: ast.AST) -> str:
        """The code of a node, in parentheses where it needs them.

        Args:
            node: the node.

        Returns:
            The code.
        """
        start, end = self.span(node)
        code = self.bytes[start:end].decode()
        loose = isinstance(node, ast.BinOp | ast.UnaryOp | ast.Compare | ast.IfExp | ast.Tuple)
        return f"({code})" if loose else code

    def change(
        self, edits: Sequence[tuple[ast.AST, str]], kind: str = "replace", **words: str
    ) -> Change:
        """The solution in which nodes have other code.

        Args:
            edits: nodes, which do not overlap, and their new code.
            kind: of change.
            words: `old` and `new`, for its description; without them the nodes' own code.

        Returns:
            The change.
        """
        code = self.bytes
        for node, new in sorted(edits, key=lambda edit: -self.span(edit[0])[0]):
            start, end = self.span(node)
            code = code[:start] + new.encode() + code[end:]
        line: int = edits[0][0].lineno  # type: ignore[attr-defined]
        if words:
            return Change(code.decode(), _short(words["old"]), _short(words["new"]), kind, line)
        pairs = [self._in_context(node, new) for node, new in edits]
        old, new = ("`, `".join(_short(pair[i]) for pair in pairs) for i in range(2))
        return Change(code.decode(), old, new, kind, line)

    def _in_context(self, node: ast.AST, new: str) -> tuple[str, str]:
        """What a node stands in, so much that a reader finds it, before and after the change."""
        start, end = self.span(node)
        outer = node
        while len(self.text(outer)) < FEWEST_CHARACTERS and outer in self.parents:
            outer = self.parents[outer]
        first, last = self.span(outer)
        code = self.bytes[first:start] + new.encode() + self.bytes[end:last]
        return self.bytes[first:last].decode(), code.decode()

    def expressions(self, function: ast.FunctionDef) -> list[ast.expr]:
        """What a function computes, in order; no annotations, no targets of assignments.

        Args:
            function: the function.

        Returns:
            Its expressions.
        """
        nodes: list[ast.expr] = []

        def visit(node: ast.AST) -> None:
            if (
                node in self.fixed
                or isinstance(node, ast.FunctionDef | ast.Raise | ast.JoinedStr)
                or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
            ):
                return
            if isinstance(node, ast.expr) and not isinstance(getattr(node, "ctx", None), ast.Store):
                nodes.append(node)
            for name, value in ast.iter_fields(node):
                for child in value if isinstance(value, list) else [value]:
                    if isinstance(child, ast.AST) and name not in ("annotation", "func"):
                        visit(child)
                    elif name == "func" and isinstance(child, ast.Attribute):
                        visit(child.value)

        for statement in function.body:
            visit(statement)
        return nodes


def _kinds(tree: ast.AST) -> dict[str, str]:
    """What each attribute of self is made by, such as {"norm1": "nn.LayerNorm"}."""
    kinds = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            target = node.targets[0]
            if isinstance(target, ast.Attribute):
                kinds[target.attr] = ast.unparse(node.value.func)
    return kinds


def _of_loops(tree: ast.AST) -> Iterator[ast.AST]:
    """What decides whether a `while` ends, and therefore stays as it is."""
    for loop in ast.walk(tree):
        if isinstance(loop, ast.While):
            yield loop.test
            names = {node.id for node in ast.walk(loop.test) if isinstance(node, ast.Name)}
            for node in ast.walk(loop):
                if isinstance(node, ast.Assign | ast.AugAssign):
                    stored = (n for n in ast.walk(node) if isinstance(n, ast.Name))
                    if any(n.id in names and isinstance(n.ctx, ast.Store) for n in stored):
                        yield node


def _short(code: str) -> str:
    code = " ".join(code.split())
    if code.startswith("(") and code.endswith(")") and "(" not in code[1:]:
        code = code[1:-1]
    return code if len(code) <= MOST_CHARACTERS else f"{code[: MOST_CHARACTERS - 4]} ..."
