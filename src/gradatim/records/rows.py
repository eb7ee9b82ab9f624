"""JSON Lines in and out: one object a line, errors that name file and line, drops that are counted.

Whatever reads data goes through `read_rows` and `convert`, so that a malformed row is the same thing everywhere: an
`InputError`, or one more in a counter where the caller asked to go on.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import os
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from secrets import token_hex
from typing import IO, Any, TypeGuard, TypeVar, cast

import zstandard

from gradatim.errors import InputError

T = TypeVar("T")

STDIN = "-"
"""The path that means standard input."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a file: where it stood, and the object it holds. Its methods read fields and raise `InputError`."""

    file: str
    line: int
    data: dict[str, Any]

    def error(self, found: str, *, expected: str | None = None, fix: str | None = None) -> InputError:
        """The error to raise about this row. Keep `expected` the same for all rows: drops are counted under it."""
        return InputError(found, expected=expected, file=self.file, line=self.line, fix=fix)

    def inside(self, data: Mapping[str, Any]) -> Row:
        """An object that this row holds, as a row at the same place."""
        return Row(self.file, self.line, dict(data))

    def name_of(self, *names: str) -> str | None:
        """The first of the names that the row has with a value that is not null."""
        return next((name for name in names if self.data.get(name) is not None), None)

    def text(self, *names: str) -> str:
        """The text under the first name that is there; an error if there is none, or nothing but white space."""
        value = self.optional_text(*names)
        if value is None or not value.strip():
            found = f"no {' or '.join(map(repr, names))}" if value is None else f"{names[0]!r} without text"
            raise self.error(found, expected=f"{names[0]}: a text")
        return value

    def optional_text(self, *names: str) -> str | None:
        """The text under the first name that is there, None where there is none."""
        name = self.name_of(*names)
        if name is None:
            return None
        value = self.data[name]
        if not isinstance(value, str):
            raise self.error(f"{name}: {shown(value)}", expected=f"{names[0]}: a text")
        return value

    def choice(self, name: str, allowed: Sequence[str], default: str) -> str:
        """A text that has to be one of `allowed`."""
        value = self.data.get(name)
        if value is None:
            return default
        if value not in allowed or not isinstance(value, str):
            raise self.error(f"{name}: {shown(value)}", expected=f"{name}: one of {', '.join(allowed)}")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """true or false, nothing else."""
        value = self.data.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.error(f"{name}: {shown(value)}", expected=f"{name}: true or false")
        return value

    def count(self, *names: str) -> int | None:
        """A whole number from 0 on (not a boolean), None where the row has none."""
        name = self.name_of(*names)
        if name is None:
            return None
        value = self.data[name]
        if not is_whole(value) or value < 0:
            raise self.error(f"{name}: {shown(value)}", expected=f"{names[0]}: a whole number from 0 on")
        return int(value)

    def items(self, *names: str) -> list[Any]:
        """The list under the first name that is there."""
        name = self.name_of(*names)
        value = None if name is None else self.data[name]
        if not isinstance(value, list):
            found = f"no {' or '.join(map(repr, names))}" if name is None else f"{name}: {shown(value)}"
            raise self.error(found, expected=f"{names[0]}: a list")
        return value

    def texts(self, *names: str) -> list[str]:
        """A list of at least one text, each with more than white space in it: the bare steps of a solution."""
        values = self.items(*names)
        if not values:
            raise self.error(f"{names[0]}: []", expected=f"{names[0]}: at least one step", fix="drop the row")
        for index, value in enumerate(values):
            if not isinstance(value, str):
                raise self.error(f"{names[0]}[{index}]: {shown(value)}", expected=f"{names[0]}: a list of texts")
            if not value.strip():
                raise self.error(
                    f"{names[0]}[{index}] without text",
                    expected=f"{names[0]}: a text in every step",
                    fix="drop the row, or that step together with its label",
                )
        return values

    def number(self, name: str, value: Any) -> float:
        """A finite number, or NaN for null and NaN."""
        if value is None:
            return math.nan
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isinf(value):
            raise self.error(
                f"{name}: {shown(value)}", expected=f"{name}: a finite number, or null where there is none"
            )
        return float(value)


def is_whole(value: object) -> TypeGuard[int | float]:
    """Whether a JSON value is a whole number: 3 and 3.0 are, true and NaN are not."""
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def shown(value: object) -> str:
    """A JSON value for an error message, cut to 60 characters."""
    text = json.dumps(value, default=repr)
    return text if len(text) <= 60 else f"{text[:57]}..."


def reason(error: InputError) -> str:
    """What a drop for this error is counted under: what was expected, which is the same for all rows alike."""
    return f"expected {error.expected}" if error.expected else error.found


def once(what: str) -> Callable[[Row, str], None]:
    """A check that the same key does not come twice; its error names the place where the key was first."""
    places: dict[str, tuple[str, int]] = {}

    def check(row: Row, key: str) -> None:
        first = places.setdefault(key, (row.file, row.line))
        if first != (row.file, row.line):
            raise row.error(
                f"{what} {shown(key)} again (first in {place_of(*first, seen_from=row)})",
                expected=f"each {what} once",
                fix="drop one of the two rows",
            )

    return check


def place_of(file: str, line: int, *, seen_from: Row) -> str:
    """A line for a message about another row: "line 3", with its file where that is another one."""
    return f"line {line}" if file == seen_from.file else f"{file}:{line}"


# ---------------------------------------------------------------------------------------------------------- reading


def read_rows(path: str | Path, *, skip_bad: bool = False, drops: Counter[str] | None = None) -> Iterator[Row]:
    """The objects in a file of JSON Lines (`.jsonl`, `.jsonl.gz`, `.jsonl.zst`, or "-": standard input), in order.

    Empty lines are passed over. A line that is not one JSON object in UTF-8, or that holds half of a surrogate pair, is
    an `InputError` with file and line; with `skip_bad` it is counted in `drops` and passed over. A file that can't be
    opened or unpacked is an `InputError` in any case.
    """
    name = "<stdin>" if str(path) == STDIN else str(path)
    with opened(path, name) as stream:
        for number, line in lines(stream, name):
            if not line.strip():
                continue
            try:
                yield _parsed(line, name, number)
            except InputError as error:
                if not skip_bad:
                    raise
                _count(error, drops)


def convert(
    rows: Iterable[Row],
    read: Callable[[Row], T],
    *,
    skip_bad: bool = False,
    drops: Counter[str] | None = None,
) -> Iterator[T]:
    """`read(row)` for each row; with `skip_bad` a row whose reading raises `InputError` is counted and passed over."""
    for row in rows:
        try:
            item = read(row)
        except InputError as error:
            if not skip_bad:
                raise
            _count(error, drops)
            continue
        yield item


def _count(error: InputError, drops: Counter[str] | None) -> None:
    if drops is not None:
        drops[reason(error)] += 1


@contextmanager
def opened(path: str | Path, name: str) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked where its name ends in `.gz` or `.zst`; InputError, by `name`, if it can't be opened."""
    if str(path) == STDIN:
        yield sys.stdin.buffer
        return
    try:
        file = open(path, "rb")  # noqa: SIM115 (closed below, by the `with`)
    except FileNotFoundError:
        raise InputError("no such file", file=name, fix="check the path") from None
    except IsADirectoryError:
        raise InputError("a folder", expected="a file of JSON Lines", file=name) from None
    except (OSError, ValueError) as error:
        raise InputError(f"a file that can't be opened ({error})", file=name) from None
    with file:
        if name.endswith(".gz"):
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield io.BufferedReader(unpacked)
        elif name.endswith(".zst"):
            yield io.BufferedReader(_Frames(file))
        else:
            yield file


class _Frames(io.RawIOBase):
    """Zstandard frames, unpacked one after another; EOFError for a torn one, which zstandard's own reader takes for its end."""

    _PART = 4096
    """Packed bytes that are unpacked at once: what bounds the memory for a file that unpacks to very much."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._packed, self._unpacked = file, b"", memoryview(b"")
        self._frame: Any = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._unpacked:
            packed = self._packed or self._file.read(self._PART)
            if not packed:
                if self._frame is not None:
                    raise EOFError("it ends inside of a frame")
                return 0
            self._frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
            self._unpacked, self._packed = memoryview(self._frame.decompress(packed)), b""
            if self._frame.eof:
                self._packed, self._frame = self._frame.unused_data, None
        count = min(len(buffer), len(self._unpacked))
        buffer[:count], self._unpacked = self._unpacked[:count], self._unpacked[count:]
        return count


def lines(stream: IO[bytes], name: str) -> Iterator[tuple[int, bytes]]:
    """The lines of an `opened` file, counted from 1 on; InputError, by `name`, where it can't be unpacked."""
    number = 0
    try:
        for line in stream:
            number += 1
            yield number, line
    except (EOFError, OSError, zlib.error, zstandard.ZstdError) as error:
        raise InputError(
            f"a file that can't be unpacked after line {number} ({error})",
            expected="a whole gzip or zstandard file",
            file=name,
            fix="fetch or write it again",
        ) from None


def _parsed(line: bytes, name: str, number: int) -> Row:
    def wrong(found: str, expected: str, fix: str | None = None) -> InputError:
        return InputError(found, expected=expected, file=name, line=number, fix=fix)

    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise wrong(
            f"bytes that are no UTF-8 (at byte {error.start})", "UTF-8", "convert the file, e.g. with iconv"
        ) from None
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise wrong(f"{shown(text.strip())} ({error.msg} at character {error.pos})", "one JSON object a line") from None
    except (ValueError, RecursionError) as error:
        raise wrong(f"{shown(text.strip())} ({error})", "one JSON object a line") from None
    if not isinstance(value, dict):
        fix = "write one row a line, e.g. with jq -c '.[]'" if isinstance(value, list) else None
        raise wrong(shown(value), "one JSON object a line", fix)
    row = Row(name, number, value)
    return unbroken(row) if b"\\u" in line else row


def unbroken(row: Row) -> Row:
    """The row, if its texts are whole Unicode; InputError for half a surrogate pair, which could not be written again."""
    try:
        where = _broken(row.data)
    except RecursionError as error:
        raise row.error(f"an object nested too deeply ({error})", expected="an object of few levels") from None
    if where:
        fix = "drop the row or mend that text"
        raise row.error(f"half a surrogate pair in {where}", expected="whole Unicode characters", fix=fix)
    return row


def _broken(value: object) -> str | None:
    """Where a JSON value holds a lone surrogate (only an escape can put one there); None where it is clean."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return "the text"
        return None
    if isinstance(value, dict):
        return next((shown(key) for key, item in value.items() if _broken(key) or _broken(item)), None)
    if isinstance(value, list):
        return next((f"item {index}" for index, item in enumerate(value) if _broken(item)), None)
    return None


# ---------------------------------------------------------------------------------------------------------- writing


def write_rows(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows as JSON Lines (packed where the name ends in `.gz` or `.zst`) and return how many.

    The file appears whole or not at all, with the same bytes for the same rows. NaN becomes null. InputError for
    an infinite number or half a surrogate pair: no reader would take them back.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{token_hex(4)}.part")
    count = 0
    try:
        with open(temporary, "xb") as file:
            with _packed(file, target.name) as out:
                for row in rows:
                    count += 1
                    out.write(_written(row, target, count))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return count


@contextmanager
def _packed(file: IO[bytes], name: str) -> Iterator[IO[bytes]]:
    if name.endswith(".gz"):
        with gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as out:
            yield cast(IO[bytes], out)
    elif name.endswith(".zst"):
        with zstandard.ZstdCompressor().stream_writer(file, closefd=False) as out:
            yield out
    else:
        yield file


def _written(row: Mapping[str, Any], path: Path, number: int) -> bytes:
    try:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_without_nan(row, path, number), ensure_ascii=False, allow_nan=False)
    try:
        return f"{text}\n".encode()
    except UnicodeEncodeError:
        where = _broken(dict(row))
        raise InputError(
            f"half a surrogate pair in {where}", expected="whole Unicode characters", file=path, line=number
        ) from None


def _without_nan(value: Any, path: Path, number: int) -> Any:
    if isinstance(value, float):
        if math.isinf(value):
            raise InputError("an infinite number", expected="finite numbers", file=path, line=number)
        return None if math.isnan(value) else value
    if isinstance(value, Mapping):
        return {key: _without_nan(item, path, number) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item, path, number) for item in value]
    return value


def digest(path: str | Path) -> str:
    """16 hex digits (blake2b) of a file's bytes; InputError if it can't be opened."""
    state = blake2b(digest_size=8)
    try:
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                state.update(chunk)
    except OSError as error:
        raise InputError(f"a file that can't be opened ({error.strerror})", file=path, fix="check the path") from None
    return state.hexdigest()
