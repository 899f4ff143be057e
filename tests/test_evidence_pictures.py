"""The pictures of the evidence: every row has a name of its own, whole, and what was scaled down says so."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence

import pytest

from evidence import cost, sequences, tasks
from evidence.curves import Axes, Curve, curves
from evidence.forest import forest
from evidence.lines import LINES
from evidence.names import legend, short_labels
from hare_tortoise.lab.comparison import compare
from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.statistics import Estimate
from hare_tortoise.lab.trial import Result, trials

SVG = "{http://www.w3.org/2000/svg}"
RECIPES = {recipe.name: recipe for line in LINES.values() for recipe in line.recipes()}
SCALE = "100 of 60,000 images"
END = {"chunk": 0, "chunk_name": "all", "last": True, "seconds": 1.0, "online_accuracy": 0.5}


def made_up(recipe: Recipe, accuracy: Callable[[int], float] = lambda place: 0.5) -> list[Result]:
    """Two seeds of each method, one chunk; the accuracy by the place of the method."""
    places = {method: place for place, method in enumerate(recipe.methods)}
    return [
        Result(
            recipe.name,
            trial.method,
            trial.budget,
            trial.seed,
            ({**END, "samples": 100 * trial.budget, "test_accuracy": accuracy(places[trial.method])},),
        )
        for trial in trials(recipe.replace(seeds=2))
    ]


def texts(drawn: str | None) -> list[ElementTree.Element]:
    assert drawn is not None
    return [element for element in ElementTree.fromstring(drawn).iter(f"{SVG}text") if element.text]


def words(drawn: str | None) -> list[str]:
    return [str(element.text) for element in texts(drawn)]


def test_each_setting_has_a_short_name() -> None:
    pair = "hare-tortoise(decay={}, reset_every={}, optimizer_state={})"
    warm = "horizon(share=0.4, steps=100, warm=True)"
    part = "portion(share=0.05, steps=100)"
    named = {
        "from-scratch": "from scratch",
        "from-scratch+ema(decay=warmup(0.99))": "from scratch + EMA",
        "l2-init(strength=0.1)": "L2 Init",
        pair.format("0.997", "100", "reset"): "Hare & Tortoise 0.997, every 100",
        pair.format("0.997", "100", "keep"): "Hare & Tortoise 0.997, every 100, state kept",
        pair.format("warmup(0.997)", "100", "reset"): "Hare & Tortoise warmup 0.997, every 100",
        pair.format("power_law(max_decay=0.9)", "100", "reset"): "Hare & Tortoise power law 0.9, every 100",
        pair.format(warm, part, "reset"): "Hare & Tortoise warm horizon 40 %, every 5 %",
        pair.format("horizon(share=1.0)", "None", "reset"): "Hare & Tortoise horizon 100 %",
        pair.format("0.9", "geometric(first=30, factor=2.0, period=1000)", "reset"): (
            "Hare & Tortoise 0.9, every 30·2^(step/1000)"
        ),
        f"{pair.format('0.997', '100', 'reset')}+ema(decay=0.99)": (
            "Hare & Tortoise 0.997, every 100 + EMA 0.99"
        ),
        f"{pair.format('0.997', '100', 'reset')}+ema(decay={warm})": (
            "Hare & Tortoise 0.997, every 100 + EMA warm horizon 40 %"
        ),
    }
    assert short_labels([*named]) == named
    assert legend([*named]).endswith("the optimizer's state is reset too, but where it says kept")
    assert legend([m for m in named if "keep" not in m]).endswith("the optimizer's state is reset too")
    assert legend(["from-scratch", "hare-tortoise(decay=0.9)"]) == ""


def test_names_that_would_be_alike_stay_long() -> None:
    horizons = [f"ema(decay=horizon(share=0.2, steps={steps}))" for steps in (100, 200)]
    assert list(short_labels([*horizons, "ema(decay=0.9)"]).values()) == [
        "EMA (decay=horizon(share=0.2, steps=100))",
        "EMA (decay=horizon(share=0.2, steps=200))",
        "EMA 0.9",
    ]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_each_row_has_a_name_of_its_own_and_none_is_cut(recipe: Recipe) -> None:
    plain = recipe.replace(budgets=(1.0,))
    drawn = forest(compare(plain, made_up(plain)))
    shown = [text for text in texts(drawn) if text.get("text-anchor") == "end"]
    names = short_labels(recipe.methods)
    wanted = sorted(name for method, name in names.items() if method != "from-scratch")
    assert sorted(str(text.text) for text in shown) == wanted
    assert len(set(wanted)) == len(wanted)
    assert max(map(len, wanted)) <= 70
    # letters of a wide font are about 0.6 of their size
    for text in shown:
        assert float(text.get("x", "nan")) > 0.6 * float(text.get("font-size", "nan")) * len(str(text.text))


def test_a_forest_says_what_was_scaled_down() -> None:
    recipe = RECIPES["insects"]
    assert not any("scaled" in word for word in words(forest(compare(recipe, made_up(recipe)))))
    less = recipe.replace(scale=SCALE)
    drawn = forest(compare(less, made_up(less, lambda place: 0.5 - 0.02 * place)))
    found = texts(drawn)
    note, title = (
        next(float(t.get("y", "nan")) for t in found if word in str(t.text))
        for word in (f"scaled down ({SCALE})", "average over the stream")
    )
    assert title - note >= 16
    assert any(re.fullmatch(r"−\d+", word) for word in words(drawn))
    assert not any(re.search(r"-\d", word) for word in words(drawn))


def test_curves_against_cost_say_what_was_scaled_down() -> None:
    for scale in ("own", SCALE):
        recipe = RECIPES["cost-digits"].replace(scale=scale)
        results = made_up(recipe)
        found = words(cost.picture(compare(recipe, results), results))
        assert (f"scaled down ({SCALE})" in found) == (scale != "own")


def test_curves_and_matrices_of_sequences_say_what_was_scaled_down(monkeypatch: pytest.MonkeyPatch) -> None:
    less = [recipe.replace(scale=SCALE) for recipe in (*tasks.online(), *tasks.forgetting())]
    monkeypatch.setattr(sequences, "online", lambda: less[:2])
    monkeypatch.setattr(sequences, "forgetting", lambda: less[2:])
    measures = dict.fromkeys(sequences.MEASURES, 0.5)
    accuracies = {"train_accuracy": 1.0, "test_accuracy": 0.5, "measures": measures, "samples": 1}
    found = [
        Result(recipe.name, "warm-start", 1.0, 0, tuple({**END, **accuracies, "chunk": n} for n in range(20)))
        for recipe in less[:2]
    ]
    made = sequences.online_summary(found)
    assert len(made) == 8
    names = ("task 1", "task 2")
    judged = [
        {**END, **accuracies, "chunk": n, "chunk_name": name, "tests": dict.fromkeys(names, 0.5)}
        for n, name in enumerate(names)
    ]
    more = sequences.forgetting_summary([Result(less[2].name, "warm-start", 1.0, 0, tuple(judged))])
    pictures = {name: text for name, text in {**made, **more}.items() if name.endswith(".svg")}
    assert len(pictures) == 12
    for name, text in pictures.items():
        assert any(f"scaled down ({SCALE})" in word for word in words(text)), name


def test_the_names_of_curves_lie_within_the_picture() -> None:
    def lines(*names: str) -> Sequence[Curve]:
        return [
            Curve(name, [(float(x), Estimate(-0.1 * x, None, None, 2)) for x in (1, 2)]) for name in names
        ]

    drawn = curves(Axes("title", "x", "y"), lines("a", "from scratch + Hare & Tortoise and " * 3))
    width = float(ElementTree.fromstring(drawn).get("width", "nan"))
    for text in texts(drawn):
        if text.get("text-anchor") == "start":
            assert float(text.get("x", "nan")) + 0.6 * 12 * len(str(text.text)) <= width
    assert "−20 %" in words(drawn)
