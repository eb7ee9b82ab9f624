"""A policy that writes what it is told to: for tests, examples and dry runs. Needs no model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from gradatim.core import Continuation, Prefix, Splitter
from gradatim.errors import InputError
from gradatim.steps import by_line

Script = Callable[[Prefix, int, int], "str | Continuation"]
"""(prefix, draw, seed) -> the text that goes on from the prefix to the end; a Continuation where the finish matters."""


class ScriptedPolicy:
    """A Policy whose texts come from a function or a table; it keeps the law if the function is one of its arguments
    alone."""

    def __init__(self, script: Script, *, name: str = "scripted", splitter: Splitter = by_line) -> None:
        """`name` must differ for scripts that differ: labels and ledgers know the policy by it."""
        self.script, self.splitter = script, splitter
        self._name = name

    @classmethod
    def from_table(
        cls,
        table: Mapping[tuple[str, str], Sequence[str]],
        *,
        name: str = "scripted table",
        splitter: Splitter = by_line,
    ) -> ScriptedPolicy:
        """Texts by (problem id, text so far); draw i writes the i-th, and starts again after the last.

        Writing from a prefix that the table does not hold is an InputError.
        """

        def script(prefix: Prefix, draw: int, seed: int) -> str:
            texts = table.get((prefix.problem_id, prefix.text))
            if not texts:
                raise InputError(
                    f"the scripted table has no text for problem {prefix.problem_id!r} after {prefix.text!r}",
                    fix="add it to the table",
                )
            return texts[draw % len(texts)]

        return cls(script, name=name, splitter=splitter)

    @property
    def name(self) -> str:
        """The name it was given."""
        return self._name

    def write(
        self, prefixes: Sequence[Prefix], *, draws: range, one_step: bool = False, seed: int = 0
    ) -> list[list[Continuation]]:
        """See `Policy`. A token is a word; `one_step` cuts after the first step that the splitter finds."""
        return [[self._one(prefix, draw, seed, one_step) for draw in draws] for prefix in prefixes]

    def _one(self, prefix: Prefix, draw: int, seed: int, one_step: bool) -> Continuation:
        made = self.script(prefix, draw, seed)
        whole = made if isinstance(made, Continuation) else Continuation(made, "stop", len(made.split()))
        steps = self.splitter(whole.text) if one_step and whole.text else ()
        if len(steps) < 2:
            return whole
        return Continuation(steps[0].text, "step", len(steps[0].text.split()))
