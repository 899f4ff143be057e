"""A regression whose inputs change slowly: most bits are alike for a while, then drawn again."""

from __future__ import annotations

from copy import copy
from typing import Literal, Self

import torch
from torch import Tensor

from hare_tortoise.streams.examples import TensorExamples
from hare_tortoise.streams.label_noise import is_number
from hare_tortoise.streams.seeding import derived_generator
from hare_tortoise.streams.source import Source
from hare_tortoise.streams.sources.bits import Bits
from hare_tortoise.streams.stream import Chunk, Stream

Change = Literal["redraw", "flip-one"]


class SlowlyChanging(Stream):
    """Chunks of bits whose first ones are alike within a chunk; the function from bits to numbers stays the same.

    Args:
        bits: what is drawn, and by which network numbers come about.
        chunks: how many, 1 or more.
        rows: examples of a chunk, 1 or more.
        test_rows: examples that each chunk is tested on, 1 or more.
        change: "redraw" or "flip-one".
        validation: share of a chunk that is set aside, in [0, 1).
        seed: what network and bits are drawn from.

    Raises:
        ValueError: something lies outside its range.
    """

    task = "regression"
    name = "slowly-changing"
    outputs = 1

    def __init__(
        self,
        bits: Bits,
        *,
        chunks: int,
        rows: int,
        test_rows: int,
        change: Change,
        validation: float,
        seed: int,
    ) -> None:
        for name, value in (("chunks", chunks), ("rows", rows), ("test_rows", test_rows)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}: give a whole number of at least 1")
        if change not in ("redraw", "flip-one"):
            raise ValueError(f"change is {change!r}: give 'redraw' or 'flip-one'")
        if not is_number(validation) or not 0 <= validation < 1:
            raise ValueError(
                f"validation is {validation!r}: give the share to set aside, at least 0, below 1"
            )
        self._aside = max(1, round(validation * rows)) if validation else 0
        if self._aside >= rows:
            raise ValueError(
                f"validation is {validation}: that is all of the {rows} rows; take less, or more rows"
            )
        self.input_shape = bits.input_shape
        self.seed = seed
        self._bits, self._network = bits, bits.network(seed)
        self._chunks, self._rows, self._test_rows, self._change = chunks, rows, test_rows, change
        self._device = torch.device("cpu")

    def __len__(self) -> int:
        return self._chunks

    def chunk(self, index: int) -> Chunk:
        """Chunk `index`, the same at every call."""
        inputs, targets = self._draw(index, "train", self._rows)
        kept = self._rows - self._aside

        def examples(which: slice) -> TensorExamples:
            return TensorExamples(inputs[which].to(self._device), targets[which].to(self._device))

        test_inputs, test_targets = self._draw(index, "test", self._test_rows)
        test = TensorExamples(test_inputs, test_targets).to(self._device)
        return Chunk(
            index=index,
            name=f"task {index + 1}",
            train=examples(slice(0, kept)),
            validation=examples(slice(kept, None)) if self._aside else None,
            tests={"test": test},
            outputs=1,
        )

    def to(self, device: torch.device | str) -> Self:
        """The same stream, whose examples are handed out on `device`."""
        moved = copy(self)
        moved._device = torch.device(device)
        return moved

    def _draw(self, index: int, split: str, count: int) -> tuple[Tensor, Tensor]:
        free = self._bits.inputs - self._bits.fixed
        generator = derived_generator(self.seed, split, index)
        drawn = torch.randint(2, (count, free), generator=generator).float()
        inputs = torch.cat([self._fixed(index).expand(count, -1), drawn], dim=1)
        return inputs, self._network(inputs)

    def _fixed(self, index: int) -> Tensor:
        """(fixed,) bits of a chunk: drawn anew, or those of the first with a flip for each chunk since."""
        size, redraw = self._bits.fixed, self._change == "redraw"
        bits = torch.randint(
            2, (size,), generator=derived_generator(self.seed, "bits", index if redraw else 0)
        )
        if not redraw and size:
            for step in range(1, index + 1):
                generator = derived_generator(self.seed, "flip", step)
                bits[int(torch.randint(size, (), generator=generator))] ^= 1
        return bits.float()


def slowly_changing(
    source: Source | Bits,
    *,
    chunks: int = 100,
    rows: int = 10000,
    test_rows: int = 1000,
    change: Change = "redraw",
    validation: float = 0.0,
    seed: int = 0,
) -> Stream:
    """A fixed function of bits, most of which are alike for a chunk and then change: a regression that drifts.

    The publication's: `bits()`, a million examples, judged online, each batch before the step on it. The target network
    is drawn from the seed, so that each seed has its own. A chunk is trained on alone: nothing earlier is kept, not
    for retraining from scratch either.

    Args:
        source: bits.
        chunks: how many, 1 or more.
        rows: examples of a chunk, 1 or more.
        test_rows: further examples with the same fixed bits that each chunk is tested on, 1 or more.
        change: of the fixed bits from chunk to chunk: "redraw", all of them are drawn again; "flip-one", one of them
            flips.
        validation: share of a chunk that is set aside for choosing, in [0, 1).
        seed: what network and bits are drawn from.

    Returns:
        A stream of `chunks` chunks; one number to predict.

    Raises:
        ValueError: the source is not made of bits, or an argument lies outside its range.

    Reference:
        Dohare et al., "Loss of plasticity in deep continual learning", Nature 2024.

    Example:
        >>> from hare_tortoise.streams import load_source, slowly_changing
        >>> stream = slowly_changing(load_source("bits"), chunks=3, rows=50)
        >>> inputs, targets = next(stream[0].train.batches(50))
        >>> inputs.shape, targets.shape, len(inputs[:, :15].unique(dim=0))
        (torch.Size([50, 20]), torch.Size([50, 1]), 1)
    """
    if not isinstance(source, Bits):
        raise ValueError(f"{source.name} is not made of bits: give --source bits")
    return SlowlyChanging(
        source,
        chunks=chunks,
        rows=rows,
        test_rows=test_rows,
        change=change,
        validation=validation,
        seed=seed,
    )
