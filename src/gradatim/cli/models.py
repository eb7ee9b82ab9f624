"""Verbs that use reward models, prove them and convert them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import typer

from gradatim import records, runs
from gradatim.cli.app import app, left_out, remark, show
from gradatim.errors import ConfigError
from gradatim.flags import command
from gradatim.scale.scorers import open_scorers
from gradatim.scale.settings import WorkerSettings
from gradatim.score.opening import Opening
from gradatim.score.stage import ScoreConfig, cost_lines, score_stage


@command(app, "score", ScoreConfig, Opening, WorkerSettings, arguments=("data",))
def score_command(
    config: ScoreConfig, opening: Opening, workers: WorkerSettings, *, as_json: bool, quiet: bool
) -> None:
    """Score solutions: rows of {problem|prompt, steps|completions} from a file or standard input."""
    if config.out is not None:
        records.check_output(config.out, [config.data, opening.calibration])
    usual = ScoreConfig()
    if opening.server is not None and (config.device, config.dtype) != (usual.device, usual.dtype):
        raise ConfigError("--device and --dtype are for models that run here; a --server has been started with its own")
    asked: Any = {"reduction": config.reduction, "device": config.device, "dtype": config.dtype}
    with open_scorers(config.model, opening, workers, **asked) as scorer:
        result = score_stage(config, scorer, quiet=quiet)
    lines = []
    for row in result["scores"]:
        steps = " ".join("-" if s is None else f"{s:.3f}" for s in runs.plain(row["steps"]))
        error = "" if row["first_error"] is None else f"  first error: step {row['first_error'] + 1}"
        value = "-" if row["value"] is None or row["value"] != row["value"] else f"{row['value']:.3f}"
        lines.append(f"{row['id']}  {row['reduction']} {value}  [{steps}]{error}")
    if not config.stats:
        remark(result["stats"]["notes"])
    cost = cost_lines(result["stats"]) if config.stats else []
    show(result, as_json, "\n".join([*lines, *cost, *left_out(result["rows"]["dropped"])]))


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
    from gradatim.score.doctor import doctor_stage, table
    from gradatim.score.engine import load

    scorer = load(flags.model, device=flags.device, **opening.asked())
    folder = folder_of(flags.model, format=opening.format)
    result = doctor_stage(scorer, folder, golden=flags.golden, record=flags.record)
    show(result, as_json, table(result))
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

    scorer = load(flags.model, device="cpu", dtype=flags.dtype, **opening.asked())
    model = scorer.model
    use = convert(model, flags.out, to=flags.to, format=opening.format, checkpoint=scorer.checkpoint)
    show({"model": model.name, "out": flags.out, "to": flags.to, "use": use}, as_json, f"written; use it with: {use}")
