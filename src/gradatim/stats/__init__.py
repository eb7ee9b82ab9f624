"""Estimates with honest intervals, and exact formulas for choosing among n of m samples. numpy only."""

from __future__ import annotations

from gradatim.stats.calibration import Bin, BrierParts, auroc, brier, brier_parts, ece, reliability, tail
from gradatim.stats.conformal import at_most, binomial_at_most, quantile_by_problem, surest
from gradatim.stats.folds import FOLDS, fold_of
from gradatim.stats.intervals import (
    DRAWS,
    bootstrap,
    bootstrap_columns,
    bootstrap_statistic,
    bootstrap_sums,
    paired_bootstrap,
    ratio_bootstrap,
    share,
    wilson,
)
from gradatim.stats.majority import ALL_UP_TO, LARGEST, majority_curve, majority_grid
from gradatim.stats.pools import best_of_curve, order_weights, pass_at, pass_curve, random_curve
from gradatim.stats.weighted import SUBSETS, TIE, weighted_majority_curve

__all__ = [
    "ALL_UP_TO",
    "DRAWS",
    "FOLDS",
    "LARGEST",
    "SUBSETS",
    "TIE",
    "Bin",
    "BrierParts",
    "at_most",
    "auroc",
    "best_of_curve",
    "binomial_at_most",
    "bootstrap",
    "bootstrap_columns",
    "bootstrap_statistic",
    "bootstrap_sums",
    "brier",
    "brier_parts",
    "ece",
    "fold_of",
    "majority_curve",
    "majority_grid",
    "order_weights",
    "paired_bootstrap",
    "pass_at",
    "pass_curve",
    "quantile_by_problem",
    "random_curve",
    "ratio_bootstrap",
    "reliability",
    "share",
    "surest",
    "tail",
    "weighted_majority_curve",
    "wilson",
]
