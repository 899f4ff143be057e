from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hare_tortoise.streams import Source, load_source, slowly_changing
from hare_tortoise.streams.sources.bits import Bits, TargetNetwork, bits


def drawn(chunk: Any, split: str = "train") -> tuple[Tensor, Tensor]:
    examples = chunk.tests["test"] if split == "test" else getattr(chunk, split)
    [batch] = examples.batches(100_000)
    found: tuple[Tensor, Tensor] = batch
    return found


def distinct(rows: Tensor) -> int:
    return len(set(map(tuple, rows.tolist())))


def by_hand(network: TargetNetwork, example: list[float]) -> float:
    """The target of one example, unit by unit."""
    total = float(network.offset)
    for weights, bias, sign in zip(
        network.weights.tolist(), network.biases.tolist(), network.signs.tolist(), strict=True
    ):
        negative = sum(weight == -1 for weight in weights)
        threshold = network.beta * (len(weights) + 1) - (negative + bias / 2)
        if np.dot(weights, example) + bias > threshold:
            total += sign
    return total


def test_targets_are_those_of_the_network() -> None:
    source = bits()
    chunk = slowly_changing(source, chunks=2, rows=300, seed=5)[1]
    inputs, targets = drawn(chunk)
    network = source.network(5)
    assert set(network.weights.flatten().tolist()) == {-1.0, 1.0}
    assert targets.flatten().tolist() == [by_hand(network, example) for example in inputs.tolist()]
    assert len(set(targets.flatten().tolist())) > 2, "something is to be learnt"
    assert not torch.equal(source.network(6).weights, network.weights)


def test_a_unit_fires_where_enough_of_its_inputs_agree() -> None:
    """Of 20 inputs 0.7 · 21 − 1.5 · bias must agree with the sign of the weight."""
    weights = torch.tensor([1.0, -1.0] * 10)
    for bias, least in ((1.0, 14), (-1.0, 17)):
        network = TargetNetwork(weights[None], torch.tensor([bias]), torch.ones(1), torch.ones(1), 0.7)
        agreeing = (weights > 0).float()
        for count in range(21):
            example = torch.where(torch.arange(20) < count, agreeing, 1 - agreeing)
            assert network(example[None]).item() == 1 + (count >= least)


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_fixed_bits_are_alike_within_a_chunk_and_the_others_random(split: str) -> None:
    stream = slowly_changing(bits(), chunks=4, rows=2000, test_rows=2000)
    fixed = []
    for chunk in stream:
        inputs, _ = drawn(chunk, split)
        assert distinct(inputs[:, :15]) == 1
        # 2,000 coins: a standard deviation is 0.011
        assert inputs[:, 15:].mean(0).sub(0.5).abs().max() < 0.06
        assert distinct(inputs[:, 15:]) == 32
        fixed.append(inputs[0, :15])
    assert distinct(torch.stack(fixed)) == 4


def test_train_and_test_share_bits_but_no_draw() -> None:
    chunk = slowly_changing(bits(), chunks=1, rows=500, test_rows=500)[0]
    (train, _), (test, _) = drawn(chunk), drawn(chunk, "test")
    assert torch.equal(train[0, :15], test[0, :15])
    assert not torch.equal(train, test)


def test_one_bit_flips_from_chunk_to_chunk() -> None:
    stream = slowly_changing(bits(), chunks=30, rows=2, change="flip-one")
    fixed = torch.stack([drawn(chunk)[0][0, :15] for chunk in stream])
    assert (fixed[1:] != fixed[:-1]).sum(1).tolist() == [1] * 29
    assert distinct((fixed[1:] != fixed[:-1]).float()) > 5
    redrawn = torch.stack([drawn(chunk)[0][0, :15] for chunk in slowly_changing(bits(), chunks=30, rows=2)])
    assert float((redrawn[1:] != redrawn[:-1]).float().mean()) == pytest.approx(0.5, abs=0.1)


def test_a_chunk_is_a_function_of_seed_and_index() -> None:
    def first(seed: int, chunks: int = 3) -> Tensor:
        return drawn(slowly_changing(bits(), chunks=chunks, rows=50, seed=seed)[1])[0]

    assert torch.equal(first(1), first(1, chunks=9))
    assert not torch.equal(first(1), first(2))


def test_a_share_is_set_aside() -> None:
    whole = slowly_changing(bits(), chunks=1, rows=50)[0]
    chunk = slowly_changing(bits(), chunks=1, rows=50, validation=0.2)[0]
    (kept, _), (aside, _) = drawn(chunk), drawn(chunk, "validation")
    assert torch.equal(torch.cat([kept, aside]), drawn(whole)[0])
    assert (len(kept), len(aside), whole.validation, whole.everything) == (40, 10, None, None)


def test_what_the_stream_says_of_itself() -> None:
    stream = slowly_changing(bits(inputs=6, fixed=2), chunks=3, rows=10).to("meta")
    assert (stream.task, stream.outputs, stream.input_shape, len(stream)) == ("regression", 1, (6,), 3)
    assert next(stream[0].train.batches(4))[0].device.type == "meta"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"chunks": 0}, "chunks is 0"),
        ({"test_rows": 0}, "test_rows is 0"),
        ({"change": "flip"}, "change is 'flip'"),
        ({"validation": -0.1}, "validation is -0.1"),
        ({"rows": 1, "validation": 0.1}, "all of the 1 rows"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        slowly_changing(bits(), **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"units": 0}, "units is 0"),
        ({"fixed": 21}, "fixed is 21: there are 20 bits"),
        ({"beta": float("nan")}, "beta is nan"),
        ({"rows": 5}, r"slowly-changing\(rows="),
    ],
)
def test_bad_bits_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_source("bits", **settings)


def test_other_sources_and_scenarios_do_not_fit() -> None:
    digits: Source = load_source("digits")
    with pytest.raises(ValueError, match="digits is not made of bits"):
        slowly_changing(digits)
    with pytest.raises(ValueError, match="bits come in one scenario only"):
        bits().part(torch.arange(2), torch.zeros(2))
    assert bits().digest == Bits(20, 15, 100, 0.7).digest != bits(fixed=14).digest
