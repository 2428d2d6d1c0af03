"""Every small mistake that a source could have: one constant, operator, comparison, branch or call at a time."""

import ast
from collections.abc import Iterable, Iterator
from typing import NamedTuple

SWAPPED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult}
COMPARED: dict[type, list[type]] = {
    ast.Lt: [ast.LtE, ast.Gt],
    ast.LtE: [ast.Lt, ast.GtE],
    ast.Gt: [ast.GtE, ast.Lt],
    ast.GtE: [ast.Gt, ast.LtE],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
}
RENAMED = {"mean": "total", "total": "mean", "max": "min", "min": "max", "log1p": "log", "expm1": "exp", "sum": "max"}
SAME = {"abs", "sqrt", "log", "exp", "tanh", "log1p", "expm1", "relu", "sigmoid"}
FIRST_IS_XP = {"sign", "kept"}  # of regcore, where x comes second


class Edit(NamedTuple):
    """A source with one mistake in it, and where: the line as it was, and what became of a part of it."""

    function: str  # in which it is, after its class if it has one
    line: str
    change: str
    source: str

    def __str__(self) -> str:
        return f"{self.function}: {self.change}  in  {self.line}"


def edits(source: str, without: Iterable[str] = ()) -> Iterator[Edit]:
    """Every edit of the functions and methods of a module, but for those of these names."""
    lines = source.splitlines(keepends=True)
    for owner, function in _functions(ast.parse(source)):
        if function.name in without or function.name.startswith(("check", "_check")):
            continue
        for node in _expressions(function):
            for other in _instead(node):
                before, after = ast.unparse(node), ast.unparse(ast.fix_missing_locations(other))
                where, line = f"{owner}{function.name}", lines[node.lineno - 1].strip()
                yield Edit(where, line, f"{before} -> {after}", _replaced(lines, node, f"({after})"))


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield "", node
        if isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.", each) for each in node.body if isinstance(each, ast.FunctionDef))


def _expressions(function: ast.FunctionDef) -> Iterator[ast.expr]:
    """What is computed in a function: neither annotations, nor what is refused, nor what is said about it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.JoinedStr) or _refuses(node):
            continue
        if isinstance(node, ast.expr):
            yield node
        counted = isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant)  # -1 is one number
        waiting += [] if counted else ast.iter_child_nodes(node)


def _refuses(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.body[0], ast.Raise)


def _instead(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.Constant(value=int(number) | float(number)) if not isinstance(number, bool):
            yield ast.Constant(number + 1)
        case ast.BinOp(left, op, right) if type(op) in SWAPPED:
            yield ast.BinOp(left, SWAPPED[type(op)](), right)
            yield left
            if isinstance(op, (ast.Add, ast.Mult)):
                yield right
        case ast.Compare(left, [op], right) if type(op) in COMPARED:
            yield from (ast.Compare(left, [other()], right) for other in COMPARED[type(op)])
        case ast.UnaryOp(ast.USub() | ast.Not(), operand):
            yield operand
        case ast.BoolOp(op, values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
        case ast.IfExp(_, body, orelse):
            yield from (body, orelse)
        case ast.Attribute(ast.Name("given"), "held"):
            yield ast.parse("{**given.params, 'x': given.x}", mode="eval").body
        case ast.Call(function, arguments, keywords):
            yield from _called(function, arguments, keywords)


def _called(function: ast.expr, arguments: list[ast.expr], keywords: list[ast.keyword]) -> Iterator[ast.expr]:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    of_xp = isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id == "xp"
    if name in RENAMED and (of_xp or isinstance(function, ast.Name)):
        other = RENAMED[name]
        yield ast.Call(ast.Attribute(function.value, other) if of_xp else ast.Name(other), arguments, keywords)
    if name == "where" and len(arguments) == 3:
        yield from arguments[1:]
    if name in FIRST_IS_XP and len(arguments) > 1:
        yield arguments[1]
    if len(arguments) == 1 and not keywords and (of_xp or name in SAME):
        yield arguments[0]


def _replaced(lines: list[str], node: ast.expr, text: str) -> str:
    first, last = node.lineno - 1, node.end_lineno - 1
    before = lines[first].encode()[: node.col_offset].decode()
    after = lines[last].encode()[node.end_col_offset :].decode()
    return "".join([*lines[:first], before, text, after, *lines[last + 1 :]])
