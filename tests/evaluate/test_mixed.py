"""`gradatim evaluate SUITE...`: one report for any mix, whose numbers are those of the single parts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradatim import records
from gradatim.core import Labels, Prefix, Score, Solution, Step, Tally, Verdict
from gradatim.errors import ConfigError, InputError
from gradatim.evaluate.asked import EvaluateConfig
from gradatim.evaluate.mixed import evaluate_stage
from gradatim.evaluate.pool_suite import pool_warnings
from gradatim.evaluate.processbench import ProcessBenchConfig, processbench_stage, processbench_warnings
from gradatim.labels.datasets import load_labelled


def write(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(name="bench")
def _bench(tmp_path: Path) -> str:
    """Thirty ProcessBench rows by two generators, two for each problem."""
    rng = np.random.default_rng(0)
    rows = []
    for k in range(30):
        steps = [f"step {n} of {k}" for n in range(int(rng.integers(2, 6)))]
        label = int(rng.integers(-1, len(steps)))
        rows.append(
            {
                "id": f"r-{k}",
                "generator": f"g{k % 2}",
                "problem": f"Q{k // 2}?",
                "steps": steps,
                "label": label,
                "final_answer_correct": bool(rng.random() < 0.6),
            }
        )
    return write(tmp_path / "easy.jsonl", rows)


@pytest.fixture(name="planted")
def _planted(tmp_path: Path) -> str:
    rows = [
        {
            "original_question": f"Q{k}?",
            "modified_question": f"Q{k}?",
            "idx": f"p_{k}",
            "classification": kind,
            "original_process": ["a", f"b{k}"],
            "modified_process": ["a", f"c{k}", "d"],
            "error_steps": [2],
        }
        for k in range(6)
        for kind in ("circular", "confidence")
    ]
    return write(tmp_path / "planted.jsonl", rows)


class Hashed:
    """A scorer whose step scores depend on the text before them alone."""

    def __init__(self, name: str = "hashed", salt: str = "") -> None:
        self.name, self.salt, self.asked = name, salt, 0

    def score(self, prefixes: Sequence[Prefix]) -> list[Score]:
        self.asked += len(prefixes)
        return [self._one(prefix) for prefix in prefixes]

    def _one(self, prefix: Prefix) -> Score:
        texts = [prefix.prompt + prefix.first(k + 1).text.strip() for k in range(len(prefix.steps))]
        steps = tuple(int(records.prompt_id(self.salt + text), 16) / 2**64 for text in texts)
        return Score(value=min(steps), steps=steps, reduction="min", by=self.name)


def recorded(path: Path, data: str, scorer: Hashed) -> str:
    """The scorer's scores of ProcessBench rows, in a file."""
    rows = []
    for row in records.read_rows(data):
        steps = records.joined(row.data["steps"])
        score = scorer.score([Prefix("p", row.data["problem"], steps)])[0]
        rows.append({"id": row.data["id"], "step_scores": list(score.steps), "prm_name": scorer.name})
    return write(path, rows)


def stage(*scorers: Hashed, **settings: Any) -> dict[str, Any]:
    config = EvaluateConfig(model=tuple(one.name for one in scorers), **settings)
    return evaluate_stage(config, [lambda one=one: one for one in scorers], quiet=True)  # type: ignore[misc]


@pytest.mark.parametrize("threshold", ["0.5", "cross-fit"])
def test_processbench_is_the_same_alone_and_in_a_mix(bench: str, planted: str, threshold: str) -> None:
    """The numbers of `evaluate processbench`, whatever stands beside it."""
    alone = processbench_stage(ProcessBenchConfig(data=bench, model="m", threshold=threshold), Hashed(), quiet=True)
    mixed = stage(Hashed(), suites=(f"processbench={bench}", f"prmbench={planted}"), threshold=threshold)
    [one] = alone["subsets"]
    found = mixed["results"][0]

    for name in ("f1", "error_accuracy", "correct_accuracy"):
        assert found["measures"][name]["value"] == pytest.approx(one[name])
        assert [found["measures"][name][end] for end in ("low", "high")] == one["intervals"][name]
    assert found["threshold"]["value"] == one["threshold"]
    assert found["threshold"]["from"] == one["threshold_from"]
    assert found["nulls"]["f1"]["random"]["value"] == pytest.approx(one["nulls"]["random"])
    assert [result["suite"] for result in mixed["results"]] == ["processbench", "prmbench"]


def test_a_threshold_from_other_rows(bench: str, tmp_path: Path) -> None:
    """Chosen on labelled solutions of any form; rows of the same problems are counted."""
    rows = [{"problem": f"Q{k}?", "steps": ["x", "y"], "labels": [1, -1 if k % 2 else 1]} for k in range(4)]
    others = write(tmp_path / "others.jsonl", rows)
    found = stage(Hashed(), suites=(f"processbench={bench}",), threshold_from=f"plain:{others}")["results"][0]

    assert found["threshold"]["from"] == f"plain:{others}"
    assert found["threshold"]["overlap"] == 8


def test_recorded_scores_are_the_model(bench: str, tmp_path: Path) -> None:
    """The same numbers from a file; the difference of both is exactly zero, and paired."""
    file = recorded(tmp_path / "s.jsonl", bench, Hashed("file"))
    out = stage(Hashed(), suites=("processbench",), data=bench, scores=(file,))

    assert out["models"] == ["file", "hashed"]
    assert out["results"][0]["measures"] == out["results"][1]["measures"]
    assert {one["measure"] for one in out["differences"]} >= {"f1", "error_accuracy"}
    assert all(one["difference"]["value"] == one["difference"]["high"] == 0 for one in out["differences"])


def test_differences_are_first_minus_second(bench: str) -> None:
    """Between two models, with an interval that holds the value."""
    out = stage(Hashed("one", "1"), Hashed("two", "2"), suites=(f"processbench={bench}",))
    [gap] = [one for one in out["differences"] if one["measure"] == "correct_accuracy"]
    values = [one["measures"]["correct_accuracy"]["value"] for one in out["results"]]

    assert gap["difference"]["value"] == pytest.approx(values[0] - values[1])
    assert gap["difference"]["low"] <= gap["difference"]["value"] <= gap["difference"]["high"]


def test_models_of_one_name_are_seeds(bench: str) -> None:
    """Each is listed, and their mean and spread are given."""
    out = stage(Hashed("prm", "1"), Hashed("prm", "2"), suites=(f"processbench={bench}",))
    [one] = [seed for seed in out["seeds"] if seed["measure"] == "f1"]
    values = [result["measures"]["f1"]["value"] for result in out["results"]]

    assert out["models"] == ["prm", "prm (2)"]
    assert one["values"] == values
    assert (one["mean"], one["deviation"]) == pytest.approx((np.mean(values), np.std(values, ddof=1)))


def test_each_solution_is_scored_once(bench: str, tmp_path: Path) -> None:
    """Also where two suites share rows."""
    again = tmp_path / "again"
    again.mkdir()
    (again / "same.jsonl").write_text(Path(bench).read_text())
    scorer = Hashed()
    stage(scorer, suites=(f"processbench={bench}", f"processbench={again}"))

    assert scorer.asked == 30


def test_a_judge(bench: str, tmp_path: Path) -> None:
    """Labels name first errors; an undecided row is a miss, and counted; no threshold."""
    items = load_labelled(f"processbench:{bench}")
    labels = []
    for k, (solution, truth) in enumerate(items):
        tallies = (Tally(),) * len(truth.tallies) if k == 0 else truth.tallies
        made = {"truth": "validity", "source": "judge", "by": "critic", "solution_id": solution.id}
        labels.append(Labels(tallies=tallies, error=truth.error, error_known=k > 0, **made))  # type: ignore[arg-type]
    file = tmp_path / "critic.jsonl"
    records.write_labels(file, labels)
    [found] = stage(suites=(f"processbench={bench}",), labels=(str(file),))["results"]

    kind = "error_accuracy" if items[0][1].error is not None else "correct_accuracy"
    of_kind = sum((truth.error is None) == (items[0][1].error is None) for _, truth in items)
    assert (found["model"], found["source"], found["threshold"]) == ("critic", "labels", None)
    assert found["measures"][kind]["value"] == pytest.approx(1 - 1 / of_kind)
    assert found["counts"]["undecided"] == 1
    assert found["measures"]["decided"]["value"] == pytest.approx(29 / 30)


def test_misaligned_scores(bench: str, tmp_path: Path) -> None:
    """An error that sums them up; with skip_bad a warning with the evidence, and the rows are left out and counted."""
    file = Path(recorded(tmp_path / "s.jsonl", bench, Hashed("file")))
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows[:7]:
        row["step_scores"].append(0.5)
    write(file, rows)
    settings = {"suites": (f"processbench={bench}",), "scores": (str(file),)}

    with pytest.raises(InputError, match=r"7 of 30 rows with another number of scores than steps \(7 of them \+1\)"):
        stage(**settings)
    out = stage(**settings, skip_bad=True)
    assert out["results"][0]["counts"]["rows"] == 23
    [warned] = [one for one in out["warnings"] if one["kind"] == "misaligned"]
    assert warned["evidence"]["offsets"] == {"+1": 7}
    assert out["drops"]["file: another number of scores than steps"] == 7


def test_scores_of_some_rows_or_of_none(bench: str, planted: str, tmp_path: Path) -> None:
    """A suite without any scores by a model is skipped, and said so; a part of one is an error."""
    file = Path(recorded(tmp_path / "s.jsonl", bench, Hashed("file")))
    out = stage(suites=(f"processbench={bench}", f"prmbench={planted}"), scores=(str(file),))
    assert out["skipped"] == [{"suite": "prmbench", "subset": "prmbench", "model": "file"}]

    file.write_text("\n".join(file.read_text().splitlines()[:20]) + "\n")
    with pytest.raises(InputError, match="10 of 30 rows of easy without scores by 'file', the first of them 'r-20'"):
        stage(suites=(f"processbench={bench}",), scores=(str(file),))
    with pytest.raises(InputError, match="no scores for any of the suites"):
        stage(suites=(f"prmbench={planted}",), scores=(str(file),))


def test_report_json(bench: str, tmp_path: Path) -> None:
    """What is printed is what is written; groups and curves are there, and no number is NaN."""
    out = stage(Hashed(), suites=(f"processbench={bench}",), report=str(tmp_path / "report"))
    [found] = out["results"]

    assert json.loads((tmp_path / "report" / "report.json").read_text()) == json.loads(json.dumps(out, allow_nan=False))
    assert {one["name"] for one in found["by"]["generator"]} == {"g0", "g1"}
    assert sum(one["rows"] for one in found["by"]["length"]) == 30
    assert {"f1", "error_accuracy", "correct_accuracy", "within_one_accuracy", "step_auroc"} <= found["by"]["length"][
        0
    ].keys()
    assert sum(one["solutions"] for one in found["curves"]["score_by_length"]) == 30
    assert found["curves"]["reliability"]
    assert found["mistakes"]
    assert out["command"].startswith(f"gradatim evaluate suites processbench={bench} --model hashed --report")
    assert out["settings"]["threshold"] == "0.5"


def test_groups_are_the_numbers_of_their_rows(bench: str, tmp_path: Path) -> None:
    """A generator's numbers are those of its rows evaluated alone."""
    rows = [row.data for row in records.read_rows(bench)]
    alone = write(tmp_path / "g1.jsonl", [row for row in rows if row["generator"] == "g1"])
    [whole] = stage(Hashed(), suites=(f"processbench={bench}",))["results"]
    [part] = stage(Hashed(), suites=(f"processbench={alone}",))["results"]
    [group] = [one for one in whole["by"]["generator"] if one["name"] == "g1"]

    for name in ("f1", "error_accuracy", "correct_accuracy", "within_one_accuracy", "step_auroc"):
        assert group[name]["value"] == pytest.approx(part["measures"][name]["value"]), name
    assert group["rows"] == part["counts"]["rows"]


def test_the_lab_needs_no_file() -> None:
    """Puzzles solved by the students, judged by the checker; the same for the same seed."""
    results = [stage(Hashed(), suites=("lab=test:5",), seed=seed)["results"][0] for seed in (0, 0, 1)]

    assert results[0]["counts"]["rows"] == 40
    assert results[0]["counts"]["problems"] == 5
    assert results[0] == results[1]
    assert results[0] != results[2]


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"suites": ()}, "no suite"),
        ({"suites": ("mmlu",)}, "suite 'mmlu'"),
        ({"suites": ("pairs",)}, "pairs needs its data"),
        ({"suites": ("processbench", "prmbench"), "data": "x"}, "--data x is for one suite"),
        ({"suites": ("lab",), "model": ()}, "nothing to evaluate"),
        ({"suites": ("lab",), "threshold": "best"}, "neither a number nor cross-fit"),
        ({"suites": ("lab",), "threshold": "0.2", "threshold_from": "x"}, "contradict"),
        ({"suites": ("lab=a:1", "lab=a:1")}, "named twice"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], found: str) -> None:
    """Told before anything is read."""
    with pytest.raises(ConfigError) as caught:
        EvaluateConfig(**{"model": ("m",), **settings})
    assert found in str(caught.value)


def test_a_report_that_cannot_be_written_is_told_before_any_work(bench: str, tmp_path: Path) -> None:
    """No model is opened for it."""
    (tmp_path / "taken").write_text("a file\n", encoding="utf-8")
    config = EvaluateConfig(suites=(f"processbench={bench}",), model=("m",), report=str(tmp_path / "taken"))
    opened: list[str] = []
    with pytest.raises(ConfigError) as caught:
        evaluate_stage(config, [lambda: opened.append("m") or Hashed()], quiet=True)  # type: ignore[func-returns-value]
    assert "can't write into" in str(caught.value)
    assert not opened
    assert (tmp_path / "taken").read_text("utf-8") == "a file\n"


def test_prm800k_neutral_is_a_choice(tmp_path: Path) -> None:
    """A neutral step is no error unless it is asked to be one; rows with an unknown first error are counted."""
    rows = [
        {"problem": "A", "steps": ["a", "b"], "ratings": [1, 0]},
        {"problem": "B", "steps": ["a", "b"], "ratings": [1, -1]},
        {"problem": "C", "steps": ["a", "b"], "ratings": [None, 1]},
    ]
    data = write(tmp_path / "p.jsonl", rows)
    found = {
        neutral: stage(Hashed(), suites=(f"prm800k={data}",), neutral=neutral) for neutral in ("skip", "good", "bad")
    }

    assert {name: one["results"][0]["counts"]["errors"] for name, one in found.items()} == {
        "skip": 1,
        "good": 1,
        "bad": 2,
    }
    assert found["skip"]["drops"] == {"the first error is not known": 1}
    assert "1 of 1 erroneous rows the last step is the wrong one" in found["skip"]["results"][0]["notes"][0]


def pool_files(folder: Path, extra: int = 0) -> tuple[str, str]:
    """A pool of six problems with three candidates, and scores, the first `extra` of them with one step too many."""
    candidates: list[dict[str, Any]] = []
    scores: list[dict[str, Any]] = []
    for k in range(6):
        for c in range(3):
            row = {"problem_id": f"q{k}", "candidate_index": c, "problem": {"question": f"Q{k}"}}
            candidates.append(
                {**row, "steps": [f"s{c}", f"t{k}"], "extracted_answer": str(c), "is_correct": c == k % 3}
            )
            steps = [0.5, c / 3] + [0.9] * (len(scores) < extra)
            scores.append({"prm_name": "file", "problem_id": f"q{k}", "candidate_index": c, "step_scores": steps})
    return write(folder / "pool.jsonl", candidates), write(folder / "pool_scores.jsonl", scores)


def test_misaligned_pool_scores(tmp_path: Path) -> None:
    """Summed up in the error, or a warning with the evidence where such rows are left out."""
    pool, file = pool_files(tmp_path, extra=4)
    settings = {"suites": (f"pool={pool}",), "scores": (file,)}

    with pytest.raises(InputError, match=r"4 of 18 rows with another number of scores than steps \(4 of them \+1\)"):
        stage(**settings)
    out = stage(**settings, skip_bad=True)
    [warned] = [one for one in out["warnings"] if one["kind"] == "misaligned"]
    assert (warned["model"], warned["evidence"]) == ("file", {"rows": 18, "offsets": {"+1": 4}})
    assert out["results"][0]["counts"]["rows"] == 14


def test_the_older_commands_warn_too(bench: str, tmp_path: Path) -> None:
    """What `evaluate processbench` and `evaluate pool` say of recorded scores."""
    file = write(
        tmp_path / "flat.jsonl", [{"id": f"r-{k}", "step_scores": [0.5] * _steps(bench)[k]} for k in range(30)]
    )
    pool, scores = pool_files(tmp_path)

    found = processbench_warnings(ProcessBenchConfig(data=bench, scores=file))
    assert [(one["model"], one["kind"]) for one in found] == [("flat", "constant")]
    assert [one["kind"] for one in pool_warnings(pool, [scores])] == []
    assert processbench_warnings(ProcessBenchConfig(data=bench, model="m")) == []


def _steps(bench: str) -> list[int]:
    return [len(row.data["steps"]) for row in records.read_rows(bench)]


def test_preferences_and_pools_in_one_report(tmp_path: Path) -> None:
    """Pairs, one of k, and a pool by a model, with the pool's recorded scores beside it."""
    pairs = write(
        tmp_path / "pairs.jsonl", [{"prompt": f"P{k}", "chosen": f"a{k}", "rejected": f"b{k}"} for k in range(8)]
    )
    pool, file = pool_files(tmp_path)
    out = stage(Hashed(), suites=(f"pairs={pairs}", f"pool={pool}"), scores=(file,))

    assert [(one["suite"], one["model"]) for one in out["results"]] == [
        ("pairs", "hashed"),
        ("pool", "hashed"),
        ("pool", "file"),
    ]
    assert out["results"][2]["measures"]["best_of_3"]["value"] == pytest.approx(1 / 3)
    assert [one["first"] for one in out["differences"]] == ["hashed"]
    assert out["results"][0]["nulls"]["accuracy"]["random"]["value"] == 0.5


def test_a_pool_finds_its_scores_beside_another_suite(bench: str, tmp_path: Path) -> None:
    """Its own scores in our own format go to it, another suite's do not; where it has none that is said."""
    prefixes = [Prefix(f"q{k}", f"Q{k}?", (Step(f"{c}\n"),)) for k in range(6) for c in range(3)]
    pool = [
        Solution(prefix=one, author="a", draw=k % 3, verdict=Verdict(["incorrect", "correct"][k % 3 == 1]), answer=str(k % 3))
        for k, one in enumerate(prefixes)
    ]  # fmt: skip
    own, steps = str(tmp_path / "own.jsonl"), str(tmp_path / "steps.jsonl")
    records.write_solutions(tmp_path / "pool.jsonl", pool)
    records.write_scores(own, [(one.id, Score(value=k % 3 / 3, by="A")) for k, one in enumerate(pool)])
    write(Path(steps), [{"id": f"r-{k}", "step_scores": [0.4] * n} for k, n in enumerate(_steps(bench))])
    suites = (f"processbench={bench}", f"pool={tmp_path / 'pool.jsonl'}")

    both = stage(suites=suites, scores=(steps, own))
    without = stage(suites=suites, scores=(steps,))

    assert [(one["suite"], one["model"]) for one in both["results"]] == [("processbench", "steps"), ("pool", "A")]
    assert both["results"][1]["measures"]["best_of_3"]["value"] == 0
    assert [one["suite"] for one in without["results"]] == ["processbench"]
    assert "pool" in [one["suite"] for one in without["skipped"]]


def test_what_a_judge_leaves_undecided_is_never_a_hit(bench: str, tmp_path: Path) -> None:
    """Wrong solutions of which it says nothing are misses, for Matthews' coefficient as for F1."""
    labelled = load_labelled(f"processbench:{bench}")
    said = [
        Labels(
            solution_id=one.id, tallies=(Tally(),) * len(one.prefix.steps), error_known=labels.error is None,
            truth="validity", source="judge", by="shy",
        )
        for one, labels in labelled
    ]  # fmt: skip
    records.write_labels(tmp_path / "said.jsonl", said)

    [found] = stage(suites=(f"processbench={bench}",), labels=(str(tmp_path / "said.jsonl"),))["results"]

    assert found["counts"]["undecided"] == found["counts"]["errors"] > 0
    assert found["measures"]["error_accuracy"]["value"] == 0
    assert found["measures"]["solution_mcc"]["value"] in (None, 0)


@pytest.mark.parametrize("suite", ["processbench", "prmbench", "pairs", "pool", "lab"])
def test_one_suite_twice_with_subsets_of_one_name(tmp_path: Path, suite: str) -> None:
    """Two files called alike are two subsets: nothing is paired with itself or taken for seeds, and there is a page."""
    rows = {
        "processbench": {"id": "r", "problem": "{}?", "steps": ["a", "{}"], "label": 1, "final_answer_correct": True},
        "prmbench": {
            "original_question": "{}?",
            "modified_question": "{}?",
            "idx": "p",
            "classification": "circular",
            "original_process": ["a"],
            "modified_process": ["a", "{}"],
            "error_steps": [2],
        },
        "pairs": {"prompt": "{}?", "chosen": "good", "rejected": "bad {}"},
        "pool": {
            "problem_id": "p",
            "candidate_index": 0,
            "problem": "{}?",
            "steps": ["a", "{}"],
            "extracted_answer": "1",
            "is_correct": True,
            "model_name": "m",
        },
    }
    data = ["test:1", "train:1"]
    for place, name in enumerate(("one", "other") if suite != "lab" else ()):
        (tmp_path / name).mkdir()
        row = json.loads(json.dumps(rows[suite]).replace("{}", name))
        data[place] = write(tmp_path / name / "same.jsonl", [row])
    out = stage(Hashed(), suites=tuple(f"{suite}={one}" for one in data), report=str(tmp_path / "page"))

    names = [one["subset"] for one in out["suites"]]
    assert names[1] == f"{names[0]} (2)"
    assert [one["data"] for one in out["suites"]] == data
    assert [one["subset"] for one in out["results"]] == names
    assert out["seeds"] == out["differences"] == []
    assert names[1] in (tmp_path / "page" / "report.html").read_text()


def test_recorded_scores_of_two_files_called_alike(bench: str, tmp_path: Path) -> None:
    """The same, by a file of scores; two models are still compared, on each of the subsets."""
    (tmp_path / "b").mkdir()
    again = str(Path(bench).replace(tmp_path / "b" / "easy.jsonl"))
    write(Path(bench), [row.data for row in records.read_rows(again)][::2])
    file = recorded(tmp_path / "s.jsonl", again, Hashed("file"))
    suites = (f"processbench={bench}", f"processbench={again}")
    alone = stage(suites=suites, scores=(file,), report=str(tmp_path / "page"))
    both = stage(Hashed(), suites=suites, scores=(file,))

    assert [(one["subset"], one["counts"]["rows"]) for one in alone["results"]] == [("easy", 15), ("easy (2)", 30)]
    assert alone["seeds"] == alone["differences"] == both["seeds"] == []
    assert {(one["subset"], one["first"], one["second"]) for one in both["differences"]} == {
        ("easy", "file", "hashed"),
        ("easy (2)", "file", "hashed"),
    }


def test_choices_without_all_their_values_are_skipped(tmp_path: Path) -> None:
    """A preference suite of which no row is scored whole has no result, as one without any score."""
    data = write(tmp_path / "pairs.jsonl", [{"id": "p", "prompt": "P", "chosen": "a", "rejected": "b"}])
    file = write(tmp_path / "s.jsonl", [{"id": "p#0/chosen/0", "value": 1.0}])

    with pytest.raises(InputError, match="no scores for any of the suites"):
        stage(suites=(f"pairs={data}",), scores=(file,), skip_bad=True)
