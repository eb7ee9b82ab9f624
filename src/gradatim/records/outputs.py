"""Where results go: looked at before any work is done, so that hours of it do not end in a path that can't be written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryFile

from gradatim.errors import ConfigError


def check_output(out: str | Path, inputs: Iterable[str | Path] = ()) -> None:
    """ConfigError if `out` can't be written as a file of rows, or if that would replace one of the `inputs` (files, or data
    sets as FORM:PATH). Makes the folder."""
    target = Path(out)
    if not target.name or target.is_dir():
        raise ConfigError(f"output {str(out)!r} is no file; expected a name like results.jsonl")
    if target.suffix == ".parquet":
        raise ConfigError(f"output {out}: rows are written as JSON Lines; expected .jsonl, .jsonl.gz or .jsonl.zst")
    for name in map(str, inputs):
        if any(_same(target, path) for path in (name, name.partition(":")[2])):
            raise ConfigError(f"output {out} would replace what is read from it; choose another name")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=target.parent).close()
    except OSError as error:
        raise ConfigError(f"output {out}: can't write into {target.parent} ({error.strerror})") from None


def _same(target: Path, path: str) -> bool:
    return bool(path) and Path(path).exists() and target.exists() and target.samefile(path)
