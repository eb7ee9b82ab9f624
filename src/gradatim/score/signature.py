"""Whose scores are these? A name, and where it is known a digest of the checkpoint behind it."""

from __future__ import annotations

from collections.abc import Sequence

from gradatim.errors import ConfigError


def same_model(what: str, made_for: tuple[str, str], given: tuple[str, str], remedy: str) -> tuple[str, ...]:
    """Check that what was made for the scores of one model, (name, checkpoint), is given scores of that model.

    ConfigError, which ends with the remedy, for another name, or another checkpoint of the same name. Where one of the
    two checkpoints is not known, names are all that can be compared: the note that is returned says so.
    """
    name, checkpoint = made_for
    if given[0] != name:
        raise ConfigError(f"{what} for scores by {name!r} can't take scores by {given[0]!r}; {remedy}")
    if checkpoint and given[1]:
        if given[1] != checkpoint:
            raise ConfigError(
                f"{what} for scores by {name!r}, checkpoint {checkpoint}, can't take scores by checkpoint {given[1]}: "
                f"the same name, other weights, tokenizer or options; {remedy}"
            )
        return ()
    unknown = " and ".join(
        told for told, known in ((f"{what} does", checkpoint), ("the scores do", given[1])) if not known
    )
    return (f"{unknown} not say which checkpoint of {name!r}: only the name was compared",)


def joint(checkpoints: Sequence[str]) -> str:
    """The checkpoint of several models together; not known unless all are."""
    return "+".join(checkpoints) if all(checkpoints) else ""
