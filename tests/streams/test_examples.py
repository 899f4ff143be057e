from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from hare_tortoise.streams import Examples, LoaderExamples, Normalise, TensorExamples
from hare_tortoise.streams import examples as examples_module
from hare_tortoise.streams.examples import batch_bounds

Make = Callable[..., Examples]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def in_memory(inputs: Tensor, targets: Tensor, rows: Tensor | None = None) -> Examples:
    return TensorExamples(inputs, targets, rows=rows)


def loaded(inputs: Tensor, targets: Tensor, rows: Tensor | None = None) -> Examples:
    wrong = torch.full((len(inputs),), -1)
    return LoaderExamples(TensorDataset(inputs, wrong), targets=targets, rows=rows)


both = pytest.mark.parametrize("make", [in_memory, loaded])


def check_bounds(count: int, size: int, bounds: list[tuple[int, int]], merge: bool) -> None:
    assert [row for start, end in bounds for row in range(start, end)] == list(range(count))
    lengths = [end - start for start, end in bounds]
    assert all(length == size for length in lengths[:-1])
    if merge and size > 1 and count > 1:
        assert min(lengths) > 1
        assert max(lengths) <= size + 1


@given(count=st.integers(0, 300), size=st.integers(1, 70), merge=st.booleans())
def test_batches_cover_everything_once_and_none_is_of_one(count: int, size: int, merge: bool) -> None:
    check_bounds(count, size, batch_bounds(count, size, merge=merge), merge)


def test_the_check_notices_a_last_batch_of_one() -> None:
    with pytest.raises(AssertionError):
        check_bounds(65, 64, [(0, 64), (64, 65)], merge=True)
    with pytest.raises(AssertionError):
        check_bounds(65, 64, [(0, 64)], merge=True)


def train_with_batch_norm(data: Examples, size: int) -> int:
    with torch.random.fork_rng(devices=[]):
        network = nn.Sequential(nn.Linear(1, 3), nn.BatchNorm1d(3))
    lengths = [len(network(inputs)) for inputs, _ in data.batches(size, generator=generator())]
    return sum(lengths)


@both
def test_batch_norm_trains_where_one_example_is_left_over(make: Make) -> None:
    data = make(torch.rand(9, 1, generator=generator()), torch.zeros(9))
    assert train_with_batch_norm(data, 4) == 9
    assert [len(x) for x, _ in data.batches(4, generator=generator())] == [4, 5]
    assert [len(x) for x, _ in data.batches(4)] == [4, 4, 1]
    assert data.steps(4) == 2


def test_without_the_merge_batch_norm_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        examples_module, "batch_bounds", lambda count, size, *, merge: batch_bounds(count, size, merge=False)
    )
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        train_with_batch_norm(in_memory(torch.zeros(9, 1), torch.zeros(9)), 4)


@both
@given(count=st.integers(1, 40), size=st.integers(1, 12), seed=st.integers(0, 5))
def test_shuffled_batches_are_a_permutation_with_the_right_targets(
    make: Make, count: int, size: int, seed: int
) -> None:
    inputs = torch.arange(50.0)
    rows = torch.randperm(50, generator=generator(9))[:count]
    batches = list(make(inputs, rows * 2, rows).batches(size, generator=generator(seed)))
    seen = torch.cat([x for x, _ in batches])
    assert sorted(seen.tolist()) == sorted(rows.tolist())
    assert torch.equal(torch.cat([y for _, y in batches]), (seen * 2).long())


@both
def test_in_order_without_a_generator(make: Make) -> None:
    rows = torch.tensor([4, 0, 2])
    batches = list(make(torch.arange(5.0), rows + 10, rows).batches(2))
    assert [(x.tolist(), y.tolist()) for x, y in batches] == [([4.0, 0.0], [14, 10]), ([2.0], [12])]


@both
def test_what_comes_is_a_function_of_the_generators_state(make: Make) -> None:
    data = make(torch.arange(30.0), torch.arange(30))
    source = generator(3)

    def add_noise(inputs: Tensor, noise: torch.Generator) -> Tensor:
        return inputs + torch.rand(len(inputs), generator=noise)

    state = source.get_state()
    first = list(data.batches(7, generator=source, augment=add_noise))
    second = list(data.batches(7, generator=source, augment=add_noise))
    source.set_state(state)
    resumed = list(itertools.islice(data.batches(7, generator=source, augment=add_noise), 2, None))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first[2:], resumed, strict=True))
    assert not torch.equal(first[0][0], second[0][0])


def test_memory_and_loader_hand_out_the_same() -> None:
    inputs, targets = torch.arange(20.0), torch.arange(20)
    for seed in (None, 4):
        batches = [
            list(make(inputs, targets).batches(6, generator=None if seed is None else generator(seed)))
            for make in (in_memory, loaded)
        ]
        assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(*batches, strict=True))


def test_workers_read_the_same_as_the_process_itself() -> None:
    dataset = TensorDataset(torch.arange(9.0), torch.arange(9))
    here, there = (
        [
            (x.tolist(), y.tolist())
            for x, y in LoaderExamples(dataset, workers=n).batches(4, generator=generator(1))
        ]
        for n in (0, 1)
    )
    assert here == there
    assert here[0][0] == [float(label) for label in here[0][1]]


@both
def test_what_is_done_to_a_batch_in_place_does_not_reach_the_data(make: Make) -> None:
    data = make(torch.ones(6), torch.ones(6))
    for source in (None, generator()):
        for inputs, targets in data.batches(4, generator=source):
            inputs.zero_()
            targets.zero_()
    assert all(float(x.min()) == float(y.min()) == 1 for x, y in data.batches(4))


def test_augmentation_sees_what_is_stored_and_prepare_comes_last() -> None:
    seen: list[torch.dtype] = []

    def augment(inputs: Tensor, _: torch.Generator) -> Tensor:
        seen.append(inputs.dtype)
        return inputs

    pixels = torch.randint(256, (8, 3, 2, 2), dtype=torch.uint8, generator=generator())
    data = TensorExamples(pixels, torch.arange(8), prepare=Normalise((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)))
    [(inputs, targets)] = data.batches(8, generator=generator(), augment=augment)
    mean, std = (torch.tensor(v).double().view(3, 1, 1) for v in ([1, 2, 3], [4, 5, 6]))
    oracle = (pixels[targets].double() - mean) / std
    assert seen == [torch.uint8]
    assert data.inputs.dtype == torch.uint8
    torch.testing.assert_close(inputs.double(), oracle, rtol=1e-6, atol=1e-6)


@given(shape=st.sampled_from([(30, 3, 4, 4), (2100, 2), (7, 1, 5)]), byte=st.booleans())
def test_statistics_are_those_of_float64(shape: tuple[int, ...], byte: bool) -> None:
    values = torch.randint(256, shape, generator=generator()).to(torch.uint8 if byte else torch.float32)
    oracle = values.double().transpose(0, 1).flatten(1)
    found = Normalise.of(values)
    torch.testing.assert_close(torch.tensor(found.mean).double(), oracle.mean(1), rtol=1e-6, atol=0)
    torch.testing.assert_close(
        torch.tensor(found.std).double(), oracle.std(1, correction=0), rtol=1e-6, atol=0
    )
    both_together = Normalise.of(values, per_channel=False)
    assert both_together.mean == pytest.approx([float(values.double().mean())])
    assert both_together.std == pytest.approx([float(values.double().std(correction=0))])


def test_a_channel_that_never_changes_is_only_shifted() -> None:
    values = torch.full((5, 1), 0.1)
    assert float(Normalise.of(values)(values).abs().max()) < 1e-6


def test_to_the_same_device_is_the_same_object() -> None:
    data = TensorExamples(torch.zeros(2), torch.zeros(2), rows=torch.tensor([1, 0]))
    assert data.to("cpu") is data
    moved = data.to("meta")
    assert moved.inputs.device == moved.targets.device == torch.device("meta")
    assert LoaderExamples(TensorDataset(torch.zeros(2)), device="cpu").to("meta").device.type == "meta"


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: TensorExamples(torch.zeros(3), torch.zeros(2)), "2 targets for 3 examples"),
        (
            lambda: TensorExamples(torch.zeros(3), torch.zeros(1), rows=torch.tensor([3])),
            "rows run from 3 to 3",
        ),
        (lambda: TensorExamples(torch.zeros(3), torch.zeros(1), rows=torch.tensor([-1])), "rows run from -1"),
        (lambda: TensorExamples(torch.zeros(3), torch.zeros(1), rows=torch.tensor([1.0])), "give int64"),
        (lambda: TensorExamples(torch.zeros(3), torch.zeros(3, device="meta")), "targets are on meta"),
        (lambda: TensorExamples(torch.zeros(3), torch.zeros(3)).batches(0), "the batch size is 0"),
        (lambda: TensorExamples(torch.zeros(3), torch.zeros(3)).batches(True), "the batch size is True"),
        (
            lambda: TensorExamples(torch.zeros(3), torch.zeros(3)).batches(2, augment=lambda x, _: x),
            "without a gen",
        ),
        (lambda: LoaderExamples(TensorDataset(torch.zeros(3)), workers=-1), "workers is -1"),
        (lambda: LoaderExamples(TensorDataset(torch.zeros(3)), rows=torch.tensor([3])), "rows run from 3"),
        (lambda: LoaderExamples(TensorDataset(torch.zeros(3)), targets=torch.zeros(2)), "2 targets for 3"),
        (lambda: Normalise((1.0,), ()), "1 means and 0 stds"),
        (lambda: Normalise((1.0,), (0.0,)), "each std above 0"),
        (lambda: Normalise((float("nan"),), (1.0,)), "must be finite"),
    ],
)
def test_bad_input(act: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        act()
