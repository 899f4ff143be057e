from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from hare_tortoise.streams import (
    SCENARIOS,
    Chunk,
    Examples,
    Source,
    Stream,
    Table,
    derived_generator,
    growing,
    load_source,
    noisy_labels,
    warm_start,
)
from hare_tortoise.streams.scenarios import PAPER_NOISE
from hare_tortoise.streams.scenarios import accumulating as scenarios_module
from tests.streams.task_sources import plain_images

MakeSource = Callable[..., Source]
quick = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


def rows_and_labels(examples: Examples | None) -> tuple[list[int], Tensor]:
    """The made inputs hold their own row numbers."""
    if examples is None:
        return [], torch.zeros(0, dtype=torch.int64)
    batches = list(examples.batches(1000))
    rows = torch.cat([inputs for inputs, _ in batches]).flatten().long().tolist()
    return rows, torch.cat([targets for _, targets in batches])


def same(a: Chunk, b: Chunk) -> bool:
    pairs = ((a.train, b.train), (a.validation, b.validation), (a.tests["test"], b.tests["test"]))
    for one, other in pairs:
        (rows, labels), (others, other_labels) = rows_and_labels(one), rows_and_labels(other)
        if rows != others or not torch.equal(labels, other_labels):
            return False
    return (a.index, a.name, a.outputs) == (b.index, b.name, b.outputs)


def check_accumulates(stream: Stream, count: int) -> None:
    """Nothing is lost, and what is set aside is never trained on."""
    before: set[int] = set()
    aside_before: set[int] = set()
    ever_trained: set[int] = set()
    for chunk in stream:
        train, aside = rows_and_labels(chunk.train)[0], rows_and_labels(chunk.validation)[0]
        assert len(set(train)) == len(train)
        assert not set(train) & set(aside)
        assert before < set(train)
        assert aside_before <= set(aside)
        before, aside_before = set(train), set(aside)
        ever_trained |= before
    assert not ever_trained & aside_before
    assert len(before) + len(aside_before) == count


@quick
@given(
    chunks=st.integers(1, 10),
    share=st.sampled_from([0.0, 0.01, 0.2, 0.9]),
    noise=st.floats(0, 1),
    seed=st.integers(0, 100),
    count=st.integers(20, 90),
)
def test_growing_accumulates_and_each_chunk_has_its_share_of_noise(
    make_source: MakeSource, chunks: int, share: float, noise: float, seed: int, count: int
) -> None:
    source = make_source(count)
    stream = growing(source, chunks=chunks, label_noise=noise, validation=share, seed=seed)
    assert len(stream) == chunks
    check_accumulates(stream, count)
    for index, chunk in enumerate(stream):
        (train, labels), (aside, aside_labels) = (
            rows_and_labels(chunk.train),
            rows_and_labels(chunk.validation),
        )
        assert len(train) + len(aside) == round(count * (index + 1) / chunks)
        assert (chunk.validation is None) == (share == 0)
        drawn, clean = torch.cat([labels, aside_labels]), source.train_targets[train + aside]
        assert int((drawn != clean).sum()) == round(noise * len(clean))
        assert torch.equal(rows_and_labels(chunk.tests["test"])[1], source.test_targets)


@quick
@given(seed=st.integers(0, 10**12), order=st.permutations(range(4)))
def test_a_chunk_is_a_function_of_seed_and_index_alone(
    make_source: MakeSource, seed: int, order: list[int]
) -> None:
    source = make_source()
    first = growing(source, chunks=4, label_noise=0.5, validation=0.2, seed=seed)
    second = growing(source, chunks=4, label_noise=0.5, validation=0.2, seed=seed)
    once = list(first)
    assert all(same(once[index], second[index]) for index in order)
    assert not same(once[3], growing(source, chunks=4, label_noise=0.5, validation=0.2, seed=seed + 1)[3])


def check_seeds_differ(source: Source) -> None:
    """In the order of arrival, and apart from it in which places are wrong."""
    rows = [rows_and_labels(growing(source, seed=seed)[0].train)[0] for seed in range(5)]
    assert len({frozenset(each) for each in rows}) == 5, "order"
    wrong = set()
    for seed in range(5):
        found, labels = rows_and_labels(growing(source, label_noise=0.5, seed=seed)[9].train)
        wrong.add(tuple((labels != source.train_targets[found]).tolist()))
    assert len(wrong) == 5, "noise"


@pytest.mark.parametrize("purpose", ["order", "label noise"])
def test_each_seed_has_its_own_order_and_its_own_noise(
    make_source: MakeSource, monkeypatch: pytest.MonkeyPatch, purpose: str
) -> None:
    def constant(seed: int, *what: str | int) -> torch.Generator:
        return derived_generator(0 if what[0] == purpose else seed, *what)

    source = make_source(100)
    check_seeds_differ(source)
    monkeypatch.setattr(scenarios_module, "derived_generator", constant)
    with pytest.raises(AssertionError, match=purpose.split()[-1]):
        check_seeds_differ(source)


def test_setting_noise_or_validation_changes_nothing_else(make_source: MakeSource) -> None:
    source = make_source()
    plain, noisy = (growing(source, label_noise=noise, seed=3)[4] for noise in (0.0, 0.5))
    assert rows_and_labels(plain.train)[0] == rows_and_labels(noisy.train)[0]
    aside = growing(source, label_noise=0.0, validation=0.5, seed=3)[4]
    assert set(rows_and_labels(aside.train)[0]) < set(rows_and_labels(plain.train)[0])


def check_noise_is_drawn_anew(stream: Stream, source: Source) -> None:
    """Old examples get new noise in each chunk, independent of what they had before."""
    wrong = []
    for chunk in stream:
        rows, labels = rows_and_labels(chunk.train)
        wrong.append({row: int(label) for row, label in zip(rows, labels, strict=True)})
    first, second = wrong[0], wrong[1]
    clean = source.train_targets.tolist()
    was = [row for row in first if first[row] != clean[row]]
    is_again = [row for row in was if second[row] != clean[row]]
    share = sum(second[row] != clean[row] for row in first) / len(first)
    assert abs(share - 0.4) < 0.05, "share"
    assert abs(len(is_again) / len(was) - 0.4) < 0.07, "is_again"


def test_noise_is_drawn_anew_over_all_examples_of_a_chunk(make_source: MakeSource) -> None:
    source = make_source(2000)
    check_noise_is_drawn_anew(growing(source, chunks=2, label_noise=(0.5, 0.4)), source)


def test_the_check_notices_noise_that_stays_and_noise_of_new_examples_only(
    make_source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stays(labels: Tensor, ratio: float, classes: int, _: torch.Generator) -> Tensor:
        draws = torch.rand(5000, generator=derived_generator(0))[: len(labels)]
        return torch.where(draws < ratio, (labels + 1) % classes, labels)

    def only_new(labels: Tensor, ratio: float, classes: int, generator: torch.Generator) -> Tensor:
        new = noisy_labels(labels[-1000:], ratio, classes, generator)
        return torch.cat([labels[:-1000], new])

    source = make_source(2000)
    for fault, message in ((stays, "is_again"), (only_new, "share")):
        monkeypatch.setattr(scenarios_module, "noisy_labels", fault)
        with pytest.raises(AssertionError, match=message):
            check_noise_is_drawn_anew(growing(source, chunks=2, label_noise=(0.5, 0.4)), source)


def test_the_noise_of_a_chunk_says_nothing_of_that_of_the_next(make_source: MakeSource) -> None:
    """One generator for all chunks would name the same place of a half and of the whole with its first number."""
    source, again = make_source(100), 0
    clean = source.train_targets
    for seed in range(40):
        places = []
        for chunk in growing(source, chunks=2, label_noise=(0.02, 0.01), seed=seed):
            rows, labels = rows_and_labels(chunk.train)
            places.append(int((labels != clean[rows]).nonzero()))
        again += places[0] == places[1] % 50
    # by chance one in fifty
    assert again <= 5


def check_classes_are_mixed(stream: Stream) -> None:
    counts = torch.bincount(rows_and_labels(stream[0].train)[1], minlength=4)
    assert int(counts.min()) >= 15


def test_data_sorted_by_class_come_in_random_order(
    make_source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_source(1000, sort=True)
    check_classes_are_mixed(growing(source, label_noise=0.0))
    monkeypatch.setattr(torch, "randperm", lambda count, **_: torch.arange(count))
    with pytest.raises(AssertionError):
        check_classes_are_mixed(growing(source, label_noise=0.0))


def zeros(count: int) -> Source:
    pixels, labels = torch.zeros(count, 1, dtype=torch.uint8), torch.zeros(count, dtype=torch.int64)
    return Source("zeros", pixels, labels, pixels[:1], labels[:1], outputs=2, input_shape=(1,))


@pytest.mark.parametrize(("count", "steps"), [(50_000, (20_000, 21_756)), (100_000, (40_000, 43_401))])
def test_warm_start_has_the_optimizer_steps_of_the_official_code(count: int, steps: tuple[int, int]) -> None:
    first, second = warm_start(zeros(count), label_noise=0.5)
    assert (len(first.train), len(second.train)) == (count // 10, count)
    assert (1000 * first.train.steps(256), 111 * second.train.steps(256)) == steps
    assert int(rows_and_labels(first.train)[1].sum()) == count // 20
    assert int(rows_and_labels(second.train)[1].sum()) == 0
    assert [first.name, second.name] == ["10 %", "100 %"]


def test_growing_has_the_noise_of_the_official_code() -> None:
    assert PAPER_NOISE == (0.5, 0.4, 0.4, 0.3, 0.3, 0.2, 0.2, 0.1, 0.1, 0.0)
    stream = growing(zeros(50_000), label_noise=PAPER_NOISE)
    assert [len(chunk.train) for chunk in stream] == [5000 * number for number in range(1, 11)]
    wrong = [int(rows_and_labels(chunk.train)[1].sum()) for chunk in stream]
    assert wrong == [2500, 4000, 6000, 6000, 7500, 6000, 7000, 4000, 4500, 0]


def test_the_warm_start_of_the_demo() -> None:
    source = load_source("digits")
    stream = warm_start(source, first=0.5, label_noise=0.5, validation=0.1)
    assert [len(chunk.train) for chunk in stream] == [630, 1260]
    assert [len(chunk.validation or ()) for chunk in stream] == [70, 140]
    assert (stream.task, stream.input_shape, stream.outputs, stream.name) == (
        "classification",
        (64,),
        10,
        "warm-start",
    )
    chunk = stream[-1]
    assert (chunk.index, chunk.outputs, chunk.active, chunk.prequential) == (1, 10, None, False)
    assert list(chunk.tests) == ["test"]
    assert len(chunk.tests["test"]) == 397


def test_chunks_are_counted_from_zero_and_end() -> None:
    stream = growing(load_source("digits"))
    assert same(stream[-1], stream[9])
    for index in (10, -11):
        with pytest.raises(IndexError, match="there are 10"):
            stream[index]


def test_chunks_share_the_inputs_and_a_moved_stream_is_the_same(make_source: MakeSource) -> None:
    source = make_source()
    stream = growing(source, seed=2, validation=0.25)
    moved = stream.to("cpu")
    assert all(same(a, b) for a, b in zip(stream, moved, strict=True))
    assert stream[0].train.inputs is stream[9].train.inputs is source.train_inputs  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_scenarios_by_name(name: str) -> None:
    rows = torch.arange(2400)
    own: dict[str, Any] = {
        "in-time-order": Table(
            "made", ("row",), rows.double()[:, None], rows.new_zeros(2400, 0), (), rows % 2, outputs=2
        ),
        "slowly-changing": load_source("bits"),
    }
    stream = SCENARIOS[name](own.get(name) or plain_images(2400, 12))
    assert stream.name == name
    assert (SCENARIOS[name].__doc__ or "").splitlines()[0].endswith(".")


@pytest.mark.parametrize(
    ("scenario", "arguments", "message"),
    [
        (warm_start, {"first": 0.0}, "first is 0.0"),
        (warm_start, {"first": 1}, "first is 1"),
        (warm_start, {"first": 0.001}, r"parts of \[0, 40\]"),
        (warm_start, {"label_noise": 1.5}, "label_noise is 1.5"),
        (warm_start, {"validation": 1.0}, "validation is 1.0"),
        (growing, {"chunks": 0}, "chunks is 0"),
        (growing, {"chunks": 2.0}, "chunks is 2.0"),
        (growing, {"chunks": 3, "label_noise": PAPER_NOISE}, "10 values for 3 chunks"),
        (growing, {"chunks": 50, "label_noise": 0.0}, "each needs 1 at least"),
        (growing, {"chunks": 40, "label_noise": 0.0, "validation": 0.1}, "each needs 2 at least"),
        (growing, {"chunks": 1, "label_noise": (-0.5,)}, "label_noise is -0.5"),
        (growing, {"validation": -0.1}, "validation is -0.1"),
        (growing, {"validation": "abc"}, "validation is 'abc'"),
        (growing, {"label_noise": "abc"}, "label_noise is 'abc': give a number between 0 and 1, or a tuple"),
        (growing, {"chunks": 3, "label_noise": "abc"}, "label_noise is 'abc': give a number"),
        (growing, {"label_noise": None}, "label_noise is None: give a number"),
        (warm_start, {"first": "abc"}, "first is 'abc': give the share"),
        (warm_start, {"label_noise": "abc"}, "label_noise is 'abc': give the share"),
    ],
)
def test_bad_settings(
    make_source: MakeSource, scenario: Callable[..., Stream], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        scenario(make_source(), **arguments)


def test_numbers_have_no_label_noise() -> None:
    x, y = torch.rand(20, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(20, 1)
    source = Source("numbers", x, y, x, y, outputs=1, input_shape=(2,), task="regression")
    assert growing(source)[0].train.steps(2) == 1
    with pytest.raises(ValueError, match="set it to 0"):
        growing(source, label_noise=0.1)
