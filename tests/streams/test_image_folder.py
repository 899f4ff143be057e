from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from hare_tortoise.streams import load_source

Colour = tuple[int, int, int]


def write(
    path: Path, colour: Colour = (10, 20, 30), size: tuple[int, int] = (6, 4), mode: str = "RGB"
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).convert(mode).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "pets"
    for number, (split, kind) in enumerate(
        [("train", "cat"), ("train", "dog"), ("val", "cat"), ("val", "dog")]
    ):
        for index in range(2):
            write(top / split / kind / f"{index}.png", (10 * number, index, 200))
    return top


def test_images_in_folders_of_classes(folder: Path) -> None:
    source = load_source("image-folder", path=folder)
    assert source.train_inputs.shape == (4, 3, 4, 6)
    assert source.train_inputs.dtype == torch.uint8
    assert source.input_shape == (3, 4, 6)
    assert source.train_targets.tolist() == source.test_targets.tolist() == [0, 0, 1, 1]
    assert source.train_inputs[:, :, 0, 0].tolist() == [[0, 0, 200], [0, 1, 200], [10, 0, 200], [10, 1, 200]]
    assert source.test_inputs[3, :, 3, 5].tolist() == [30, 1, 200]
    assert (source.name, source.outputs) == ("pets", 2)
    assert load_source(str(folder)).digest == source.digest
    assert load_source("image-folder", path="pets", root=folder.parent).digest == source.digest


def test_a_pixel_comes_out_where_it_is(folder: Path) -> None:
    picture = Image.new("RGB", (6, 4))
    picture.putpixel((5, 1), (1, 2, 3))
    picture.save(folder / "train" / "cat" / "0.png")
    inputs = load_source(str(folder)).train_inputs
    assert inputs[0].nonzero().tolist() == [[channel, 1, 5] for channel in range(3)]
    assert inputs[0, :, 1, 5].tolist() == [1, 2, 3]


def test_test_is_judged_on_where_there_is_val_too(folder: Path) -> None:
    write(folder / "test" / "dog" / "a.png", (1, 2, 3))
    assert load_source(str(folder)).test_inputs[:, :, 0, 0].tolist() == [[1, 2, 3]]


def test_one_class_alone_is_refused(folder: Path) -> None:
    for split in ("train", "val"):
        shutil.rmtree(folder / split / "dog")
    with pytest.raises(ValueError, match="images of the class 'cat' alone: there is nothing to predict"):
        load_source(str(folder))


def test_images_are_resized_and_made_grey(folder: Path) -> None:
    write(folder / "train" / "cat" / "deep" / "2.jpg", size=(50, 40))
    write(folder / "train" / "cat" / "grey.png", mode="L")
    write(folder / "train" / "cat" / "palette.gif", mode="P")
    source = load_source("image-folder", path=folder, size=8)
    assert source.train_inputs.shape == (7, 3, 8, 8)
    assert load_source("image-folder", path=folder, size=(5, 9), grey=True).input_shape == (1, 5, 9)
    with pytest.raises(ValueError, match=r"2\.jpg has 40 x 50 pixels, .* give size="):
        load_source("image-folder", path=folder)


def test_other_files_and_hidden_ones_are_left_out(folder: Path) -> None:
    (folder / "train" / "cat" / "notes.txt").write_text("no image")
    (folder / "train" / "cat" / ".hidden.png").write_text("no image")
    (folder / "train" / ".cache").mkdir()
    assert len(load_source(str(folder)).train_inputs) == 4


@pytest.mark.parametrize("content", [b"", b"no image at all", None])
def test_a_broken_image_is_named(folder: Path, content: bytes | None) -> None:
    path = folder / "train" / "dog" / "1.png"
    path.write_bytes(path.read_bytes()[:-30] if content is None else content)
    with pytest.raises(ValueError, match="cannot be read") as caught:
        load_source(str(folder))
    assert str(path) in str(caught.value)


def test_images_of_more_than_eight_bits_are_refused(folder: Path) -> None:
    path = folder / "train" / "dog" / "1.png"
    Image.new("I;16", (6, 4), 40_000).save(path)
    with pytest.raises(ValueError, match=r"1\.png cannot be read: .*8 bits"):
        load_source(str(folder))


def test_a_layout_that_is_not_there(folder: Path, tmp_path: Path) -> None:
    (folder / "val" / "bird").mkdir()
    with pytest.raises(ValueError, match="bird holds no image"):
        load_source(str(folder))
    write(folder / "val" / "bird" / "0.png")
    with pytest.raises(ValueError, match="the class 'bird', which train does not have"):
        load_source(str(folder))
    with pytest.raises(
        ValueError, match=r"val has no train/ and neither val/ nor test/: expected train/<class>"
    ):
        load_source(str(folder / "val"))
    (folder / "val").rename(folder / "valid")
    with pytest.raises(ValueError, match="pets has neither val/ nor test/: expected"):
        load_source(str(folder))
    (folder / "train").rename(folder / "test")
    with pytest.raises(ValueError, match="pets has no train/: expected"):
        load_source(str(folder))
    (tmp_path / "bare" / "train").mkdir(parents=True)
    (tmp_path / "bare" / "val").mkdir()
    with pytest.raises(ValueError, match="has no folders of classes"):
        load_source(str(tmp_path / "bare"))


@pytest.mark.parametrize("size", [0, (3,), (0, 4), "big"])
def test_a_bad_size(folder: Path, size: object) -> None:
    with pytest.raises(ValueError, match="size is"):
        load_source("image-folder", path=folder, size=size)


def test_a_part_does_not_pass_for_tiny_imagenet(folder: Path) -> None:
    folder.rename(folder.parent / "tiny-imagenet-20")
    with pytest.raises(ValueError, match=r"tiny-imagenet is not in .*image-folder\(path="):
        load_source("tiny-imagenet", root=folder.parent)
    assert load_source("image-folder", path="tiny-imagenet-20", root=folder.parent).outputs == 2


def test_tiny_imagenet_as_it_is_distributed(tmp_path: Path) -> None:
    top = tmp_path / "tiny-imagenet-200"
    for number, kind in enumerate(["n01", "n02"]):
        write(top / "train" / kind / "images" / f"{kind}_0.JPEG", (100 * number, 0, 0), (64, 64))
        write(top / "val" / "images" / f"val_{number}.JPEG", (100 * number, 0, 0), (64, 64))
    table = top / "val" / "val_annotations.txt"
    table.write_text("val_0.JPEG\tn02\t0\t0\t62\t62\nval_1.JPEG\tn01\t0\t0\t62\t62\n")
    source = load_source("tiny-imagenet", root=tmp_path)
    assert source.train_targets.tolist() == [0, 1]
    assert source.test_targets.tolist() == [1, 0]
    assert source.input_shape == (3, 64, 64)
    table.write_text("val_0.JPEG\tn02\nval_7.JPEG\tn01\n")
    with pytest.raises(ValueError, match=r"val_annotations\.txt cannot be read: line 2"):
        load_source("tiny-imagenet", root=tmp_path)
