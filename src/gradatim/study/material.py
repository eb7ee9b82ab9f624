"""What studies are made of, as stages of a run: problems, solutions of a policy, and labels by several rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

from gradatim import records, runs, stages
from gradatim.core import Labels, Policy, Prefix, Problem, Solution, seed_for
from gradatim.evaluate.first_error import Judged
from gradatim.labels.rollouts import Work
from gradatim.labels.rules import LabelConfig
from gradatim.problems.lab import students
from gradatim.problems.lab.world import parse
from gradatim.solutions.ledger import Ledger
from gradatim.solutions.sample import SampleConfig
from gradatim.steps import by_line
from gradatim.study.against import truths
from gradatim.verify.answers import exact_verifier, read_answer


@dataclass(frozen=True)
class Part:
    """Some problems of the lab, and solutions of them in a file."""

    name: str
    problems: list[Problem]
    path: Path

    @cached_property
    def solutions(self) -> list[Solution]:
        """The solutions, in the file's order."""
        return records.read_solutions(self.path)

    @cached_property
    def truth(self) -> list[Judged]:
        """What the exact checker knows of each solution."""
        return truths(self.solutions)


def sampled(
    run: runs.Run, name: str, split: str, problems: int, n: int, policy: Policy, *, seed: int = 0, quiet: bool = False
) -> Part:
    """The first problems of a split of the lab with n solutions each by the policy: stage `sample-NAME`."""
    found = stages.lab_problems(run, f"{name}-problems", split, problems)
    asked, source = SampleConfig(n=n, seed=seed, splitter="line"), run.path(f"{name}-problems.jsonl")
    return Part(name, found, stages.sample(run, name, asked, policy, found, source, quiet=quiet))


def labelled(
    run: runs.Run, name: str, rules: Mapping[str, LabelConfig], policy: Policy, part: Part, *, quiet: bool = False
) -> dict[str, list[Labels]]:
    """Labels of a part by several rules with one policy's rollouts: stage `label-NAME`, a file `labels-NAME-RULE.jsonl`
    each. A draw that several rules read is written once. The rules have one seed and one batch size.
    """
    files = {rule: run.path(f"labels-{name}-{rule}.jsonl") for rule in rules}
    scratch = run.path(f"labels-{name}.ledger")

    def work() -> dict[str, Any]:
        told = {}
        jobs = {rule: Work(rules[rule], policy, part.problems, part.solutions, exact_verifier) for rule in rules}
        with Ledger(scratch, next(iter(jobs.values())).identity) as ledger:
            for rule, job in jobs.items():
                draws = job.draws(ledger)
                rows = job.label(job.used, draws, quiet=quiet)
                records.write_labels(files[rule], rows)
                told[rule] = {
                    "labelled": len(rows),
                    "rollouts": draws.rollouts.total(),
                    "tokens": draws.tokens.total(),
                    "not_written": dict(draws.not_written),
                    **draws.outcomes,
                }
            ledger.remove()
        return told

    asked = {"policy": policy.name, "rules": {rule: runs.plain(config) for rule, config in rules.items()}}
    run.stage(f"label-{name}", asked, work, inputs=[part.path], outputs=list(files.values()), scratch=[scratch])
    return {rule: records.read_labels(path) for rule, path in files.items()}


def written(run: runs.Run, name: str, split: str, problems: int, n: int, *, seed: int = 0) -> Part:
    """As `sampled`, but written by the lab's students, whom no model has to imitate: stage `write-NAME`."""
    found = stages.lab_problems(run, f"{name}-problems", split, problems)
    source, out = run.path(f"{name}-problems.jsonl"), run.path(f"{name}.jsonl")

    def work() -> dict[str, Any]:
        solutions = [_student_solution(problem, draw, seed) for problem in found for draw in range(n)]
        records.write_solutions(out, solutions)
        return {"problems": len(found), "solutions": len(solutions)}

    run.stage(f"write-{name}", {"n": n, "seed": seed}, work, inputs=[source], outputs=[out])
    return Part(name, found, out)


def _student_solution(problem: Problem, draw: int, seed: int) -> Solution:
    rng = Random(seed_for(seed, "student", problem.id, draw))
    text = "".join(students.write(parse(problem.prompt), students.pick_student(rng), rng))
    return Solution(
        prefix=Prefix(problem.id, problem.prompt, by_line(text)),
        author="students",
        draw=draw,
        verdict=exact_verifier(problem, text),
        answer=read_answer(text),
    )
