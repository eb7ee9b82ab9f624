"""The other end of `math_pool`: compares pairs of answers with math-verify, one line in, one line a pair out.

It runs as a script of its own and imports nothing of this package, so that it starts fast and needs no guard in the
caller's script. Every line in is a JSON list of [gold, answer]; for each pair a line goes out at once: "same",
"different", or "failed: why". Its own alarm is the last resort if the parent died while sympy would go on for ever: an
unhandled SIGALRM ends the process even inside a C function.
"""

import json
import logging
import os
import signal
import sys
from contextlib import suppress
from functools import lru_cache

MEMORY = 4 << 30
"""Bytes of address space: a tower of powers fails here before it fills the machine."""


def main() -> None:
    patience = int(sys.argv[1])
    out = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints must not be taken for an answer
    logging.disable(logging.CRITICAL)  # math-verify warns that it has no time-out of its own; ours is outside
    limit_memory()
    try:
        from math_verify import LatexExtractionConfig, parse, verify
    except Exception as error:
        print(json.dumps(f"{type(error).__name__}: {error}"), file=out, flush=True)
        return
    only_the_box = (LatexExtractionConfig(try_extract_without_anchor=False, boxed_match_priority=0),)

    @lru_cache(maxsize=1024)
    def parsed(answer: str) -> list[object]:
        box = f"\\boxed{{{answer}}}"
        return list(parse(box, extraction_config=only_the_box, parsing_timeout=None, raise_on_error=True))

    def compare(gold: str, answer: str) -> str:
        try:
            same = verify(parsed(gold), parsed(answer), timeout_seconds=None, raise_on_error=True)
        except Exception as error:
            return f"failed: {type(error).__name__}"
        return "same" if same else "different"

    compare("1", "x=1")  # what is loaded on first use is loaded before the first deadline runs
    print(json.dumps("ready"), file=out, flush=True)
    for line in sys.stdin:
        for gold, answer in json.loads(line):
            signal.alarm(patience)
            print(json.dumps(compare(gold, answer)), file=out, flush=True)
        signal.alarm(0)


def limit_memory() -> None:
    """As far as the system lets us."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


if __name__ == "__main__":
    main()
