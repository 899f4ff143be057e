from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from hare_tortoise.streams import Examples, Source, gradual, load_source, rotated
from hare_tortoise.streams.scenarios.drift import Rotate
from tests.streams.task_sources import handed_out, plain_images, rows_and_labels


def images(height: int, width: int, count: int = 3) -> torch.Tensor:
    return torch.rand(count, 2, height, width, generator=torch.Generator().manual_seed(0))


def turned(image: np.ndarray[Any, Any], degrees: float) -> np.ndarray[Any, Any]:
    """Counter-clockwise, pixel by pixel: where each pixel was before, read bilinearly, the edge repeated."""
    height, width = image.shape
    angle, middle = math.radians(degrees), np.array([(height - 1) / 2, (width - 1) / 2])
    rows, columns = np.mgrid[:height, :width]
    # up is minus the row: turning counter-clockwise takes (row, column) from the point turned clockwise
    down, right = rows - middle[0], columns - middle[1]
    from_right = math.cos(angle) * right - math.sin(angle) * down
    from_down = math.sin(angle) * right + math.cos(angle) * down
    places = [from_down + middle[0], from_right + middle[1]]
    return np.asarray(ndimage.map_coordinates(image, places, order=1, mode="nearest"))


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_quarter_turns_are_exact(quarter: int) -> None:
    given = images(5, 5)
    found = Rotate(90.0 * quarter, (2, 5, 5))(given)
    torch.testing.assert_close(found, torch.rot90(given, quarter, dims=(2, 3)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(6, 6), (4, 9), (7, 3)], ids=str)
@pytest.mark.parametrize("degrees", [0, 10, -33, 45, 137])
def test_any_turn_is_bilinear_and_repeats_the_edge(size: tuple[int, int], degrees: float) -> None:
    given = images(*size)
    found = Rotate(degrees, (2, *size))(given).numpy()
    oracle = np.stack([[turned(channel, degrees) for channel in image] for image in given.double().numpy()])
    np.testing.assert_allclose(found, oracle, atol=1e-5)


def test_images_turn_a_little_further_with_each_task_in_train_and_test_alike() -> None:
    given, labels = images(6, 6, 8), torch.arange(8) % 2
    source = Source("eight", given, labels, given, labels, outputs=2, input_shape=(2, 6, 6))
    for index, chunk in enumerate(rotated(source, tasks=5, degrees=120)):
        expected = Rotate(30.0 * index, (2, 6, 6))(given)
        test, test_labels = handed_out(chunk.tests["test"])
        assert torch.equal(test, expected)
        assert torch.equal(test_labels, labels)
        found = handed_out(chunk.train)[0]
        assert sorted(found.flatten(1).tolist()) == sorted(expected.flatten(1).tolist())


def test_flat_inputs_turn_as_the_images_that_they_are() -> None:
    source = load_source("digits", test_rows=20)
    flat = handed_out(rotated(source, tasks=2, degrees=90, shape=(1, 8, 8))[1].tests["test"])[0]
    expected = torch.rot90(source.test_inputs.view(-1, 8, 8), 1, dims=(1, 2)).reshape(-1, 64)
    torch.testing.assert_close(flat, expected, atol=1e-5, rtol=0)


def test_one_task_does_not_turn() -> None:
    stream = rotated(plain_images(), tasks=1, degrees=50)
    assert stream._transform(0).degrees == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("settings", [{}, {"shape": (8, 8)}, {"shape": (1, 8, 9)}])
def test_what_is_no_image_cannot_turn(settings: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match=r"shape=\(1, 8, 8\)"):
        rotated(load_source("digits"), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("degrees", ["right", math.nan, math.inf])
def test_an_angle_is_a_number(degrees: Any) -> None:
    with pytest.raises(ValueError, match="degrees"):
        rotated(plain_images(), degrees=degrees)


def renamed(examples: Examples | None, classes: int = 6) -> dict[int, int]:
    """By row, the label of each example that is not of the first concept."""
    return {
        row: label for row, label in zip(*rows_and_labels(examples), strict=True) if label != row % classes
    }


def test_the_second_concept_takes_over_at_an_even_pace() -> None:
    stream = gradual(plain_images(110, test=60), chunks=11)
    for index, chunk in enumerate(stream):
        assert (len(chunk.train), len(renamed(chunk.train))) == (10, index)
        assert list(chunk.tests) == ["test", "first concept", "second concept"]
        assert len(renamed(chunk.tests["test"])) == 6 * index
        assert len(renamed(chunk.tests["first concept"])) == 0
        assert len(renamed(chunk.tests["second concept"])) == 60
        assert (chunk.outputs, len(chunk.tests["test"])) == (6, 60)


@pytest.mark.parametrize("classes", [2, 5, 6])
def test_the_second_concept_gives_each_class_the_name_of_another(classes: int) -> None:
    source = plain_images(24 * classes, classes, test=4 * classes)
    stream = gradual(source, chunks=4, seed=3)
    names = {(row % classes, label) for row, label in renamed(stream[3].train, classes).items()}
    assert len(names) == classes
    assert {label for _, label in names} == set(range(classes))
    for chunk in stream:
        for examples in (chunk.train, *chunk.tests.values()):
            assert {(row % classes, label) for row, label in renamed(examples, classes).items()} <= names
    tests = [set(renamed(chunk.tests["test"], classes)) for chunk in stream]
    assert tests[0] < tests[1] < tests[2] < tests[3], "who changed does not change back"


def test_labels_stay_as_they_were_when_they_came() -> None:
    came: dict[int, int] = {}
    for index, chunk in enumerate(gradual(plain_images(), chunks=6, memory=9, validation=0.25)):
        found, labels = rows_and_labels(chunk.everything)
        everything = dict(zip(found, labels, strict=True))
        assert len(everything) == 15 * (index + 1)
        assert came.items() <= everything.items()
        trained = dict(zip(*rows_and_labels(chunk.train), strict=True))
        assert trained.items() <= everything.items()
        new = everything.keys() - came.keys()
        assert new <= trained.keys()
        assert len(trained) == 15 + min(9, 15 * index)
        assert len(rows_and_labels(chunk.validation)[0]) == 5
        assert not set(rows_and_labels(chunk.validation)[0]) & everything.keys()
        came = everything


def test_what_is_set_aside_has_the_labels_of_its_time() -> None:
    stream = gradual(plain_images(), chunks=2, validation=0.5)
    assert len(renamed(stream[0].validation)) == 0
    assert len(renamed(stream[1].validation)) == 30


@pytest.mark.parametrize(
    ("settings", "message"), [({"chunks": 1}, "chunks is 1"), ({"memory": -1}, "memory is -1")]
)
def test_bad_settings_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gradual(plain_images(), **settings)
