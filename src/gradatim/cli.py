"""The command line: a verb a stage. Flags come from the stages' config dataclasses; what is printed here is for people,
and `--json` prints one object for programs."""

from __future__ import annotations

import errno
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import typer

from gradatim import records, runs
from gradatim.choose import ChooseConfig, choose_stage, table
from gradatim.choose.nested import NestedConfig, nested_stage
from gradatim.core import Policy, Problem, Reduction, Scorer, Verifier
from gradatim.errors import ConfigError, GradatimError, InputError
from gradatim.evaluate.processbench import ProcessBenchConfig, processbench_stage
from gradatim.flags import Interrupted, command
from gradatim.labels.forecast import forecast_stage
from gradatim.labels.rollouts import label_stage
from gradatim.labels.rules import LabelConfig
from gradatim.problems.sources import load_problems
from gradatim.score.opening import Opening
from gradatim.score.recorded import CombineConfig, combine_stage
from gradatim.score.stage import CountingScorer, ScoreConfig, cost_lines, score_stage
from gradatim.solutions.opening import notes, open_policy, served
from gradatim.solutions.sample import SampleConfig, sample_stage
from gradatim.solutions.settings import EndpointSettings, PolicySettings
from gradatim.solve import as_json as solved_json
from gradatim.solve import solve as solve_problems
from gradatim.steps import SPLITTERS, audit
from gradatim.train.config import TrainConfig
from gradatim.verify.answers import VerifierName, verifier_for
from gradatim.verify.gold import VerifyConfig, verify_stage
from gradatim.view.explain import ExplainConfig, explain_stage, told

HELP = """Train, use and distrust reward models for reasoning.

    problems -> solutions -> steps -> labels -> train -> score -> choose -> evaluate

Each verb is a stage; between stages there are files that you can read. Start with `gradatim loop --budget tiny`.
"""

app = typer.Typer(
    help=HELP, no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False
)
evaluate = typer.Typer(
    help="Measure a reward model on a public benchmark.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(evaluate, name="evaluate")


def main() -> None:
    """Run the command line; exits 0 on success, 1 on a user's fault, 2 on wrong usage, 130 when interrupted."""
    try:
        app()  # ends the process itself, with 0 or 2
    except GradatimError as error:
        status = _fail(str(error))
    except Interrupted:
        print("stopped; the same command goes on from here where the stage keeps its work", file=sys.stderr)
        status = 130
    except OSError as error:
        status = _os_error(error)
    sys.exit(status)


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 1


def _os_error(error: OSError) -> int:
    if isinstance(error, BrokenPipeError):
        sys.stderr.close()
        return 0
    if error.errno == errno.ENOSPC:
        return _fail(f"no space left on the disk ({error.filename or 'while writing'}); free some and run it again")
    return _fail(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))


def _print(result: Mapping[str, Any], as_json: bool, human: str) -> None:
    """One JSON object (NaN as null), or the words for people."""
    print(json.dumps(runs.plain(dict(result)), ensure_ascii=False, allow_nan=False) if as_json else human)


# loop


@dataclass(frozen=True, kw_only=True)
class LoopFlags:
    """`gradatim loop`."""

    budget: Literal["smoke", "tiny", "small", "full"] = "tiny"
    """How much: seconds, at most 10 minutes, at most 40 minutes, or hours (on 2 CPU cores)."""
    out: str = "runs/lab"
    """The run's folder. The same command again goes on with what is not finished."""
    problems: int | None = None
    """Training problems, in place of the budget's."""
    solutions: int | None = None
    """Solutions a training problem."""
    rollouts: int | None = None
    """Rollouts a step for the labels."""
    test_problems: int | None = None
    """Test problems."""
    candidates: int | None = None
    """Solutions a test problem, to choose from."""
    epochs: int | None = None
    """Passes over the solutions, for both models."""
    seeds: int | None = None
    """Trainings of each model."""
    seed: int | None = None
    """Decides what is sampled."""
    force: bool = False
    """Do stages again that were done with other settings."""


@command(app, "loop", LoopFlags)
def loop_command(flags: LoopFlags, *, as_json: bool, quiet: bool) -> None:
    """Problems to report, in the lab: sample, verify, label, train an ORM and a PRM, score, choose, evaluate."""
    from gradatim.loop import BUDGETS, loop

    own = ("problems", "solutions", "rollouts", "test_problems", "candidates", "epochs", "seeds", "seed")
    asked = {name: value for name in own if (value := getattr(flags, name)) is not None}
    result = loop(replace(BUDGETS[flags.budget], **asked), flags.out, force=flags.force, quiet=quiet)
    tables = "\n\n".join(_table(title, rows) for title, rows in list(result["headline"].items())[:4])
    _print(result, as_json, f"{tables}\n\n{result['seconds']:.0f} s of work in all\nreport: {result['report']}")


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows under their column names, aligned."""
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(cells[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([title, lines[0], "-" * len(lines[0]), *lines[1:]])


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        if value["value"] is None or value["value"] != value["value"]:
            return "-"
        return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"
    if value is None or value != value:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


# solve


@dataclass(frozen=True, kw_only=True)
class SolveFlags:
    """`gradatim solve`."""

    problems: str
    """A source of problems (a file, gsm8k:PATH, lab:test:3, ...), or "-" for questions on standard input, one a line."""
    policy: str = "lab"
    """The language model that writes: a folder, a hub name, "smollm2", "lab" or the URL of an OpenAI-compatible server."""
    model: str = "lab"
    """The reward model that chooses: a folder, a run, a name on the hub, or "lab"."""
    n: int = 16
    """Solutions to sample for each problem."""
    chooser: Literal["best_of_n", "weighted_majority"] = "best_of_n"
    """Highest score, or the answer with the highest sum of scores."""
    splitter: str = "line"
    """How a text is split into steps."""
    limit: int | None = None
    """Only the first so many problems."""
    reduction: Reduction | None = None
    """How step scores become one value; the one saved with the model where none is given."""
    seed: int = 0
    """With the problem and the draw it decides every text."""


@command(app, "solve", SolveFlags, PolicySettings, EndpointSettings, Opening, arguments=("problems",))
def solve_command(
    flags: SolveFlags,
    settings: PolicySettings,
    endpoint: EndpointSettings,
    opening: Opening,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Sample n solutions of each problem, score them, and give the best answer with its score and the runners-up."""
    from gradatim.score.engine import load

    problems = _questions() if flags.problems == "-" else load_problems(flags.problems, limit=flags.limit)
    splitter = SPLITTERS.get(flags.splitter)
    if splitter is None:
        raise ConfigError(f"--splitter {flags.splitter!r}; expected one of {', '.join(sorted(SPLITTERS))}")
    policy = open_policy(flags.policy, settings, endpoint, splitter=splitter)
    scorer = load(flags.model, reduction=flags.reduction, **opening.asked())
    solved = solve_problems(
        problems, policy, scorer, n=flags.n, seed=flags.seed, chooser=flags.chooser, splitter=splitter, quiet=quiet
    )
    found = [solved_json(one) for one in solved]
    human = []
    for one, row in zip(solved, found, strict=True):
        others = ", ".join(f"{other['answer']} ({other['value']:.3f})" for other in row["runners_up"])
        human.append(f"{row['problem_id']}: {one}\n  runners-up: {others or 'none'}")
    _print({"solved": found, "policy": policy.name, "model": scorer.name}, as_json, "\n\n".join(human))


def _questions() -> list[Problem]:
    lines = [line.strip() for line in sys.stdin if line.strip()]
    if not lines:
        raise InputError("no question on standard input", expected="one question a line")
    return [Problem(id=f"question-{i}", prompt=line) for i, line in enumerate(lines)]


def _noted(human: str, policy: Policy, result: Mapping[str, Any]) -> str:
    return "\n".join([human, *(f"note: {line}" for line in notes(policy, result["not_written"]))])


# sample, label


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What sampling and labelling have in common."""

    source: str
    """Problems with gold answers: a file, gsm8k:PATH, math:PATH, hf:NAME, reasoning_gym:NAME:N:SEED or lab:SPLIT:N."""
    out: str
    """Where to write."""
    policy: str = "lab"
    """The language model that writes: a folder, a hub name, "smollm2", "lab" or the URL of an OpenAI-compatible server."""
    verifier: Literal["auto", "math", "exact", "choice"] = "auto"
    """How answers are checked; "auto": exact in the lab, by mathematics elsewhere."""
    limit: int | None = None
    """Only the first so many problems."""
    skip_bad: bool = False
    """Count malformed rows and go on, instead of stopping at the first."""


def _verifier(flags: Sources, problems: Sequence[Problem]) -> Verifier:
    name: VerifierName = "math" if flags.verifier == "auto" else flags.verifier
    if flags.verifier == "auto" and all(problem.source == "lab" for problem in problems):
        name = "exact"
    return verifier_for(name)


@command(app, "sample", Sources, SampleConfig, PolicySettings, EndpointSettings, arguments=("source",))
def sample_command(
    flags: Sources,
    config: SampleConfig,
    settings: PolicySettings,
    endpoint: EndpointSettings,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Sample n solutions of each problem, split them into steps, read and verify their answers. Resumes."""
    drops: Counter[str] = Counter()
    problems = load_problems(flags.source, limit=flags.limit, skip_bad=flags.skip_bad, drops=drops)
    policy = open_policy(flags.policy, settings, endpoint, splitter=SPLITTERS[config.splitter])
    result = sample_stage(config, policy, problems, _verifier(flags, problems), flags.out, quiet=quiet)
    verdicts = ", ".join(f"{count} {name}" for name, count in result["verdicts"].items())
    human = f"{result['solutions']} solutions of {result['problems']} problems: {verdicts}\nwritten to {result['path']}"
    _print({**result, **served(policy), "dropped": dict(drops)}, as_json, _noted(human, policy, result))


@dataclass(frozen=True, kw_only=True)
class LabelFlags(Sources):
    """`gradatim label`."""

    solutions: str
    """The solutions to label, as `gradatim sample` writes them."""
    forecast: bool = False
    """Label a pilot only, and say with intervals what all of it will cost; the same command without it goes on from
    there."""
    pilot: int = 32
    """Problems in the pilot of a forecast."""
    price: float | None = None
    """Money for a million written tokens, for a forecast."""


@command(app, "label", LabelFlags, LabelConfig, PolicySettings, EndpointSettings, arguments=("source", "solutions"))
def label_command(
    flags: LabelFlags,
    config: LabelConfig,
    settings: PolicySettings,
    endpoint: EndpointSettings,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Label every step of the solutions by Monte-Carlo rollouts; each distinct prefix is rolled out once. Resumes."""
    drops: Counter[str] = Counter()
    problems = load_problems(flags.source, limit=flags.limit, skip_bad=flags.skip_bad, drops=drops)
    solutions = records.read_solutions(flags.solutions, skip_bad=flags.skip_bad, drops=drops)
    policy, verifier = open_policy(flags.policy, settings, endpoint), _verifier(flags, problems)
    if flags.forecast:
        inputs = (config, policy, problems, solutions, verifier, flags.out)
        found = forecast_stage(*inputs, pilot=flags.pilot, price=flags.price, quiet=quiet)
        _print({**found, **served(policy)}, as_json, _noted(_forecast(found), policy, found))
        return
    result = label_stage(config, policy, problems, solutions, verifier, flags.out, quiet=quiet)
    counts = {**result, "read": len(solutions) + drops.total(), "used": result["labelled"]}
    counts["dropped"] = {**dict(drops), **result["dropped"]}
    human = (
        f"{result['labelled']} solutions labelled with {result['rollouts']} rollouts from {result['prefixes']} distinct "
        f"prefixes ({result['tokens']} tokens); {result['errors_found']} have a first error\nwritten to {result['path']}"
    )
    _print({**counts, **served(policy)}, as_json, _noted(human, policy, result))


def _forecast(found: Mapping[str, Any]) -> str:
    head = (
        f"pilot: {found['pilot_solutions']} solutions of {found['pilot_problems']} problems, "
        f"{found['pilot_rollouts']} rollouts, {found['pilot_tokens']} tokens\n"
        f"all {found['solutions']} solutions of {found['problems']} problems (95 %):"
    )
    names = [name for name in ("rollouts", "tokens", "seconds", "money") if name in found]
    rows = [(name, found[name]) for name in names]
    return "\n".join([head, *(f"  {name}: {e.value:,.6g} [{e.low:,.6g}, {e.high:,.6g}]" for name, e in rows)])


# train, score


@command(app, "train", TrainConfig, defaults={"out": "runs/model"})
def train_command(config: TrainConfig, *, as_json: bool, quiet: bool) -> None:
    """Train an ORM or a PRM on labelled solutions, with every shared token computed once. Resumes."""
    from gradatim.train.stage import train_stage

    result = train_stage(config, quiet=quiet)
    shown = "\n".join(f"{name}: {value}" for name, value in runs.plain(result).items() if not isinstance(value, list))
    _print(result, as_json, shown)


@command(app, "score", ScoreConfig, Opening, arguments=("data",))
def score_command(config: ScoreConfig, opening: Opening, *, as_json: bool, quiet: bool) -> None:
    """Score solutions: rows of {problem|prompt, steps|completions} from a file or standard input."""
    scorer = _scorer(config, opening)
    result = score_stage(config, scorer, quiet=quiet)
    lines = []
    for row in result["scores"]:
        steps = " ".join("-" if s is None else f"{s:.3f}" for s in runs.plain(row["steps"]))
        error = "" if row["first_error"] is None else f"  first error: step {row['first_error'] + 1}"
        value = "-" if row["value"] is None or row["value"] != row["value"] else f"{row['value']:.3f}"
        lines.append(f"{row['id']}  {row['reduction']} {value}  [{steps}]{error}")
    _print(result, as_json, "\n".join([*lines, *(cost_lines(result["stats"]) if config.stats else [])]))


def _scorer(config: ScoreConfig, opening: Opening) -> CountingScorer:
    if config.server is not None:
        from gradatim.score.vllm import connect

        if opening != Opening():
            raise ConfigError("--format and --option are for models that run here, not for those of a --server")
        return connect(config.server, config.model, reduction=config.reduction)
    from gradatim.score.engine import load

    return load(config.model, reduction=config.reduction, device=config.device, dtype=config.dtype, **opening.asked())


@dataclass(frozen=True, kw_only=True)
class DoctorFlags:
    """`gradatim doctor`."""

    model: str
    """The reward model: a folder, a run, a name on the hub, or "lab"."""
    golden: str | None = None
    """Golden scores to compare with: rows of {problem, steps, scores}, or of {problem, steps, value}."""
    record: str | None = None
    """Write what the model says of the doctor's own solutions there, as golden scores for later or elsewhere."""
    device: str = "auto"
    """Where to compute: "auto", "cpu", "cuda", "cuda:1"."""


@command(app, "doctor", DoctorFlags, Opening, arguments=("model",))
def doctor_command(flags: DoctorFlags, opening: Opening, *, as_json: bool, quiet: bool) -> None:
    """Is a reward model read as it should be? A table of checks with their evidence; exits with 1 if one fails."""
    from gradatim.models.opening import folder_of
    from gradatim.score.doctor import doctor_stage
    from gradatim.score.doctor import table as doctor_table
    from gradatim.score.engine import load

    scorer = load(flags.model, device=flags.device, **opening.asked())
    folder = folder_of(flags.model, format=opening.format)
    result = doctor_stage(scorer, folder, golden=flags.golden, record=flags.record)
    _print(result, as_json, doctor_table(result))
    if result["failed"]:
        raise typer.Exit(1)


# convert


@dataclass(frozen=True, kw_only=True)
class ConvertFlags:
    """`gradatim convert`."""

    model: str
    """The reward model: a folder, a run, a name on the hub, or "lab"."""
    out: str
    """A new folder for what is written."""
    to: Literal["gradatim", "trl", "vllm"]
    """Our own form, TRL's, or one that vLLM serves."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number format of the weights that are written; with that of the checkpoint nothing is rounded."""


@command(app, "convert", ConvertFlags, Opening, arguments=("model", "out"))
def convert_command(flags: ConvertFlags, opening: Opening, *, as_json: bool, quiet: bool) -> None:
    """Write a reward model in another form in which all its scores stay the same, or say why there is none."""
    from gradatim.models.convert import convert
    from gradatim.score.engine import load

    model = load(flags.model, device="cpu", dtype=flags.dtype, **opening.asked()).model
    use = convert(model, flags.out, to=flags.to, format=opening.format)
    _print({"model": model.name, "out": flags.out, "to": flags.to, "use": use}, as_json, f"written; use it with: {use}")


# choose, evaluate, verify, split


@command(app, "choose", ChooseConfig)
def choose_command(config: ChooseConfig, *, as_json: bool, quiet: bool) -> None:
    """Choose one candidate a problem from a pool and its scores; with gold answers also accuracy at every n."""
    result = choose_stage(config, quiet=quiet)
    _print(result, as_json, _choices(result))


def _choices(result: dict[str, Any]) -> str:
    rows = result.get("rows") or []
    if not rows:
        return "\n".join(
            f"{c['problem_id']}: candidate {c['candidate']}, answer {c['answer']}" for c in result["choices"]
        )
    head, *lines = table(result)
    notes = [f"note: {note}" for note in result.get("notes", ())]
    asked = [dict(zip(head, line, strict=True)) for line in lines]
    return "\n".join([_table(f"{result['problems']} problems", asked), "", *notes])


@command(evaluate, "processbench", ProcessBenchConfig, Opening)
def processbench_command(config: ProcessBenchConfig, opening: Opening, *, as_json: bool, quiet: bool) -> None:
    """First wrong steps on ProcessBench: both accuracies, F1, null baselines, and where the threshold comes from."""
    scorer: Scorer | None = None
    if config.model is not None:
        from gradatim.score.engine import load

        scorer = load(config.model, **opening.asked())
    result = processbench_stage(config, scorer, quiet=quiet)
    columns = ("subset", "error_accuracy", "correct_accuracy", "f1", "threshold", "threshold_from", "errors", "correct")
    rows = [{**{name: one[name] for name in columns}, **_nulls(one)} for one in result["subsets"]]
    _print(result, as_json, _table(f"ProcessBench, {result['model']}", runs.plain(rows)))


def _nulls(subset: Mapping[str, Any]) -> dict[str, Any]:
    return {f"null: {name.replace('_', ' ')}": value for name, value in subset["nulls"].items()}


@command(app, "verify", VerifyConfig, arguments=("source",))
def verify_command(config: VerifyConfig, *, as_json: bool, quiet: bool) -> None:
    """Does the verifier accept the gold answers of a data set? Lists those that it does not, with the reason."""
    drops: Counter[str] = Counter()
    problems = load_problems(config.source, limit=config.limit, skip_bad=config.skip_bad, drops=drops)
    result = verify_stage(config, problems, dropped=drops, quiet=quiet)
    refused = [f"  {row['id']}: gold {row['gold']!r}: {row['reason']}" for row in result["refused"]]
    share = result["accepted"] / result["used"] if result["used"] else float("nan")
    head = f"{result['accepted']} of {result['used']} gold answers accepted ({share:.2%}) in {result['seconds']:.1f} s"
    _print(result, as_json, "\n".join([head, *refused]))


@dataclass(frozen=True, kw_only=True)
class SplitFlags:
    """`gradatim split`."""

    data: str
    """Texts: JSON Lines with `text`, `solution` or `answer`, or our own solutions; "-" is standard input."""
    by: str = "line"
    """The splitter: line, blank-line, marker, sentence, think, tool-call."""
    skip_bad: bool = False
    """Count malformed rows and go on, instead of stopping at the first."""


@command(app, "split", SplitFlags, arguments=("data",))
def split_command(flags: SplitFlags, *, as_json: bool, quiet: bool) -> None:
    """What a splitter does to a corpus: steps a text, their lengths, and what looks wrong. Changes nothing."""
    splitter = SPLITTERS.get(flags.by)
    if splitter is None:
        raise ConfigError(f"--by {flags.by!r}; expected one of {', '.join(sorted(SPLITTERS))}")
    drops: Counter[str] = Counter()
    rows = records.read_rows(flags.data, skip_bad=flags.skip_bad, drops=drops)
    found = audit(records.convert(rows, _text, skip_bad=flags.skip_bad, drops=drops), splitter)
    if not found["texts"] and not drops:
        raise InputError("no texts", expected="at least one row", file=flags.data, fix="check the file")
    result = {**found, "dropped": dict(drops)}
    _print(result, as_json, "\n".join(f"{name}: {value}" for name, value in result.items()))


def _text(row: records.Row) -> str:
    for name in ("text", "solution", "answer"):
        if isinstance(value := row.data.get(name), str):
            return value
    if "steps" in row.data or "completions" in row.data:
        return records.solution_from(row).prefix.text
    raise row.error(f"columns {', '.join(row.data)}", expected="text, solution, answer, or steps")


# combine, explain, evaluate pool


@command(app, "combine", CombineConfig)
def combine_command(config: CombineConfig, *, as_json: bool, quiet: bool) -> None:
    """Blend or ensemble recorded scores of one pool, and write them as the scores of one more scorer."""
    result = combine_stage(config)
    lines = [
        one["scorer"] + ("" if one["disagreement"] is None else f": mean deviation {one['disagreement']:.3f}")
        for one in result["combined"]
    ]
    _print(result, as_json, "\n".join([*lines, f"{result['scores']} scores written to {result['out']}"]))


@command(app, "explain", ExplainConfig, arguments=("data",))
def explain_command(config: ExplainConfig, *, as_json: bool, quiet: bool) -> None:
    """Rank scored solutions; show the weakest step and the first error of each, and how far to trust the scorer."""
    result = explain_stage(config)
    _print(result, as_json, told(result, config.top))


@command(evaluate, "pool", NestedConfig)
def pool_command(config: NestedConfig, *, as_json: bool, quiet: bool) -> None:
    """Best scorer, best pair and a learned combination, each chosen on other problems (nested folds), with intervals."""
    result = nested_stage(config, quiet=quiet)
    sizes = " to ".join(map(str, dict.fromkeys(result["n"])))
    title = f"{result['problems']} problems, one of {sizes} candidates; {result['folds']} folds x {result['repeats']}"
    chosen = [
        f"{name}: {', '.join(f'{what} ({count})' for what, count in list(counts.items())[:3])}"
        for name, counts in result["chosen"].items()
    ]
    tables = [_table(title, result["methods"]), _table("paired differences", result["contrasts"])]
    _print(result, as_json, "\n\n".join([*tables, "\n".join(["chosen in how many folds", *chosen])]))


if __name__ == "__main__":
    main()
