"""Verifiers are checked on their own gold answers, and every row is accounted for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gradatim.core import Problem
from gradatim.errors import ConfigError
from gradatim.verify import VerifyConfig, verify_stage


def problems(*golds: str | None) -> list[Problem]:
    return [Problem(id=f"p{index}", prompt="?", answer=gold) for index, gold in enumerate(golds)]


def test_math_gold_is_counted(tmp_path: Path) -> None:
    """Accepted and refused rows add up to those used; what only text could decide, and what is refused, is listed."""
    out = tmp_path / "refused.jsonl"
    rows = problems("5", r"\frac{1}{2}", "1,000", r"05\!:\!00", None, "a}\nb{")
    config = VerifyConfig(source="rows.jsonl", out=str(out), workers=1)

    report = verify_stage(config, rows, dropped={"not JSON": 2}, quiet=True)

    assert json.loads(json.dumps(report)) == report
    assert (report["read"], report["used"], report["accepted"]) == (8, 6, 4)
    assert report["accepted_by"] == {"math": 3, "text": 1}
    assert report["text_only"] == ["p3"]
    assert [(row["id"], row["reason"]) for row in report["refused"]] == [
        ("p4", "no gold answer"),
        ("p5", "what was read differs from it"),
    ]
    assert report["dropped"] == {"not JSON": 2}
    assert report["seconds"] > 0
    assert report["written"] == str(out)
    assert len(out.read_text().splitlines()) == 2


def test_exact_and_choice_gold() -> None:
    """The plain verifiers are checked in the same way."""
    exact = verify_stage(VerifyConfig(source="s", verifier="exact"), problems("19", "Paris"), quiet=True)
    choice = verify_stage(VerifyConfig(source="s", verifier="choice"), problems("A", "(b)", "12"), quiet=True)

    assert (exact["accepted"], exact["refused"], exact["written"]) == (2, [], None)
    assert choice["accepted"] == 2
    assert "expected one of A to E" in choice["refused"][0]["reason"]
    assert choice["refused"] == [{"id": "p2", "gold": "12", "read": "12", "reason": choice["refused"][0]["reason"]}]


def test_progress_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    """The stage prints nothing to standard output."""
    verify_stage(VerifyConfig(source="s", verifier="exact"), problems("1", "2"))

    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("verify: 2/2 answers")


@pytest.mark.parametrize("settings", [{"limit": 0}, {"timeout": 0.0}, {"workers": 0}])
def test_senseless_settings_of_the_stage(settings: dict[str, float]) -> None:
    """Settings with which nothing could be verified are refused by name."""
    with pytest.raises(ConfigError, match=next(iter(settings))):
        VerifyConfig(source="s", **settings)  # type: ignore[arg-type]
