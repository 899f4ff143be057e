from __future__ import annotations

from typing import Any

import pytest
import torch

from hare_tortoise.streams import Source, load_source


def nearest_mean(source: Source) -> float:
    """Accuracy on the test set of the class whose mean over train is nearest."""
    prepare = source.prepare or (lambda inputs: inputs)
    train, test = (prepare(inputs).flatten(1) for inputs in (source.train_inputs, source.test_inputs))
    classes = range(source.outputs)
    means = torch.stack([train[source.train_targets == label].mean(0) for label in classes])
    return float((torch.cdist(test, means).argmin(1) == source.test_targets).float().mean())


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 10, 7), (64,)])
def test_classes_can_be_learnt(shape: tuple[int, ...]) -> None:
    far = 0.1 if len(shape) == 3 and shape[0] == 3 else 0.5
    source = load_source("generated", shape=shape, classes=4, rows=400, test_rows=200, separation=far)
    assert source.input_shape == shape == tuple(source.train_inputs.shape[1:])
    assert (len(source.train_inputs), len(source.test_inputs)) == (400, 200)
    assert source.train_targets.bincount().tolist() == [100] * 4
    assert source.train_inputs.dtype == (torch.uint8 if len(shape) == 3 else torch.float32)
    assert nearest_mean(source) > 0.9
    alike = load_source("generated", shape=shape, classes=4, rows=400, test_rows=200, separation=0)
    assert nearest_mean(alike) < 0.4


def test_every_class_has_its_place_in_a_small_set() -> None:
    source = load_source("generated", shape=8, classes=100, rows=100, test_rows=30)
    assert source.train_targets.bincount(minlength=100).tolist() == [1] * 100
    assert source.train_targets.tolist() != sorted(source.train_targets.tolist())


def test_the_same_settings_give_the_same_data() -> None:
    def digest(**settings: Any) -> str:
        return load_source("generated", shape=(1, 4, 4), rows=20, test_rows=5, **settings).digest

    assert digest() == digest()
    assert len({digest(), digest(draw=1), digest(separation=0.3), digest(classes=3)}) == 4


def test_noise_has_the_size_it_should_have() -> None:
    source = load_source("generated", shape=(3, 16, 16), separation=0, rows=100)
    pixels = source.train_inputs.double()
    assert float(pixels.mean()) == pytest.approx(128, abs=1)
    assert float(pixels.std()) == pytest.approx(40, abs=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shape": (3, 0, 2)}, "shape is"),
        ({"shape": ()}, "shape is"),
        ({"classes": 1}, "classes is 1"),
        ({"rows": 9}, "rows is 9: give whole numbers of at least 10"),
        ({"test_rows": 0}, "test_rows is 0"),
        ({"separation": -1}, "separation is -1"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_source("generated", **settings)
