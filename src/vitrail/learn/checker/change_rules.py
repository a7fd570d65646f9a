"""What may stand in the place of an expression by mistake."""

import ast
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

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
    if isinstance(node, ast.Tuple):
        codes = [source.text(part) for part in node.elts]
        for i, part in enumerate(node.elts):
            if not isinstance(part, ast.Constant | ast.Slice):
                yield f"({', '.join([*codes[:i], '1', *codes[i + 1 :]])},)"
    if isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
        yield source.text(node.value)
    if not isinstance(node, ast.Subscript):
        return
    value = source.text(node.value)
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    codes = [source.text(part) for part in parts]
    if value.endswith(".shape"):
        yield "1"
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


def _of_order(source: Source, node: ast.expr) -> Iterator[str]:
    """Sizes and axes in another order: of reshape and permute, of einsum's letters, of indices."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        name, codes = node.func.attr, [source.text(argument) for argument in node.args]
        start = source.text(node.func)
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
            return
        if name in ("reshape", "view", "expand", "repeat"):
            swaps = [(i, i + 1) for i in range(len(codes) - 1)]
            pairs = (p for p in itertools.combinations(swaps, 2) if p[0][1] < p[1][0])
            for some in (*((swap,) for swap in swaps), *pairs):
                yield f"{start}({', '.join(_swapped(codes, some))})"
        elif name == "permute":
            for swap in itertools.combinations(range(len(codes)), 2):
                yield f"{start}({', '.join(_swapped(codes, (swap,)))})"
        elif name == "einsum" and isinstance(node.args[0], ast.Constant):
            for formula in _formulas(str(node.args[0].value)):
                yield f"{start}({', '.join([repr(formula), *codes[1:]])})"
    elif isinstance(node, ast.Subscript):
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        codes = [source.text(part) for part in parts]
        value = source.text(node.value)
        if "None" in codes:
            for i in range(len(codes) - 1):
                yield f"{value}[{', '.join(_swapped(codes, ((i, i + 1),)))}]"
            if codes == ["None"]:
                yield f"{value}[:, None]"


def _swapped(codes: Sequence[str], swaps: Iterable[tuple[int, int]]) -> list[str]:
    result = list(codes)
    for i, j in swaps:
        result[i], result[j] = result[j], result[i]
    return result


def _formulas(formula: str) -> Iterator[str]:
    """A formula of einsum with two letters of one tensor exchanged; the result's first."""
    inputs, arrow, result = formula.replace(" ", "").partition("->")
    parts = [*inputs.split(","), result]
    for n in range(len(parts) - 1, -1, -1):
        for swap in itertools.combinations(range(len(parts[n])), 2):
            part = "".join(_swapped(parts[n], (swap,)))
            others = [*parts[:n], part, *parts[n + 1 :]]
            yield ",".join(others[:-1]) + arrow + others[-1]


def _of_axes(source: Source, node: ast.expr) -> Iterator[str]:
    """One axis where there should be two, or the other way round; a sum in the place of a mean."""
    if not isinstance(node, ast.Call):
        return
    code, start = source.text(node), source.span(node)[0]
    for word in node.keywords:
        if word.arg in ("dim", "axis"):
            first, last = (position - start for position in source.span(word.value))
            others = ["(-2, -1)"]
            if isinstance(word.value, ast.Tuple):
                codes = [source.text(part) for part in word.value.elts]
                others = [f"({', '.join(codes[:i] + codes[i + 1 :])},)" for i in range(len(codes))]
            head, tail = code.encode()[:first].decode(), code.encode()[last:].decode()
            yield from (f"{head}{other}{tail}" for other in others)
    is_loss = source.text(node.func).endswith(("cross_entropy", "mse_loss", "l1_loss"))
    if is_loss and "reduction" not in [word.arg for word in node.keywords]:
        yield f"{code[:-1]}, reduction='sum')"


RULES: tuple[Callable[[Source, ast.expr], Iterator[str]], ...] = (
    _of_order, _of_call, _of_operation, _of_selection, _of_axes, _of_number,
)  # fmt: skip
