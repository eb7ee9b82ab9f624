"""Train, use and distrust reward models for reasoning.

    import gradatim

    scorer, policy = gradatim.load("lab"), gradatim.load_policy("lab")
    print(gradatim.best_of(policy, scorer, gradatim.load_problems("lab:test:1")[0], n=16))

Importing this never imports torch: what needs it is imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradatim.core import Estimate as Estimate
    from gradatim.core import Labels as Labels
    from gradatim.core import Pair as Pair
    from gradatim.core import Policy as Policy
    from gradatim.core import Prefix as Prefix
    from gradatim.core import Problem as Problem
    from gradatim.core import Score as Score
    from gradatim.core import Scorer as Scorer
    from gradatim.core import Solution as Solution
    from gradatim.core import Step as Step
    from gradatim.core import Tally as Tally
    from gradatim.core import Verdict as Verdict
    from gradatim.errors import GradatimError as GradatimError
    from gradatim.problems.sources import load_problems as load_problems
    from gradatim.score.engine import load as load
    from gradatim.solutions.endpoint.policy import load_endpoint as load_endpoint
    from gradatim.solutions.local.policy import load_policy as load_policy
    from gradatim.solve import best_of as best_of
    from gradatim.steps import by_blank_line as by_blank_line
    from gradatim.steps import by_line as by_line

_HOME = {
    "Estimate": "core",
    "GradatimError": "errors",
    "Labels": "core",
    "Pair": "core",
    "Policy": "core",
    "Prefix": "core",
    "Problem": "core",
    "Score": "core",
    "Scorer": "core",
    "Solution": "core",
    "Step": "core",
    "Tally": "core",
    "Verdict": "core",
    "best_of": "solve",
    "by_blank_line": "steps",
    "by_line": "steps",
    "load": "score.engine",
    "load_endpoint": "solutions.endpoint.policy",
    "load_policy": "solutions.local.policy",
    "load_problems": "problems.sources",
}

__all__ = [
    "Estimate",
    "GradatimError",
    "Labels",
    "Pair",
    "Policy",
    "Prefix",
    "Problem",
    "Score",
    "Scorer",
    "Solution",
    "Step",
    "Tally",
    "Verdict",
    "best_of",
    "by_blank_line",
    "by_line",
    "load",
    "load_endpoint",
    "load_policy",
    "load_problems",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gradatim' has no attribute {name!r}")
    try:
        return getattr(import_module(f"gradatim.{_HOME[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name in ("torch", "transformers"):
            from gradatim.errors import BackendError

            raise BackendError(f"gradatim.{name} needs {error.name}; run: pip install 'gradatim[model]'") from error
        raise


def __dir__() -> list[str]:
    return __all__
