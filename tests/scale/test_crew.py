"""Several workers against one process: the same files, whoever dies, and no wait without end. One Ray for all tests."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gradatim.core import Policy, Prefix, Problem, Solution, seed_for
from gradatim.errors import BackendError, ConfigError, InputError
from gradatim.labels.rollouts import label_stage
from gradatim.labels.rules import LabelConfig
from gradatim.problems.lab import load
from gradatim.problems.lab.markov import MarkovPolicy
from gradatim.records import read_solutions
from gradatim.scale.crew import Crew, crew, open_crew
from gradatim.scale.pool import DEATHS, Pool
from gradatim.scale.settings import WorkerSettings
from gradatim.solutions.ledger import ledger_path
from gradatim.solutions.sample import SampleConfig, sample_stage
from gradatim.solutions.scripted import ScriptedPolicy
from gradatim.solutions.settings import EndpointSettings, PolicySettings
from gradatim.verify.answers import exact_verifier

SAMPLED = SampleConfig(n=4, batch=8)
RULES = {
    "fixed": LabelConfig(k=5, batch=12),
    "adaptive": LabelConfig(stop="sprt", search="bisection", cap=12, undecided="likelier", batch=12),
}


@pytest.fixture(scope="module")
def pool(ray_node: int) -> Iterator[Pool[Policy]]:
    with Pool[Policy](MarkovPolicy, WorkerSettings(workers=2, worker_timeout=120)) as made:
        yield made


def labelled(folder: Path, policy: Policy, rule: str, problems: list[Problem], solutions: list[Solution]) -> bytes:
    out = folder / f"{rule}.jsonl"
    label_stage(RULES[rule], policy, problems, solutions, exact_verifier, out, quiet=True)
    assert not ledger_path(out).exists()
    return out.read_bytes()


def test_the_files_are_those_of_one_process(pool: Pool[Policy], tmp_path: Path) -> None:
    """Solutions and labels, fixed and adaptive, byte for byte; the crew has the policy's own name."""
    problems, found = load("test", 5), []
    for name, policy in (("one", MarkovPolicy()), ("several", Crew(pool))):
        folder = tmp_path / name
        folder.mkdir()
        sample_stage(SAMPLED, policy, problems, exact_verifier, folder / "s.jsonl", quiet=True)
        solutions = read_solutions(folder / "s.jsonl")
        labels = [labelled(folder, policy, rule, problems, solutions) for rule in RULES]
        found.append([(folder / "s.jsonl").read_bytes(), *labels])
    assert found[0] == found[1]
    assert Crew(pool).name == MarkovPolicy().name
    starts = [problem.start() for problem in problems]
    for one_step in (False, True):
        asked: dict[str, Any] = {"draws": range(1, 3), "one_step": one_step, "seed": 4}
        assert Crew(pool).write(starts, **asked) == MarkovPolicy().write(starts, **asked)


def test_several_go_on_where_one_process_was_stopped(pool: Pool[Policy], tmp_path: Path) -> None:
    """What a process left in the ledger when it was interrupted is read, not written again."""
    problems, calls = load("test", 5), Counter[str]()
    inner = MarkovPolicy()

    class Stopping:
        name = inner.name

        def write(self, prefixes: list[Prefix], *, draws: range, one_step: bool = False, seed: int = 0) -> Any:
            calls["write"] += 1
            if calls["write"] == 4:
                raise KeyboardInterrupt
            return inner.write(prefixes, draws=draws, one_step=one_step, seed=seed)

    sample_stage(SAMPLED, inner, problems, exact_verifier, tmp_path / "s.jsonl", quiet=True)
    solutions = read_solutions(tmp_path / "s.jsonl")
    with pytest.raises(KeyboardInterrupt):
        labelled(tmp_path, Stopping(), "fixed", problems, solutions)
    out = tmp_path / "fixed.jsonl"
    assert ledger_path(out).exists()
    result = label_stage(RULES["fixed"], Crew(pool), problems, solutions, exact_verifier, out, quiet=True)
    assert result["batches_resumed"] == 3
    (tmp_path / "whole").mkdir()
    assert out.read_bytes() == labelled(tmp_path / "whole", inner, "fixed", problems, solutions)


def test_a_killed_worker_loses_only_what_it_was_at(
    ray_node: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """SIGKILL in the middle of a batch: the labels are the same, no batch but the one that the dead was at is written
    twice, and nothing is printed among results."""
    log, mark = str(tmp_path / "written"), str(tmp_path / "killed")

    def opener(deadly: bool = True) -> Policy:
        def script(prefix: Prefix, draw: int, seed: int) -> str:
            with open(log, "a") as file:
                file.write(f"{prefix.problem_id} {prefix.text!r} {draw} {seed}\n")
            if deadly and prefix.steps and draw == 3 and not os.path.exists(mark):
                open(mark, "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
            return f"try\nAnswer: {seed_for(seed, prefix.problem_id, prefix.text, draw) % 2 + 7}\n"

        return ScriptedPolicy(script)

    problems = load("test", 4)
    sample_stage(SAMPLED, opener(False), problems, exact_verifier, tmp_path / "s.jsonl", quiet=True)
    solutions = read_solutions(tmp_path / "s.jsonl")
    whole = labelled(tmp_path, opener(False), "fixed", problems, solutions)
    once = Counter(Path(log).read_text().splitlines())
    Path(log).unlink()
    (tmp_path / "crew").mkdir()
    with crew(opener, WorkerSettings(workers=2, worker_timeout=120)) as policy:
        assert labelled(tmp_path / "crew", policy, "fixed", problems, solutions) == whole
        assert policy.report()["workers_lost"] == 1
    again = Counter(Path(log).read_text().splitlines())
    rollouts = {line for line in once if not line.endswith(" 0")}  # seed 0 is the sampling's
    assert set(again) == rollouts
    assert 0 < sum(count > 1 for count in again.values()) <= RULES["fixed"].batch
    assert capfd.readouterr().out == ""


def test_an_item_that_kills_every_worker_stops_the_run(pool: Pool[Policy]) -> None:
    """Everything else is done first; after a few deaths in a row the reason is told, and the pool can go on."""

    def task(_: Policy, item: int) -> int:
        if item == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return item * item

    done: dict[int, int] = {}
    limit = pool.settings.workers + DEATHS
    with pytest.raises(BackendError, match=f"{limit} workers died one after another"):
        done.update(pool.each(task, [0, 1, 2, 3, 4]))
    assert done == {0: 0, 2: 4, 3: 9, 4: 16}
    assert sorted(pool.each(task, [0, 2, 3])) == [(0, 0), (1, 4), (2, 9)]


def test_a_worker_that_ray_killed_for_memory_is_a_death_like_others(pool: Pool[Policy], tmp_path: Path) -> None:
    """Ray's memory monitor has an error of its own for it; the item is given to another worker."""
    mark, ray = str(tmp_path / "killed"), pool._ray

    class Monitored:
        """Ray as it is, but for what it says of a worker that died."""

        def __getattr__(self, name: str) -> Any:
            return getattr(ray, name)

        def get(self, ref: Any) -> Any:
            try:
                return ray.get(ref)
            except ray.exceptions.RayActorError as error:
                raise ray.exceptions.OutOfMemoryError(str(error)) from None

    def task(_: Policy, item: int) -> int:
        if item == 1 and not os.path.exists(mark):
            open(mark, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return item * item

    before, pool._ray = pool.lost, Monitored()
    try:
        assert sorted(pool.each(task, range(4))) == [(0, 0), (1, 1), (2, 4), (3, 9)]
    finally:
        pool._ray = ray
    assert pool.lost == before + 1


def test_errors_come_back_as_they_are(pool: Pool[Policy]) -> None:
    """A GradatimError of the task, or of opening what a worker holds, is raised here with its own words."""

    def task(_: Policy, item: int) -> int:
        if item:
            raise InputError("a bad item", expected="a good one")
        return item

    def opener() -> Policy:
        raise ConfigError("no such policy")

    with pytest.raises(InputError, match="a bad item; expected a good one"):
        list(pool.each(task, [0, 1]))
    assert list(pool.each(task, [0])) == [(0, 0)]
    with pytest.raises(ConfigError, match="no such policy"):
        Pool(opener, WorkerSettings(workers=1, worker_timeout=120))


def test_small_nodes_do_not_wait_for_ever(pool: Pool[Policy], ray_node: int) -> None:
    """Too large for any node: told at once. No room now: told after the time-out. Room for some: they do the work."""
    with pytest.raises(ConfigError, match=f"takes {ray_node + 1} CPUs"):
        Pool(MarkovPolicy, WorkerSettings(workers=1, worker_cpus=ray_node + 1))
    with pytest.raises(BackendError, match=r"no worker came up in 1 s: each takes 8 CPUs"):
        Pool(MarkovPolicy, WorkerSettings(workers=1, worker_cpus=ray_node, worker_timeout=1))
    with Pool(MarkovPolicy, WorkerSettings(workers=2, worker_cpus=ray_node - 2, worker_timeout=120)) as some:
        assert sorted(some.each(lambda _, item: item + 1, range(5))) == [(place, place + 1) for place in range(5)]
        assert some.ready == 1


def test_settings_that_can_not_be(tmp_path: Path) -> None:
    """Impossible numbers, and workers for a policy behind a server, are refused before anything starts."""
    for wrong in ({"workers": -1}, {"worker_cpus": 0}, {"worker_gpus": -0.5}, {"worker_timeout": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            WorkerSettings(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="--concurrency"):
        open_crew("http://127.0.0.1:9/v1", PolicySettings(), EndpointSettings(), WorkerSettings(workers=2))
