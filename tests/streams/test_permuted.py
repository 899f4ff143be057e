from __future__ import annotations

import numpy as np
import pytest
import torch

from hare_tortoise.streams import Source, TensorExamples, permuted
from hare_tortoise.streams.scenarios.permuted import Order, Permute
from tests.streams.task_sources import handed_out, plain_images, rows_and_labels

SHAPE = (3, 4)


def numbered(shape: tuple[int, ...] = SHAPE, count: int = 6) -> Source:
    """Each element of each input is another number: where it went can be seen."""
    inputs = torch.arange(float(count * int(np.prod(shape)))).view(count, *shape)
    targets = torch.arange(count) % 2
    return Source("numbered", inputs, targets, inputs + 1000, targets, outputs=2, input_shape=shape)


def where_from(inputs: torch.Tensor) -> np.ndarray:
    """Of the first input, the place that each element came from."""
    return inputs[0].flatten().long().numpy() % 1000


def in_order(stream_index: int, order: Order, seed: int = 3, tasks: int = 6) -> np.ndarray:
    chunk = permuted(numbered(), tasks=tasks, order=order, seed=seed)[stream_index]
    return where_from(handed_out(chunk.train)[0].sort(0).values)


def test_composed_permutes_what_was_permuted_before() -> None:
    """As Dohare et al. do it: x ← x[:, p] for each task, with the p that "independent" uses as they are."""
    stream = permuted(numbered(), tasks=6, order="composed", seed=3)
    alone = permuted(numbered(), tasks=6, order="independent", seed=3)
    found = where_from(handed_out(stream[0].tests["test"])[0])
    x = np.arange(12)[found]
    assert found.tolist() != list(range(12)), "the first task is permuted too"
    for index in range(1, 6):
        x = x[where_from(handed_out(alone[index].tests["test"])[0])]
        assert where_from(handed_out(stream[index].tests["test"])[0]).tolist() == x.tolist()


def test_independent_leaves_the_first_task_as_it_is() -> None:
    stream = permuted(numbered(), tasks=6, order="independent")
    assert torch.equal(handed_out(stream[0].tests["test"])[0], numbered().test_inputs)
    found = {tuple(where_from(handed_out(chunk.tests["test"])[0])) for chunk in stream}
    assert len(found) == 6
    assert all(sorted(each) == list(range(12)) for each in found)


@pytest.mark.parametrize("order", ["composed", "independent"])
def test_train_validation_and_test_are_permuted_alike(order: Order) -> None:
    for chunk in permuted(numbered(), tasks=3, order=order, validation=0.3):
        assert chunk.validation is not None
        found = [handed_out(part)[0] for part in (chunk.train, chunk.validation, chunk.tests["test"])]
        first = [(each[0].flatten() % 1000 % 12).tolist() for each in found]
        # 1000 is 4 more than a multiple of 12
        assert first[0] == first[1] == [value % 1000 for value in first[2]]


def test_composed_is_the_same_in_whatever_order_it_is_asked_for() -> None:
    stream = permuted(numbered(), tasks=9, order="composed")
    for index in (7, 2, 2, 5, 8, 0):
        fresh = permuted(numbered(), tasks=9, order="composed")[index]
        assert torch.equal(handed_out(stream[index].tests["test"])[0], handed_out(fresh.tests["test"])[0])


def test_the_channels_of_a_pixel_stay_together() -> None:
    image = torch.arange(6.0).view(1, 2, 3)
    source = numbered((2, 2, 3))
    inputs = torch.cat([image, image + 100])[None].expand(6, -1, -1, -1)
    source = Source("two", inputs, source.train_targets, inputs, source.train_targets, 2, (2, 2, 3))
    for chunk in permuted(source, tasks=4):
        found = handed_out(chunk.train)[0]
        assert found.shape == (6, 2, 2, 3)
        assert torch.equal(found[:, 0] + 100, found[:, 1])
        assert not torch.equal(found[:, 0], inputs[:, 0])


def test_permuted_after_it_was_prepared() -> None:
    def prepare(inputs: torch.Tensor) -> torch.Tensor:
        return inputs.flatten(1) * torch.arange(12)

    source = numbered()
    prepared = Source(
        "prepared",
        source.train_inputs,
        source.train_targets,
        source.test_inputs,
        source.test_targets,
        outputs=2,
        input_shape=(12,),
        prepare=prepare,
    )
    whole = prepare(source.test_inputs)
    found = handed_out(permuted(prepared, tasks=2)[1].tests["test"])[0]
    assert torch.equal(found.sort(1).values, whole.sort(1).values)
    places = [whole[1].tolist().index(value) for value in found[1].tolist()]
    assert torch.equal(found, whole[:, places])


def test_the_current_task_is_judged_first() -> None:
    seen = permuted(plain_images(), tasks=4, tests="seen")
    whole = permuted(plain_images(), tasks=4, tests="all")
    assert [list(chunk.tests) for chunk in seen][2] == ["task 3", "task 1", "task 2"]
    assert [list(chunk.tests) for chunk in whole][2] == ["task 3", "task 1", "task 2", "task 4"]
    own = permuted(numbered(), tasks=4, tests="all")
    for index, chunk in enumerate(own):
        for task in range(4):
            alone = permuted(numbered(), tasks=4)[task].tests["test"]
            assert torch.equal(handed_out(chunk.tests[f"task {task + 1}"])[0], handed_out(alone)[0]), index


def test_a_part_of_the_test_set_is_the_same_for_all_tasks_and_seeds() -> None:
    found = {
        str(rows_and_labels(examples))
        for seed in range(3)
        for chunk in permuted(plain_images(), tasks=3, tests="all", test_rows=10, seed=seed)
        for examples in chunk.tests.values()
    }
    assert len(found) == 1
    assert len(rows_and_labels(chunk_test())[0]) == 10
    with pytest.raises(ValueError, match="test_rows is 25"):
        permuted(plain_images(), test_rows=25)


def chunk_test() -> TensorExamples:
    examples = permuted(plain_images(), test_rows=10)[0].tests["test"]
    return examples  # type: ignore[return-value]


def test_numbers_can_be_predicted_from_permuted_inputs() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(20, 3, generator=generator), torch.rand(20, 1, generator=generator)
    source = Source("numbers", x, y, x, y, outputs=1, input_shape=(3,), task="regression")
    stream = permuted(source, tasks=2, rows_per_task=10, validation=0.2)
    assert stream.task == "regression"
    inputs, targets = handed_out(stream[1].train)
    assert len(targets) == 8
    for row, target in zip(inputs, targets, strict=True):
        place = int((y == target).nonzero()[0, 0])
        assert torch.equal(row.sort().values, x[place].sort().values)


def test_a_shuffled_pass_augments_the_stored_image() -> None:
    stream = permuted(plain_images(), tasks=1)
    generator = torch.Generator().manual_seed(1)
    batches = stream[0].train.batches(50, generator=generator, augment=lambda inputs, _: inputs + 1000)
    assert sorted(float(value) for x, _ in batches for value in x[:, 0, 0, 0]) == [
        1000.0 + row for row in range(120)
    ]


def test_permute_does_what_its_formula_says() -> None:
    permutation = torch.randperm(35, generator=torch.Generator().manual_seed(0))
    inputs = torch.rand(4, 5, 7, generator=torch.Generator().manual_seed(1))
    found = Permute(permutation)(inputs)
    oracle = np.take(inputs.numpy().reshape(4, 35), permutation.numpy(), axis=1).reshape(4, 5, 7)
    assert np.array_equal(found.numpy(), oracle)


def test_another_order_is_refused() -> None:
    with pytest.raises(ValueError, match="order is 'reversed'"):
        permuted(numbered(), order="reversed")  # type: ignore[arg-type]
