"""The documentation of public names as Markdown, from their signatures and docstrings."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

import msinet_core
from docs.results_page import wrap

WIDTH = 100
_SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises|Example|Source): *", re.MULTILINE)
_ITEM = re.compile(r"^(\*{0,2}\w[\w.]*): ", re.MULTILINE)
_LISTS = ("Args", "Attributes", "Raises")


def api(name: str) -> Iterator[str]:
    """Yield the lines that document a public name.

    Args:
        name: A name of `msinet_core`.
    """
    value = getattr(msinet_core, name)
    if inspect.ismodule(value):
        yield from _prose(inspect.getdoc(value) or "")
        for member, item in _public(value):
            yield from _documented(f"{name}.{member}", item)
        return
    yield from _documented(name, value)
    if inspect.isfunction(value):
        # What a function returns is documented with it, unless it has a name of its own.
        result = value.__globals__.get(value.__annotations__["return"])
        ours = inspect.isclass(result) and result.__module__.startswith("msinet_core")
        if ours and result.__name__ not in msinet_core.__all__:
            yield from _documented(result.__name__, result)


def _public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    names = getattr(module, "__all__", None) or [
        name
        for name, item in vars(module).items()
        if not name.startswith("_") and getattr(item, "__module__", None) == module.__name__
    ]
    for name in names:
        item = getattr(module, name)
        if inspect.isclass(item) or inspect.isfunction(item):
            yield name, item


def _documented(name: str, value: Any) -> Iterator[str]:
    yield from (f"#### {name}", "")
    if inspect.isfunction(value) or (inspect.isclass(value) and not _has_no_arguments(value)):
        yield from _code(_signature(name, vars(value).get("__call__", value)), "py")
    if inspect.isclass(value) or inspect.isfunction(value):
        yield from _prose(inspect.getdoc(value) or "")
    else:
        yield from _assignment(name)
    if inspect.isclass(value):
        for member, item in vars(value).items():
            yield from _member(name, member, item)


def _assignment(name: str) -> Iterator[str]:
    """Yield how a constant or a type is defined, and the text below its definition."""
    module = importlib.import_module(msinet_core._HOME[name])
    body = ast.parse(inspect.getsource(module)).body
    for node, text in zip(body, [*body[1:], None], strict=True):
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        if [getattr(target, "id", None) for target in targets] != [name]:
            continue
        assert isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None
        definition = ast.unparse(node.value).replace("'", '"')
        yield from _code(f"{name} = {definition}", "py")
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            yield from _prose(inspect.cleandoc(str(text.value.value)))


def _has_no_arguments(kind: type) -> bool:
    plain = kind.__init__ is object.__init__ and kind.__new__ is object.__new__
    return plain or issubclass(kind, Exception)


def _member(owner: str, name: str, item: Any) -> Iterator[str]:
    if name.startswith("_"):
        return
    function = item.func if isinstance(item, cached_property) else item
    function = getattr(function, "fget", None) or getattr(function, "__func__", function)
    if not inspect.isfunction(function) or not function.__doc__:
        return
    if isinstance(item, (property, cached_property)):
        result = function.__annotations__.get("return", "Any")
        yield from _code(f"{owner}.{name}: {result}", "py")
    else:
        yield from _code(_signature(f"{owner}.{name}", function), "py")
    yield from _prose(inspect.cleandoc(function.__doc__))


def _signature(name: str, value: Any) -> str:
    signature = inspect.signature(value)
    parameters, star = [], False
    for parameter in signature.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            parameters.append("*")
        star = star or parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        text = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        text += parameter.name
        if parameter.annotation is not parameter.empty:
            text += f": {_annotation(parameter.annotation)}"
        if parameter.default is not parameter.empty:
            text += f" = {_default(parameter.default)}"
        parameters.append(text)
    result = signature.return_annotation
    shown = inspect.isfunction(value) and result is not signature.empty
    end = f") -> {_annotation(result)}" if shown else ")"
    line = f"{name}({', '.join(parameters)}{end}"
    if len(line) <= WIDTH - 12:
        return line
    return "\n".join([f"{name}(", *(f"    {parameter}," for parameter in parameters), end])


def _annotation(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return text.replace("typing.", "")


def _default(value: Any) -> str:
    if inspect.isfunction(value) or inspect.isclass(value):
        return str(value.__qualname__).replace("<lambda>", "...")
    if is_dataclass(value) and value == type(value)():
        return f"{type(value).__name__}()"
    return "..." if " at 0x" in repr(value) else repr(value).replace("'", '"')


def _code(text: str, language: str) -> Iterator[str]:
    yield from (f"```{language}", *text.splitlines(), "```", "")


def _prose(doc: str) -> Iterator[str]:
    """Yield a docstring as Markdown: its text, then its sections."""
    parts = _SECTION.split(doc.replace("``", "`"))
    yield from _paragraphs(parts[0])
    for title, content in zip(parts[1::2], parts[2::2], strict=True):
        text = inspect.cleandoc(content)
        if title == "Example":
            yield from _code(text, "pycon")
        elif title in _LISTS:
            yield from (f"{title}:", "")
            items = _ITEM.split(text)
            for item, about in zip(items[1::2], items[2::2], strict=True):
                yield from _wrapped(f"* `{item}`: {' '.join(about.split())}", "  ")
            yield ""
        else:
            yield from _wrapped(f"{title}: {' '.join(text.split())}")
            yield ""


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        lines = paragraph.splitlines()
        if paragraph.startswith(("*", "|", "```")) or any(re.match(r" *\*", x) for x in lines[1:]):
            yield from lines
        elif paragraph:
            yield from _wrapped(" ".join(paragraph.split()))
        yield ""


def _wrapped(text: str, indent: str = "") -> list[str]:
    return wrap(text, indent).splitlines()
