"""What a sweep goes over: axes as they are written, and the settings that they make."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from hare_tortoise.lab.composition import part_of
from hare_tortoise.lab.recipe import Recipe, canonical_method
from hare_tortoise.lab.registry import GIVEN
from hare_tortoise.lab.spec import Call, Value, kebab, parse_sum, read_value, split_list
from hare_tortoise.lab.sweep_unit import Role, Unit, average_of, show_value
from hare_tortoise.streams.names import unknown

Values: TypeAlias = "dict[str, Value]"
Scale: TypeAlias = Literal["linear", "log", "integer", "decay"]

# what is judged, or how often, has to stay the same where the best is chosen
_FIXED = (
    *("name", "description", "methods", "budgets", "seeds", "measures", "source", "scenario", "validation"),
    *("judge", "evaluate_every", "scale", "rows", "differences"),
)
_RANGE = re.compile(r"(?P<low>[^.,][^,]*?)\.\.(?P<high>[^,]+)")


@dataclass(frozen=True)
class Range:
    """All values between two ends.

    Args:
        low: lower end.
        high: upper end, above it.
        scale: how it is drawn from: ``log``, ``integer`` (logarithmic, whole numbers), ``decay`` (logarithmic in
            ``1 − value``), or ``linear`` where the lower end is not above zero.
    """

    low: float
    high: float
    scale: Scale


@dataclass(frozen=True)
class Axis:
    """One thing that a sweep changes.

    Args:
        name: of the setting, or of the value of the recipe.
        part: which part of the composition has the setting, from 0; None: it is a value of the recipe.
        values: a list, or a range.
    """

    name: str
    part: int | None
    values: tuple[Value, ...] | Range


@dataclass(frozen=True)
class Space:
    """All settings of a sweep.

    Args:
        recipe: the experiment.
        method: the composition whose settings are swept.
        axes: what changes.
    """

    recipe: Recipe
    method: str
    axes: tuple[Axis, ...]

    @property
    def size(self) -> int | None:
        """How many settings there are; None where one of the axes is a range."""
        if any(isinstance(axis.values, Range) for axis in self.axes):
            return None
        return math.prod(len(axis.values) for axis in self.axes if not isinstance(axis.values, Range))

    def grid(self) -> Iterator[Values]:
        """Give every setting, the last axis fastest.

        Raises:
            ValueError: One of the axes is a range.
        """
        lists: list[tuple[Value, ...]] = []
        for axis in self.axes:
            if isinstance(axis.values, Range):
                low, high = axis.values.low, axis.values.high
                raise ValueError(
                    f"--over {axis.name}={low:g}..{high:g}: a grid takes lists, as in {axis.name}={low:g},{high:g}; "
                    "ranges go with --search random or halving"
                )
            lists.append(axis.values)
        for chosen in itertools.product(*lists):
            yield dict(zip((axis.name for axis in self.axes), chosen, strict=True))

    def unit(self, values: Mapping[str, Value], budget: float, role: Role = "setting") -> Unit:
        """Build a setting: the recipe and the method that it stands for.

        Hare & Tortoise that is never reset is written, and run, as the average that it is.
        """
        calls = list(parse_sum(self.method))
        changed: dict[str, Value] = {}
        for axis in self.axes:
            value = values[axis.name]
            if axis.part is None:
                changed[axis.name] = value
                continue
            calls[axis.part] = with_setting(calls[axis.part], axis.name, value)
            if calls[axis.part].name == "hare-tortoise" and axis.name == "reset_every" and value is None:
                calls[axis.part] = average_of(calls[axis.part])
        return Unit(
            self.with_values(changed),
            canonical_method("+".join(map(str, calls))),
            budget,
            tuple((axis.name, values[axis.name]) for axis in self.axes),
            role,
        )

    def with_values(self, changed: Mapping[str, Value]) -> Recipe:
        """Give the recipe with some of its values changed, and named after them."""
        if not changed:
            return self.recipe
        said = " ".join(f"{name}={show_value(value)}" for name, value in changed.items())
        return self.recipe.replace(name=f"{self.recipe.name} {said}", **changed)


def with_setting(call: Call, name: str, value: Value) -> Call:
    """Give a call with a setting changed; its place among the others stays.

    Example:
        >>> from hare_tortoise.lab.spec import parse
        >>> str(with_setting(parse("ema(decay=0.9)"), "decay", 0.99))
        'ema(decay=0.99)'
    """
    settings = dict(call.settings)
    settings[name] = value
    return dataclasses.replace(call, settings=tuple(settings.items()))


def read_space(recipe: Recipe, method: str, over: Sequence[str]) -> Space:
    """Read what a sweep goes over.

    A name is a setting of the method if it has one of that name, else a value of the recipe; ``recipe.lr`` and, in a
    composition, ``hare-tortoise.decay`` say which. Values are a list, ``0.9,0.99,none``, or a range, ``3e-4..3e-3``.

    Args:
        recipe: the experiment.
        method: the composition that is swept.
        over: an axis each: ``decay=0.9,0.99``.

    Raises:
        ValueError: There is no such setting or value, it is given twice, or its values cannot be read.

    Example:
        >>> recipe = Recipe(name="mine", methods=("warm-start",), epochs=1)
        >>> space = read_space(recipe, "hare-tortoise", ["decay=0.9,0.99", "lr=1e-3,3e-3"])
        >>> [space.unit(values, 1.0).label for values in space.grid()][:2]
        ['decay=0.9, lr=0.001', 'decay=0.9, lr=0.003']
    """
    method = canonical_method(method)
    axes: list[Axis] = []
    for text in over:
        name, equals, written = (part.strip() for part in text.partition("="))
        if not (equals and name and written):
            raise ValueError(
                f"--over {text!r}: expected name=values, as in --over decay=0.9,0.99 lr=3e-4,1e-3"
            )
        axis = _axis(recipe, method, name, written)
        if axis.name in {known.name for known in axes}:
            raise ValueError(f"--over {text!r}: {axis.name} is given twice")
        axes.append(axis)
    if not axes:
        raise ValueError("--over: got nothing, expected what is swept, as in --over decay=0.9,0.99")
    return Space(recipe, method, tuple(axes))


def _axis(recipe: Recipe, method: str, written: str, values: str) -> Axis:
    where, dot, name = written.rpartition(".")
    name = name.replace("-", "_")
    part, known = _place(recipe, method, where if dot else None, name, written)
    if part is None:
        return Axis(name, None, _read(recipe, name, values, None))
    return Axis(name, part, _read(recipe, name, values, known))


def _place(
    recipe: Recipe, method: str, where: str | None, name: str, written: str
) -> tuple[int | None, Call | None]:
    """Find whose setting a name is: the place of a part of the composition, or None for the recipe."""
    calls = parse_sum(method)
    owners = [(place, call) for place, call in enumerate(calls) if name in _settings(call)]
    fields = {field.name for field in dataclasses.fields(recipe)} - set(_FIXED)
    of_recipe = where == "recipe" or (where is None and not owners)
    if of_recipe and name in _FIXED:
        raise ValueError(
            f"--over {written}: {name} cannot be swept, as settings are compared on the same data and seeds; give it "
            "one value, as for a comparison"
        )
    if where == "recipe" or (of_recipe and name in fields):
        if name not in fields:
            raise unknown("recipe value to sweep", name, fields)
        return None, None
    if where is not None:
        if kebab(where) not in [call.name for call in calls]:
            raise unknown(f"part of {method}", where, {"recipe", *(call.name for call in calls)})
        owners = [(place, call) for place, call in owners if call.name == kebab(where)]
    if not owners:
        both = set().union(*(_settings(call) for call in calls)) | (fields if where is None else set())
        raise unknown(f"setting of {method} or value of the recipe", written, both)
    if len(owners) > 1:
        ways = " or ".join(f"{call.name}.{name}" for _, call in owners)
        raise ValueError(f"--over {written}: several parts of {method} have it; write {ways}")
    return owners[0]


def _settings(call: Call) -> set[str]:
    part, found = part_of(call)
    target = found.build if part == "optimizer" else found
    taken = inspect.signature(target).parameters.values()
    given = {*GIVEN, "tortoise", "params", "network"}
    return {p.name for p in taken if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)} - given


def _read(recipe: Recipe, name: str, text: str, owner: Call | None) -> tuple[Value, ...] | Range:
    between = _RANGE.fullmatch(text)
    if between:
        return _range(name, text, between["low"], between["high"], owner)
    read: list[Value] = []
    for word in split_list(text):
        word = "None" if word.lower() == "none" else word
        if owner is None:
            value: Value = getattr(recipe.override({name: word}), name)
        else:
            value = read_value(word)
        if value in read:
            raise ValueError(f"--over {name}={text}: {show_value(value)} is given twice")
        read.append(value)
    if not read:
        raise ValueError(f"--over {name}={text}: expected values, as in {name}=1,2,3")
    return tuple(read)


def _range(name: str, text: str, low: str, high: str, owner: Call | None) -> Range:
    try:
        ends = read_value(low), read_value(high)
    except ValueError:
        ends = None, None
    first, last = ends
    numbers = isinstance(first, int | float) and isinstance(last, int | float)
    if not numbers or isinstance(first, bool) or isinstance(last, bool) or not first < last:  # type: ignore[operator]
        raise ValueError(
            f"--over {name}={text}: expected two numbers, the lower first, as in {name}=1e-4..1e-2"
        )
    assert isinstance(first, int | float)
    assert isinstance(last, int | float)
    if owner is not None and _unit_of(owner, name) == "decay":
        if not 0 <= first < last < 1:
            raise ValueError(f"--over {name}={text}: expected decays from 0, below 1")
        return Range(first, last, "decay")
    if isinstance(first, int) and isinstance(last, int) and first > 0:
        return Range(first, last, "integer")
    return Range(first, last, "log" if first > 0 else "linear")


def _unit_of(call: Call, name: str) -> str | None:
    part, found = part_of(call)
    return found.in_steps.get(name) if part == "method" else None
