"""The command line: a verb a stage. Flags come from the stages' config dataclasses; what is printed here is for people,
and `--json` prints one object for programs."""

from gradatim.cli import (  # isort: skip  (verbs are listed in the order of the loop)
    running,
    writing,
    judging,
    datasets,
    training,
    models,
    calibrating,
    searching,
    results,
    evaluating,
    studying,
)
from gradatim.cli.app import app, evaluate, main

__all__ = [
    "app",
    "calibrating",
    "datasets",
    "evaluate",
    "evaluating",
    "judging",
    "main",
    "models",
    "results",
    "running",
    "searching",
    "studying",
    "training",
    "writing",
]
