"""Nothing public without a place in the documentation, and nothing there that is not so."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

import hare_tortoise
from hare_tortoise import methods
from hare_tortoise.lab.recipes import RECIPES
from hare_tortoise.lab.spec import kebab
from hare_tortoise.measures import MEASURES
from hare_tortoise.networks import TRANSFORMS
from hare_tortoise.optimizers import OPTIMIZERS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
# Type aliases: they are shown where they are used.
ALIASES = {"Batches", "Loss"}


def entries() -> list[str]:
    """Everything that the API pages document, by its full name."""
    return [
        name
        for page in sorted((DOCS / "api").glob("*.md"))
        for name in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    ]


def undocumented(names: set[str], documented: list[str]) -> set[str]:
    """Names without an entry."""
    return names - {name.rpartition(".")[2] for name in documented}


def missing_parts(text: str, *parts: str) -> list[str]:
    """The parts that a page should have and has not."""
    return [part for part in parts if f"**{part}.**" not in text]


def plain(text: str) -> str:
    """A text without line breaks and code marks."""
    return " ".join(text.replace("`", "").split())


@pytest.mark.parametrize(
    "module",
    [
        "hare_tortoise",
        "hare_tortoise.methods",
        "hare_tortoise.measures",
        "hare_tortoise.networks",
        "hare_tortoise.optimizers",
    ],
)
def test_every_public_name_has_an_entry(module: str) -> None:
    found = importlib.import_module(module)
    public = set(found.__all__)
    constants = {name for name in public if not callable(getattr(found, name))}
    assert undocumented(public - constants - ALIASES, entries()) == set()


def test_a_missing_entry_is_seen() -> None:
    assert undocumented({"EMA", "NewMethod"}, ["hare_tortoise.methods.EMA"]) == {"NewMethod"}


@pytest.mark.parametrize("name", entries())
def test_entries_exist_and_have_a_docstring(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    try:
        found = importlib.import_module(name)
    except ModuleNotFoundError:
        found = getattr(importlib.import_module(module), attribute)
    assert found.__doc__


def test_entries_stand_once() -> None:
    names = entries()
    assert len(set(names)) == len(names)


def test_every_method_has_a_page() -> None:
    listed = (DOCS / "methods" / "index.md").read_text(encoding="utf-8")
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    kinds = [getattr(methods, name) for name in methods.__all__]
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, methods.Method) and kind is not methods.Method:
            name = kebab(kind.__module__.rpartition(".")[2])
            page = f"methods/{name}.md"
            text = (DOCS / page).read_text(encoding="utf-8")
            assert page in navigation
            assert kind.__name__ == "Chain" or f"`{name}`" in listed
            assert kind.__name__ == "Chain" or missing_parts(text, "Source", "Cost", "When to use it") == []


@pytest.mark.parametrize(
    ("folder", "names"),
    [("networks", TRANSFORMS), ("optimizers", OPTIMIZERS), ("measures", MEASURES)],
    ids=["networks", "optimizers", "measures"],
)
def test_every_name_of_the_command_line_is_on_a_page(folder: str, names: Mapping[str, object]) -> None:
    index = (DOCS / folder / "index.md").read_text(encoding="utf-8")
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert {name for name in names if f"`{name}`" not in index} == set()
    for page in sorted((DOCS / folder).glob("*.md")):
        assert f"{folder}/{page.name}" in navigation
        text = page.read_text(encoding="utf-8")
        assert page.name == "index.md" or missing_parts(text, "Source", "Cost") == [], page


def test_pages_list_the_differences_of_the_recipes() -> None:
    pages = [plain(page.read_text(encoding="utf-8")) for page in sorted((DOCS / "experiments").glob("*.md"))]
    for make in RECIPES.values():
        recipe = make()
        if recipe.differences:
            wanted = [f"{number}. {plain(text)}" for number, text in enumerate(recipe.differences, 1)]
            assert any(all(text in page for text in wanted) for page in pages), recipe.name


def test_recipes_that_pages_name_exist() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md"))
    named = set(
        re.findall(
            r"`?((?:demo|lee2024|ash2020|dohare2024|kumar2024|lyle2023|drifting)-[a-z0-9-]+[a-z0-9])", text
        )
    )
    assert named <= RECIPES.keys()
    # of the long names of one family a page may give the parts
    whole = ("demo", "ash2020", "dohare2024", "kumar2024", "lyle2023", "drifting", "lee2024-limited")
    assert {name for name in RECIPES if name.startswith(whole)} <= named


def test_version_is_the_same_everywhere() -> None:
    version = hare_tortoise.__version__
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
