"""Command-line flags are what the config dataclasses say they are."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
import typer
from typer.testing import CliRunner

from gradatim.flags import command, documentation


@dataclass(frozen=True)
class Inner:
    """Nested settings."""

    rate: float = 0.5
    """How fast."""


@dataclass(frozen=True)
class Outer:
    """Settings of a made-up verb."""

    data: tuple[str, ...] = ()
    """Which files."""
    mode: Literal["plain", "fancy"] = "plain"
    """Which way."""
    limit: int | None = None
    """How many."""
    inner: Inner = field(default_factory=Inner)
    """More."""


def run(*arguments: str) -> tuple[int, Any, str]:
    app = typer.Typer(rich_markup_mode=None)
    app.callback()(lambda: None)

    @command(app, "verb", Outer, arguments=("data",))
    def verb(config: Outer, *, as_json: bool, quiet: bool) -> None:
        """Do it."""
        print(json.dumps([config.data, config.mode, config.limit, config.inner.rate, as_json, quiet]))

    result = CliRunner().invoke(app, ["verb", *arguments])
    return (
        result.exit_code,
        json.loads(result.stdout) if result.exit_code == 0 and arguments != ("--help",) else None,
        result.output,
    )


def test_defaults_are_the_dataclasses_own() -> None:
    """No flags give the config as its class makes it."""
    assert run() == (0, [[], "plain", None, 0.5, False, False], run()[2])


def test_every_field_is_a_flag_nested_ones_too() -> None:
    """Fields of nested dataclasses are flags of the same command; positional ones may repeat."""
    code, found, _ = run("a", "b", "--mode", "fancy", "--limit", "3", "--rate", "0.25", "--json", "--quiet")

    assert (code, found) == (0, [["a", "b"], "fancy", 3, 0.25, True, True])


def test_wrong_usage_exits_with_2_and_says_what_is_allowed() -> None:
    """A value outside a Literal names the allowed ones."""
    code, _, output = run("--mode", "odd")

    assert code == 2
    assert "fancy" in output


def test_help_is_the_text_under_the_field() -> None:
    """--help prints each field's own documentation."""
    _, _, output = run("--help")

    for told in ("Which files.", "Which way.", "How many.", "How fast."):
        assert told in output


def test_documentation_reads_the_strings_under_the_fields() -> None:
    """Field name -> the string below it."""
    assert documentation(Inner) == {"rate": "How fast."}


def test_two_fields_of_one_name_are_refused() -> None:
    """A command can't have two flags of one name."""
    with pytest.raises(TypeError, match="rate"):
        command(typer.Typer(), "verb", Inner, Outer)
