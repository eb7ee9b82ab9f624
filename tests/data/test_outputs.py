"""Output files are looked at before any work is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradatim.errors import ConfigError
from gradatim.records import check_output, check_outputs


@pytest.mark.parametrize(
    "out",
    [
        "",
        ".",
        "folder",
        "folder/",
        "results.parquet",
        "rows.json",
        "rows.json.gz",
        "file.jsonl/x.jsonl",
        "/proc/x.jsonl",
    ],
)
def test_what_can_not_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str) -> None:
    """No name, a folder, a form that is not written, and folders that take no file."""
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("file.jsonl").touch()
    with pytest.raises(ConfigError, match=r"^output "):
        check_output(out)


def test_no_input_is_replaced(tmp_path: Path) -> None:
    """By whatever name: as it is, over a link, as a data set of a form. Other files are."""
    data, link = tmp_path / "data.jsonl", tmp_path / "link.jsonl"
    data.write_text("{}\n")
    link.symlink_to(data)
    for source in (str(data), str(link), f"prm800k:{data}"):
        for out in (data, link):
            with pytest.raises(ConfigError, match="would replace"):
                check_output(out, ["-", source])
    check_output(tmp_path / "other.jsonl", [data, "lab:test:4", "-"])
    check_output(tmp_path / "deep" / "er" / "other.jsonl", [data])
    assert (tmp_path / "deep" / "er").is_dir()
    assert data.read_text() == "{}\n"


def test_two_results_do_not_share_a_file(tmp_path: Path) -> None:
    """By two names for one path, too; and each of them is kept from the inputs."""
    data, one, other = tmp_path / "data.jsonl", tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    data.write_text("{}\n")
    check_outputs([one, other], [data])
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match="two results"):
        check_outputs([one, tmp_path / "folder" / ".." / "one.jsonl"], [data])
    with pytest.raises(ConfigError, match="would replace"):
        check_outputs([one, data], [data])


def test_what_holds_no_rows_may_end_as_it_likes(tmp_path: Path) -> None:
    """One object, a picture: the same is asked of it but the ending, and what was not asked for is passed over."""
    data, one = tmp_path / "data.json", tmp_path / "map.json"
    data.write_text("{}\n")
    check_outputs([None], [data, None], [one, None])
    with pytest.raises(ConfigError, match="JSON Lines"):
        check_outputs([one], [data])
    with pytest.raises(ConfigError, match="would replace"):
        check_outputs([], [data], [data])
    with pytest.raises(ConfigError, match="two results"):
        check_outputs([tmp_path / "a.jsonl"], [], [tmp_path / "a.jsonl"])
