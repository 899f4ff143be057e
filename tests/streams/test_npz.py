from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hare_tortoise.streams import Normalise, Rescale, load_source

ROWS = np.arange(24, dtype="float64").reshape(8, 3) ** 2
LABELS = np.array([3, 5, 3, 9, 5, 9, 3, 5])


def save(folder: Path, **arrays: Any) -> Path:
    path = folder / "mine.npz"
    np.savez(path, **arrays)
    return path


def four(**changes: Any) -> dict[str, Any]:
    return {"x_train": ROWS[:6], "y_train": LABELS[:6], "x_test": ROWS[6:], "y_test": LABELS[6:]} | changes


def test_given_splits_are_kept_and_labels_numbered(tmp_path: Path) -> None:
    source = load_source(str(save(tmp_path, **four())))
    assert source.train_targets.tolist() == [0, 1, 0, 2, 1, 2]
    assert source.test_targets.tolist() == [0, 1]
    assert (source.name, source.outputs, source.input_shape, source.task) == (
        "mine",
        3,
        (3,),
        "classification",
    )
    assert source.train_inputs.dtype == torch.float32
    [(test, _)] = source.test.batches(2)
    oracle = (ROWS[6:] - ROWS[:6].mean(0)) / ROWS[:6].std(0)
    np.testing.assert_allclose(test.double().numpy(), oracle, rtol=1e-5)


@pytest.mark.parametrize("x", ["x", "X", "inputs", "images", "data"])
@pytest.mark.parametrize("y", ["y", "Y", "targets", "labels"])
def test_all_spellings_say_the_same(tmp_path: Path, x: str, y: str) -> None:
    expected = load_source(str(save(tmp_path, **four()))).digest
    for form in ("{}_{}", "{1}_{0}"):
        arrays = {
            form.format(name, split): four()[f"{key}_{split}"]
            for (name, key), split in itertools.product(((x, "x"), (y, "y")), ("train", "test"))
        }
        assert load_source(str(save(tmp_path, other=LABELS, **arrays))).digest == expected
    assert len(load_source(str(save(tmp_path, **{x: ROWS, y: LABELS}))).train_inputs) == 6


def test_one_array_is_split_by_a_seed(tmp_path: Path) -> None:
    x = np.arange(50, dtype="float32")
    path = save(tmp_path, x=x, y=np.arange(50) % 2)
    source = load_source("npz", path=path, test_share=0.3, normalise=False)
    rows = torch.cat([source.train_inputs, source.test_inputs]).flatten()
    assert (len(source.train_inputs), len(source.test_inputs), source.input_shape) == (35, 15, (1,))
    assert sorted(rows.tolist()) == x.tolist()
    assert torch.equal(source.train_targets, source.train_inputs.flatten().long() % 2)
    assert load_source("npz", path=path, test_share=0.3, normalise=False).digest == source.digest
    assert (
        load_source("npz", path=path, test_share=0.3, normalise=False, split_seed=1).digest != source.digest
    )
    assert source.prepare is None


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["cat", "ant", "cat", "bee"] * 2, [2, 0, 2, 1, 2, 0]),
        ([True, False] * 4, [1, 0, 1, 0, 1, 0]),
        ([[-1], [1]] * 4, [0, 1, 0, 1, 0, 1]),
    ],
)
def test_labels_may_be_words_or_any_whole_numbers(
    tmp_path: Path, labels: list[Any], expected: list[int]
) -> None:
    array = np.array(labels)
    source = load_source(str(save(tmp_path, **four(y_train=array[:6], y_test=array[6:]))))
    assert source.train_targets.tolist() == expected


@pytest.mark.parametrize(
    ("shape", "settings", "expected"),
    [
        ((8, 5, 4), {}, (1, 5, 4)),
        ((8, 5, 4, 3), {}, (3, 5, 4)),
        ((8, 3, 5, 4), {}, (3, 5, 4)),
        ((8, 3, 5, 3), {}, (3, 5, 3)),
        ((8, 3, 5, 3), {"channels": "last"}, (3, 3, 5)),
        ((8, 5, 4, 3), {"channels": "first"}, (5, 4, 3)),
        ((8, 20), {}, (20,)),
    ],
)
def test_images_of_bytes_stay_bytes(
    tmp_path: Path, shape: tuple[int, ...], settings: dict[str, Any], expected: tuple[int, ...]
) -> None:
    pixels = np.arange(np.prod(shape), dtype="uint8").reshape(shape)
    source = load_source("npz", path=save(tmp_path, x=pixels, y=LABELS), **settings)
    assert source.input_shape == expected
    assert source.train_inputs.dtype == torch.uint8
    assert isinstance(source.prepare, Normalise)
    assert len(source.prepare.mean) == (expected[0] if len(expected) > 1 else 1)
    plain = load_source("npz", path=save(tmp_path, x=pixels, y=LABELS), normalise=False, **settings)
    assert plain.prepare == Rescale(1 / 255)


def test_channels_last_are_moved_first(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 5, 4, 3), dtype="uint8")
    source = load_source(str(save(tmp_path, **four(x_train=pixels[:6], x_test=pixels[6:]))))
    assert torch.equal(source.test_inputs, torch.from_numpy(pixels[6:].transpose(0, 3, 1, 2).copy()))


def test_numbers_to_predict(tmp_path: Path) -> None:
    y = np.linspace(0, 1, 16).reshape(8, 2)
    source = load_source("npz", path=save(tmp_path, x=ROWS, y=y), task="regression")
    assert (source.task, source.outputs, source.train_targets.shape) == ("regression", 2, (6, 2))
    one = load_source("npz", path=save(tmp_path, x=ROWS, y=y[:, 0]), task="regression")
    assert (one.outputs, one.train_targets.dtype, one.train_targets.shape) == (1, torch.float32, (6, 1))
    classes = load_source("npz", path=save(tmp_path, x=ROWS, y=LABELS.astype(float)), task="classification")
    assert classes.outputs == 3


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (four(x_train=ROWS[:5]), "'x_train' has 5 examples, 'y_train' has 6"),
        (four(x_test=ROWS[6:, :2]), r"'x_test' is float64 of shape \(2, 2\): make them alike"),
        (four(x_test=(ROWS[6:] % 9).astype("uint8")), "'x_test' is uint8"),
        (four(X_train=ROWS[:6]), "X_train and x_train|x_train and X_train"),
        (four(x=ROWS, y=LABELS), "keep one kind"),
        (four(y_test=np.array([[1, 0], [0, 1]])), r"'y_test' has the shape \(2, 2\), expected one value"),
        (four(y_test=np.array(["a", "b"])), "words in one and numbers in the other"),
        (four(y_test=np.array([0.5, 1.0])), "'y_test' is of type float64, which may be"),
        (
            four(x_train=np.full((6, 3), np.nan)),
            "'x_train' has values that are no finite float32, first in row 0",
        ),
        (four(x_train=np.full((6, 3), 1e300)), "'x_train' has values that are no finite float32"),
        (four(x_train=np.full((6, 3), "a")), "'x_train' is of type <U1, expected numbers"),
        (four(x_train=np.zeros((6, 0))), "not empty"),
        (four(x_train=np.array(3.0)), "'x_train' has the shape"),
        (four(y_train=np.array([None] * 6)), "'y_train' holds Python objects, which are not read"),
        (four(y_train=np.zeros(6, "datetime64[D]")), "'y_train' is of type datetime64"),
        (four(y_test=np.array([3, 7])), "'y_test' has the class 7, which 'y_train' never has: add examples"),
        ({"x": ROWS, "y": np.full(8, "a")}, "'y' is always 'a': there is nothing to predict"),
        ({"x_train": ROWS, "y_train": LABELS}, "lacks x_test, y_test"),
        ({"x": ROWS}, "has x but lacks y"),
        ({"features": ROWS}, "has the keys features: give x_train"),
        ({}, "has the keys none"),
        ({"x": ROWS[:2], "y": LABELS[:2]}, "test_share=0.2 takes 0"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_key(
    tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    path = save(tmp_path, **arrays)
    with pytest.raises(ValueError, match=message) as caught:
        load_source(str(path))
    assert str(path) in str(caught.value)


def test_numbers_that_are_not_finite_are_no_targets(tmp_path: Path) -> None:
    path = save(tmp_path, x=ROWS, y=np.full(8, np.inf))
    with pytest.raises(ValueError, match="'y' has values that are not finite"):
        load_source("npz", path=path, task="regression")
    with pytest.raises(ValueError, match="expected labels or numbers"):
        load_source("npz", path=save(tmp_path, x=ROWS, y=np.array(["a"] * 8)), task="regression")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "ranking"}, "task is 'ranking'"),
        ({"channels": "middle"}, "channels is 'middle'"),
        ({"test_share": 1.0}, "test_share is 1.0"),
        ({"test_share": "abc"}, "test_share is 'abc'"),
        ({"share": 1.0}, "'share'; did you mean 'test_share'"),
    ],
)
def test_bad_settings(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_source("npz", path=save(tmp_path, x=ROWS, y=LABELS), **settings)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    np.savez_compressed(path, x=np.random.default_rng(0).random((8, 300)), y=LABELS)
    whole = path.read_bytes()
    for content in (b"", b"text", whole[:400], whole[:-30], whole[:600] + bytes(200) + whole[800:]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="cannot be read") as caught:
            load_source(str(path))
        assert str(path) in str(caught.value)
    np.save(tmp_path / "array.npy", ROWS)
    (tmp_path / "array.npy").rename(path)
    with pytest.raises(ValueError, match=r"no \.npz file"):
        load_source(str(path))
