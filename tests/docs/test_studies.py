"""The pages on studies name commands and flags that exist, every study has its page, and every contender its place."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from gradatim.study.contenders import CONTENDERS

FOLDER = Path(__file__).parents[2] / "docs" / "studies"
PAGES = sorted(FOLDER.glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_command_of_a_page_exists(page: Path) -> None:
    """Every shell block runs this page's study, with flags that it has."""
    from gradatim.cli import app

    group = typer.main.get_command(app)
    studies = group.commands["study"].commands  # type: ignore[attr-defined]
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text("utf-8"), flags=re.S)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    assert lines
    for line in lines:
        program, verb, name, *rest = shlex.split(line)
        flags = {flag for parameter in studies[name].params for flag in parameter.opts}
        assert (program, verb, name) == ("gradatim", "study", page.stem)
        assert {word for word in rest if word.startswith("--")} <= flags
    assert {path.stem for path in PAGES} == set(studies)


def test_every_contender_is_on_the_page() -> None:
    """The table of the learning curves has each contender; those of the other weighting are told below it."""
    page = (FOLDER / "learning-curve.md").read_text("utf-8")
    rows = " ".join(line for line in page.splitlines() if line.startswith("|"))

    assert all(one.name in rows for one in CONTENDERS if one.weighting == "prefix")
    assert '"(traj.)"' in page
