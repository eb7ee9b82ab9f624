"""Where results go: looked at before any work is done, so that hours of it do not end in a path that can't be written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryFile

from gradatim.errors import ConfigError

_STAGES = ("problems", "solutions", "labels")
"""What the files of a run's folder are called that other stages read."""


def check_output(out: str | Path, inputs: Iterable[str | Path | None] = (), *, rows: bool = True) -> None:
    """ConfigError if `out` can't be written as a file of rows, or if that would replace one of the `inputs`: files, data
    sets as FORM:PATH, a run's folder (which stands for its problems, solutions and labels) or FORM:FOLDER (for all its
    files). Makes the folder. What is no file of rows (one object, a picture, a page) may end as it likes."""
    target = Path(out)
    if not target.name or target.is_dir():
        raise ConfigError(f"output {str(out)!r} is no file; expected a name like results.jsonl")
    name = target.name.removesuffix(".gz").removesuffix(".zst")
    if rows and name.endswith((".parquet", ".json")):
        raise ConfigError(f"output {out}: rows are written as JSON Lines; expected .jsonl, .jsonl.gz or .jsonl.zst")
    if any(_reads(str(source), target) for source in inputs if source is not None):
        raise ConfigError(f"output {out} would replace what is read from it; choose another name")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=target.parent).close()
    except OSError as error:
        raise ConfigError(f"output {out}: can't write into {target.parent} ({error.strerror})") from None


def check_outputs(
    rows: Iterable[str | Path | None],
    inputs: Iterable[str | Path | None] = (),
    others: Iterable[str | Path | None] = (),
) -> None:
    """`check_output` of each file of `rows`, and of each of the `others`, which hold none; ConfigError also if two of them
    are one file. None stands for what was not asked for."""
    named = [(out, True) for out in rows] + [(out, False) for out in others]
    outs = [(out, is_rows) for out, is_rows in named if out is not None]
    read, places = list(inputs), [Path(out).resolve() for out, _ in outs]
    for (out, is_rows), place in zip(outs, places, strict=True):
        check_output(out, read, rows=is_rows)
        if places.count(place) > 1:
            raise ConfigError(f"output {out} is named for two results; choose two names")


def _reads(source: str, target: Path) -> bool:
    """Whether the file `target` is, or is one of those of, `source`."""
    if not target.exists():
        return False
    if _is_at(source, target) or _is_at(source.partition(":")[2], target):
        return True
    run = target.name.partition(".")[0] in _STAGES
    return (run and _is_at(source, target.parent)) or _is_at(source.partition(":")[2], target.parent)


def _is_at(path: str, target: Path) -> bool:
    return bool(path) and Path(path).exists() and Path(path).samefile(target)
