"""The README.md beside a trained model: what it can do, what nobody has shown that it can, and how to make it again."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gradatim import runs
from gradatim.train.config import TrainConfig
from gradatim.train.goals import IMPLICIT
from gradatim.train.materials import Materials

README = "README.md"
"""The card's file, as model hubs show it."""

_HEAD = """---
library_name: transformers
tags:
- reward-model
- {tag}
---
"""


def write_card(config: TrainConfig, materials: Materials, data: Mapping[str, str], report: Mapping[str, Any]) -> None:
    """Write the card into `config.out`, unless somebody has written one there."""
    path = Path(config.out) / README
    if not path.exists():
        runs.atomic_write(path, card(config, materials, data, report))


def card(config: TrainConfig, materials: Materials, data: Mapping[str, str], report: Mapping[str, Any]) -> str:
    """Markdown in which all names and paths stand in code: none of them can become markup."""
    rows, problems, tokens = report["rows"], report["problems"], report["tokens"]
    kind = {
        "prm": "A process reward model: a score for each step.",
        "orm": "An outcome reward model: a score a solution.",
    }
    sections = [
        _HEAD.format(tag="process-reward-model" if config.kind == "prm" else "outcome-reward-model"),
        f"# A reward model by `gradatim train`\n\n{kind[config.kind]} {_meaning(config, materials)}\n",
        "## What it learnt from\n",
        *(f"- {line}" for line in _learnt(config, materials, rows, problems, tokens)),
        *(f"- {_inline(note)}" for note in report["notes"]),
        "\n## What it can do\n",
        _reached(config, report),
        "\n## What it can't do, or nobody has measured\n",
        *(f"- {line}" for line in _limits(config)),
        "\n## Use it\n",
        _code(shlex.join(["gradatim", "score", "solutions.jsonl", "--model", config.out])),
        "\n## Make it again\n",
        _again(config, data),
    ]
    return "\n".join(sections) + "\n"


_RULES = {
    "any": "reached the right answer at least once",
    "relative": "kept at least half of the problem's own rate of right answers",
    "threshold": "reached the right answer at a rate of at least {threshold:g}",
}
"""What a good step is by the rule of hard labels."""


def _again(config: TrainConfig, data: Mapping[str, str]) -> str:
    if not config.data:
        return (
            "It learnt from rows in memory, so no `gradatim train` makes it: run again what called the training (in a run's "
            "folder, the command in `manifest.json`). All settings are in `gradatim.json`."
        )
    sources = (f"# {_line(source)}  digest {digest}" for source, digest in data.items())
    return _code("\n".join([runs.command_line("train", config), *sources]))


def _meaning(config: TrainConfig, materials: Materials) -> str:
    if config.objective in IMPLICIT:
        return (
            "It reads steps from a language model's log-ratio to the one that it started from; nobody labelled steps."
        )
    if config.objective not in ("logistic", "mse"):
        return f"Its scores rank (objective {config.objective}); they are no probabilities."
    if config.kind == "orm":
        return "A score is meant as the probability that the answer is right."
    rolled = [by for by in materials.labelled_by if by.startswith("rollouts")]
    if rolled and len(rolled) < len(materials.labelled_by):
        return (
            "Those who labelled mean different things (below): a score lies between the probability that the step is right and "
            "the chance of a policy to reach the right answer from there."
        )
    if rolled and config.targets.target == "hard":
        return (
            "A score is meant as the chance that the labels' rule calls the step good: the labelling policy's continuations "
            f"{_RULES[config.targets.rule].format(threshold=config.targets.threshold)}, or the labeller found no error up to "
            "it. A wrong step from which the policy recovers may score high."
        )
    if rolled:
        return (
            "A score is meant as the chance that the policy which labelled would reach the right answer from there: a wrong "
            "step from which it recovers may score high."
        )
    return "A score is meant as the probability that the step is right, in the eyes of those who labelled."


def _learnt(
    config: TrainConfig,
    materials: Materials,
    rows: Mapping[str, Any],
    problems: Mapping[str, int],
    tokens: Mapping[str, int],
) -> Iterator[str]:
    yield f"it began as {_inline(config.backbone)}"
    yield f"labels: {', '.join(map(_inline, materials.labelled_by)) or 'none'}"
    yield f"{rows['used']} of {rows['read']} rows, of {problems['trained']} problems ({problems['held_out']} more kept apart)"
    yield from (f"left out: {count} x {_inline(reason)}" for reason, count in rows["dropped"].items())
    yield f"{tokens['distinct']} distinct tokens ({tokens['separate']} if each solution is counted alone)"


def _reached(config: TrainConfig, report: Mapping[str, Any]) -> str:
    found, constant, apart = report["held_out_loss"], report["constant_loss"], report["problems"]["held_out"]
    if found is None:
        return (
            "Nothing is known of it: no problems were kept apart, and it is not measured on those that it learnt from."
        )
    if found >= constant:
        return (
            f"Nothing, as far as is known: on {apart} problems kept apart its loss is {found:.4f}, no better than the "
            f"{constant:.4f} of the best constant score. Do not choose or judge by it."
        )
    return (
        f"On {apart} problems kept apart, which also chose among its checks, its loss is {found:.4f}; that of the best constant "
        f"score is {constant:.4f}."
    )


def _limits(config: TrainConfig) -> Iterator[str]:
    yield (
        "Whether it finds first errors, chooses better than a majority, or beats rules that only count steps: measure it "
        "with `gradatim evaluate`, on data like yours."
    )
    if config.objective in ("logistic", "mse"):
        yield "Whether its probabilities are right, for other authors too: `gradatim calibrate`."
    if config.kind == "prm" and config.targets.mask_after_error and not config.learns_outcomes:
        yield "Steps after a first wrong one were not learnt from: their scores mean nothing."
    if config.max_length is not None:
        yield f"It never saw a solution of more than {config.max_length} tokens."
    yield "Optimising against it (best of very many, reinforcement learning) finds what it is wrong about."


def _inline(text: str) -> str:
    return f"`{_line(text).replace('`', chr(39))}`"


def _line(text: str) -> str:
    """A text that is sure to stay on its line."""
    return text if text.isprintable() else json.dumps(text)


def _code(text: str) -> str:
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}sh\n{text}\n{fence}"
