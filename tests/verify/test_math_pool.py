"""math-verify in processes that are killed when they are late: verdicts, deadlines, threads, and nothing left behind."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gradatim.core import Problem, Verdict
from gradatim.errors import BackendError, ConfigError
from gradatim.verify import MathVerifier, equivalent

TOWER = "9^{9^{9^9}}"

sees_processes = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


@pytest.fixture(name="verifier", scope="module")
def _verifier() -> Iterator[MathVerifier]:
    with MathVerifier(timeout=20.0, workers=2) as verifier:
        yield verifier


def asked(gold: str) -> Problem:
    return Problem(id="p", prompt="?", answer=gold)


def boxed(answer: str) -> str:
    return rf"so it is $\boxed{{{answer}}}$."


def workers_of(process: int) -> set[int]:
    """The children of a process, zombies included."""
    return {
        int(pid) for task in Path(f"/proc/{process}/task").iterdir() for pid in (task / "children").read_text().split()
    }


SAME = [
    ("5", "5.0"),
    ("5", "x=5"),
    ("5", r"5\text{ cm}"),
    ("1000", "1,000"),
    ("1,000", "1000"),
    (r"10,\!000", "10000"),
    (r"\frac{1}{2}", "0.5"),
    (r"\frac{1}{2}", "1/2"),
    (r"\frac{1}{2}", "½"),
    ("-5", "−5"),
    (r"-\frac{1}{2}", r"\frac{-1}{2}"),
    (r"\sqrt{8}", r"2\sqrt{2}"),
    (r"\sqrt{2}", "√2"),
    ("x^2+2x+1", "(x+1)^2"),
    ("2^{10}", "1024"),
    (r"90^\circ", "90"),
    (r"20\%", "20"),
    ("1,-2", "-2, 1"),
    (r"\{1,2\}", r"\{2,1\}"),
    ("(1,2)", r"\left( 1, 2 \right)"),
    ("[0,1)", r"[0, 1)"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
    (r"\text{Monday}", "monday"),
    ("y = 2x+3", "2x + 3"),
    (r"3\frac{1}{2}", r"\frac{7}{2}"),
    (r"5 \times 10^3", "5000"),
]

DIFFERENT = [
    ("5", "15"),
    ("15", "5"),
    ("5", "-5"),
    ("5", "5, 15"),
    ("5", r"5 \text{ or } 15"),
    ("5", "5 apples 15"),
    ("1234", "1, 234"),
    ("(1,2)", "(2,1)"),
    ("(1,2)", "[1,2]"),
    ("[0,1)", "[0,1]"),
    (r"\frac{1}{3}", "0.33"),
    ("0.0000001", "0.0000002"),
    ("1000000", "1000000.0000001"),
    (r"\pi", "3.14"),
    ("x", "y"),
    (r"\text{seat}", r"\text{east}"),
    ("even", "neve"),
    ("5", r"\text{I do not know}"),
    ("5", r"\frac"),
    ("12:30", "12:31"),
    ("5", r"\infty"),
    (r"\infty", r"-\infty"),
    ("5", "🙂"),
    ("5", "__import__('os').getpid()"),
]


def test_equal_answers_are_correct(verifier: MathVerifier) -> None:
    """Answers that mean the same are accepted, whichever way they are written."""
    checks = verifier.check_many([(asked(gold), boxed(answer)) for gold, answer in SAME])

    refused = [pair for pair, check in zip(SAME, checks, strict=True) if check.verdict is not Verdict.CORRECT]
    assert refused == []


def test_different_answers_are_incorrect(verifier: MathVerifier) -> None:
    """Answers that mean something else are refused, and are not taken for unread."""
    checks = verifier.check_many([(asked(gold), boxed(answer)) for gold, answer in DIFFERENT])

    wrong = [
        (pair, check) for pair, check in zip(DIFFERENT, checks, strict=True) if check.verdict is not Verdict.INCORRECT
    ]
    assert wrong == []


def test_unmatched_braces_are_refused(verifier: MathVerifier) -> None:
    """Nothing can be hidden behind a brace that would end the box in which math-verify reads."""
    texts = ["Answer: 5} 7", r"Answer: 5}\text{", "Answer: {5", "the answer is }5{"]

    assert set(verifier.verify_many([(asked("5"), text) for text in texts])) == {Verdict.INCORRECT}
    assert verifier(asked("5"), "Answer: {5}") is Verdict.CORRECT
    assert verifier(asked(r"\boxed{5}"), "Answer: 5") is Verdict.CORRECT


def test_gold_is_accepted_by_text(verifier: MathVerifier) -> None:
    """A gold answer that math-verify can't read is accepted where it is stated as it stands; `by` tells it apart."""
    odd, plain = verifier.check_many(
        [(asked(r"05\!:\!00"), boxed(r"05\!:\!00")), (asked("7"), boxed("7"))], shortcuts=False
    )

    assert (odd.verdict, odd.by) == (Verdict.CORRECT, "text")
    assert (plain.verdict, plain.by) == (Verdict.CORRECT, "math")


def test_unread_is_not_incorrect(verifier: MathVerifier) -> None:
    """No answer, and an answer too long to be one, are UNPARSED, and not our failure."""
    texts = ["", "it is 5", r"\boxed{}", r"\boxed{5", boxed("x+" * 50_000 + "1")]
    checks = verifier.check_many([(asked("5"), text) for text in texts])

    assert {check.verdict for check in checks} == {Verdict.UNPARSED}
    assert [check.reason for check in checks] == ["no answer"] * 4 + ["too long"]
    assert not any(check.ours for check in checks)


@sees_processes
def test_late_check_is_unparsed_and_alone() -> None:
    """A tower of powers times out: UNPARSED, our failure; its worker is killed and replaced; the others have verdicts."""
    others = workers_of(os.getpid())
    with MathVerifier(timeout=1.0, workers=1) as verifier:
        assert verifier(asked("x+1"), boxed("1+x")) is Verdict.CORRECT
        before = workers_of(os.getpid()) - others
        checks = verifier.check_many(
            [
                (asked("x+2"), boxed("2+x")),
                (asked("5"), boxed(TOWER)),
                (asked("x+3"), boxed("3+x")),
                (asked("x"), boxed("z")),
            ]
        )
        after = workers_of(os.getpid()) - others

    assert [check.verdict for check in checks] == [
        Verdict.CORRECT,
        Verdict.UNPARSED,
        Verdict.CORRECT,
        Verdict.INCORRECT,
    ]
    assert checks[1].reason == "timed out"
    assert checks[1].ours
    assert len(before) == len(after) == 1
    assert before != after
    assert workers_of(os.getpid()) == others


@sees_processes
def test_killed_worker_is_replaced(verifier: MathVerifier) -> None:
    """A worker that someone kills while it is idle is replaced without anyone noticing."""
    assert verifier(asked("x+1"), boxed("1+x")) is Verdict.CORRECT
    idle = workers_of(os.getpid())
    for pid in idle:
        os.kill(pid, signal.SIGKILL)

    assert idle
    assert verifier(asked("x+1"), boxed("1+x")) is Verdict.CORRECT


def test_any_thread_may_verify(verifier: MathVerifier) -> None:
    """Threads that verify at the same time, one by one and in bulk, each get their own verdicts."""

    def work(k: int) -> tuple[Verdict, list[Verdict]]:
        assert threading.current_thread() is not threading.main_thread()
        one = verifier(asked(f"y+{k}"), boxed(f"{k}+y"))
        many = verifier.verify_many([(asked(f"z+{k}"), boxed(f"{k + j}+z")) for j in range(3)])
        return one, many

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(work, range(16)))

    assert results == [(Verdict.CORRECT, [Verdict.CORRECT, Verdict.INCORRECT, Verdict.INCORRECT])] * 16


def test_order_is_kept_over_batches(verifier: MathVerifier) -> None:
    """Verdicts come back in the order of the questions, over many messages and both workers."""
    right = [k % 3 == 0 for k in range(400)]
    items = [(asked(f"a+{k}"), boxed(f"{k if good else k + 1}+a")) for k, good in enumerate(right)]

    verdicts = verifier.verify_many(items)

    assert verdicts == [Verdict.CORRECT if good else Verdict.INCORRECT for good in right]


def test_equivalent_is_symmetric() -> None:
    """Two answers mean the same in either order; one that is late is equal to nothing else."""
    assert equivalent("1/2", r"\frac12")
    assert equivalent("5", "x=5")
    assert equivalent("x=5", "5")
    assert equivalent(TOWER, TOWER)
    assert not equivalent("5", "15")
    assert not equivalent("1" * 3000 + "x", "x")


@sees_processes
def test_starts_late_and_closes() -> None:
    """No process runs before a check needs one, none after `close`; a later check starts anew."""
    before = workers_of(os.getpid())
    verifier = MathVerifier(workers=1)
    verifier(asked("5"), boxed("15"))
    assert workers_of(os.getpid()) == before

    verifier(asked("x"), boxed("y"))
    assert len(workers_of(os.getpid()) - before) == 1
    verifier.close()
    assert workers_of(os.getpid()) == before
    assert verifier(asked("x"), boxed("y")) is Verdict.INCORRECT
    del verifier
    assert workers_of(os.getpid()) == before


SCRIPT = """
import os
from pathlib import Path
from gradatim.core import Problem
from gradatim.verify import MathVerifier

verifier = MathVerifier(timeout=60)
print(verifier(Problem(id="p", prompt="?", answer="x+1"), r"\\boxed{1+x}").value, flush=True)
print(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text(), flush=True)
"""


def gone(pid: int) -> bool:
    """Whether a process has ended (one whose parent has ended too is taken in, and reaped, by another)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@sees_processes
def test_script_without_guard_leaves_nothing(tmp_path: Path) -> None:
    """A plain script, with no `__main__` guard and no `close`, gets its verdicts; its workers end with it; no warnings."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", str(script)], capture_output=True, text=True, timeout=120
    )

    verdict, children = done.stdout.splitlines()
    assert verdict == "correct"
    assert done.stderr == ""
    assert done.returncode == 0
    assert len(children.split()) == 1
    assert all(gone(int(pid)) for pid in children.split())


@sees_processes
def test_killed_parent_leaves_no_worker() -> None:
    """Workers of a parent that was killed end by themselves."""
    code = SCRIPT + "\nimport sys\nsys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        children = [int(pid) for pid in parent.stdout.readline().split()]
        ends = [os.pidfd_open(pid) for pid in children]
        parent.kill()
    try:
        for end in ends:  # a pidfd is readable when its process has ended
            assert select.select([end], [], [], 30.0)[0]
    finally:
        for end in ends:
            os.close(end)


@pytest.mark.parametrize("settings", [{"timeout": 0}, {"timeout": -1}, {"timeout": float("nan")}, {"workers": 0}])
def test_senseless_settings(settings: dict[str, float]) -> None:
    """Settings with which nothing could be checked are refused."""
    with pytest.raises(ConfigError, match=next(iter(settings))):
        MathVerifier(**settings)  # type: ignore[arg-type]


def test_worker_that_cannot_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no worker can start, verifying fails and says so, instead of falling back to something weaker."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(BackendError, match="did not start"):
        MathVerifier()(asked("x"), boxed("y"))
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(BackendError, match="can't start"):
        MathVerifier()(asked("x"), boxed("y"))
