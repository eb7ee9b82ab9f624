"""What an evaluation finds about one model on one subset of a suite, and how it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gradatim.core import Estimate
from gradatim.evaluate.measures import Measure
from gradatim.evaluate.said import Said, kinds_of
from gradatim.runs import plain

Numbers = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The findings, in the order in which they are shown. All intervals are 95 %, by problem."""

    suite: str
    subset: str
    model: str
    source: str
    """"model", "scores" or "labels"."""
    headline: str
    """The name of the measure to look at first."""
    counts: Mapping[str, int]
    """How many rows, problems, steps, ... the numbers rest on."""
    measures: Mapping[str, Estimate]
    nulls: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)
    """For a measure what rules without a model get."""
    over_nulls: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)
    """For a measure the model minus each of those, paired."""
    threshold: Numbers | None = None
    """`value`, `from` and `chosen` (one, or one a fold), and `overlap`: rows whose problem the choice has seen."""
    by: Mapping[str, Sequence[Numbers]] = field(default_factory=dict)
    """The same measures by generator, class, length, ..."""
    curves: Mapping[str, Any] = field(default_factory=dict)
    """What is drawn: reliability, scores by length, F1 against the threshold, accuracy against n."""
    notes: Sequence[str] = ()
    """What to know before the numbers are compared with others."""
    paired: Mapping[str, Measure] = field(default_factory=dict)
    """What differences between models are made of; not written."""
    said: Mapping[str, Said] = field(default_factory=dict)
    """What the model said of each row, by its id; written for those that are shown."""

    def as_json(self) -> dict[str, Any]:
        """The result as JSON holds it; numbers that are not there are null."""
        shown = {name: getattr(self, name) for name in _WRITTEN}
        return dict(plain({**shown, "mistakes": kinds_of(self.said.values())}))


_WRITTEN = (
    *("suite", "subset", "model", "source", "headline", "counts", "measures", "nulls", "over_nulls"),
    *("threshold", "by", "curves", "notes"),
)


def differences(results: Sequence[Result], seed: int = 0) -> list[dict[str, Any]]:
    """Each two models on the same subset, measure by measure: first minus second, paired by row, drawn by problem."""
    found = []
    for place, one in enumerate(results):
        for other in results[place + 1 :]:
            if (one.suite, one.subset) != (other.suite, other.subset):
                continue
            for name, measure in one.paired.items():
                if name in other.paired:
                    found.append(
                        {
                            "suite": one.suite,
                            "subset": one.subset,
                            "measure": name,
                            "first": one.model,
                            "second": other.model,
                            "difference": measure.minus(other.paired[name], seed),
                        }
                    )
    return found
