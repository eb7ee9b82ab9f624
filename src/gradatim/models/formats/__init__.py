"""Public reward-model formats, one module each; `load` recognises a checkpoint by what is in it, never by its name.

A new format is one import and one entry of `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradatim.errors import CheckpointError, ConfigError
from gradatim.models.formats.contract import Asked, Facts, Format, Match
from gradatim.models.formats.implicit import IMPLICIT
from gradatim.models.formats.math_shepherd import ER_PRM, MATH_PSA, MATH_SHEPHERD
from gradatim.models.formats.pqm import PQM
from gradatim.models.formats.qwen_prm import QWEN_PRM, REASONFLUX_PRM
from gradatim.models.formats.qwen_rm import QWEN_RM
from gradatim.models.formats.rlhflow import RLHFLOW, RLHFLOW_ORM
from gradatim.models.formats.sequence_classification import SEQUENCE_CLASSIFICATION
from gradatim.models.formats.skywork_prm import SKYWORK_PRM
from gradatim.models.formats.token_pair import CONVERTED
from gradatim.models.formats.trl import PURE, TRL
from gradatim.models.model import Readable

FORMATS: tuple[Format, ...] = (
    QWEN_PRM,
    REASONFLUX_PRM,
    QWEN_RM,
    SEQUENCE_CLASSIFICATION,
    MATH_SHEPHERD,
    MATH_PSA,
    ER_PRM,
    RLHFLOW,
    RLHFLOW_ORM,
    SKYWORK_PRM,
    PQM,
    TRL,
    PURE,
    IMPLICIT,
)
"""All that are known, in the order of the documentation."""


def load(
    folder: Path,
    *,
    format: str | None = None,
    dtype: str = "float32",
    device: str = "auto",
    options: Mapping[str, Any] | None = None,
) -> Readable:
    """The reward model in a folder, read as its authors do.

    Without `format` the one format that fits is taken; CheckpointError if none does or several do, with what was found
    and what was expected. ConfigError for a format or an option that does not exist.
    """
    facts = Facts(folder)
    said = facts.config.get(CONVERTED) if format is None else format
    chosen = _detected(facts) if said is None else named(str(said))
    asked = Asked(dtype=dtype, device=device, options=dict(options or {}))
    unknown = sorted(set(asked.options) - set(chosen.options))
    if unknown:
        known = "; ".join(f"{name}: {told}" for name, told in chosen.options.items())
        raise ConfigError(
            f"the format {chosen.name!r} has no option {', '.join(unknown)}; expected {known or 'no options'}"
        )
    return chosen.load(facts, asked)


def named(name: str) -> Format:
    """The format of that name; ConfigError for another."""
    for one in FORMATS:
        if one.name == name:
            return one
    raise ConfigError(f"format={name!r}; expected one of {', '.join(one.name for one in FORMATS)}")


def _detected(facts: Facts) -> Format:
    matches = [(one, one.match(facts)) for one in FORMATS]
    fitting = [one for one, match in matches if match.fits]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(one.name for one in fitting)
        raise CheckpointError(
            f"{facts.folder}: found a checkpoint ({facts.architecture or 'no architecture'}) that fits several formats "
            f"({names}) and does not say which; expected one: name it with format= (--format)"
        )
    near = "".join(f"\n  {one.name}: {_told(match)}" for one, match in matches if match.found)
    raise CheckpointError(
        f"{facts.folder}: found {facts.architecture or 'no architecture'}, which fits no format: "
        f"{near or 'nothing in it resembles one'}\n"
        f"expected one of {', '.join(one.name for one in FORMATS)}, or a model that `gradatim train` wrote; "
        "take the whole checkpoint, or name the format that it should be read in with format= (--format)"
    )


def _told(match: Match) -> str:
    return f"{', '.join(match.found)}; but {'; '.join(match.missing)}"
