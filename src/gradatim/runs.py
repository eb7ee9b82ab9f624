"""A run's folder: what was asked (`run.toml`), what was done with what (`manifest.json`), and going on after a stop.

A stage is finished once the manifest says so, and the manifest is replaced in one move: a run that was killed at any
moment finds the old record or the new one. A finished stage whose settings, inputs and outputs are what they were is
not run again; what was made with other settings or from other inputs is never mixed with the new.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from hashlib import blake2b
from pathlib import Path
from secrets import token_hex
from shutil import rmtree
from typing import Any

from gradatim.errors import ConfigError, InputError
from gradatim.records import digest

SCHEMA = 1
"""Version of manifest.json."""

_LIBRARIES = ("torch", "transformers", "peft", "numpy", "math-verify", "sympy")


class Run:
    """A run's folder. With `force`, a stage that was asked for differently is done again instead of refused.

    ConfigError where there can't be one.
    """

    def __init__(self, folder: str | Path, *, force: bool = False) -> None:
        self.folder, self.force = Path(folder), force
        self._asked: set[str] = set()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{folder} can't be a run's folder ({error.strerror}); choose another") from None

    def path(self, name: str) -> Path:
        """Where the run keeps `name`."""
        return self.folder / name

    def manifest(self) -> dict[str, Any]:
        """What manifest.json says now: `{"schema": 1, "stages": {name: record}}`; InputError if it can't be read."""
        path = self.path("manifest.json")
        try:
            found = json.loads(path.read_text(encoding="utf-8", errors="surrogatepass"))
        except FileNotFoundError:
            return {"schema": SCHEMA, "stages": {}}
        except ValueError as error:
            raise InputError(f"not JSON: {error}", file=path, fix="use another folder, or remove this one") from error
        if not isinstance(found, dict) or found.get("schema") != SCHEMA or not isinstance(found.get("stages"), dict):
            raise InputError(
                "not this version's manifest",
                expected=f'"schema": {SCHEMA} and "stages"',
                file=path,
                fix="use another folder, or remove this one",
            )
        return found

    def seconds(self) -> float:
        """Wall time of the stages that this object was asked for, over all sessions but those that were killed."""
        stages = self.manifest()["stages"]
        return round(sum(float(stages[name].get("seconds", 0.0)) for name in self._asked if name in stages), 1)

    def stage(
        self,
        name: str,
        config: Any,
        work: Callable[[], Mapping[str, Any]],
        *,
        inputs: Sequence[str | Path] = (),
        outputs: Sequence[str | Path] = (),
        scratch: Sequence[str | Path] = (),
    ) -> dict[str, Any]:
        """Do `work` once; give what it returned, now or when it was done, as JSON keeps it (NaN becomes None).

        `config` is the stage's frozen dataclass; `inputs` and `outputs` are the files and folders that the work reads
        and writes, `scratch` what it keeps for going on after a stop (a ledger). A stage that was started and not
        finished is called again with the same settings, and may go on from its scratch. Recorded beside the result:
        settings, digests of inputs and outputs, versions, device, git revision, command, how many sessions it took, and
        their wall time, without those that were killed.

        ConfigError if the stage was started with other settings or inputs, or its outputs were changed since (`force`
        removes outputs and scratch and does it again), or if another process is at work in the folder.
        """
        self._asked.add(name)
        with self._locked():
            asked = {"config": plain(config), "inputs": self._digests(inputs)}
            record = self.manifest()["stages"].get(name)
            difference = self._difference(record, asked) if record else ""
            if difference and not self.force:
                raise ConfigError(
                    f"stage {name!r} in {self.folder} was {record['state']} differently: {difference}; "
                    "--force does it again and replaces what it wrote, or choose another folder"
                )
            if difference:
                _remove([*outputs, *scratch])
            elif record and record["state"] == "finished" and all(Path(path).exists() for path in outputs):
                return dict(record["result"])
            before = record if record and not difference else {}
            begun = {
                "state": "started",
                **asked,
                "started": _now(),
                "sessions": before.get("sessions", 0) + 1,
                "seconds": before.get("seconds", 0.0),
            }
            self._record(name, begun)
            return self._do(name, begun, work, outputs)

    def _do(
        self, name: str, begun: dict[str, Any], work: Callable[[], Mapping[str, Any]], outputs: Sequence[str | Path]
    ) -> dict[str, Any]:
        clock = time.perf_counter()

        def seconds() -> float:
            return round(float(begun["seconds"]) + time.perf_counter() - clock, 3)

        try:
            result: dict[str, Any] = plain(dict(work()))
        except BaseException:
            self._record(name, {**begun, "seconds": seconds()})
            raise
        record = {
            **begun,
            "state": "finished",
            "outputs": self._digests(outputs),
            "result": result,
            "seconds": seconds(),
            "command": invocation(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])),
            "environment": environment(),
        }
        self._record(name, record)
        return result

    def _record(self, name: str, record: dict[str, Any]) -> None:
        manifest = self.manifest()
        manifest["stages"][name] = record
        sections = [_toml(_toml_key(stage), kept["config"]) for stage, kept in manifest["stages"].items()]
        atomic_write(self.path("run.toml"), "\n".join(sections))
        atomic_write(self.path("manifest.json"), json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")

    def _digests(self, paths: Sequence[str | Path]) -> dict[str, str]:
        """By path: inside the folder from there, so that a folder can be moved, and in full elsewhere."""
        home = self.folder.resolve()
        found = {}
        for path in paths:
            place = Path(path).resolve()
            found[str(place.relative_to(home) if place.is_relative_to(home) else place)] = fingerprint(path)
        return found

    def _difference(self, record: dict[str, Any], asked: dict[str, Any]) -> str:
        """What was asked otherwise, or changed since, in words; empty if nothing."""
        found = []
        old, new = _flat(record["config"]), _flat(asked["config"])
        for key in sorted(old.keys() | new.keys()):
            if old.get(key, ...) != new.get(key, ...):
                found.append(f"{key} was {_shown(old, key)}, now {_shown(new, key)}")
        before, now = record["inputs"], asked["inputs"]
        for path in sorted(before.keys() | now.keys()):
            if before.get(path) != now.get(path):
                found.append(f"input {path} was {before.get(path, 'not read')}, now {now.get(path, 'not read')}")
        for path, written in record.get("outputs", {}).items():
            if self.path(path).exists() and fingerprint(self.path(path)) != written:
                found.append(f"output {path} was changed after it was written")
        return "; ".join(found)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time; the system lets go of the lock when its holder dies, however it dies."""
        if sys.platform == "win32":
            yield
            return
        import fcntl

        with open(self.path(".lock"), "a", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError(
                    f"another process is at work in {self.folder}; wait, or choose another folder"
                ) from None
            yield


def atomic_write(path: str | Path, content: str | bytes) -> None:
    """Replace a file in one move: at any moment and after any crash a reader finds the old content or the new."""
    path = Path(path)
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{token_hex(4)}.part")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def fingerprint(path: str | Path) -> str:
    """`records.digest` of a file, or of a folder's names and contents (16 hex digits); hidden files are left out."""
    path = Path(path)
    if not path.is_dir():
        return digest(path)
    names = sorted(entry.relative_to(path) for entry in path.rglob("*") if entry.is_file())
    shown = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    lines = [f"{name.as_posix()}\x1f{digest(path / name)}" for name in shown]
    return blake2b("\n".join(lines).encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def environment() -> dict[str, Any]:
    """What the numbers of a run may depend on: versions, git revision (None outside a checkout), device, cores."""
    versions = {"gradatim": _version("gradatim"), "python": platform.python_version()}
    return {
        **versions,
        "libraries": {name: version for name in _LIBRARIES if (version := _version(name))},
        "git": _git_revision(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "device": _device(),
    }


def plain(value: Any) -> Any:
    """Dataclasses, enums, paths, mappings and sequences as JSON can hold them; numbers that are not finite: None."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"a run's record can't hold a {type(value).__name__}: {value!r}")


def invocation(otherwise: str) -> str:
    """The command that this process was started with, as it can be typed again; `otherwise` where it is not Gradatim's."""
    program = Path(sys.argv[0])
    ours = program.stem == "gradatim" or (program.name == "__main__.py" and program.parent.name == "gradatim")
    return shlex.join(["gradatim", *sys.argv[1:]]) if ours else otherwise


def command_line(verb: str, *asked: Any, arguments: Sequence[str] = ()) -> str:
    """The command that asks for the same, without what is as it always is; fields named in `arguments` come bare."""
    bare = [str(word) for config in asked for name in arguments for word in _several(getattr(config, name, ()))]
    return shlex.join(["gradatim", *verb.split(), *bare, *(word for one in asked for word in _asked(one, arguments))])


def _asked(config: Any, arguments: Sequence[str]) -> Iterator[str]:
    for field in fields(config):
        value, flag = getattr(config, field.name), f"--{field.name.replace('_', '-')}"
        usual = field.default if field.default_factory is MISSING else field.default_factory()
        if is_dataclass(value):
            yield from _asked(value, arguments)
        elif value == usual or field.name in arguments:
            continue
        elif isinstance(value, bool):
            yield flag if value else flag.replace("--", "--no-", 1)
        else:
            for one in _several(value):
                yield from (flag, str(one))


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _flat(config: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(config, dict):
        return {prefix: config}
    return {
        key: value for name, item in config.items() for key, value in _flat(item, f"{prefix}.{name}".strip(".")).items()
    }


def _shown(values: dict[str, Any], key: str) -> str:
    return json.dumps(values[key], ensure_ascii=False) if key in values else "not set"


def _remove(paths: Sequence[str | Path]) -> None:
    for path in map(Path, paths):
        if path.is_dir() and not path.is_symlink():
            rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _toml(section: str, config: dict[str, Any]) -> str:
    """One section with its subsections. TOML has no null: a key without a value is a comment, an item is "none"."""
    lines, below = [f"[{section}]"], []
    for key, value in config.items():
        if isinstance(value, dict):
            below.append(_toml(f"{section}.{_toml_key(key)}", value))
        elif value is None:
            lines.append(f"# {key} is not set")
        else:
            lines.append(f"{_toml_key(key)} = {_toml_value(value)}")
    return "\n".join([*lines, "", *below])


def _toml_key(key: str) -> str:
    return key if re.fullmatch("[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


def _toml_value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml_value, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml_key(key)} = {_toml_value(item)}" for key, item in value.items()) + "}"
    return '"none"' if value is None else json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


@cache
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@cache
def _git_revision() -> str | None:
    """The revision of the checkout that this package runs from, "-dirty" if files differ from it; None if installed."""

    def git(*arguments: str) -> str:
        here = Path(__file__).parent
        done = subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True, timeout=10
        )
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return git("describe", "--always", "--abbrev=40", "--exclude=*", "--dirty")
    except (OSError, subprocess.SubprocessError):
        return None


def _device() -> str:
    """The accelerator that torch sees, if this process uses torch at all; else "cpu"."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return f"cuda: {torch.cuda.get_device_name()}"
    return "cpu"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
