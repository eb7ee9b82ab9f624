"""The README's code runs and prints what it says."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """Every python block runs in one namespace, and the first one shows steps with their scores."""
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)
    shown = capsys.readouterr().out

    assert blocks
    assert re.search(r"0\.\d{3}  [a-z]+: ", shown)
    assert "(min, by lab-prm)" in shown


def test_links_of_the_docs_lead_somewhere() -> None:
    """Relative links in README and docs name files that exist."""
    root = Path(__file__).parents[2]
    for page in [root / "README.md", *(root / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_verbs_of_the_readme_exist() -> None:
    """Every `gradatim VERB` in README's shell blocks is a command."""
    from gradatim.cli import app, evaluate

    verbs = {command.name for command in app.registered_commands} | {"evaluate", "study"}
    named = re.findall(r"^gradatim (\w+)", README, flags=re.M)

    assert named
    assert set(named) <= verbs
    assert {command.name for command in evaluate.registered_commands} == {"pool", "processbench", "suites"}
