"""Compiled functions hold the arrays whose addresses they use: numba frees one behind the last use of its name.

Memory that was freed is written without a word, and its next owner, in another thread, finds it damaged.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from semrec.compiled import compiled_sources


def freed_early(function: ast.FunctionDef) -> list[str]:
    """The local arrays whose address is used behind the last use of their name."""
    parameters = {argument.arg for argument in ast.walk(function.args) if isinstance(argument, ast.arg)}
    freed = []
    for statement, array in addresses_taken(function):
        if array in parameters:
            continue  # whoever calls holds it
        addresses = names_made_of(function, statement)
        last = max([statement.end_lineno or 0, *(held_until(function, name) for name in addresses)])
        is_used_later = held_until(function, array) > (statement.end_lineno or 0)
        if not is_used_later or held_until(function, array) < last:
            freed.append(array)
    return freed


def addresses_taken(function: ast.FunctionDef) -> Iterator[tuple[ast.stmt, str]]:
    """The innermost statements with `array.ctypes.data`, or that of a row, and the array's name."""
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and node.attr == "data" and ast.unparse(node.value).endswith(".ctypes"):
            array = next(name.id for name in ast.walk(node) if isinstance(name, ast.Name))
            around = [one for one in ast.walk(function) if isinstance(one, ast.stmt) and node in ast.walk(one)]
            yield max(around, key=lambda statement: statement.lineno), array


def names_made_of(function: ast.FunctionDef, statement: ast.stmt) -> set[str]:
    """The names to which an address is assigned, and those that are computed from them."""
    names = stored(statement)
    assignments = [node for node in ast.walk(function) if isinstance(node, ast.Assign)]
    while more := {new for node in assignments if loaded(node.value) & names for new in stored(node)} - names:
        names |= more
    return names


def held_until(function: ast.FunctionDef, name: str) -> float:
    """The line of the last use; a use in a loop that began with the name known holds it until behind that loop."""
    first = min(node.lineno for node in ast.walk(function) if isinstance(node, ast.Name) and node.id == name)
    loops = [node for node in ast.walk(function) if isinstance(node, ast.For | ast.While) and node.lineno > first]
    uses = [node for node in ast.walk(function) if isinstance(node, ast.Name) and node.id == name]
    ends = [use.lineno for use in uses if isinstance(use.ctx, ast.Load)]
    ends += [(loop.end_lineno or 0) + 0.5 for loop in loops if name in loaded(loop)]
    return max(ends, default=0)


def stored(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}


def loaded(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load)}


def test_no_compiled_function_uses_an_address_of_an_array_that_is_gone() -> None:
    num_functions = 0
    for path in compiled_sources():
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef) and {"compiled", "register_jitable"} & {
                ast.unparse(decorator).partition("(")[0] for decorator in function.decorator_list
            }:
                num_functions += bool(list(addresses_taken(function)))
                assert not freed_early(function), f"{path}: {function.name}"
    assert num_functions > 10


@pytest.mark.parametrize(
    ("body", "is_freed"),
    [
        ("at = a.ctypes.data\nfor i in n:\n    write(at)", True),
        ("write(a.ctypes.data)", True),
        ("at = a[0].ctypes.data\nbehind = at + 8\nwrite(a)\nwrite(behind)", True),
        ("for i in n:\n    at = a.ctypes.data\n    write(at)", False),
        ("at = a.ctypes.data\nfor i in n:\n    read(a)\n    write(at)", False),
        ("at = a.ctypes.data\nwrite(at)\nreturn a", False),
        ("at = n.ctypes.data\nwrite(at)\nreturn a", False),
    ],
)
def test_the_rule_knows_what_holds_an_array(body: str, is_freed: bool) -> None:
    lines = "\n".join(f"    {line}" for line in f"a = np.empty(3)\n{body}".splitlines())
    (function,) = ast.parse(f"def f(n):\n{lines}").body
    assert isinstance(function, ast.FunctionDef)
    assert freed_early(function) == ["a"] * is_freed
