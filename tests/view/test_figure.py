"""Curves as an SVG document of its own."""

from pathlib import Path
from xml.etree import ElementTree

from gradatim.view.figure import figure, write_figure
from gradatim.view.parts import Curve, Series

SVG = "{http://www.w3.org/2000/svg}"


def curve(title: str) -> Curve:
    series = Series(name="a < b", x=(1.0, 2.0), y=(0.1, 0.2), low=(0.0, 0.1), high=(0.2, 0.3))
    return Curve(title=title, x_label="x", y_label="y", series=(series,))


def test_a_figure_is_a_document_with_a_chart_a_curve(tmp_path: Path) -> None:
    """Any XML reader takes it; titles and names are escaped; every curve has its chart, none over another."""
    path = write_figure([curve("one"), curve("<two>"), curve("three")], tmp_path / "figure.svg")

    root = ElementTree.parse(path).getroot()
    texts = [one.text for one in root.iter(f"{SVG}text")]
    places = [group.get("transform") for group in root.findall(f"{SVG}g")]
    assert root.tag == f"{SVG}svg"
    assert {"one", "<two>", "three"} <= set(texts)
    assert len(list(root.iter(f"{SVG}polyline"))) == len(set(places)) == 3


def test_one_curve_takes_one_column() -> None:
    """The page is no wider than what is on it."""
    alone, beside = (ElementTree.fromstring(figure([curve("one")] * n)) for n in (1, 2))

    assert float(alone.get("width") or 0) < float(beside.get("width") or 0)
    assert alone.get("height") == beside.get("height")
