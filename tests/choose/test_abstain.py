"""Answering only where it is sure enough: confidences by hand, promises kept on other problems, rules in files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pool_files import pool_rows, score_rows, write

from gradatim.choose.abstain import AbstainConfig, abstain_stage, read_rule
from gradatim.errors import ConfigError, InputError
from gradatim.problems.pool_scores import read_pool_scores
from gradatim.problems.pools import read_pool


def abstain(**settings: Any) -> dict[str, Any]:
    result = abstain_stage(AbstainConfig(**{"resplits": 50, **settings}))
    json.dumps(result)
    return result


def votes(count: int, seed: int) -> dict[str, list[tuple[str | None, bool | None]]]:
    """Problems of 10 candidates; the more agree, the likelier the most frequent answer is right."""
    rng, problems = np.random.default_rng(seed), {}
    for p in range(count):
        agreeing = int(rng.integers(6, 11))
        right = bool(rng.random() < (agreeing - 2.5) / 7.5)
        problems[f"p{p}"] = [("a", right)] * agreeing + [("b", not right)] * (10 - agreeing)
    return problems


@pytest.mark.parametrize(
    ("chooser", "expected"),
    [("majority", ("1", 0.5)), ("weighted_majority", ("2", 0.9 / 1.6)), ("best_of_n", ("2", 0.9))],
)
def test_confidence_by_hand(tmp_path: Path, chooser: str, expected: tuple[str, float]) -> None:
    """Two votes for 1, one for 2, one unread, which counts against; weights .3, .3, .9 and .1."""
    rows = pool_rows({"p": [("1", None), ("1", None), ("2", None), (None, None)]})
    pool = write(tmp_path / "pool.jsonl", rows)
    files = {} if chooser == "majority" else {"reduction": "last"}
    if files:
        values = [(1.0, 0.3), (1.0, 0.3), (1.0, 0.9), (1.0, 0.1)]
        files["scores"] = write(tmp_path / "scores.jsonl", score_rows(rows, values))
    rule = {"chooser": chooser, "scorer": "prm" if files else "", "reduction": "last" if files else None}
    grouping = None if chooser == "best_of_n" else "string"
    told = {**rule, "calibrated": "", "same_answer": grouping, "risk": 0.1, "promise": "average", "problems": 9}
    write(tmp_path / "rule.json", [{"schema": "gradatim.abstention/1", **told, "threshold": expected[1] - 0.01}])

    [choice] = abstain(pool=pool, chooser=chooser, rule=str(tmp_path / "rule.json"), **files)["choices"]

    assert (choice["answered"], choice["answer"], choice["confidence"]) == (
        True,
        expected[0],
        pytest.approx(expected[1]),
    )


def test_of_all_problems_as_many_are_wrong_as_was_risked(tmp_path: Path) -> None:
    """Over resplits the mean share of wrong answers is at most the risk, and not far below it."""
    pool = write(tmp_path / "pool.jsonl", pool_rows(votes(120, 0)))
    result = abstain(pool=pool, risk=0.1, out=str(tmp_path / "rule.json"))

    assert result["wrong_if_always"] > 0.2
    assert 0.05 < result["wrong_of_all"]["value"] <= 0.1 + 3 * result["wrong_of_all"]["monte_carlo"]
    assert read_rule(tmp_path / "rule.json").threshold == result["threshold"]


def test_a_sure_promise_is_about_the_answered(tmp_path: Path) -> None:
    """The share of wrong among the answered stays below the risk in nearly all resplits; where nothing can be shown,
    nothing is answered."""
    pool = write(tmp_path / "pool.jsonl", pool_rows(votes(160, 1)))
    result = abstain(pool=pool, risk=0.2, promise="sure")
    never = abstain(pool=pool, risk=0.001, promise="sure", out=str(tmp_path / "rule.json"))

    assert result["answered"]["value"] > 0.1
    assert result["broken"] <= 0.1
    assert (never["threshold"], never["always"], never["answered"]["value"]) == (None, False, 0)
    applied = abstain(pool=pool, rule=str(tmp_path / "rule.json"))
    assert not any(one["answered"] or one["answer"] for one in applied["choices"])


def test_a_rule_is_for_what_it_was_set_on(tmp_path: Path) -> None:
    """Another chooser than the rule's, problems without verdicts, values that are no confidences."""
    rows = pool_rows(votes(30, 2))
    pool = write(tmp_path / "pool.jsonl", rows)
    abstain(pool=pool, out=str(tmp_path / "rule.json"))
    scores = write(tmp_path / "scores.jsonl", score_rows(rows, [(2.0, 3.0)] * len(rows)))

    with pytest.raises(ConfigError, match="can't take"):
        abstain(pool=pool, scores=scores, chooser="best_of_n", rule=str(tmp_path / "rule.json"))
    with pytest.raises(ConfigError, match="calibrate the values"):
        abstain(pool=pool, scores=scores, chooser="best_of_n", promise="sure")
    with pytest.raises(InputError, match="without verdicts"):
        abstain(pool=write(tmp_path / "bare.jsonl", pool_rows({"p": [("1", None)], "q": [("1", None)]})))
    with pytest.raises(ConfigError, match="majority takes no scores"):
        AbstainConfig(pool=pool, chooser="best_of_n")
    write(tmp_path / "rule.json", [{"schema": "gradatim.abstention/1", "chooser": "majority", "threshold": None}])
    with pytest.raises(InputError, match="threshold"):
        abstain(pool=pool, rule=str(tmp_path / "rule.json"))


def test_a_rule_is_for_one_way_of_grouping_answers(tmp_path: Path) -> None:
    """With 1 and 1.0 as one answer the votes are surer than with them as two: a threshold for one is none for the other.
    Best-of-n groups nothing, so that its rule is for both; a rule of votes that does not say is refused."""
    rows = pool_rows({f"p{p}": [("1", True), ("1.0", True), ("2", False), ("1", True)] for p in range(8)})
    pool, rule = write(tmp_path / "pool.jsonl", rows), tmp_path / "rule.json"
    scores = write(tmp_path / "scores.jsonl", score_rows(rows, [(0.9, 0.9)] * len(rows)))

    abstain(pool=pool, same_answer="math", out=str(rule))
    assert read_rule(rule).same_answer == "math"
    [first, *_] = abstain(pool=pool, same_answer="math", rule=str(rule))["choices"]
    assert first["confidence"] == 0.75
    with pytest.raises(ConfigError, match="a rule for same_answer=math can't take same_answer=string"):
        abstain(pool=pool, rule=str(rule))

    row = {name: value for name, value in json.loads(rule.read_text()).items() if name != "same_answer"}
    with pytest.raises(InputError, match=r"no 'same_answer'.*set the rule again"):
        abstain(pool=pool, same_answer="math", rule=write(tmp_path / "old.json", [row]))

    abstain(pool=pool, chooser="best_of_n", scores=scores, out=str(rule))
    for how in ("string", "math"):
        abstain(pool=pool, chooser="best_of_n", scores=scores, same_answer=how, rule=str(rule))


@pytest.mark.parametrize("asked", [{"risk": 0.1}, {"promise": "average"}, {"doubt": 0.05}])
def test_what_a_rule_promises_is_fixed(asked: dict[str, Any]) -> None:
    """A risk, promise or doubt beside a rule would change nothing, the default ones too; without a rule they are terms."""
    with pytest.raises(ConfigError, match=rf"{next(iter(asked))}=.* beside a rule"):
        AbstainConfig(pool="p", rule="rule.json", **asked)

    terms = AbstainConfig(pool="p", **asked).terms
    assert (terms.risk, terms.promise, terms.doubt) == (0.1, "average", asked.get("doubt", 0.1))
    with pytest.raises(ConfigError, match="between 0 and 1"):
        AbstainConfig(pool="p", risk=1.0)


def test_a_rule_to_answer_keeps_to_its_checkpoint(tmp_path: Path) -> None:
    """The same for abstention; and a pool's scores by two checkpoints of one name are no scores by one scorer."""
    rows = pool_rows({f"p{p}": [("1", True), ("2", False)] for p in range(6)})
    pool = write(tmp_path / "pool.jsonl", rows)
    scores = score_rows(rows, [(1.0, 0.9), (1.0, 0.1)] * 6)
    files = {}
    for name in ("aaaa", "bbbb"):
        files[name] = write(tmp_path / f"{name}.jsonl", [{**row, "checkpoint": name} for row in scores])
    asked: dict[str, Any] = {"pool": pool, "chooser": "best_of_n", "reduction": "last"}
    abstain_stage(AbstainConfig(**asked, scores=files["aaaa"], resplits=2, out=str(tmp_path / "rule.json")))

    applied = {**asked, "rule": str(tmp_path / "rule.json")}
    assert abstain_stage(AbstainConfig(**applied, scores=files["aaaa"]))["notes"] == []
    with pytest.raises(ConfigError, match=r"a rule .* checkpoint aaaa.* checkpoint bbbb"):
        abstain_stage(AbstainConfig(**applied, scores=files["bbbb"]))
    half = [{**row, "checkpoint": "aaaa" if row["problem_id"] < "p3" else "bbbb"} for row in scores]
    with pytest.raises(InputError, match=r"checkpoint bbbb, but in .* by checkpoint aaaa"):
        read_pool_scores(read_pool(pool), [write(tmp_path / "half.jsonl", half)])
