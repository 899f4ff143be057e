from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hare_tortoise.streams import Examples, Source, limited
from hare_tortoise.streams.scenarios.limited import Sample

MakeSource = Callable[..., Source]


def rows_and_labels(examples: Examples) -> tuple[list[int], Tensor]:
    """The made inputs hold their own row numbers."""
    batches = list(examples.batches(1000))
    return torch.cat([x for x, _ in batches]).flatten().long().tolist(), torch.cat([y for _, y in batches])


@pytest.mark.parametrize("sample", ["reservoir", "balanced"])
@pytest.mark.parametrize("noise", [0.0, 0.4])
def test_what_is_given_up_never_comes_back(make_source: MakeSource, sample: Sample, noise: float) -> None:
    stream = limited(make_source(200), chunks=5, memory=30, sample=sample, label_noise=noise, seed=3)
    before: set[int] = set()
    for index, chunk in enumerate(stream):
        rows, labels = rows_and_labels(chunk.train)
        assert chunk.everything is not None
        everything, all_labels = rows_and_labels(chunk.everything)
        assert len(everything) == 40 * (index + 1)
        assert len(rows) == 40 + min(30, 40 * index)
        known = dict(zip(everything, all_labels.tolist(), strict=True))
        assert [known[row] for row in rows] == labels.tolist()
        new = set(everything[40 * index :])
        assert new <= set(rows)
        assert set(rows) - new <= before
        before = set(rows)


def remembered_of(source: Source, sample: Sample, seed: int) -> tuple[list[int], set[int]]:
    """Rows in the order in which they came before the last of six chunks, and those that are remembered."""
    last = limited(source, chunks=6, memory=10, sample=sample, seed=seed)[5]
    assert last.everything is not None
    rows = rows_and_labels(last.everything)[0]
    came = rows[: len(rows) * 5 // 6]
    return came, set(rows_and_labels(last.train)[0]) & set(came)


@pytest.mark.parametrize("sample", ["reservoir", "balanced"])
def test_each_earlier_example_is_kept_with_the_same_chance(make_source: MakeSource, sample: Sample) -> None:
    source = make_source(60)
    of_row, of_place = torch.zeros(60), torch.zeros(50)
    for seed in range(400):
        came, remembered = remembered_of(source, sample, seed)
        assert len(remembered) == 10
        of_row[list(remembered)] += 1
        of_place += torch.tensor([float(row in remembered) for row in came])
    # by place, 400 draws with a chance of a fifth: 80 on average, 8 is a standard deviation; early or late alike
    assert float(of_place.min()) > 50
    assert float(of_place.max()) < 110
    assert float(of_place[:25].mean()) == pytest.approx(80, abs=5)
    # by row, five of six seeds have it among the earlier ones; a row of a rare class may be likelier
    assert float(of_row.min()) > 35
    assert float(of_row.max()) < 100


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_the_remainder_of_a_balanced_sample_goes_to_any_class(classes: int) -> None:
    """Ten places in so many classes: which has one more is drawn, not the first of them."""
    labels = torch.arange(120) % classes
    inputs = torch.arange(120.0)[:, None]
    source = Source("even", inputs, labels, torch.zeros(1, 1), labels[:1], classes, (1,))
    more = torch.zeros(classes)
    for seed in range(300):
        _, remembered = remembered_of(source, "balanced", seed)
        counts = torch.bincount(labels[list(remembered)], minlength=classes)
        assert int(counts.max() - counts.min()) <= 1
        more += counts > 10 // classes
    # 300 draws with a chance of remainder/classes each: 9 is above a standard deviation
    assert more.tolist() == pytest.approx([300 * (10 % classes) / classes] * classes, abs=40)


def test_a_balanced_sample_has_as_many_of_each_class_as_there_are() -> None:
    labels = torch.tensor([0] * 150 + [1] * 40 + [2] * 10)
    source = Source("skewed", torch.arange(200.0)[:, None], labels, torch.zeros(1, 1), labels[:1], 3, (1,))
    stream = limited(source, chunks=2, memory=45, sample="balanced", seed=1)
    first, last = stream[0], stream[1]
    had = torch.bincount(rows_and_labels(first.train)[1], minlength=3)
    new = torch.bincount(rows_and_labels(last.everything)[1], minlength=3) - had  # type: ignore[arg-type]
    kept = torch.bincount(rows_and_labels(last.train)[1], minlength=3) - new
    assert int(kept.sum()) == 45
    assert int(kept[2]) == int(had[2]), "all of a rare class"
    assert abs(int(kept[0]) - int(kept[1])) <= 1


def test_a_balanced_sample_goes_by_the_labels_that_came() -> None:
    """One class, whose labels arrive wrong: a memory that is even over them cannot know that there is but one."""
    labels = torch.zeros(200, dtype=torch.int64)
    inputs = torch.arange(200.0)[:, None]
    source = Source("one", inputs, labels, torch.zeros(1, 1), labels[:1], 4, (1,))
    stream = limited(source, chunks=2, memory=40, sample="balanced", label_noise=(0.3, 0.0), seed=2)
    rows, labels = rows_and_labels(stream[0].train)
    given = dict(zip(rows, labels.tolist(), strict=True))
    remembered = [row for row in rows_and_labels(stream[1].train)[0] if row in given]
    counts = torch.bincount(torch.tensor([given[row] for row in remembered]), minlength=4)
    had = torch.bincount(torch.tensor(list(given.values())), minlength=4)
    assert had.tolist()[0] == 70
    assert int(counts.sum()) == 40
    assert all(int(kept) >= min(int(of), 10) for kept, of in zip(counts, had, strict=True))


def test_what_is_set_aside_is_not_remembered(make_source: MakeSource) -> None:
    stream = limited(make_source(200), chunks=4, memory=20, validation=0.2)
    for index, chunk in enumerate(stream):
        assert chunk.validation is not None
        assert chunk.everything is not None
        trained, aside = set(rows_and_labels(chunk.train)[0]), set(rows_and_labels(chunk.validation)[0])
        assert not trained & aside
        assert len(trained) == 40 + min(20, 40 * index)
        assert len(aside) == 10 * (index + 1)


def test_no_memory_leaves_the_new_chunk_alone(make_source: MakeSource) -> None:
    assert [len(chunk.train) for chunk in limited(make_source(100), chunks=4, memory=0)] == [25] * 4


@pytest.mark.parametrize("settings", [{"memory": -1}, {"memory": 1.5}, {"sample": "first"}])
def test_bad_settings_are_refused(make_source: MakeSource, settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        limited(make_source(50), **settings)  # type: ignore[arg-type]


def test_a_part_of_a_source_is_the_same_for_every_seed(make_source: MakeSource) -> None:
    part = make_source(50).take(20, 3)
    assert (len(part.train_inputs), len(part.test_inputs)) == (20, 3)
    assert torch.equal(part.train_inputs, make_source(50).take(20).train_inputs)
    assert part.digest != make_source(50).digest
    with pytest.raises(ValueError, match="rows is 51"):
        make_source(50).take(51)
