from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor

from hare_tortoise.streams import Chunk, Examples, Source, Table, in_time_order, load_source
from hare_tortoise.streams.table import first_come

ROWS, PART = 60, 10
NAN = float("nan")


def make_table(
    numbers: list[tuple[float, float]],
    words: list[str | None],
    targets: list[Any],
    *,
    task: Any = "classification",
    missing: bool = True,
) -> Table:
    """Two columns of numbers and one of words with three slots."""
    regression = task == "regression"
    return Table(
        name="made",
        columns=("a", "b", "word"),
        numeric=torch.tensor(numbers, dtype=torch.float64),
        categorical=first_come(words)[:, None],
        slots=(3,),
        train_targets=torch.tensor(targets, dtype=torch.float64)[:, None]
        if regression
        else torch.tensor(targets),
        outputs=1 if regression else 3,
        labels=() if regression else ("x", "y", "z"),
        task=task,
        missing=missing,
    )


def contents(examples: Examples | None) -> list[Tensor]:
    if examples is None or len(examples) == 0:
        return []
    [batch] = examples.batches(10_000)
    return list(batch)


def counted(count: int = ROWS) -> Table:
    """The first number of a row is its own number."""
    return make_table([(float(n), 0.0) for n in range(count)], ["w"] * count, [n % 3 for n in range(count)])


def numbers_of(examples: Examples | None, end: int) -> list[int]:
    """Which rows of `counted` these are, of a chunk with `end` rows."""
    mean, std = (end - 1) / 2, math.sqrt((end**2 - 1) / 12)
    return (contents(examples)[0][:, 0].double() * std + mean).round().long().tolist()


# ---- nothing goes by the future

row = st.tuples(
    st.tuples(*[st.floats(-1e6, 1e6, width=32) | st.just(NAN)] * 2),
    st.sampled_from(["p", "q", "r", "s", "t", None]),
    st.integers(0, 2),
)
rows = st.lists(row, min_size=ROWS, max_size=ROWS)


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    return len(first) == len(second) and all(map(torch.equal, first, second))


def past(chunk: Chunk) -> list[Tensor]:
    """Everything in a chunk but its tests."""
    return [*contents(chunk.train), *contents(chunk.everything), *contents(chunk.validation)]


# a failure is found in seconds; making it small would take minutes
@settings(max_examples=60, phases=[Phase.generate])
@given(
    rows=rows,
    others=rows,
    index=st.integers(0, ROWS // PART - 2),
    longer=st.integers(0, 2 * PART),
    memory=st.sampled_from([None, 0, 7]),
    task=st.sampled_from(["classification", "regression"]),
)
def test_the_future_moves_nothing_of_the_past(
    rows: list[Any], others: list[Any], index: int, longer: int, memory: int | None, task: Any
) -> None:
    def stream(cut: int, more: int) -> Any:
        mixed = rows[:cut] + others[cut:] + others[:more]
        columns = [list(column) for column in zip(*mixed, strict=True)]
        return in_time_order(
            make_table(columns[0], columns[1], columns[2], task=task),
            rows=PART,
            memory=memory,
            validation=0.2,
        )

    known, end = stream(ROWS, 0)[index], PART * (index + 1)
    # what comes after part i is another thing, and more of it comes: what is trained on at i stays
    assert same(past(stream(end, longer)[index]), past(known))
    # what comes after part i + 1 is another thing: what is tested at i stays as well
    changed = stream(end + PART, 0)[index]
    assert same(past(changed), past(known))
    assert same(contents(changed.tests["next"]), contents(known.tests["next"]))
    assert changed.baselines == known.baselines


def test_the_past_moves_with_what_it_is_made_of() -> None:
    """The test above can fail: a value of part i moves every row of chunk i, and no chunk before it."""
    table = counted()
    other = counted()
    other.numeric[25, 0] = 1000.0
    for index, (one, two) in enumerate(
        zip(in_time_order(table, rows=PART), in_time_order(other, rows=PART), strict=True)
    ):
        moved = (contents(one.train)[0][:, 0] != contents(two.train)[0][:, 0]).all()
        assert bool(moved) == (index >= 2)


# ---- what a row is encoded to


def test_encoding_against_a_calculation_by_hand() -> None:
    numbers = [(1.0, 5.0), (NAN, 5.0), (4.0, 5.0), (NAN, 7.0), (9.0, NAN), (0.0, 5.0)]
    words = ["p", None, "q", "r", "p", "s"]
    first = in_time_order(make_table(numbers, words, [0, 1, 2, 0, 1, 2]), rows=3)[0]
    # a: values 1 and 4, mean 2.5, standard deviation 1.5; b is constant so far, so that nothing is known of its scale
    inputs, labels = contents(first.train)
    assert inputs.tolist() == [
        [-1, 0, 0, 0, 1, 0, 0, 0],
        [0, 0, 1, 0, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, 1, 0, 0],
    ]
    assert labels.tolist() == [0, 1, 2]
    tested, _ = contents(first.tests["next"])
    oracle = [[0, 0, 1, 0, 0, 0, 0, 1], [6.5 / 1.5, 0, 0, 1, 1, 0, 0, 0], [-2.5 / 1.5, 0, 0, 0, 0, 0, 0, 1]]
    np.testing.assert_allclose(tested.numpy(), np.array(oracle), rtol=1e-6)


def test_the_last_slot_is_for_what_has_none() -> None:
    words = ["p", "q", "r", "s", "t", "p", "s", "u"]
    table = make_table([(0.0, 0.0)] * 8, list(words), [0, 1] * 4, missing=False)
    last = in_time_order(table, rows=4)[0]
    of_words = contents(last.train)[0][:, 2:]
    assert of_words.argmax(1).tolist() == [0, 1, 2, 3]
    assert contents(last.tests["next"])[0][:, 2:].argmax(1).tolist() == [3, 0, 3, 3]


def test_numbers_are_standardised_by_all_rows_so_far() -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(3.0, 50.0, (ROWS, 2))
    values[generator.random((ROWS, 2)) < 0.2] = np.nan
    targets = generator.normal(-7.0, 0.1, ROWS)
    table = make_table(
        [tuple(v) for v in values], ["w"] * ROWS, list(targets), task="regression", missing=False
    )
    stream = in_time_order(table, rows=PART, memory=5, validation=0.3)
    for index, chunk in enumerate(stream):
        end = PART * (index + 1)
        seen = values[:end]
        after = (values[end : end + PART] - np.nanmean(seen, 0)) / np.nanstd(seen, 0)
        inputs, outputs = contents(chunk.tests["next"])
        assert (inputs.dtype, outputs.dtype, outputs.shape) == (torch.float32, torch.float32, (PART, 1))
        np.testing.assert_allclose(inputs[:, :2].numpy(), np.nan_to_num(after, nan=0.0), rtol=1e-5, atol=1e-6)
        wanted = (targets[end : end + PART] - targets[:end].mean()) / targets[:end].std()
        np.testing.assert_allclose(outputs.flatten().numpy(), wanted, rtol=1e-4, atol=1e-5)


# ---- which rows are where


def test_parts_come_one_after_the_other_and_are_tested_on_first() -> None:
    stream = in_time_order(counted(64), rows=PART, horizon=2)
    # the four rows that are left over join the last part
    ends = [10, 20, 30, 40, 50, 64]
    assert [chunk.name for chunk in stream] == [f"{end} rows" for end in ends[:-1]]
    for index, chunk in enumerate(stream):
        end, after = ends[index], ends[index + 1]
        assert chunk.prequential
        assert chunk.everything is None
        assert chunk.validation is None
        assert numbers_of(chunk.train, end) == list(range(end))
        assert numbers_of(chunk.tests["next"], end) == list(range(end, after))
        later = list(range(after, ends[min(5, index + 3)]))
        assert list(chunk.tests) == (["next", "later"] if later else ["next"])
        if later:
            assert numbers_of(chunk.tests["later"], end) == later
    assert len(in_time_order(counted(64), rows=PART, horizon=None)[0].tests["later"]) == 44


def test_what_is_given_up_never_comes_back() -> None:
    before: set[int] = set()
    for index, chunk in enumerate(in_time_order(counted(), rows=PART, memory=12, validation=0.2, seed=3)):
        end = PART * (index + 1)
        train, everything = numbers_of(chunk.train, end), numbers_of(chunk.everything, end)
        aside = numbers_of(chunk.validation, end)
        assert sorted(everything + aside) == list(range(end))
        assert all(sum(row // PART == part for row in aside) == 2 for part in range(index + 1))
        assert train == sorted(train)
        assert set(train) <= set(everything)
        new = {row for row in everything if row >= end - PART}
        assert new <= set(train)
        assert len(train) == 8 + min(12, 8 * index)
        assert set(train) - new <= before
        before = set(train)
        # each row with the label of its own
        assert contents(chunk.everything)[1].tolist() == [row % 3 for row in everything]
        assert contents(chunk.train)[1].tolist() == [row % 3 for row in train]


def test_each_earlier_row_is_remembered_with_the_same_chance() -> None:
    kept = torch.zeros(ROWS)
    for seed in range(300):
        last = in_time_order(counted(), rows=PART, memory=8, seed=seed)[4]
        kept[[row for row in numbers_of(last.train, 50) if row < 40]] += 1
    # 300 draws with a chance of a fifth: 60 on average, 7 is a standard deviation
    assert float(kept[:40].min()) > 30
    assert float(kept[:40].max()) < 90
    assert len(in_time_order(counted(), rows=PART, memory=0)[3].train) == PART


def test_predictors_that_look_at_no_input() -> None:
    labels = [0, 0, 1, 1, 1, 0, 2, 2]
    chunk = in_time_order(make_table([(0.0, 0.0)] * 8, ["w"] * 8, labels), rows=4)[0]
    # 0 and 1 are as frequent so far: the first of them; the label before is right at the first and the last row
    assert chunk.baselines == {"same as last time": 0.5, "majority so far": 0.25}
    numbers = [0.0, 2.0, 4.0, 2.0, 3.0, 5.0, 7.0, 5.0]
    table = make_table([(0.0, 0.0)] * 8, ["w"] * 8, numbers, task="regression")
    found = in_time_order(table, rows=4)[0].baselines
    # 3, 5, 7, 5 about their mean 5: 8; errors 1, 2, 2, -2: 13; errors to the mean 2 before: 1, 3, 5, 3: 44
    assert found == pytest.approx({"same as last time": 1 - 13 / 8, "mean so far": 1 - 44 / 8})


def test_targets_that_never_change_stay_finite() -> None:
    table = make_table([(0.0, 0.0)] * 12, ["w"] * 12, [0.003467] * 12, task="regression")
    chunk = in_time_order(table, rows=6)[0]
    assert chunk.baselines == {"same as last time": 1.0, "mean so far": 1.0}
    assert contents(chunk.tests["next"])[1].tolist() == [[0.0]] * 6


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rows": 0}, "rows is 0"),
        ({"rows": 31}, "splits the 60 rows of made into 1 parts of 31"),
        ({"memory": -1}, "memory is -1"),
        ({"horizon": 0}, "horizon is 0"),
        ({"validation": 1}, "validation is 1"),
        ({"rows": 1, "validation": 0.5}, "two rows in each"),
    ],
)
def test_bad_settings_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        in_time_order(counted(), **({"rows": PART} | wrong))


def test_a_source_without_time_is_refused() -> None:
    digits: Source = load_source("digits")
    with pytest.raises(ValueError, match="digits is no table"):
        in_time_order(digits)


def test_examples_are_handed_out_where_they_are_asked_for() -> None:
    stream = in_time_order(counted(), rows=PART).to("meta")
    inputs, targets = next(stream[0].train.batches(4))
    assert (inputs.device.type, targets.device.type) == ("meta", "meta")
    here = in_time_order(counted(), rows=PART)[0].train
    assert here.to("cpu") is here
    assert next(here.to("meta").batches(4))[0].device.type == "meta"


@pytest.mark.data
def test_electricity_depends_on_its_own_past() -> None:
    table: Any = load_source("elec2")
    stream = in_time_order(table, rows=1000, memory=5000)
    assert (len(stream), stream.input_shape, stream.outputs) == (44, (8,), 2)
    found = [chunk.baselines["same as last time"] for chunk in stream]
    assert 0.84 < sum(found) / len(found) < 0.86
