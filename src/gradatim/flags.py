"""Command-line flags from config dataclasses: a field is a flag, the string under the field is its help.

The dataclass stays the one place where a setting has its name, its default and its meaning.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer


class Interrupted(Exception):
    """The user stopped a command. (Typer would turn a KeyboardInterrupt into a message of its own.)"""


@dataclass(frozen=True, slots=True)
class Flag:
    """One command-line parameter and the path of the field that it fills."""

    path: tuple[str, ...]
    """Position of the config in the command, then the names of the nested fields."""
    name: str
    """As a Python identifier; the flag has dashes."""
    annotation: Any
    """Type for typer, help included."""
    default: Any
    """`inspect.Parameter.empty` if it must be given."""


def command(
    app: typer.Typer,
    name: str,
    *configs: type,
    arguments: tuple[str, ...] = (),
    defaults: Mapping[str, Any] | None = None,
    fixed: tuple[str, ...] = (),
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register `work(*configs, as_json=..., quiet=...)` as a command whose flags are the fields of `configs`.

    Fields named in `arguments` are positional. `defaults` replaces defaults, `fixed` fields keep theirs and get no flag.
    Nested dataclasses are flattened; two fields of one name can't be told apart and raise at once.
    """
    flags = [
        flag
        for index, config in enumerate(configs)
        for flag in _flags(config, (str(index),), arguments, defaults or {}, fixed)
    ]
    names = [flag.name for flag in flags]
    if doubled := {flag for flag in names if names.count(flag) > 1}:
        raise TypeError(f"command {name!r} has two fields named {', '.join(sorted(doubled))}")

    def register(work: Callable[..., None]) -> Callable[..., None]:
        def run(**given: Any) -> None:
            as_json, quiet = given.pop("json"), given.pop("quiet")
            values = {flag.path: given[flag.name] for flag in flags}
            built = [_build(config, (str(index),), values) for index, config in enumerate(configs)]
            try:
                work(*built, as_json=as_json, quiet=quiet)
            except KeyboardInterrupt:
                raise Interrupted from None

        parameters = [
            inspect.Parameter(
                flag.name, inspect.Parameter.KEYWORD_ONLY, default=flag.default, annotation=flag.annotation
            )
            for flag in [*flags, *_COMMON]
        ]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__doc__ = work.__doc__
        run.__name__ = work.__name__
        app.command(name)(run)
        return work

    return register


_JSON = typer.Option("--json", help="Print one JSON object, and nothing else, on standard output.")
_QUIET = typer.Option("--quiet", help="No progress on standard error.")
_COMMON = (
    Flag((), "json", Annotated[bool, _JSON], False),
    Flag((), "quiet", Annotated[bool, _QUIET], False),
)


def _flags(
    config: type, path: tuple[str, ...], arguments: tuple[str, ...], defaults: Mapping[str, Any], fixed: tuple[str, ...]
) -> Iterator[Flag]:
    hints, told = get_type_hints(config), documentation(config)
    for field in fields(config):
        kind, here = hints[field.name], (*path, field.name)
        if field.name in fixed:
            continue
        if is_dataclass(kind) and isinstance(kind, type):
            yield from _flags(kind, here, arguments, defaults, fixed)
            continue
        default = defaults.get(field.name, _default(field))
        shown = " ".join(told.get(field.name, "").split())
        annotation, plain = _annotation(kind), _plain(default)
        several = get_origin(kind) is tuple
        shown = f"{shown} May be given several times." if several and field.name not in arguments else shown
        if field.name in arguments:
            info = typer.Argument(help=shown, show_default=plain is not None)
        else:
            metavar = annotation.__args__[0].__name__.upper().replace("STR", "TEXT") if several else None
            info = typer.Option(help=shown, show_default=plain not in (None, "", []), metavar=metavar)
        yield Flag(here, field.name, Annotated[annotation, info], plain)


def _default(field: Field[Any]) -> Any:
    if field.default is not MISSING:
        return field.default
    return inspect.Parameter.empty if field.default_factory is MISSING else field.default_factory()


def _plain(default: Any) -> Any:
    return list(default) if isinstance(default, tuple) else default


def _annotation(kind: Any) -> Any:
    """The type as typer takes it: tuples as lists, a union with None as optional, other unions as text."""
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        return list[item] if item in (int, float, str) else list[str]  # type: ignore[valid-type]
    if get_origin(kind) in (Union, types.UnionType):
        some = [arm for arm in get_args(kind) if arm is not type(None)]
        inner = _annotation(some[0]) if len(some) == 1 else str
        return inner | None if type(None) in get_args(kind) else inner
    return kind if get_origin(kind) is Literal or kind in (int, float, bool, str) else str


def _build(config: type, path: tuple[str, ...], values: Mapping[tuple[str, ...], Any]) -> Any:
    given: dict[str, Any] = {}
    hints = get_type_hints(config)
    for field in fields(config):
        here = (*path, field.name)
        kind = hints[field.name]
        if here in values:
            value = values[here]
            given[field.name] = tuple(value) if isinstance(value, list) else value
        elif is_dataclass(kind) and isinstance(kind, type) and any(key[: len(here)] == here for key in values):
            given[field.name] = _build(kind, here, values)
    return config(**given)


@cache
def documentation(config: type) -> Mapping[str, str]:
    """The string under each field of a dataclass, by field name."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(config)))
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    told: dict[str, str] = {}
    for node, below in pairwise(body):
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            told[node.target.id] = str(below.value.value)
    return told
