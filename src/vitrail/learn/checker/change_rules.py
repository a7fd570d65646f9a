"""What may stand in the place of an expression by mistake."""

import ast
from collections.abc import Callable, Iterator

from vitrail.learn.checker.source import Source

MODULES = {"torch", "F", "nn", "math", "copy"}
FAMILIES = (  # what stands for another in a mistake
    ("mean", "sum", "amax", "amin", "prod"),
    ("softmax", "sigmoid", "log_softmax"),
    ("gelu", "relu", "silu", "tanh", "sigmoid"),
    ("softplus", "exp", "relu"),
    ("sin", "cos"),
    ("exp", "log"),
    ("square", "abs"),
    ("std", "var"),
    ("zeros_like", "ones_like"),
    ("argmax", "argmin"),
    ("argsort", "sort"),
    ("repeat", "repeat_interleave"),
    ("max", "min"),
    ("int", "round", "math.ceil"),
    ("maximum", "minimum"),
)
OPERATORS: dict[type[ast.AST], tuple[str, ...]] = {
    ast.Add: ("-", "*"), ast.Sub: ("+",), ast.Mult: ("/", "+"), ast.Div: ("*",),
    ast.FloorDiv: ("/",), ast.Lt: ("<=", ">="), ast.LtE: ("<", ">"), ast.Gt: (">=", "<="),
    ast.GtE: (">", "<"), ast.Eq: ("!=",), ast.NotEq: ("==",),
}  # fmt: skip
WORDS = {"bicubic": ("bilinear", "nearest"), "bilinear": ("bicubic", "nearest")}


def _argument(source: Source, call: ast.Call) -> tuple[str, ast.expr | None]:
    """Function and main argument of a call: of x.softmax(-1), x."""
    function = call.func
    if isinstance(function, ast.Attribute):
        root = function.value
        of_module = isinstance(root, ast.Name) and root.id in MODULES
        of_self = isinstance(root, ast.Name) and root.id == "self"
        if not of_module and not of_self:
            return f".{function.attr}", root
    first = call.args[0] if call.args and not isinstance(call.args[0], ast.Starred) else None
    return source.text(function), first


def _of_call(source: Source, node: ast.expr) -> Iterator[str]:
    if not isinstance(node, ast.Call):
        return
    name, argument = _argument(source, node)
    if argument is None:
        return
    text, inner = source.text(node), source.text(argument)
    yield inner
    if not name.startswith(".") and len(node.args) == 1:
        yield f"{name}({text})"
        if isinstance(argument, ast.Call) and len(argument.args) == 1:
            other, innermost = _argument(source, argument)
            if innermost is not None and not other.startswith("."):
                yield f"{other}({name}({source.text(innermost)}))"
    last = name.rpartition(".")[2]
    for family in FAMILIES:
        if last in family:
            code = source.text(node)
            start = len(source.text(node.func)) - len(last)
            for other in family:
                if other != last:
                    yield code[:start] + other + code[start + len(last) :]
    if last in ("arange", "linspace", "int"):
        yield f"({text} + 1)"
    if last == "cat" and isinstance(argument, ast.List | ast.Tuple) and len(argument.elts) == 2:
        parts = ", ".join(source.text(part) for part in reversed(argument.elts))
        yield text.replace(source.text(argument).strip("()"), f"[{parts}]", 1)


def _of_operation(source: Source, node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.BinOp):
        left, right = source.text(node.left), source.text(node.right)
        sign = _sign(node.op)
        yield left
        yield right
        for other in OPERATORS.get(type(node.op), ()):
            yield f"({left} {other} {right})"
        if isinstance(node.op, ast.MatMult):
            yield f"{left}.mT @ {right}"
            yield f"{left} @ {right}.mT"
        if isinstance(node.op, ast.MatMult | ast.Sub | ast.Div | ast.Pow):
            yield f"({right} {sign} {left})"
        yield from _regrouped(source, node)
        if isinstance(node.op, ast.Mult):
            yield f"2 * {source.text(node)}"
            yield f"{source.text(node)} / 2"
            yield f"({right} / {left})"
        if isinstance(node.op, ast.Pow):
            yield f"{left} ** -{right}"
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        left, right = source.text(node.left), source.text(node.comparators[0])
        for other in OPERATORS.get(type(node.ops[0]), ()):
            yield f"({left} {other} {right})"
    elif isinstance(node, ast.UnaryOp):
        if not isinstance(node.operand, ast.Constant):
            yield source.text(node.operand)
    elif isinstance(node, ast.IfExp):
        yield source.text(node.body)
        yield source.text(node.orelse)


def _sign(operator: ast.operator) -> str:
    return ast.unparse(ast.BinOp(ast.Name("a"), operator, ast.Name("b")))[2:-2]


def _regrouped(source: Source, node: ast.BinOp) -> Iterator[str]:
    """Parentheses that are lost or one place further: a * b + c as (a + c) * b or a * (b + c)."""
    sums, products = (ast.Add, ast.Sub), (ast.Mult, ast.Div, ast.MatMult)
    sign = _sign(node.op)
    for inner, outer, first in ((node.left, node.right, True), (node.right, node.left, False)):
        if not isinstance(inner, ast.BinOp):
            continue
        if not (
            (isinstance(node.op, sums) and isinstance(inner.op, products))
            or (isinstance(node.op, products) and isinstance(inner.op, sums))
        ):
            continue
        a, b, c = source.text(inner.left), source.text(inner.right), source.text(outer)
        own = _sign(inner.op)
        if first:
            yield f"({a} {sign} {c}) {own} {b}"
            yield f"{a} {own} ({b} {sign} {c})"
        else:
            yield f"({c} {sign} {a}) {own} {b}"
            yield f"{a} {own} ({c} {sign} {b})"


def _of_number(_source: Source, node: ast.expr) -> Iterator[str]:
    value = None
    if isinstance(node, ast.Constant):
        value = node.value
    elif isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant):
        value = node.operand.value
        value = -value if isinstance(value, int | float) else None
        value = value if isinstance(node.op, ast.USub) else None
    if isinstance(value, bool):
        yield str(not value)
    elif isinstance(value, int):
        numbers = [value - 1, value + 1, -value, 2 * value, *((0, 1, 2) if value < 0 else ())]
        yield from (f"({n})" if n < 0 else str(n) for n in numbers if n != value)
    elif isinstance(value, float):
        yield from (repr(n) for n in (1 - value, 1.0, 2 * value, value / 2, 0.0) if n != value)
    elif isinstance(value, str):
        yield from (repr(word) for word in WORDS.get(value, ()))


def _of_selection(source: Source, node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
        yield source.text(node.value)
    if not isinstance(node, ast.Subscript):
        return
    value = source.text(node.value)
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    codes = [source.text(part) for part in parts]
    yield value
    axis = 0
    for i, part in enumerate(parts):
        others = []
        if isinstance(part, ast.Slice):
            low = source.text(part.lower) if part.lower else ""
            high = source.text(part.upper) if part.upper else ""
            others = [f"{high}:{low}", ":"]
            if bool(low) != bool(high):
                others.append(f":-{low}" if low else f"-{high}:")
        elif isinstance(part, ast.Constant) and isinstance(part.value, int):
            whole = ", ".join([*codes[:i], ":", *codes[i + 1 :]])
            yield f"{value}[{whole}].mean({axis})"
            yield f"{value}[{', '.join([*codes[:i], '-1', *codes[i + 1 :]])}]"
        for other in others:
            if other != codes[i]:
                yield f"{value}[{', '.join([*codes[:i], other, *codes[i + 1 :]])}]"
        axis += isinstance(part, ast.Slice)


RULES: tuple[Callable[[Source, ast.expr], Iterator[str]], ...] = (
    _of_call, _of_operation, _of_selection, _of_number,
)  # fmt: skip
