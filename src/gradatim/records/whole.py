"""Files of one JSON value, as many public data sets come: a list of objects, or an object of such lists."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gradatim.errors import InputError
from gradatim.records.rows import Row, lines, opened, reason, shown, unbroken


def is_whole_json(path: str | Path) -> bool:
    """Whether a name says that the file is one JSON value and not one a line: it ends in `.json`, packed or not."""
    return str(path).removesuffix(".gz").removesuffix(".zst").endswith(".json")


def read_whole(path: str | Path, *, skip_bad: bool = False, drops: Counter[str] | None = None) -> Iterator[Row]:
    """The objects in a `.json` file, in order; a row's line is the object's number from 1 on.

    InputError for a file that can't be opened or unpacked, or that is no such list (or object of lists), and for an item
    that is no object or holds half of a surrogate pair (with `skip_bad` counted in `drops`).
    """
    name = str(path)
    with opened(path, name) as stream:
        content = b"".join(line for _, line in lines(stream, name))
    try:
        value: Any = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"no JSON ({error})", expected="one JSON value", file=name) from None
    lists = list(value.values()) if isinstance(value, dict) else [value]
    if not all(isinstance(one, list) for one in lists):
        raise InputError(shown(value), expected="a list of objects, or an object of such lists", file=name)
    for number, item in enumerate((item for one in lists for item in one), 1):
        try:
            yield _row(item, name, number)
        except InputError as error:
            if not skip_bad:
                raise
            if drops is not None:
                drops[reason(error)] += 1


def _row(item: object, name: str, number: int) -> Row:
    if not isinstance(item, dict):
        raise InputError(shown(item), expected="an object", file=name, line=number)
    return unbroken(Row(name, number, item))
