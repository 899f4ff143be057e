"""A folder of images that is not in memory gives what it gives in memory, by class and by time."""

from __future__ import annotations

import importlib
import os
import pickle
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from hare_tortoise.streams import (
    Chunk,
    Examples,
    LoaderExamples,
    LoaderSource,
    Normalise,
    Source,
    Stream,
    class_incremental,
    crop_flip,
    growing,
    limited,
    load_source,
    warm_start,
)
from tests.streams.pictures import write_pictures

SIZE = 8

module = importlib.import_module(
    "hare_tortoise.streams.sources.image_folder"
)  # not the function of that name


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("data") / "pictures")


def load(top: Path, **settings: Any) -> Source:
    return load_source("image-folder", path=top, size=SIZE, **{"workers": 0, **settings})


@pytest.fixture(scope="module")
def sources(top: Path) -> tuple[Source, Source]:
    """In memory, and read by two processes."""
    return load(top, in_memory=True, times="name"), load(top, in_memory=False, times="name", workers=2)


def assert_same(here: Examples, there: Examples) -> None:
    assert type(here) is not type(there)
    for seed in (None, 3):
        settings: dict[str, Any] = {}
        pairs = []
        for data in (here, there):
            if seed is not None:
                settings = {"generator": torch.Generator().manual_seed(seed), "augment": crop_flip(2)}
            pairs.append(list(data.batches(4, **settings)))
        for (x, y), (other_x, other_y) in zip(*pairs, strict=True):
            assert x.dtype == other_x.dtype == torch.float32
            assert torch.equal(x, other_x)
            assert torch.equal(y, other_y)


def examples_of(chunk: Chunk) -> list[Examples]:
    return [each for each in (chunk.train, chunk.validation, chunk.everything, *chunk.tests.values()) if each]


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda s: growing(s, chunks=3, label_noise=(0.5, 0.2, 0), seed=1), id="growing"),
        pytest.param(lambda s: growing(s, chunks=3, order="time", validation=0.2), id="by time"),
        pytest.param(lambda s: warm_start(s, first=0.3, label_noise=0.5, validation=0.2), id="warm start"),
        pytest.param(lambda s: limited(s, chunks=4, memory=5, sample="balanced", seed=2), id="limited"),
        pytest.param(lambda s: limited(s.take(20, 5), chunks=4, memory=3), id="fewer rows"),
        pytest.param(lambda s: class_incremental(s, increments=3), id="by class"),
    ],
)
def test_the_same_batches_bit_for_bit(
    sources: tuple[Source, Source], make: Callable[[Source], Stream]
) -> None:
    for here, there in zip(*(make(source) for source in sources), strict=True):
        for pair in zip(examples_of(here), examples_of(there), strict=True):
            assert_same(*pair)


def test_what_a_source_says_of_itself(sources: tuple[Source, Source]) -> None:
    here, there = sources
    assert isinstance(there, LoaderSource)
    assert not isinstance(here, LoaderSource)
    for name in ("name", "outputs", "input_shape", "task", "prepare"):
        assert getattr(here, name) == getattr(there, name), name
    assert torch.equal(here.train_targets, there.train_targets)
    assert torch.equal(here.test_targets, there.test_targets)
    assert repr(there) == "LoaderSource('pictures', 30 to train on, 8 to test on, not in memory)"
    moved = there.to("meta").part(torch.tensor([3]), torch.tensor([0])).batches(1)
    assert next(iter(moved))[0].device.type == "meta"
    sent = pickle.loads(pickle.dumps(there))
    assert sent.digest == there.digest
    assert_same(here.test, sent.test)


def test_what_changes_pixels_says_that_it_needs_them(sources: tuple[Source, Source]) -> None:
    for attribute in ("train_inputs", "test_inputs"):
        with pytest.raises(ValueError, match=r"pictures is read from files .* in_memory=True"):
            getattr(sources[1], attribute)


def test_the_statistics_are_those_of_the_pixels(
    sources: tuple[Source, Source], monkeypatch: Any, top: Path
) -> None:
    def exact(images: torch.Tensor) -> list[tuple[Fraction, Fraction]]:
        channels = [[Fraction(value) for value in each.flatten().tolist()] for each in images.unbind(1)]
        means = [sum(values, start=Fraction(0)) / len(values) for values in channels]
        return [
            (mean, sum(((value - mean) ** 2 for value in values), start=Fraction(0)) / len(values))
            for mean, values in zip(means, channels, strict=True)
        ]

    def check(found: Any, images: torch.Tensor) -> None:
        assert isinstance(found, Normalise)
        oracle = exact(images)
        assert found.mean == pytest.approx([float(mean) for mean, _ in oracle], rel=1e-15)
        assert found.std == pytest.approx([float(square) ** 0.5 for _, square in oracle], rel=1e-15)

    images = sources[0].train_inputs
    check(sources[1].prepare, images)
    monkeypatch.setattr(module, "STATISTICS_IMAGES", 7)
    here, there = load(top, in_memory=True), load(top, in_memory=False)
    assert here.prepare == there.prepare != sources[0].prepare
    check(here.prepare, images[module._sampled(30)])
    assert len(module._sampled(30)) == 7


def test_the_digest_is_of_names_sizes_and_classes(tmp_path: Path) -> None:
    top = write_pictures(tmp_path / "one", ending="bmp")
    copy = write_pictures(tmp_path / "two", ending="bmp")
    digest = load(top, in_memory=False).digest
    assert digest == load(copy, in_memory=False).digest == load(top, in_memory=False, workers=1).digest
    others = [
        load(top, in_memory=False, times="name"),
        load(top, in_memory=False, grey=True),
        load(top, in_memory=False).take(20),
        load_source("image-folder", path=top, size=9, in_memory=False, workers=0),
        load(top, in_memory=True),
    ]
    (copy / "train" / "kind0" / "999.bmp").rename(copy / "train" / "kind1" / "999.bmp")
    others.append(load(copy, in_memory=False))
    first = top / "train" / "kind0" / "999.bmp"
    first.write_bytes(first.read_bytes() + b" ")
    others.append(load(top, in_memory=False))
    assert len({digest, *(each.digest for each in others)}) == len(others) + 1


def test_large_folders_stay_on_the_disk(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = 38 * 3 * SIZE * SIZE
    for limit, kind in ((decoded, Source), (decoded - 1, LoaderSource)):
        monkeypatch.setattr(module, "IN_MEMORY_BYTES", limit)
        assert type(load(top)) is kind
    assert type(load(top, in_memory=True)) is Source


def test_time_goes_by_names_by_modification_or_by_a_table(top: Path, tmp_path: Path) -> None:
    files = [path for kind in range(3) for path in sorted((top / "train" / f"kind{kind}").iterdir())]
    names = [int(path.stem) for path in files]
    by_name = load(top, in_memory=False, times="name")
    assert by_name.train_times is not None
    assert by_name.train_times.argsort().tolist() == sorted(range(30), key=lambda row: names[row])
    for place, path in enumerate(files):
        os.utime(path, ns=(0, 10**18 + (7 * place) % 30))
    by_modification = load(top, in_memory=True, times="modified")
    assert by_modification.train_times is not None
    assert by_modification.train_times.tolist() == [10**18 + (7 * place) % 30 for place in range(30)]
    table = tmp_path / "taken.csv"
    lines = [
        f"{path.relative_to(top)},2020-01-01T00:00:{place % 7:02}+00:00" for place, path in enumerate(files)
    ]
    table.write_text("\n".join(["name,time", *reversed(lines)]))
    by_table = load(top, in_memory=False, times=str(table))
    assert by_table.train_times is not None
    assert by_table.train_times.tolist() == [1_577_836_800 * 10**9 + place % 7 * 10**9 for place in range(30)]
    assert len({each.digest for each in (by_name, by_table, load(top, in_memory=False))}) == 3


def test_a_stream_by_time_goes_on_as_the_images_came(top: Path, sources: tuple[Source, Source]) -> None:
    times = sources[1].train_times
    assert times is not None
    came = times.argsort()
    for index, chunk in enumerate(limited(sources[1], chunks=3, memory=0, order="time", seed=4)):
        part = came[10 * index : 10 * index + 10]
        assert_same(sources[0].part(part, sources[0].train_targets[part]), chunk.train)
    for index, chunk in enumerate(growing(sources[1], chunks=3, order="time", validation=0.2)):
        assert chunk.validation is not None
        aside = torch.cat([came[10 * part + 8 : 10 * part + 10] for part in range(index + 1)])
        assert_same(sources[0].part(aside, sources[0].train_targets[aside]), chunk.validation)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_is_named_when_it_is_read(tmp_path: Path, workers: int) -> None:
    top = write_pictures(tmp_path / "pictures", ending="png")
    source = load_source("image-folder", path=top, in_memory=False, workers=workers)
    broken = top / "test" / "kind1" / "998.png"
    broken.write_bytes(broken.read_bytes()[:40])
    with pytest.raises(ValueError, match=r"998\.png cannot be read: [^\n]*Remove it [^\n]*$") as caught:
        list(source.test.batches(2))
    assert str(broken) in str(caught.value)
    Image.new("RGB", (5, 6)).save(broken)
    with pytest.raises(
        ValueError, match=r"998\.png has 6 x 5 pixels, [^\n]*972\.png has 10 x 12: give size="
    ):
        list(source.test.batches(2))
    broken.unlink()
    with pytest.raises(ValueError, match=r"998\.png cannot be read: .*No such file"):
        list(source.test.batches(2))


def test_a_table_of_times_that_is_not_as_expected(top: Path, tmp_path: Path) -> None:
    table = tmp_path / "taken.csv"
    with pytest.raises(ValueError, match=r"times is 'size': give 'name', 'modified'"):
        load(top, in_memory=False, times="size")
    with pytest.raises(ValueError, match=r"times is .*taken\.csv"):
        load(top, in_memory=False, times=str(table))
    for content, message in (
        ("name,when\na,1", r"its columns are \['name', 'when'\], expected name and time"),
        ("name,time\na,soon", "line 2 has no whole number and no ISO date"),
        ("name,time\na", "line 2 has no whole number and no ISO date"),
        ("name,time\na,1", r"has no time for train/kind0/\d+\.jpg, and 29 more"),
    ):
        table.write_text(content)
        with pytest.raises(ValueError, match=message):
            load(top, in_memory=False, times=str(table))


def numbers(count: int, **settings: Any) -> LoaderSource:
    labels = torch.arange(5) % 2
    settings = {"outputs": 2, "input_shape": (), "content": "numbers", "workers": 0, **settings}
    return LoaderSource(
        "numbers", TensorDataset(torch.arange(5.0), labels), labels[:3], labels[3:count], **settings
    )


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: numbers(4), r"3 \+ 1 targets for the 5 rows"),
        (lambda: numbers(5, outputs=1), "between 0 and 0"),
        (lambda: numbers(5, train_times=torch.arange(2)), "give int64, one for each of the 3"),
        (lambda: numbers(5, workers=-1), "workers is -1"),
        (lambda: numbers(5).take(4), "rows is 4: give a whole number from 1 to the 3"),
        (lambda: growing(numbers(5), chunks=2, order="time"), "numbers does not say when its examples came"),
        (lambda: growing(numbers(5), chunks=2, order="size"), "order is 'size'"),  # type: ignore[arg-type]
    ],
)
def test_bad_input(act: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        act()


@pytest.mark.parametrize(("setting", "value"), [("workers", -1), ("workers", 1.5), ("in_memory", "yes")])
def test_bad_settings(top: Path, setting: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{setting} is"):
        load(top, **{setting: value})


def test_a_source_over_any_data_set() -> None:
    source = numbers(5, train_times=torch.tensor([5, -3, 4]))
    [chunk, _] = growing(source, chunks=2, order="time")
    assert isinstance(chunk.train, LoaderExamples)
    assert [x.tolist() for x, _ in chunk.train.batches(9)] == [[1.0, 2.0]]
    assert source.take(2).train_times is not None


@pytest.mark.data
def test_tiny_imagenet_in_memory_and_not() -> None:
    here, there = (
        load_source("image-folder", path="tiny-imagenet-20", in_memory=kept) for kept in (True, False)
    )
    for a, b in zip(growing(here, chunks=4), growing(there, chunks=4), strict=True):
        assert_same(a.tests["test"], b.tests["test"])
    assert_same(a.train, b.train)


@pytest.mark.slow
def test_speed_and_memory_of_a_folder_of_3000_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that a busy machine keeps; the figures are the benchmark's."""
    pytest.importorskip("ema_pytorch", reason="the extra `bench` is not installed")
    from benchmarks import image_folder as benchmark

    benchmark.write_images(tmp_path, 3000, 64)
    found = {row.what: row.value for row in benchmark.speeds("folder", tmp_path, rounds=3)}
    assert found["folder: stream / plain DataLoader, neither normalised"] > 0.6
    # Batches of such small images lie below the sliding threshold of glibc, which keeps the freed ones in the heap for
    # long; with a fixed one they go back at once, and what grows is what is held. Those of 224 pixels lie above it.
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "131072")
    [early, late, ratio] = benchmark.memory(tmp_path, early=500, rounds=1)
    assert early.value > 50
    assert late.value > 50
    assert ratio.value < 1.1
