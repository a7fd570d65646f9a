"""Solutions with one change: mistakes that no lesson foresees.

A learner's failure is compared with those of the solution in which one expression was dropped,
doubled, exchanged with its neighbour, or replaced by a relative. The change that gives the same
numbers names the mistake in terms of code, however the learner's own code is written.
"""

import ast
import itertools
from collections.abc import Iterator, Sequence

from vitrail.learn.checker.change_rules import MODULES, RULES
from vitrail.learn.checker.source import Change, Source

Simple = ast.Assign | ast.AugAssign | ast.Expr


def _everywhere(source: Source, nodes: list[ast.expr]) -> Iterator[Change]:
    """What a learner mistakes once and for all: an axis, the start of a count, two names."""
    groups: dict[str, list[ast.expr]] = {}
    for node in nodes:
        if isinstance(node, ast.Call):
            for word in node.keywords:
                if word.arg == "dim":
                    groups.setdefault(f"dim={source.text(word.value)}", []).append(word.value)
            for name in ("arange", "cross_entropy"):
                if source.text(node.func).endswith(name):
                    groups.setdefault(name, []).append(node)
    for name, group in groups.items():
        others = {
            "arange": ["({code} + 1)"],
            "cross_entropy": ["{call}, reduction='sum')"],
        }.get(name, ["0", "1", "2", "-1", "-2"])
        for count in range(len(group), 1, -1):
            for some, other in itertools.product(itertools.combinations(group, count), others):
                codes = [source.text(node) for node in some]
                news = [other.format(code=code, call=code[:-1]) for code in codes]
                yield source.change([*zip(some, news, strict=True)])
    for uses in (_names(nodes), _attributes(source, nodes)):
        for first, second in itertools.combinations(uses, 2):
            if source.attributes.get(first) == source.attributes.get(second):
                pairs = [*((n, second) for n in uses[first]), *((n, first) for n in uses[second])]
                code = [(n, _renamed(n, name)) for n, name in pairs]
                yield source.change(code, "exchange", old=first, new=second)


def _renamed(node: ast.AST, name: str) -> str:
    return f"self.{name}" if isinstance(node, ast.Attribute) else name


def _names(nodes: list[ast.expr]) -> dict[str, list[ast.AST]]:
    uses: dict[str, list[ast.AST]] = {}
    for node in nodes:
        if isinstance(node, ast.Name) and node.id not in MODULES | {"self"}:
            uses.setdefault(node.id, []).append(node)
    return uses


def _attributes(source: Source, nodes: list[ast.expr]) -> dict[str, list[ast.AST]]:
    """Uses of the layers and parameters of self, where they are called too."""
    uses: dict[str, list[ast.AST]] = {}
    for node in nodes:
        target = node.func if isinstance(node, ast.Call) else node
        if isinstance(target, ast.Attribute) and source.text(target.value) == "self":
            uses.setdefault(target.attr, []).append(target)
    return uses


def _of_names(source: Source, nodes: list[ast.expr]) -> Iterator[Change]:
    """One use of a variable or layer in the place of another."""
    for uses in (_attributes(source, nodes), _names(nodes)):
        for first, second in itertools.permutations(uses, 2):
            if source.attributes.get(first) == source.attributes.get(second):
                for node in uses[first]:
                    yield source.change([(node, _renamed(node, second))])


def _of_operands(source: Source, nodes: list[ast.expr]) -> Iterator[Change]:
    """A variable in the place of a part of another, or the other way round."""
    names = list(_names(nodes))
    parts = [node for node in nodes if isinstance(node, ast.Subscript)]
    codes = dict.fromkeys(source.text(part) for part in parts)
    for part in parts:
        for other in (*codes, *names):
            if other != source.text(part):
                yield source.change([(part, other)])
    for uses in _names(nodes).values():
        for node, code in itertools.product(uses, codes):
            if not isinstance(source.parents.get(node), ast.Subscript):
                yield source.change([(node, code)])


def _bodies(source: Source, function: ast.FunctionDef) -> Iterator[list[Simple]]:
    """The simple statements of each block of a function."""
    for node in ast.walk(function):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            yield [s for s in body if isinstance(s, Simple) and s not in source.fixed]


def _of_statements(source: Source, function: ast.FunctionDef) -> Iterator[Change]:
    """A statement that stands elsewhere, or replaces what it should add to."""
    for simple in _bodies(source, function):
        for first, second in itertools.combinations(simple, 2):
            old, new = source.text(first), source.text(second)
            yield source.change([(first, new), (second, old)], "exchange", old=old, new=new)
        for first, second in itertools.pairwise(simple):
            calls = [s.value for s in (first, second) if isinstance(s.value, ast.Call)]
            if [len(call.args) for call in calls] == [1, 1]:
                a, b = (call.func for call in calls)
                old, new = source.text(a), source.text(b)
                yield source.change([(a, new), (b, old)], "exchange", old=old, new=new)
        yield from _moves(source, simple)
        for statement in simple:
            if isinstance(statement, ast.AugAssign):
                target, value = source.text(statement.target), source.text(statement.value)
                yield source.change([(statement, f"{target} = {value}")])
            elif isinstance(statement, ast.Assign) and len(statement.targets) == 1:
                target, value = source.text(statement.targets[0]), source.text(statement.value)
                yield source.change([(statement, f"{target} += {value}")])


def _moves(source: Source, simple: Sequence[Simple]) -> Iterator[Change]:
    """A statement that stands further up or down by two or more."""
    for i, j in itertools.permutations(range(len(simple)), 2):
        if abs(i - j) > 1:
            step = 1 if i < j else -1
            order = [*range(i, j, step), j]
            edits = [(simple[n], source.text(simple[n + step])) for n in order[:-1]]
            edits.append((simple[j], source.text(simple[i])))
            old, new = source.text(simple[i]), source.text(simple[j])
            yield source.change(edits, "down" if i < j else "up", old=old, new=new)


def _of_loops(source: Source, function: ast.FunctionDef) -> Iterator[Change]:
    """A loop that leaves out the first or the last, or runs backwards; a condition that is lost."""
    for node in ast.walk(function):
        if node in source.fixed:
            continue
        if isinstance(node, ast.For | ast.comprehension):
            loop = source.text(node.iter)
            if "count" not in loop and "cycle" not in loop:  # which never end
                for part in ("[1:]", "[:-1]", "[::-1]"):
                    yield source.change([(node.iter, f"list({loop}){part}")])
        tests = node.ifs if isinstance(node, ast.comprehension) else []
        tests = [node.test] if isinstance(node, ast.If) else tests
        for test, new in itertools.product(tests, ("True", "False")):
            yield source.change([(test, new)])


def changes(solution: str) -> Iterator[Change]:
    """The solution with one change each, likely mistakes first.

    Args:
        solution: its text.

    Returns:
        The changed solutions, each text once.

    Example:
        >>> text = "def f(x):\\n    return x.softmax(dim=-1)\\n"
        >>> next(changes(text)).text
        'def f(x):\\n    return x\\n'
        >>> any("dim=0" in change.text for change in changes(text))
        True
    """
    source = Source(solution)
    texts = {solution}
    for change in _all(source):
        if change.text not in texts:
            texts.add(change.text)
            yield change


def _all(source: Source) -> Iterator[Change]:
    functions = [(f, source.expressions(f)) for f in reversed(source.functions)]
    for function, _nodes in functions:
        for statement in itertools.chain.from_iterable(_bodies(source, function)):
            yield source.change([(statement, "pass")], "drop")
    for rule in RULES:
        for _function, nodes in functions:
            for node in nodes:
                for new in rule(source, node):
                    yield source.change([(node, new)])
    for function, nodes in functions:
        yield from _everywhere(source, nodes)
        yield from _of_statements(source, function)
        yield from _of_loops(source, function)
    for _function, nodes in functions:
        yield from _of_names(source, nodes)
        yield from _of_operands(source, nodes)
