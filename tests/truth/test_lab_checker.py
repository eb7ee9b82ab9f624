"""The exact checker, fuzzed: a right solution passes, and a mutated one is caught at the mutated step."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.core import Prefix, Solution, Step
from gradatim.errors import InputError
from gradatim.problems.lab import check, exact_labels, load
from gradatim.problems.lab.checker import check_steps, first_error
from gradatim.problems.lab.students import Student, state, write
from gradatim.problems.lab.world import SPLITS, Graph, graphs, parse, split_of

MUTATIONS = (
    "value",
    "sum",
    "operand value",
    "operand name",
    "operator",
    "constant",
    "constant name",
    "unknown name",
    "drop",
    "early",
    "answer",
    "noise",
)


def mutate(kind: str, graph: Graph, lines: list[str], rng: Random) -> tuple[list[str], int] | None:
    """The lines with one fault planted, and the index of the first step that is wrong for it; None if it can't be planted."""
    constants = [i for i, line in enumerate(lines) if ": given;" in line]
    sums = [i for i in range(len(lines) - 1) if i not in constants]
    changed = list(lines)
    match kind:
        case "value":
            i = rng.choice(sums)
            head, value = lines[i].strip().rsplit("=", 1)
            changed[i] = f"{head}={(int(value) + rng.randrange(1, 23)) % 23}\n"
        case "sum":
            i = rng.choice(sums)
            head, said, last = lines[i].rsplit("; ", 2)
            wrong = (int(said.rsplit(" ", 1)[1]) + rng.randrange(1, 23)) % 23
            changed[i] = f"{head}; {said.rsplit(' ', 1)[0]} {wrong}; {last.split('=')[0]}={wrong}\n"
        case "operand value":
            i = rng.choice(sums)
            body, told, rest = lines[i].split("; ", 2)
            first, second = told.split(" ")
            name, value = first.split("=")
            changed[i] = f"{body}; {name}={(int(value) + rng.randrange(1, 23)) % 23} {second}; {rest}"
        case "operand name":
            i = rng.choice(sums)
            definition = graph.definitions[lines[i].split(":")[0]]
            other = rng.choice([n for n in graph.definitions if n not in (*definition.operands, definition.name)])
            changed[i] = (
                lines[i].replace(f" {definition.left} ", f" {other} ", 1).replace(f" {definition.left}=", f" {other}=")
            )
        case "operator":
            i = rng.choice(sums)
            old, new = (" + ", " - ") if " + " in lines[i] else (" - ", " + ")
            changed[i] = lines[i].replace(old, new, rng.choice((1, 2)))
        case "constant":
            i = rng.choice(constants)
            head, value = lines[i].strip().split("=")
            changed[i] = f"{head}={(int(value) + rng.randrange(1, 23)) % 23}\n"
        case "constant name":
            i = rng.choice(constants)
            other = rng.choice([n for n in graph.definitions if n != named(lines[i])])
            changed[i] = lines[i].replace(f"; {named(lines[i])}=", f"; {other}=")
        case "unknown name":
            i = rng.choice(constants)
            changed[i] = lines[i].replace(named(lines[i]), "nobody")
        case "drop":
            i = rng.choice(range(len(lines) - 1))
            name = named(lines[i])
            del changed[i]
            uses = [j for j, line in enumerate(changed) if f" {name}=" in line]
            i = uses[0] if uses else len(changed) - 1  # without the query's own step the answer is wrong
        case "early":
            if len(sums) < 2:
                return None
            i, j = sums[0], sums[-1]
            if f" {named(lines[i])}=" not in lines[j]:
                return None
            changed.insert(i, changed.pop(j))
        case "answer":
            i = len(lines) - 1
            changed[i] = f"Answer: {(int(lines[i].split()[1]) + rng.randrange(1, 23)) % 23}\n"
        case _:
            i = rng.randrange(len(lines))
            changed[i] = "so obviously\n"
    return changed, i


def named(line: str) -> str:
    """The variable that a step is about."""
    return line.split(":")[0]


def solved(seed: int) -> tuple[Graph, list[str], Random]:
    rng = Random(seed)
    graph = next(graphs(rng))
    return graph, write(graph, Student(), rng), rng


@given(st.integers(0, 10**9))
@settings(max_examples=150, deadline=None)
def test_an_untouched_solution_passes(seed: int) -> None:
    """A bug-free student's steps are all valid, whatever order they are written in."""
    graph, lines, _ = solved(seed)

    truths = check_steps(graph, lines)

    assert all(truth.valid and not truth.redundant for truth in truths)
    assert lines[-1] == f"Answer: {graph.values()[graph.query]}\n"


@pytest.mark.parametrize("kind", MUTATIONS)
@given(st.integers(0, 10**9))
@settings(max_examples=60, deadline=None)
def test_a_mutated_solution_is_caught_at_the_mutated_step(kind: str, seed: int) -> None:
    """The first error named is the step that was changed."""
    graph, lines, rng = solved(seed)
    planted = mutate(kind, graph, lines, rng)
    if planted is None:
        return
    changed, where = planted

    assert first_error(check_steps(graph, changed)) == where


def test_redundant_steps_are_not_wrong() -> None:
    """A distractor worked out rightly, or a step said twice, is valid and marked redundant."""
    graph, lines, _ = solved(4)
    distractor = next(d for d in graph.definitions.values() if d.name not in graph.needed() and d.value is not None)
    extended = [f"{state(distractor)}\n", lines[0], *lines]

    truths = check_steps(graph, extended)

    assert all(truth.valid for truth in truths)
    assert [truth.redundant for truth in truths][:3] == [True, False, True]


def test_a_step_after_the_answer_is_wrong() -> None:
    """Nothing follows an answer."""
    graph, lines, _ = solved(5)

    assert first_error(check_steps(graph, [*lines, lines[0]])) == len(lines)


def test_later_steps_are_judged_given_what_was_stated() -> None:
    """After a wrong value the steps that use it faithfully are locally valid; the first error stays."""
    graph, lines, rng = solved(7)
    planted = mutate("constant", graph, lines, rng)
    assert planted is not None
    changed, where = planted
    name, value = changed[where].strip().split(": given; ")[1].split("=")
    uses = f" {name}={graph.definitions[name].value}"
    user = next(i for i, line in enumerate(changed) if i > where and uses in line)
    body, told, _ = changed[user].strip().split("; ", 2)
    definition = graph.definitions[body.split(":")[0]]
    shown = {part.split("=")[0]: int(part.split("=")[1]) for part in told.split(" ")} | {name: int(value)}
    left, right = shown[definition.left], shown[definition.right]
    result = definition.compute(left, right)
    stated = f"{definition.left}={left} {definition.right}={right}"
    changed[user] = f"{body}; {stated}; {left} {definition.op} {right} = {result}; {definition.name}={result}\n"

    truths = check_steps(graph, changed[: user + 1])

    assert first_error(truths) == where
    assert truths[user].valid


def test_exact_labels_are_the_checkers_words_in_the_loops_type() -> None:
    """A tally (1, 1) for a valid step, (0, 1) for another; the error is known."""
    problem = load("test", 1)[0]
    steps = (Step("nonsense\n"), Step("Answer: 3\n"))
    solution = Solution(prefix=Prefix(problem.id, problem.prompt, steps), author="me", draw=0)

    labels = exact_labels(solution)

    assert [t.good for t in labels.tallies] == [0, 0]
    assert labels.error == 0
    assert labels.error_known
    assert len(check(solution.prefix)) == 2


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ("given fep=3\ndax: loom - fep", "loom"),
        ("given fep=3\ndax: dax - fep", "dax"),
        ("dax: fep + fep\nfep: dax + dax", "dax"),
        ("given fep=3", "dax"),
    ],
)
def test_a_problem_without_a_value_is_none(lines: str, named: str) -> None:
    """A name that is used and not defined, or defined by itself: said, instead of a traceback while checking."""
    with pytest.raises(InputError, match=f"not a lab problem: '{named}' has no value"):
        parse(f"Mod 23.\n{lines}\nWhat is dax?")


def test_splits_share_no_graph() -> None:
    """Problems of two splits never have the same form, and a split's problems are the same at any length asked for."""
    forms = {split: {parse(p.prompt).hash() for p in load(split, 60)} for split in SPLITS}

    assert not forms["test"] & forms["train"]
    assert not forms["test"] & forms["policy"]
    assert load("test", 5) == load("test", 9)[:5]
    assert all(split_of(parse(p.prompt)) == "train" for p in load("train", 20))


@given(st.integers(0, 10**9))
@settings(max_examples=50, deadline=None)
def test_the_hash_ignores_names_constants_and_order(seed: int) -> None:
    """Renaming the variables, changing the constants and shuffling the definitions leaves the hash alone."""
    rng = Random(seed)
    graph = next(graphs(rng))
    names = list(graph.definitions)
    rename = dict(zip(names, [f"v{'x' * i}" for i in range(len(names))], strict=True))
    definitions = [
        type(d)(
            rename[d.name],
            rng.randrange(23) if d.value is not None else None,
            rename.get(d.left, ""),
            d.op,
            rename.get(d.right, ""),
        )
        for d in graph.definitions.values()
    ]
    rng.shuffle(definitions)

    assert Graph({d.name: d for d in definitions}, rename[graph.query]).hash() == graph.hash()
