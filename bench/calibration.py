"""Calibration, first-error sets and abstention, measured where the truth is known: what the promises come to.

python -P bench/calibration.py --folder runs/calibration
python -P bench/calibration.py --only prm800k --model runs/smollm2-prm --trained 450 --problems 100

In the lab: one solution each of so many test problems by the shipped policy, step scores by the shipped PRM, labels by the
exact checker; the same at temperature 0.7 and on longer problems, for maps and rules that were set on the first. On the
GSM8K pool, where GRADATIM_DATA has it: abstention on answer correctness. With --model, a PRM that was trained on the
first --trained problems of PRM800K (`gradatim train --data prm800k:... --problems N`, seed 0): the same on --problems
others. What is in the folder is used again.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from gradatim import records
from gradatim.choose.abstain import AbstainConfig, abstain_stage
from gradatim.evaluate.calibrating import CalibrateConfig, calibrate_stage
from gradatim.evaluate.first_error_sets import ConformalConfig, conformal_stage
from gradatim.labels.datasets import load_labelled, write_labelled
from gradatim.problems import lab
from gradatim.score.calibrate import Method
from gradatim.score.engine import load
from gradatim.score.stage import ScoreConfig, score_stage
from gradatim.solutions.local.policy import load_policy
from gradatim.solutions.sample import SampleConfig, sample_stage
from gradatim.solutions.settings import PolicySettings
from gradatim.train.split import chosen_problems, problems_of
from gradatim.verify.answers import exact_verifier

SETTINGS: Mapping[str, tuple[str, float, float]] = {
    "lab": ("test", 1.0, 1.0),
    "colder": ("test", 0.7, 1.0),
    "longer": ("long", 1.0, 0.5),
}
"""Split, temperature, and the share of --problems."""

RESPLITS = 200


def prepared(folder: Path, name: str, problems: int) -> tuple[str, str]:
    """Scores and labels of one solution of each problem; both files are kept."""
    split, temperature, share = SETTINGS[name]
    solutions, scores, labels = (folder / name / f"{kind}.jsonl" for kind in ("solutions", "scores", "labels"))
    if not solutions.exists():
        policy = load_policy("lab", PolicySettings(temperature=temperature, device="cpu"))
        asked = lab.load(split, round(share * problems))
        sample_stage(SampleConfig(n=1), policy, asked, exact_verifier, solutions)
    if not scores.exists():
        score_stage(ScoreConfig(data=str(solutions), out=str(scores)), load("lab", device="cpu"))
    records.write_labels(labels, map(lab.exact_labels, records.read_solutions(solutions)))
    return str(scores), str(labels)


def shown(found: Mapping[str, float]) -> str:
    return f"{found['value']:.4f} [{found['low']:.4f}, {found['high']:.4f}]"


def over(found: Mapping[str, float]) -> str:
    return f"{found['value']:.4f} (Monte-Carlo error {found['monte_carlo']:.4f}, spread {found['spread']:.4f})"


def calibration(title: str, result: Mapping[str, Any]) -> None:
    print(f"\n{title}: {result['items']} items of {result['problems']} problems")
    for when in ("before", "after"):
        found, parts = result[when], result[when]["brier"]["parts"]
        print(f"  {when}: calibration error {shown(found['ece'])}, Brier {shown(found['brier'])}")
        print("    " + ", ".join(f"{name} {value:.4f}" for name, value in parts.items() if name != "brier"))
        for one in found["tails"]:
            print(f"    top 1/{one['best_of']}: {shown(one['ece'])}, too sure by {shown(one['too_sure_by'])}")
    for group in result["by_step"]:
        print(f"  step {group['group']} ({group['items']}): {shown(group['before'])} -> {shown(group['after'])}")


def sets(title: str, result: Mapping[str, Any]) -> None:
    print(f"\n{title}: {result['solutions']} solutions of {result['problems']} problems, {result['resplits']} resplits")
    for name in ("coverage", "coverage_error", "coverage_none", "size", "single"):
        print(f"  {name.replace('_', ', ')}: {over(result[name])}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/calibration"))
    parser.add_argument("--problems", type=int, default=2000)
    parser.add_argument("--only", choices=["lab", "pool", "prm800k"], default=None)
    parser.add_argument("--model", default=None)
    parser.add_argument("--trained", type=int, default=450)
    args = parser.parse_args()
    data = Path(os.environ.get("GRADATIM_DATA", "../shared/data"))
    if args.only in (None, "lab"):
        in_the_lab(args.folder, args.problems)
    if args.only in (None, "pool") and (data / "pools").exists():
        on_the_pool(data / "pools")
    if args.only == "prm800k":
        on_prm800k(args.folder, data / "prm800k" / "phase1_train.jsonl.gz", args.model, args.trained, args.problems)


def in_the_lab(folder: Path, problems: int) -> None:
    scores, labels = prepared(folder, "lab", problems)
    for method in get_args(Method):
        out = str(folder / f"{method}.json")
        config = CalibrateConfig(scores=scores, labels=labels, method=method, out=out)
        calibration(f"lab, {method}", calibrate_stage(config, quiet=True))
    for miss in (0.2, 0.1, 0.05):
        for by_class in (False, True):
            wanted = ConformalConfig(scores=scores, labels=labels, miss=miss, by_class=by_class, resplits=RESPLITS)
            told = ", by class" if by_class else ""
            sets(f"first-error sets, nominal {1 - miss:g}{told}", conformal_stage(wanted, quiet=True))
    for name in ("colder", "longer"):
        moved, truth = prepared(folder, name, problems)
        for method in get_args(Method):
            config = CalibrateConfig(scores=moved, labels=truth, measure=str(folder / f"{method}.json"))
            calibration(f"{name}, {method} of the lab", calibrate_stage(config, quiet=True))


def on_prm800k(folder: Path, data: Path, model: str, trained: int, count: int) -> None:
    """Steps and first errors of problems that the model's training did not draw: the last in its order, not the first."""
    labels, scores = folder / "prm800k.jsonl", folder / "prm800k-scores.jsonl"
    if not scores.exists():
        labelled = load_labelled(f"prm800k:{data}")
        problems = problems_of(solution.prefix for solution, _ in labelled)
        total = len(set(problems))
        if count > total - trained:
            raise SystemExit(f"{count} problems asked for, {total - trained} of {total} were not trained on")
        seen = chosen_problems(problems, total - count, 0)
        folder.mkdir(parents=True, exist_ok=True)
        kept = [one for one, problem in zip(labelled, problems, strict=True) if problem not in seen]
        write_labelled(labels, kept)
    source: dict[str, Any] = (
        {"scores": str(scores)} if scores.exists() else {"model": model, "keep_scores": str(scores)}
    )
    scorer = load(model) if "model" in source else None
    for miss in (0.2, 0.1):
        asked = ConformalConfig(labels=str(labels), miss=miss, skip_bad=True, resplits=RESPLITS, **source)
        sets(f"PRM800K, first-error sets, nominal {1 - miss:g}", conformal_stage(asked, scorer))
        source = {"scores": str(scores)}
    config = CalibrateConfig(labels=str(labels), skip_bad=True, **source)
    calibration("PRM800K, beta", calibrate_stage(config))


def on_the_pool(folder: Path) -> None:
    pool = str(folder / "gsm8k.pool.jsonl.gz")
    scores = str(folder / "scores" / "skywork_prm_gsm8k.jsonl.gz")
    asked: list[dict[str, Any]] = [
        {"chooser": "majority"},
        {"chooser": "weighted_majority", "scores": scores, "reduction": "last"},
        {"chooser": "best_of_n", "scores": scores, "reduction": "last"},
    ]
    for one in asked:
        for risk in (0.05, 0.1):
            for promise in ("average", "sure"):
                found = abstain_stage(AbstainConfig(pool=pool, risk=risk, promise=promise, resplits=RESPLITS, **one))
                print(f"\n{one['chooser']}, risk {risk:g}, {promise}: wrong if always {found['wrong_if_always']:.4f}")
                for name in ("answered", "wrong_of_all", "wrong_of_answered"):
                    print(f"  {name}: {over(found[name])}")
                print(f"  more wrong of the answered than the risk in {found['broken']:.3f} of the resplits")


if __name__ == "__main__":
    main()
