"""Maps and rules in files know the checkpoint whose scores they were made of, and take no other's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from labelled_files import simulated

from gradatim import records
from gradatim.errors import ConfigError, InputError
from gradatim.evaluate.calibrating import CalibrateConfig, calibrate_stage
from gradatim.evaluate.first_error_sets import ConformalConfig, conformal_stage
from gradatim.score.calibrate import read_calibration


def signed(files: dict[str, str], name: str, checkpoint: str) -> dict[str, str]:
    """The files, with scores by this checkpoint."""
    path = str(Path(files["scores"]).with_name(f"{name}.jsonl"))
    records.write_scores(
        path, [(i, replace(s, checkpoint=checkpoint)) for i, s in records.read_scores(files["scores"])]
    )
    return {**files, "scores": path}


def test_maps_and_sets_from_files_keep_to_their_checkpoint(tmp_path: Path) -> None:
    """Fitted on recorded scores that say whose they are; refused for another's, noted where others don't say."""
    plain = simulated(60, 0).write(tmp_path)
    mine, other = signed(plain, "mine", "aaaa"), signed(plain, "other", "bbbb")
    out = {kind: str(tmp_path / f"{kind}.json") for kind in ("map", "sets")}
    calibrate_stage(CalibrateConfig(**mine, out=out["map"]), quiet=True)
    conformal_stage(ConformalConfig(**mine, out=out["sets"], resplits=2), quiet=True)
    assert read_calibration(out["map"]).checkpoint == "aaaa"

    for files, told in ((mine, []), (plain, ["the scores do not say which checkpoint"])):
        measured = calibrate_stage(CalibrateConfig(**files, measure=out["map"]), quiet=True)
        applied = conformal_stage(ConformalConfig(scores=files["scores"], rule=out["sets"]), quiet=True)
        assert [note.split(" of ")[0] for note in measured["notes"]] == told
        assert [note.split(" of ")[0] for note in applied["notes"]] == told
    with pytest.raises(ConfigError, match=r"a calibration .* checkpoint bbbb"):
        calibrate_stage(CalibrateConfig(**other, measure=out["map"]), quiet=True)
    with pytest.raises(ConfigError, match=r"a rule .* checkpoint bbbb"):
        conformal_stage(ConformalConfig(scores=other["scores"], rule=out["sets"]), quiet=True)
    mixed = Path(plain["scores"]).with_name("mixed.jsonl")
    lines = Path(mine["scores"]).read_text().splitlines(), Path(other["scores"]).read_text().splitlines()
    mixed.write_text("\n".join([*lines[0][:9], *lines[1][9:]]))
    with pytest.raises(InputError, match=r"aaaa.*bbbb"):
        calibrate_stage(CalibrateConfig(**{**mine, "scores": str(mixed)}), quiet=True)
