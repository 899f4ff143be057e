"""Scenarios: functions from a source to a stream. Here those in which data accumulate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from .examples import TensorExamples
from .label_noise import check_ratio, is_number, noisy_labels
from .seeding import derived_generator
from .source import Source
from .stream import Chunk, Stream

PAPER_NOISE = (0.5, 0.4, 0.4, 0.3, 0.3, 0.2, 0.2, 0.1, 0.1, 0.0)


class Accumulating(Stream):
    """A stream whose chunk i holds everything that came up to i (the paper's full access).

    One permutation of the training set, drawn from the seed, says in which order examples come. The labels
    of a chunk are drawn anew over all its examples at its own share of noise, and stay as they are within
    it. Of each part that arrives, the last `validation · m` (rounded, at least one) of its m examples are
    set aside and stay so: an example is never trained on in one chunk and chosen on in another. Their
    labels carry the same noise as those trained on, since that is all one would have at that time; the
    test set is clean.

    Args:
        source: the data.
        name: what to call the stream.
        ends: for each chunk how many training examples have come by then; rising, each at most all.
        names: what to call each chunk.
        noise: for each chunk the share of wrong labels, in [0, 1].
        validation: the share that is set aside, in [0, 1).
        seed: what order and noise are drawn from.

    Raises:
        ValueError: something lies outside its range, a chunk is empty, or noise is asked of a regression.
    """

    def __init__(
        self,
        source: Source,
        *,
        name: str,
        ends: Sequence[int],
        names: Sequence[str],
        noise: Sequence[float],
        validation: float = 0.0,
        seed: int = 0,
    ) -> None:
        for ratio in noise:
            check_ratio(ratio)
        if source.task == "regression" and any(noise):
            raise ValueError(
                f"label_noise is {tuple(noise)}, but {source.name} has numbers, no labels: set it to 0"
            )
        if not is_number(validation) or not 0 <= validation < 1:
            raise ValueError(
                f"validation is {validation!r}: give the share to set aside, at least 0, below 1"
            )
        parts = [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]
        least = 2 if validation else 1
        if min(parts) < least:
            raise ValueError(
                f"{name} splits the {len(source.train_inputs)} training examples of {source.name} "
                f"into parts of {parts}: each needs {least} at least; take fewer chunks or more data"
            )
        self.source = source
        self.name = name
        self.task = source.task
        self.input_shape = source.input_shape
        self.outputs = source.outputs
        self.seed = seed
        self.validation = validation
        self._ends, self._names, self._noise = tuple(ends), tuple(names), tuple(noise)

    def __len__(self) -> int:
        return len(self._ends)

    def _set_aside(self, index: int) -> Tensor:
        """(ends[index],) bool: which of the examples, in their order of arrival, are for validation."""
        aside = torch.zeros(self._ends[index], dtype=torch.bool)
        start = 0
        for end in self._ends[: index + 1]:
            count = (
                min(max(1, round(self.validation * (end - start))), end - start - 1) if self.validation else 0
            )
            aside[end - count : end] = True
            start = end
        return aside

    def chunk(self, index: int) -> Chunk:
        """Chunk `index`, the same at every call."""
        source, end = self.source, self._ends[index]
        device = source.train_inputs.device
        order = torch.randperm(len(source.train_inputs), generator=derived_generator(self.seed, "order"))
        rows = order[:end].to(device)
        targets = source.train_targets.index_select(0, rows)
        if self._noise[index]:
            generator = derived_generator(self.seed, "label noise", index)
            targets = noisy_labels(targets, self._noise[index], source.outputs, generator)
        aside = self._set_aside(index).to(device)

        def part(which: Tensor) -> TensorExamples:
            return TensorExamples(
                source.train_inputs, targets[which], rows=rows[which], prepare=source.prepare
            )

        return Chunk(
            index=index,
            name=self._names[index],
            train=part(~aside),
            validation=part(aside) if self.validation else None,
            tests={"test": source.test},
            outputs=source.outputs,
        )

    def to(self, device: torch.device | str) -> Accumulating:
        """The same stream with its data on `device`, put there once and shared by all chunks."""
        return Accumulating(
            self.source.to(device),
            name=self.name,
            ends=self._ends,
            names=self._names,
            noise=self._noise,
            validation=self.validation,
            seed=self.seed,
        )


def warm_start(
    source: Source, *, first: float = 0.1, label_noise: float = 0.0, validation: float = 0.0, seed: int = 0
) -> Stream:
    """A part of the data first, with noisy labels if asked for, then all of it with its own labels.

    The paper's warm start takes 10 % of the data and 50 % noise: `label_noise=0.5`. In the second chunk the
    first part is there again, with clean labels.

    Args:
        source: the data.
        first: share of the training set in the first chunk, above 0 and below 1.
        label_noise: share of wrong labels in the first chunk, in [0, 1]; the second has none.
        validation: share that is set aside for choosing, in [0, 1); labelled like what is trained on.
        seed: what order and noise are drawn from.

    Returns:
        A stream of two chunks.

    Raises:
        ValueError: an argument lies outside its range, or a chunk would be empty.

    Reference:
        Lee et al., "Slow and Steady Wins the Race", ICML 2024, arXiv 2406.02596; after Ash & Adams,
        "On Warm-Starting Neural Network Training", NeurIPS 2020, arXiv 1910.08475.

    Example:
        >>> from hare_tortoise.streams import load_source, warm_start
        >>> stream = warm_start(load_source("digits"), first=0.5)
        >>> [(chunk.name, len(chunk.train)) for chunk in stream]
        [('50 %', 700), ('100 %', 1400)]
    """
    if not is_number(first) or not 0 < first < 1:
        raise ValueError(
            f"first is {first!r}: give the share of data in the first chunk, above 0 and below 1"
        )
    count = len(source.train_inputs)
    return Accumulating(
        source,
        name="warm-start",
        ends=(round(first * count), count),
        names=(f"{100 * first:.4g} %", "100 %"),
        noise=(label_noise, 0.0),
        validation=validation,
        seed=seed,
    )


def growing(
    source: Source,
    *,
    chunks: int = 10,
    label_noise: Sequence[float] | float = 0.0,
    validation: float = 0.0,
    seed: int = 0,
) -> Stream:
    """Data arrive in equal parts and accumulate, with noisy labels if asked for.

    The paper's continual learning with full access: ten parts, `label_noise=PAPER_NOISE`, 0.5 falling to 0.0.
    The wrong labels of old examples are drawn again in each chunk, as in the official code.

    Args:
        source: the data.
        chunks: number of parts, 1 or more.
        label_noise: share of wrong labels in each chunk, in [0, 1]; or one number for all.
        validation: share that is set aside for choosing, in [0, 1); labelled like what is trained on.
        seed: what order and noise are drawn from.

    Returns:
        A stream of `chunks` chunks.

    Raises:
        ValueError: an argument lies outside its range, or a chunk would be empty.

    Reference:
        Lee et al., "Slow and Steady Wins the Race", ICML 2024, arXiv 2406.02596.

    Example:
        >>> from hare_tortoise.streams import growing, load_source
        >>> stream = growing(load_source("digits"), chunks=4)
        >>> [len(chunk.train) for chunk in stream]
        [350, 700, 1050, 1400]
    """
    if isinstance(chunks, bool) or not isinstance(chunks, int) or chunks < 1:
        raise ValueError(f"chunks is {chunks!r}: give a whole number of at least 1")
    count = len(source.train_inputs)
    return Accumulating(
        source,
        name="growing",
        ends=[round(count * (index + 1) / chunks) for index in range(chunks)],
        names=[f"{100 * (index + 1) / chunks:.4g} %" for index in range(chunks)],
        noise=_for_each(label_noise, chunks),
        validation=validation,
        seed=seed,
    )


def _for_each(label_noise: object, chunks: int) -> tuple[float, ...]:
    if isinstance(label_noise, (int, float)):
        return (label_noise,) * chunks
    if isinstance(label_noise, str) or not isinstance(label_noise, Iterable):
        raise ValueError(f"label_noise is {label_noise!r}: give a number between 0 and 1, or a tuple of them")
    noise = tuple(label_noise)
    if len(noise) != chunks:
        raise ValueError(
            f"label_noise has {len(noise)} values for {chunks} chunks: give {chunks} of them, or one number for all"
        )
    return noise


SCENARIOS: dict[str, Callable[..., Stream]] = {"growing": growing, "warm-start": warm_start}
