"""A setting of a sweep, with all its seeds; the parents and controls that it is measured against."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from hare_tortoise.lab.composition import part_of
from hare_tortoise.lab.recipe import FROM_SCRATCH, WARM_START, Recipe, canonical_method
from hare_tortoise.lab.registry import deploys
from hare_tortoise.lab.spec import Call, Value, parse_sum
from hare_tortoise.lab.trial import Trial
from hare_tortoise.lab.wording import is_control
from hare_tortoise.methods import EMA

Role: TypeAlias = Literal["setting", "parent", "control", "reference"]


@dataclass(frozen=True)
class Unit:
    """A setting with all its seeds.

    Args:
        recipe: with the values of the setting; its name says them.
        method: with the settings that are swept.
        budget: share of the epochs.
        values: of the axes; empty for what stands beside the settings.
        role: ``setting``: may be chosen; ``parent``: warm start, or the average without resets; ``control``: from
            scratch with the same averaging; ``reference``: anything else beside.
    """

    recipe: Recipe
    method: str
    budget: float
    values: tuple[tuple[str, Value], ...]
    role: Role

    @property
    def label(self) -> str:
        """What a person calls it."""
        return ", ".join(f"{name}={show_value(value)}" for name, value in self.values) or self.method

    @property
    def key(self) -> tuple[str, str, float]:
        """What its results are found by: name of the recipe, method, budget."""
        return self.recipe.name, self.method, self.budget

    @property
    def panel(self) -> tuple[str, float]:
        """What it shares with those that it is measured against: name of the recipe, and budget."""
        return self.recipe.name, self.budget

    def trials(self) -> list[Trial]:
        """Give a trial for each seed."""
        return [Trial(self.recipe, self.method, self.budget, seed) for seed in range(self.recipe.seeds)]


def units_of(
    recipes: Iterable[Recipe], over: Sequence[str], method: str = "hare-tortoise"
) -> tuple[Unit, ...]:
    """Read the settings of a sweep off recipes that hold them as plain methods.

    A method of this name alone is a setting; where ``reset_every`` is swept, ``ema`` with the decay of one of them is
    the setting without resets. All others are parents, controls and references.

    Args:
        recipes: one for each combination of the recipe values that are swept, with names of their own.
        over: names of what is swept: settings of the method, or values of the recipe.
        method: name of the method that is swept.

    Example:
        >>> grid = ("hare-tortoise(decay=0.9, reset_every=10)", "ema(decay=0.9)", "from-scratch+ema(decay=0.9)")
        >>> recipe = Recipe(name="mine", methods=grid, epochs=1)
        >>> [(unit.label, unit.role) for unit in units_of([recipe], ["decay", "reset_every"])][:2]
        [('decay=0.9, reset_every=10', 'setting'), ('decay=0.9, reset_every=none', 'setting')]
    """
    units = []
    for recipe in recipes:
        calls = {text: parse_sum(text) for text in recipe.methods}
        swept = [text for text, parts in calls.items() if [part.name for part in parts] == [method]]
        parents = {parent_of(text) for text in swept} if "reset_every" in over else set()
        for budget in recipe.budgets:
            for text in recipe.methods:
                setting = text in swept or text in parents
                values = _values(recipe, calls[text][0], over, method) if setting else ()
                role: Role = "setting" if setting else role_of(text, swept)
                units.append(Unit(recipe, text, budget, values, role))
    return tuple(units)


def _values(recipe: Recipe, call: Call, over: Sequence[str], method: str) -> tuple[tuple[str, Value], ...]:
    kind = part_of(Call(method))[1]
    parameters, written = inspect.signature(kind).parameters, dict(call.settings)
    found: list[tuple[str, Value]] = []
    for name in over:
        if name not in parameters:
            found.append((name, getattr(recipe, name)))
        elif name == "reset_every" and call.name != method:
            found.append((name, None))
        else:
            found.append((name, written.get(name, parameters[name].default)))
    return tuple(found)


def role_of(method: str, swept: Iterable[str]) -> Role:
    """Say what a method is that stands beside those that are swept."""
    if method == WARM_START or method in {parent_of(text) for text in swept}:
        return "parent"
    return "control" if is_control(method) else "reference"


def average_of(call: Call) -> Call:
    """Give Hare & Tortoise without its resets, which is an EMA, with the settings that both have.

    Example:
        >>> from hare_tortoise.lab.spec import parse
        >>> str(average_of(parse("hare-tortoise(decay=0.9, reset_every=10, buffers=copy)")))
        'ema(decay=0.9, buffers=copy)'
    """
    taken = inspect.signature(EMA).parameters
    return Call("ema", tuple((name, value) for name, value in call.settings if name in taken))


def parent_of(method: str) -> str | None:
    """Give the composition with the average alone in the place of Hare & Tortoise; None if it has none.

    Example:
        >>> parent_of("hare-tortoise(decay=0.9, reset_every=10)+l2-init"), parent_of("redo")
        ('ema(decay=0.9)+l2-init', None)
    """
    calls = parse_sum(method)
    if all(call.name != "hare-tortoise" for call in calls):
        return None
    return canonical_method(
        "+".join(str(average_of(call) if call.name == "hare-tortoise" else call) for call in calls)
    )


def beside(unit: Unit) -> list[Unit]:
    """Give what a setting is measured against before any result is known: parents, and from scratch."""
    methods = [WARM_START, parent_of(unit.method), FROM_SCRATCH]
    roles: list[Role] = ["parent", "parent", "reference"]
    return [
        Unit(unit.recipe, method, unit.budget, (), role)
        for method, role in zip(methods, roles, strict=True)
        if method is not None and method != unit.method
    ]


def controls(unit: Unit) -> list[Unit]:
    """Give the controls of a setting: from scratch with its averaging alone, and from scratch with all of it.

    Their decay is warmed up, so that they are no straw men at few steps. A method that deploys no network of
    its own has none.
    """
    calls = tuple(_warmed(call) for call in parse_sum(unit.method))
    if any(call.name == FROM_SCRATCH for call in calls):
        return []
    parent = parent_of("+".join(map(str, calls)))
    texts = [parent] if parent is not None else []
    if any(part_of(call)[0] == "method" and deploys(call) for call in calls):
        texts.append("+".join(map(str, calls)))
    methods = [canonical_method(f"{FROM_SCRATCH}+{text}") for text in dict.fromkeys(texts)]
    return [Unit(unit.recipe, method, unit.budget, (), "control") for method in methods]


def _warmed(call: Call) -> Call:
    part, kind = part_of(call)
    if part != "method" or kind.in_steps.get("decay") != "decay" or not deploys(call):
        return call
    settings = dict(call.settings)
    decay = settings.get("decay", inspect.signature(kind).parameters["decay"].default)
    if isinstance(decay, int | float):
        settings["decay"] = Call("warmup", (), (decay,))
    return Call(call.name, tuple(settings.items()), call.positional)


def show_value(value: Value) -> str:
    """Write a value as it is written in `--over`.

    Example:
        >>> show_value(None), show_value(0.0003), show_value((1, 2))
        ('none', '0.0003', '(1, 2)')
    """
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
