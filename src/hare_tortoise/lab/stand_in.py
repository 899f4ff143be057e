"""What is published of data sets, and empty sources of the same size: a recipe is laid out without its data."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hare_tortoise.lab.building import build_stream
from hare_tortoise.lab.recipe import Recipe, read_source
from hare_tortoise.lab.spec import Call, parse
from hare_tortoise.streams import Source
from hare_tortoise.streams.sources import generated
from hare_tortoise.streams.sources.bits import Bits, bits
from hare_tortoise.streams.table import Table

# where users keep the ImageNet of Dohare et al.: 600 images a class to train on, 100 to test on, of 32 x 32 pixels
IMAGENET = "imagenet-32"
# of a longer stream, so many chunks are laid out, evenly spread; those between are interpolated
LAID_OUT = 6


@dataclass(frozen=True)
class Published:
    """Size of a data set.

    Args:
        shape: of an input.
        classes: how many; 1 where a number is predicted.
        rows: to train on.
        test_rows: to test on; 0 where the scenario tests on what comes later.
    """

    shape: tuple[int, ...]
    classes: int
    rows: int
    test_rows: int

    def __str__(self) -> str:
        shape = "×".join(map(str, self.shape))
        return f"{self.rows:,} rows of {shape}, {self.classes} classes"


PUBLISHED = {
    "digits": Published((64,), 10, 1_400, 397),
    "mnist": Published((1, 28, 28), 10, 60_000, 10_000),
    "fashion-mnist": Published((1, 28, 28), 10, 60_000, 10_000),
    "cifar10": Published((3, 32, 32), 10, 50_000, 10_000),
    "cifar100": Published((3, 32, 32), 100, 50_000, 10_000),
    "tiny-imagenet": Published((3, 64, 64), 200, 100_000, 10_000),
    IMAGENET: Published((3, 32, 32), 1_000, 600_000, 100_000),
    "elec2": Published((8,), 2, 45_312, 0),
    "insects": Published((33,), 6, 24_150, 0),
}


def published(source: str) -> Published | None:
    """Give the size of a source, with the rows and the size of images that it asks for; None: not known.

    Example:
        >>> str(published("cifar10(rows=2000)"))
        '2,000 rows of 3×32×32, 10 classes'
    """
    call = read_source(source)
    settings: dict[str, Any] = dict(call.settings)
    if call.name == "generated":
        return _generated(settings)
    known = PUBLISHED.get(settings.get("path", "") if call.name == "image-folder" else call.name)
    if known is None:
        return None
    if "size" in settings:
        side = settings["size"]
        known = replace(known, shape=(known.shape[0], side, side))
    return replace(
        known, rows=settings.get("rows", known.rows), test_rows=settings.get("test_rows", known.test_rows)
    )


def on_generated(recipe: Recipe) -> Recipe:
    """Put a recipe on generated data of the same shape, classes and number of rows, where it is of images or digits.

    Example:
        >>> recipe = Recipe(name="mine", methods=("warm-start",), epochs=1, source="cifar10(rows=90, test_rows=50)")
        >>> on_generated(recipe).source
        'generated(shape=(3, 32, 32), classes=10, rows=90, test_rows=50)'
    """
    size = published(recipe.source)
    if size is None or not size.test_rows or read_source(recipe.source).name == "generated":
        return recipe
    settings = (("shape", size.shape), ("classes", size.classes), ("rows", size.rows))
    return recipe.replace(source=str(Call("generated", (*settings, ("test_rows", size.test_rows)))))


def stand_in(source: str) -> Source | Bits | Table | None:
    """Give a source of the size of another that holds nothing: all its inputs are one zero. None: size not known.

    Example:
        >>> standing = stand_in("cifar10")
        >>> standing.train_inputs.shape, standing.train_inputs.untyped_storage().nbytes()
        (torch.Size([50000, 3, 32, 32]), 1)
    """
    call = read_source(source)
    if call.name == "bits":
        settings: dict[str, Any] = dict(call.settings)
        return bits(**settings)
    size = published(source)
    if size is None:
        return None
    if not size.test_rows:
        columns = tuple(f"column {place}" for place in range(size.shape[0]))
        none = torch.zeros(size.rows, 0, dtype=torch.int64)
        targets = torch.arange(size.rows) % size.classes
        numbers = torch.zeros(size.rows, size.shape[0], dtype=torch.float64)
        return Table(call.name, columns, numbers, none, (), targets, size.classes)
    zero = torch.zeros((), dtype=torch.uint8 if len(size.shape) == 3 else torch.float32)

    def part(count: int) -> tuple[Tensor, Tensor]:
        return zero.expand(count, *size.shape), torch.arange(count) % size.classes

    return Source(
        call.name, *part(size.rows), *part(size.test_rows), outputs=size.classes, input_shape=size.shape
    )


@dataclass(frozen=True)
class Layout:
    """How many rows the chunks of a recipe have.

    Args:
        kept: of each chunk, what is trained on.
        came: of each chunk, what came so far where that is more.
        judged: of each chunk, what it is tested on.
        input_shape: of the stream.
        outputs: of the stream.
    """

    kept: tuple[int, ...]
    came: tuple[int | None, ...]
    judged: tuple[int, ...]
    input_shape: tuple[int, ...]
    outputs: int


def layout(source: str, scenario: str, validation: float) -> Layout | None:
    """Lay out a scenario over data of a size that is known, without the data. None: it is not known.

    Example:
        >>> layout("cifar10", "warm-start(first=0.1)", 0.0).kept
        (5000, 50000)
    """
    call = parse(scenario)
    # which labels are wrong changes no size, and takes long to draw
    sized = tuple(setting for setting in call.settings if setting[0] != "label_noise")
    return _layout(source, str(Call(call.name, sized)), validation)


@functools.lru_cache(maxsize=512)
def _layout(source: str, scenario: str, validation: float) -> Layout | None:
    standing = stand_in(source)
    if standing is None:
        return None
    recipe = Recipe(
        name="layout",
        methods=("warm-start",),
        epochs=1,
        source=source,
        scenario=scenario,
        validation=validation,
    )
    stream = build_stream(recipe, standing, 0)  # type: ignore[arg-type]
    count = len(stream)
    few = min(count, LAID_OUT)
    # and the second, where a memory first holds something
    places = sorted({round(i * (count - 1) / max(1, few - 1)) for i in range(few)} | {min(1, count - 1)})
    chunks = [stream[place] for place in places]
    kept = _between(places, [len(chunk.train) for chunk in chunks], count)
    everything = [chunk.train if chunk.everything is None else chunk.everything for chunk in chunks]
    came = _between(places, [len(each) for each in everything], count)
    judged = _between(places, [sum(len(test) for test in chunk.tests.values()) for chunk in chunks], count)
    more = tuple(None if all_rows == rows else all_rows for rows, all_rows in zip(kept, came, strict=True))
    return Layout(kept, more, judged, tuple(stream.input_shape), stream.outputs)


def _between(places: list[int], values: list[int], count: int) -> tuple[int, ...]:
    filled: list[int] = []
    for place in range(count):
        after = next(index for index, known in enumerate(places) if known >= place)
        before = after if places[after] == place else after - 1
        span = max(1, places[after] - places[before])
        share = (place - places[before]) / span
        filled.append(round(values[before] + share * (values[after] - values[before])))
    return tuple(filled)


def _generated(settings: dict[str, Any]) -> Published:
    defaults: dict[str, Any] = dict(generated.__kwdefaults__ or {})
    given = defaults | settings
    shape = given["shape"]
    return Published(
        (shape,) if isinstance(shape, int) else tuple(shape),
        given["classes"],
        given["rows"],
        given["test_rows"],
    )
