"""The command line: a verb a stage. Flags come from the stages' config dataclasses; what is printed here is for people,
and `--json` prints one object for programs."""

from gradatim.cli import running, writing, models, results  # isort: skip  (verbs are listed in the order of the loop)
from gradatim.cli.app import app, evaluate, main

__all__ = ["app", "evaluate", "main", "models", "results", "running", "writing"]
