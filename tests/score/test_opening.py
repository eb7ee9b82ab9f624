"""One set of flags opens a reward model, here or on a server."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from gradatim.errors import ConfigError
from gradatim.models import checkpoint
from gradatim.models.convert import convert
from gradatim.models.forward import head_of
from gradatim.score.opening import Opening, open_scorer
from tiny_models import prefixes, reward_model
from vllm_server import Version, serving


def test_a_server_scores_as_the_model_does_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same model by folder and by URL; the reduction that is asked for is the one that both use."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    checkpoint.save(reward_model("orm"), tmp_path / "model")
    here = open_scorer(str(tmp_path / "model"), Opening(), device="cpu")
    convert(here.model, tmp_path / "served", to="vllm")  # type: ignore[attr-defined]

    with serving(here.model.module, Version()) as url:  # type: ignore[attr-defined]
        there = open_scorer(str(tmp_path / "served"), Opening(server=url)).score(prefixes())

    assert head_of(here.model.module).out_features == 1  # type: ignore[attr-defined]
    assert [s.value for s in there] == pytest.approx([s.value for s in here.score(prefixes())], abs=1e-5)


def test_flags_that_exclude_each_other() -> None:
    """A format is for models that run here, and a server can't be taken apart."""
    with pytest.raises(ConfigError, match="--format and --option are for models that run here"):
        Opening(server="http://127.0.0.1:1", format="trl")
    with pytest.raises(ConfigError, match="--server can only score"):
        Opening(server="http://127.0.0.1:1").asked()


@pytest.mark.parametrize("name", ["device", "dtype", "reduction", "format", "source"])
def test_what_is_no_option_of_a_format(name: str) -> None:
    """Flags of their own are not given as options."""
    with pytest.raises(ConfigError, match=f"--option {name}=...: no option of a format"):
        Opening(option=(f"{name}=cpu",))


def test_an_option_is_given_once_and_has_a_name() -> None:
    """The last of two would win without a word."""
    with pytest.raises(ConfigError, match=r"--option beta=\.\.\. is given 2 times"):
        Opening(option=("beta=1", "reading=clean", "beta=2"))
    for wrong in ("beta", "=2"):
        with pytest.raises(ConfigError, match="expected NAME=VALUE"):
            Opening(option=(wrong,))
    assert Opening(option=("separator==", "beta=a=b")).asked() == {"format": None, "separator": "=", "beta": "a=b"}


@pytest.mark.parametrize("flags", [("--device", "cpu"), ("--dtype", "bfloat16")])
def test_a_server_runs_where_it_was_started(flags: tuple[str, str], tmp_path: Path) -> None:
    """Device and number format are refused beside it, before anything is read."""
    from gradatim.cli import app

    found = CliRunner().invoke(app, ["score", str(tmp_path / "none"), "--server", "http://127.0.0.1:1", *flags])
    assert isinstance(found.exception, ConfigError)
    assert "--device and --dtype are for models that run here" in str(found.exception)
