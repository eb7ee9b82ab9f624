"""Suites by name on a hub: read through the hub's own client from a mirror on this machine, and errors without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hub_server import hub

from gradatim.errors import BackendError
from gradatim.evaluate.bench import parts_of

CARD = """---
configs:
- config_name: default
  data_files:
  - {split: gsm8k, path: gsm8k.jsonl}
  - {split: math, path: math.jsonl}
---
"""

READ = """
import json, sys
from collections import Counter
from gradatim.errors import GradatimError
from gradatim.evaluate.suites import Reading, read_suite
for source in sys.argv[1:]:
    try:
        found = read_suite("processbench", source, Reading(), Counter())
        print(json.dumps({name: [one.id for one in rows] for name, rows in found.items()}))
    except GradatimError as error:
        print(json.dumps(f"{type(error).__name__}: {error}"))
"""


def rows(subset: str) -> bytes:
    """Two rows of ProcessBench."""
    made = [
        {"id": f"{subset}-{number}", "generator": "g", "problem": f"{number}?", "steps": ["a", "b"], "label": label}
        | {"final_answer_correct": label < 0}
        for number, label in enumerate((-1, 1))
    ]
    return "".join(json.dumps(row) + "\n" for row in made).encode()


@pytest.mark.skipif(find_spec("datasets") is None, reason="needs the extra `data`")
def test_a_data_set_is_read_by_its_name(tmp_path: Path) -> None:
    """Every split is a subset, or the one that is named; a folder of files too; what is not there is an error that says
    so. In a process of its own, as the client reads its settings when it is imported."""
    files = {"README.md": CARD.encode(), **{f"{name}.jsonl": rows(name) for name in ("gsm8k", "math")}}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    names = ["hf:owner/bench", "owner/bench:math", f"hf:{tmp_path}:gsm8k", "owner/bench:no", "owner/nothing"]
    with hub("owner/bench", files) as url:
        settings = {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "home"), "NO_PROXY": "*", "no_proxy": "*"}
        done = subprocess.run(
            [sys.executable, "-c", READ, *names], env={**os.environ, **settings}, capture_output=True, check=True
        )
    both, one, here, no, nothing = (json.loads(line) for line in done.stdout.splitlines())

    assert both == {name: [f"{name}-0", f"{name}-1"] for name in ("gsm8k", "math")}
    assert one == {"math": both["math"]}
    assert here == {"gsm8k": both["gsm8k"]}
    assert no == "ConfigError: data set 'owner/bench' has no split 'no'; it has gsm8k, math"
    assert nothing.startswith("BackendError: no file or folder 'owner/nothing', and from a hub: ")
    assert nothing.endswith("check the name and the connection, or download it and give the folder")


def test_without_the_library_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And that there is no such folder, which may be what was meant."""
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(BackendError, match=r"no file or folder 'owner/bench'.*pip install 'gradatim\[data\]'"):
        parts_of("owner/bench")
