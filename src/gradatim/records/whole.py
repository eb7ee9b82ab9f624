"""Files of one JSON value, as many public data sets come: a list of objects, or an object of such lists."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gradatim.errors import InputError
from gradatim.records.rows import Row, opened, shown


def is_whole_json(path: str | Path) -> bool:
    """Whether a name says that the file is one JSON value and not one a line: it ends in `.json`, packed or not."""
    return str(path).removesuffix(".gz").removesuffix(".zst").endswith(".json")


def read_whole(path: str | Path, *, skip_bad: bool = False, drops: Counter[str] | None = None) -> Iterator[Row]:
    """The objects in a `.json` file, in order; a row's line is the object's number from 1 on.

    InputError for a file that is no such list (or object of lists), and for an item that is no object (with `skip_bad`
    counted in `drops`).
    """
    name = str(path)
    with opened(path, name) as stream:
        try:
            value: Any = json.loads(stream.read())
        except (ValueError, RecursionError) as error:
            raise InputError(f"no JSON ({error})", expected="one JSON value", file=name) from None
    lists = list(value.values()) if isinstance(value, dict) else [value]
    if not all(isinstance(one, list) for one in lists):
        raise InputError(shown(value), expected="a list of objects, or an object of such lists", file=name)
    for number, item in enumerate((item for one in lists for item in one), 1):
        if isinstance(item, dict):
            yield Row(name, number, item)
        elif not skip_bad:
            raise InputError(shown(item), expected="an object", file=name, line=number)
        elif drops is not None:
            drops["expected an object"] += 1
