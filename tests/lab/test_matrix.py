"""Heat maps as SVG: every value is a cell in its place and colour, what was not measured is none."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from hare_tortoise.lab.comparison import compare
from hare_tortoise.lab.matrix import Panel, colour, draw_matrices
from hare_tortoise.lab.report_tasks import task_picture
from tests.lab.synthetic_results import growing_recipe, growing_results, task_recipe, task_results

SVG = "{http://www.w3.org/2000/svg}"


def cells(svg: str) -> list[dict[str, str]]:
    root = ElementTree.fromstring(svg)
    return [element.attrib for element in root.iter(f"{SVG}rect") if element.get("class") == "cell"]


def test_cells_stand_task_by_task_downwards_and_time_to_the_right() -> None:
    found = cells(draw_matrices([Panel("x", ((0.2, 0.4, 0.6), (None, 0.8, 1.0)))], title="t"))
    assert len(found) == 5
    assert [float(cell["y"]) for cell in found[:3]] == [float(found[0]["y"])] * 3
    assert float(found[3]["y"]) > float(found[0]["y"])
    assert found[3]["x"] == found[1]["x"]
    assert [cell["fill"] for cell in (found[0], found[-1])] == [colour(0), colour(1)]


def test_one_scale_of_colours_for_all_panels() -> None:
    found = cells(draw_matrices([Panel("x", ((0.0, 0.5),)), Panel("y", ((0.5, 1.0),))], title="t"))
    assert [cell["fill"] for cell in found] == [colour(0), colour(0.5), colour(0.5), colour(1)]


def test_lightness_rises_with_the_value() -> None:
    def luminance(text: str) -> float:
        red, green, blue = (int(text[i : i + 2], 16) for i in (1, 3, 5))
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light = [luminance(colour(place / 50)) for place in range(51)]
    assert light == sorted(light)
    assert light[-1] - light[0] > 150


def test_titles_are_text() -> None:
    svg = draw_matrices([Panel("<b>", ((0.5,),))], title="<x>&y", unit="<u>")
    root = ElementTree.fromstring(svg)
    assert {"<b>", "<x>&y", "<u>"} <= {element.text for element in root.iter(f"{SVG}text")}


def test_long_names_are_broken_and_run_into_nothing() -> None:
    name = "from scratch + Hare & Tortoise (decay=warmup(0.99), reset_every=100): hare"
    panels = [Panel(name, ((0.1, 0.2),)), Panel("short", ((0.3, 0.4),)), Panel(name, ((0.5, 0.6),))] * 2
    root = ElementTree.fromstring(draw_matrices(panels, title="t", note="scaled down (desk)"))
    texts = [e for e in root.iter(f"{SVG}text") if e.text]
    titles = [e for e in texts if e.get("fill") == "#1f2430" and e.text not in ("t", "short")]
    assert " ".join(str(e.text) for e in titles) == " ".join([name] * 4)
    frames = [e for e in root.iter(f"{SVG}rect") if e.get("fill") == "none"]
    tall, side = ({float(e.get(size, "nan")) for e in frames} for size in ("height", "width"))
    tops = sorted({float(e.get("y", "nan")) for e in frames})
    for text in titles:
        x, y, size = (float(text.get(key, "nan")) for key in ("x", "y", "font-size"))
        assert size >= 11
        assert x in {float(e.get("x", "nan")) for e in frames}
        assert 0.6 * size * len(str(text.text)) <= min(side)
        # below the title and the note, or below the panels of the first row and their numbers
        assert 40 + size < y < tops[0] or tops[0] + min(tall) + 15 + size < y < tops[1]
    (note,) = [e for e in texts if e.text == "scaled down (desk)"]
    assert float(note.get("y", "nan")) == 40


def test_a_long_title_widens_the_picture() -> None:
    svg = draw_matrices([Panel("x", ((0.5, -0.5),))], title="a title of this length " * 4)
    root = ElementTree.fromstring(svg)
    assert float(root.get("width", "nan")) > 52 + 0.6 * 15 * 4 * 23
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert "−50 %" in texts


@pytest.mark.parametrize(
    ("panels", "message"),
    [
        ([], r"panels: got matrices of \[\]"),
        ([Panel("x", ((0.5,),)), Panel("y", ((0.5, 0.5),))], "expected one shape for all"),
        ([Panel("x", ((0.5, 0.5), (0.5,)))], "expected one shape for all"),
        ([Panel("x", ((None,),))], "got no value"),
    ],
    ids=["none", "two shapes", "ragged", "empty"],
)
def test_bad_input_is_named(panels: list[Panel], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_matrices(panels, title="t")


def test_the_picture_of_a_comparison_has_every_network_and_the_scale() -> None:
    recipe = task_recipe()
    results = task_results(recipe)
    svg = task_picture(compare(recipe, results), results)
    assert svg is not None
    texts = [element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    assert {"from scratch", "warm start", "EMA", "EMA: hare"} <= set(texts)
    assert "warm start: hare" not in texts
    assert any("scaled down (desk)" in str(text) for text in texts)
    assert len(cells(svg)) == 4 * 36


def test_without_several_tasks_there_is_no_picture() -> None:
    recipe = growing_recipe()
    results = growing_results(recipe)
    assert task_picture(compare(recipe, results), results) is None
