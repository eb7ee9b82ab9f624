"""The lab: a world where every step's truth is known, so that every estimate can be checked against an exact number."""

from gradatim.problems.lab.checker import StepTruth, check, exact_labels, first_error
from gradatim.problems.lab.world import load

__all__ = ["StepTruth", "check", "exact_labels", "first_error", "load"]
