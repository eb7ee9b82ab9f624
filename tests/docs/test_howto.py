"""The how-to pages name commands, flags and Python names that exist."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest
import typer

PAGES = sorted((Path(__file__).parents[2] / "docs" / "howto").glob("*.md"))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.S)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_and_flags_exist(page: Path) -> None:
    """Every line of a shell block is a command of ours, maybe started in several processes, with flags that it has."""
    from gradatim.cli import app

    group = typer.main.get_command(app)
    lines = [line for block in blocks(page, "sh") for line in block.splitlines() if line.strip()]
    for line in lines:
        started = re.sub(r"^(accelerate launch|torchrun) .*-m gradatim ", "gradatim ", line)
        program, verb, *rest = shlex.split(started, comments=True)
        command = group.commands[verb]  # type: ignore[attr-defined]
        if (below := getattr(command, "commands", None)) and rest:
            command = below.get(rest[0], below.get("suites"))
        flags = {flag for parameter in command.params for flag in parameter.opts}
        assert program == "gradatim"
        assert {word for word in rest if word.startswith("--")} <= flags, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_names_exist(page: Path) -> None:
    """Every python block can be parsed; what it imports, and what it takes from gradatim, is there."""
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module or "")
                assert all(hasattr(module, name.name) for name in node.names)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "gradatim":
                assert hasattr(importlib.import_module("gradatim"), node.attr)


def test_formats_of_the_pages_exist() -> None:
    """`format=` and `--format` name formats that `load` knows."""
    from gradatim.models.formats import FORMATS

    named = {
        name for page in PAGES for name in re.findall(r"(?:format=\"|--format )([a-z-]+)", page.read_text("utf-8"))
    }
    assert PAGES
    assert named <= {one.name for one in FORMATS}


def test_every_format_is_in_the_table_with_its_options() -> None:
    """The table of the page on public models has each format once, and each of its options."""
    from gradatim.models.formats import FORMATS

    page = next(page for page in PAGES if page.name == "load-public-models.md").read_text("utf-8")
    rows = [row.split("|") for row in page.split("\n") if row.startswith("| `") and "--format" not in row]
    told = {name: re.findall(r"`(\w+)`", row[4]) for row in rows for name in re.findall(r"`([a-z-]+)`", row[1])}
    assert told == {one.name: list(one.options) for one in FORMATS}
