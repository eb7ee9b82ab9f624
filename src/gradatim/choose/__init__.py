"""Candidates -> one: choosers, and what each is worth at every n."""

from __future__ import annotations

from gradatim.choose.choosers import Choice, best_of_n, group_answers, majority, weighted_majority
from gradatim.choose.measure import Chooser, Curve, Method, curves, reduced, usable
from gradatim.choose.stage import ChooseConfig, choose_stage, table

__all__ = [
    "Choice",
    "ChooseConfig",
    "Chooser",
    "Curve",
    "Method",
    "best_of_n",
    "choose_stage",
    "curves",
    "group_answers",
    "majority",
    "reduced",
    "table",
    "usable",
    "weighted_majority",
]
