"""Drift by degrees: images that turn, and a concept that gives way to another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hare_tortoise.streams.label_noise import is_number
from hare_tortoise.streams.scenarios.growing import equal_parts
from hare_tortoise.streams.scenarios.limited import Remembering
from hare_tortoise.streams.scenarios.tasks import Tasks, Tests, check_whole, need_classes
from hare_tortoise.streams.seeding import derived_generator
from hare_tortoise.streams.source import Source
from hare_tortoise.streams.stream import Chunk, Stream


class Rotate:
    """Images turned counter-clockwise around their middle; bilinear, with the edge repeated outside.

    Args:
        degrees: the angle.
        shape: (channels, height, width) of an image; what is given may be flat.

    Example:
        >>> Rotate(90, (1, 2, 2))(torch.tensor([[1.0, 2.0, 3.0, 4.0]])).round().abs()
        tensor([[2., 4., 1., 3.]])
    """

    def __init__(self, degrees: float, shape: tuple[int, int, int]) -> None:
        self.degrees, self.shape = degrees, shape
        height, width = shape[1:]
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        # the axes run from −1 to 1 whatever the sides are: angles are kept by the ratio of the two
        matrix = torch.tensor([[cos, -sin * height / width, 0.0], [sin * width / height, cos, 0.0]])
        self.grid = F.affine_grid(matrix[None], [1, 1, height, width], align_corners=False)

    def __call__(self, inputs: Tensor) -> Tensor:
        """(N, C, H, W) or (N, C·H·W) of floats to the same shape, a new tensor."""
        if self.grid.device != inputs.device or self.grid.dtype != inputs.dtype:
            self.grid = self.grid.to(inputs)
        images = inputs.reshape(len(inputs), *self.shape)
        grid = self.grid.expand(len(inputs), -1, -1, -1)
        turned = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return turned.view_as(inputs)


class Rotated(Tasks):
    """The tasks of `rotated`.

    Args:
        source: the data.
        degrees: the angle of the last task.
        shape: of an image, where inputs are flat.
        settings: of `Tasks`.

    Raises:
        ValueError: `degrees` is no number, or inputs are no images.
    """

    def __init__(
        self, source: Source, *, degrees: float, shape: Sequence[int] | None, **settings: Any
    ) -> None:
        super().__init__(source, **settings)
        if not is_number(degrees) or not math.isfinite(degrees):
            raise ValueError(f"degrees is {degrees!r}: give the angle of the last task, a number")
        image = self.input_shape if shape is None else tuple(shape)
        if len(image) != 3 or math.prod(image) != math.prod(self.input_shape):
            raise ValueError(
                f"shape is {shape!r} and {source.name} has inputs of the shape {self.input_shape}: give the (channels, "
                "height, width) that they have as images, for instance shape=(1, 8, 8) for digits"
            )
        self.degrees, self._shape = degrees, (image[0], image[1], image[2])

    def _transform(self, index: int) -> Rotate:
        return Rotate(self.degrees * index / max(1, self.tasks - 1), self._shape)


def rotated(
    source: Source,
    *,
    tasks: int = 10,
    degrees: float = 90.0,
    shape: Sequence[int] | None = None,
    rows_per_task: int | None = None,
    tests: Tests = "current",
    validation: float = 0.0,
    seed: int = 0,
) -> Stream:
    """The same images again and again, each time turned a little further.

    Task i (from 0) is turned counter-clockwise by `degrees · i / (tasks − 1)`, in train, validation and test alike: the
    first not at all, the last by `degrees`. Bilinear, after all that prepares and augments the images; what comes
    in from outside repeats their edge.

    Args:
        source: images, or flat inputs with `shape`.
        tasks: number of tasks, 1 or more.
        degrees: the angle of the last task; negative: clockwise.
        shape: (channels, height, width), where inputs are flat. None: the shape of the inputs.
        rows_per_task: examples of each task, drawn anew for each. None: all.
        tests: what each chunk is judged on: "current": its own angle; "seen": also all before; "all": every
            angle of the stream, the current one first.
        validation: share that is set aside for choosing, in [0, 1), once for all tasks.
        seed: what rows are drawn from.

    Returns:
        A stream of `tasks` chunks.

    Raises:
        ValueError: an argument lies outside its range, inputs are no images, or there are not as many examples.

    Reference:
        After the rotated digits of Lopez-Paz & Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS
        2017, arXiv 1706.08840, whose angles are drawn at random.

    Example:
        >>> from hare_tortoise.streams import load_source, rotated
        >>> stream = rotated(load_source("digits"), tasks=4, shape=(1, 8, 8), tests="seen")
        >>> [len(chunk.tests) for chunk in stream]
        [1, 2, 3, 4]
    """
    return Rotated(
        source,
        name="rotated",
        tasks=tasks,
        degrees=degrees,
        shape=shape,
        rows_per_task=rows_per_task,
        tests=tests,
        validation=validation,
        seed=seed,
    )


class Gradual(Remembering):
    """The chunks of `gradual`; settings are those of `Remembering`."""

    def __init__(self, source: Source, **settings: Any) -> None:
        super().__init__(source, sample="reservoir", **settings)
        order = torch.randperm(source.outputs, generator=derived_generator(self.seed, "concept"))
        # one cycle through all classes leaves none as it is
        self._renamed = torch.empty_like(order).scatter_(0, order, order.roll(-1))

    def chunk(self, index: int) -> Chunk:
        """Chunk `index`, the same at every call."""
        chunk, source = super().chunk(index), self.source
        validation = chunk.validation
        if validation is not None:
            # of the concepts that came before, nothing should be chosen on
            new = self._set_aside(index)
            new[: self._ends[index - 1] if index else 0] = False
            new = new.to(source.train_targets.device)
            validation = source.part(self._arrived(index)[new], self._labels(index)[new])
        first = source.test_targets
        rows = torch.arange(len(first), device=first.device)
        tests = {
            "test": source.test_part(rows, self._mixed(first, self._shares()[index], "test")),
            "first concept": source.test_part(rows, first),
            "second concept": source.test_part(rows, self._mixed(first, 1.0, "test")),
        }
        return replace(chunk, validation=validation, tests=tests)

    def _shares(self) -> list[float]:
        return [index / max(1, len(self) - 1) for index in range(len(self))]

    def _labels(self, index: int) -> Tensor:
        """Labels of all that came by then, each as it was when it came."""
        labels = self.source.train_targets.index_select(0, self._arrived(index))
        ends = [0, *self._ends]
        parts = [labels[ends[chunk] : ends[chunk + 1]] for chunk in range(index + 1)]
        shares = self._shares()
        return torch.cat([self._mixed(part, shares[k], "train", k) for k, part in enumerate(parts)])

    def _mixed(self, labels: Tensor, share: float, *purpose: str | int) -> Tensor:
        """Labels of which a share is of the second concept, the same ones for each larger share."""
        count = round(share * len(labels))
        chosen = torch.randperm(len(labels), generator=derived_generator(self.seed, "mixed", *purpose))
        chosen = chosen[:count].to(labels.device)
        mixed = labels.clone()
        mixed[chosen] = self._renamed.to(labels.device)[labels[chosen]]
        return mixed


def gradual(
    source: Source,
    *,
    chunks: int = 10,
    memory: int = 0,
    validation: float = 0.0,
    seed: int = 0,
) -> Stream:
    """One concept gives way to another, while data arrive in equal parts.

    In the second concept every class has the name of another (one random cycle through all classes). Of what arrives
    in chunk i (from 0), the share `i / (chunks − 1)` is labelled by the second concept, the rest by the first: none of
    the first chunk, all of the last. Labels stay as they were when they came. Each chunk is judged on the test set
    with the same share, named "test", then on all of it under each concept.

    Args:
        source: the data, with two classes at least.
        chunks: number of parts, 2 or more.
        memory: how many earlier examples are kept beside the new part, a reservoir sample, 0 or more.
            `chunk.everything` is all that came, for retraining from scratch.
        validation: share of each part that is set aside for choosing, in [0, 1); a chunk has that of its own part.
        seed: what order, concept, shares and memory are drawn from.

    Returns:
        A stream of `chunks` chunks.

    Raises:
        ValueError: an argument lies outside its range, or a chunk would be empty.

    Reference:
        Gradual drift in the sense of Gama et al., "A survey on concept drift adaptation", ACM Computing Surveys 46,
        2014.

    Example:
        >>> from hare_tortoise.streams import gradual, load_source
        >>> stream = gradual(load_source("digits"), chunks=4, memory=100)
        >>> [(len(chunk.train), len(chunk.everything)) for chunk in stream]
        [(350, 350), (450, 700), (450, 1050), (450, 1400)]
    """
    need_classes(source, "gradual")
    check_whole("chunks", chunks, 2)
    parts = equal_parts(len(source.train_targets), chunks)
    return Gradual(
        source, name="gradual", **parts, memory=memory, noise=[0.0] * chunks, validation=validation, seed=seed
    )
