from __future__ import annotations

import gzip
import inspect
import io
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hare_tortoise.streams import SOURCES, Source, growing, load_source
from hare_tortoise.streams import files as files_module
from hare_tortoise.streams.idx import read_idx


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str, path: Path, md5: str) -> Path:
        raise ConnectionError("no network")

    monkeypatch.setattr(files_module, "download", refuse)


def cifar_rows(count: int, labels: int, outputs: int, seed: int) -> bytes:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(256, (count, labels + 3072), generator=generator, dtype=torch.uint8)
    rows[:, :labels] = (torch.arange(count) % outputs).unsqueeze(1)
    return bytes(rows.flatten().tolist())


@pytest.fixture
def cifar_files() -> dict[str, bytes]:
    ten = {f"cifar-10-batches-bin/data_batch_{n}.bin": cifar_rows(4 + n, 1, 10, n) for n in range(1, 6)}
    ten["cifar-10-batches-bin/test_batch.bin"] = cifar_rows(3, 1, 10, 6)
    hundred = {f"cifar-100-binary/{name}.bin": cifar_rows(25, 2, 20, 7) for name in ("train", "test")}
    return ten | hundred


@pytest.fixture
def cifar_root(tmp_path: Path, cifar_files: dict[str, bytes]) -> Path:
    for name, content in cifar_files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def cifar_archives(tmp_path: Path, cifar_files: dict[str, bytes]) -> Path:
    root = tmp_path / "archives"
    root.mkdir()
    for number, folder in (("10", "cifar-10-batches-bin"), ("100", "cifar-100-binary")):
        with tarfile.open(root / f"cifar-{number}-binary.tar.gz", "w:gz") as archive:
            for name, content in cifar_files.items():
                if name.startswith(folder):
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    return root


def prepared(source: Source, inputs: Tensor) -> Tensor:
    assert source.prepare is not None
    return source.prepare(inputs).double()


def check_normalised_by_train(source: Source) -> None:
    """Both splits by the statistics of train, in float64."""
    train = source.train_inputs.double()
    mean, std = train.mean((0, 2, 3), keepdim=True), train.std((0, 2, 3), correction=0, keepdim=True)
    [(given, _)] = source.test.batches(len(source.test_inputs))
    for got, stored in (
        (prepared(source, source.train_inputs), train),
        (given.double(), source.test_inputs.double()),
    ):
        torch.testing.assert_close(got, (stored - mean) / std, rtol=1e-5, atol=1e-5)
    assert source.train_inputs.dtype == torch.uint8


def test_mnist_from_idx_files_gzipped_or_not(mnist_root: Path, mnist_arrays: dict[str, Tensor]) -> None:
    source = load_source("mnist", root=mnist_root)
    images, labels, test_images, test_labels = mnist_arrays.values()
    assert torch.equal(source.train_inputs, images.unsqueeze(1).to(torch.uint8))
    assert torch.equal(source.test_inputs, test_images.unsqueeze(1).to(torch.uint8))
    assert torch.equal(source.train_targets, labels)
    assert torch.equal(source.test_targets, test_labels)
    assert (source.name, source.outputs, source.input_shape) == ("mnist", 10, (1, 5, 4))
    check_normalised_by_train(source)


def test_the_check_notices_a_test_set_normalised_by_itself(mnist_root: Path) -> None:
    source = load_source("mnist", root=mnist_root)
    leaking = replace(source, prepare=type(source.prepare).of(source.test_inputs))  # type: ignore[union-attr]
    with pytest.raises(AssertionError):
        check_normalised_by_train(leaking)


def test_the_environment_says_where_the_data_are(mnist_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARE_TORTOISE_DATA", str(mnist_root))
    assert len(load_source("MNIST").train_inputs) == 12
    (mnist_root / "MNIST").rename(mnist_root / "FashionMNIST")
    assert load_source("fashion_mnist").name == "fashion-mnist"


def test_cifar_extracted_and_as_archive(cifar_root: Path, cifar_archives: Path) -> None:
    for name, outputs, counts in (("cifar10", 10, (35, 3)), ("cifar100", 100, (25, 25))):
        extracted, archived = (load_source(name, root=root) for root in (cifar_root, cifar_archives))
        assert extracted.digest == archived.digest
        assert (len(extracted.train_inputs), len(extracted.test_inputs)) == counts
        assert (extracted.outputs, extracted.input_shape) == (outputs, (3, 32, 32))
        check_normalised_by_train(extracted)


def test_cifar_rows_are_label_then_planes(cifar_root: Path) -> None:
    row = bytearray(2 + 3072)
    row[0], row[1] = 7, 42
    row[2 + 1024 + 32 * 5 + 9] = 200
    for name in ("train", "test"):
        (cifar_root / "cifar-100-binary" / f"{name}.bin").write_bytes(row)
    fine, coarse = (
        load_source("cifar100", root=cifar_root),
        load_source("cifar100", root=cifar_root, coarse=True),
    )
    assert fine.train_inputs.nonzero().tolist() == [[0, 1, 5, 9]]
    assert (fine.train_targets.tolist(), fine.outputs) == ([42], 100)
    assert (coarse.train_targets.tolist(), coarse.outputs) == ([7], 20)
    assert fine.digest != coarse.digest


def damage(path: Path, how: Callable[[bytes], bytes]) -> Path:
    path.write_bytes(how(path.read_bytes()))
    return path


def shorten(content: bytes) -> bytes:
    return content[:-20]


@pytest.mark.parametrize(
    ("name", "how", "message"),
    [
        ("train-images-idx3-ubyte.gz", shorten, "end-of-stream"),
        (
            "train-images-idx3-ubyte.gz",
            lambda content: content[:20] + b"\xff" * 40 + content[60:],
            "cannot be read",
        ),
        ("train-images-idx3-ubyte.gz", lambda _: gzip.compress(b"\0\0\x0d\x01" + bytes(8)), "idx type 0x0d"),
        ("train-images-idx3-ubyte.gz", lambda _: gzip.compress(b"\0\0\x08\x01\0\0\0\x02ab"), "1 dimensions"),
        ("train-images-idx3-ubyte.gz", lambda _: b"", "no idx file"),
        ("train-labels-idx1-ubyte", lambda _: b"<html>not found</html>", "no idx file"),
        ("train-labels-idx1-ubyte", lambda content: content[:7], "it ends within its header"),
        ("train-labels-idx1-ubyte", lambda content: content[:-3], r"9 values, its header says \[12\]"),
        ("train-labels-idx1-ubyte", lambda content: content + b"a", r"13 values, its header says \[12\]"),
        ("train-labels-idx1-ubyte", lambda content: content[:-1] + b"\x0a", "the label 10"),
        (
            "train-labels-idx1-ubyte",
            lambda _: b"\0\0\x08\x01\0\0\0\x02ab",
            r"\(2,\) labels for the 12 images",
        ),
        ("train-labels-idx1-ubyte", lambda _: b"\0\0\x08\x01\0\0\0\0", "it is empty"),
        ("t10k-images-idx3-ubyte.gz", lambda _: b"\0\0\x08\x03\0\0\0\x06\0\0\0\1\0\0\0\1" + bytes(6), "1, 1"),
    ],
)
def test_a_corrupt_idx_file_is_named(
    mnist_root: Path, name: str, how: Callable[[bytes], bytes], message: str
) -> None:
    path = damage(mnist_root / "MNIST" / "raw" / name, how)
    with pytest.raises(ValueError, match=message) as caught:
        load_source("mnist", root=mnist_root)
    assert str(path) in str(caught.value)


def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=str(tmp_path)):
        read_idx(tmp_path)


@pytest.mark.parametrize(
    ("name", "how", "message"),
    [
        ("data_batch_3.bin", shorten, "rows of 3073"),
        ("data_batch_3.bin", lambda _: b"", "it has 0 bytes"),
        ("test_batch.bin", lambda content: b"\x63" + content[1:], "row 0 has the label 99"),
    ],
)
def test_a_corrupt_cifar_file_is_named(
    cifar_root: Path, name: str, how: Callable[[bytes], bytes], message: str
) -> None:
    path = damage(cifar_root / "cifar-10-batches-bin" / name, how)
    with pytest.raises(ValueError, match=message) as caught:
        load_source("cifar10", root=cifar_root)
    assert str(path) in str(caught.value)


def test_a_missing_cifar_file_is_named(cifar_root: Path) -> None:
    (cifar_root / "cifar-10-batches-bin" / "data_batch_4.bin").unlink()
    with pytest.raises(ValueError, match=r"cifar-10-batches-bin lacks data_batch_4\.bin"):
        load_source("cifar10", root=cifar_root)


@pytest.mark.parametrize("keep", [slice(None, 5000), slice(None, -300), slice(0), slice(100, None)])
def test_a_corrupt_archive_is_named(cifar_archives: Path, keep: slice) -> None:
    path = damage(cifar_archives / "cifar-10-binary.tar.gz", lambda content: content[keep])
    with pytest.raises(ValueError, match=str(path)):
        load_source("cifar10", root=cifar_archives)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mnist", ("train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz", "MNIST/raw")),
        ("fashion-mnist", ("train-images-idx3-ubyte.gz", "FashionMNIST/raw")),
        ("cifar10", ("cifar-10-binary.tar.gz",)),
        ("cifar100", ("cifar-100-binary.tar.gz",)),
    ],
)
def test_without_data_and_network_the_error_says_which_files_to_put_where(
    tmp_path: Path, name: str, words: tuple[str, ...]
) -> None:
    with pytest.raises(ValueError, match="no network") as caught:
        load_source(name, root=tmp_path)
    for word in (*words, str(tmp_path), "--data-root", "HARE_TORTOISE_DATA"):
        assert word in str(caught.value)


@pytest.mark.usefixtures("offline")
def test_only_what_is_missing_is_asked_for(mnist_root: Path) -> None:
    (mnist_root / "MNIST" / "raw" / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(ValueError, match=r"Put train-labels-idx1-ubyte\.gz into"):
        load_source("mnist", root=mnist_root)


def test_tiny_imagenet_says_where_it_belongs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"tiny-imagenet is not in {tmp_path}") as caught:
        load_source("tiny-imagenet", root=tmp_path)
    for words in ("tiny-imagenet-200.zip", str(tmp_path / "tiny-imagenet-200" / "train"), "--data-root"):
        assert words in str(caught.value)


def test_digits_is_split_alike_for_everyone() -> None:
    from sklearn.datasets import load_digits

    source = load_source("digits")
    pixels, labels = load_digits(return_X_y=True)
    everything = torch.cat([source.train_inputs, source.test_inputs]).double()
    stored = ((everything + 0.3) * 16).round().long().tolist()
    assert sorted(stored) == sorted(torch.from_numpy(pixels).long().tolist())
    assert float(everything.min()) == pytest.approx(-0.3)
    assert float(everything.max()) == pytest.approx(0.7)
    together = torch.cat([source.train_targets, source.test_targets])
    assert together.bincount().tolist() == torch.from_numpy(labels).bincount().tolist()
    assert (len(source.train_inputs), len(source.test_inputs)) == (1400, 397)
    assert source.digest == load_source("digits").digest
    assert source.digest.startswith("5b25f92e")


def abs_of() -> Callable[[Tensor], Tensor]:
    def prepare(inputs: Tensor) -> Tensor:
        return inputs.abs()

    return prepare


def test_the_digest_tells_data_apart() -> None:
    source = load_source("digits")
    changed = source.train_inputs.clone()
    changed[700, 30] += 1e-3
    swapped = source.test_targets.flip(0)
    digests = {
        source.digest,
        replace(source, train_inputs=changed).digest,
        replace(source, test_targets=swapped).digest,
        replace(source, outputs=11).digest,
        replace(source, prepare=torch.abs).digest,
    }
    assert len(digests) == 5
    assert replace(source, name="other").digest == source.digest
    functions = [replace(source, prepare=abs_of()).digest for _ in range(2)]
    assert functions[0] == functions[1] != source.digest


def test_a_source_on_its_device_is_itself() -> None:
    source = load_source("digits")
    assert source.to("cpu") is source
    assert source.to("meta").test_targets.device.type == "meta"


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_sources_by_name(name: str) -> None:
    function = SOURCES[name]
    assert "root" in inspect.signature(function).parameters
    first = (function.__doc__ or "").splitlines()[0]
    assert first.endswith(".")
    assert function.__name__ == name.replace("-", "_")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("minst", {}, "unknown source 'minst'; did you mean 'mnist'"),
        (
            "nothing-like-it",
            {},
            r"there are: bits, cifar10, cifar100, digits.*; or give the path of an \.npz",
        ),
        ("digits", {"size": 3}, "unknown setting of source digits 'size'"),
        ("image-folder", {}, r"needs path: write image-folder\(path="),
        ("image_folder", {"path": ".", "sise": 3}, "'sise'; did you mean 'size'"),
        ("npz", {"path": "missing.npz"}, r"there is no file .*missing\.npz or .*no data/missing\.npz"),
        ("missing.npz", {}, r"there is no file .*missing\.npz or .*no data/missing\.npz"),
        ("npz", {"path": "/no/such.npz"}, r"there is no file /no/such\.npz: give"),
        (
            "image-folder",
            {"path": "./nophotos"},
            r"there is no folder .*/nophotos or .*no data/nophotos: expected",
        ),
        ("image-folder", {"path": "/no/photos"}, r"there is no folder /no/photos: expected train/<class>"),
    ],
)
def test_wrong_names_and_settings(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_source(name, **settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_targets": torch.zeros(3, dtype=torch.int64)}, "test has 397 inputs and 3 targets"),
        ({"test_inputs": torch.zeros(397, 3)}, r"test inputs have the shape \(3,\)"),
        ({"outputs": 9}, "between 0 and 8"),
        ({"test_targets": torch.zeros(397)}, "test labels are torch.float32: give int64"),
    ],
)
def test_parts_that_do_not_fit(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(load_source("digits"), **change)  # type: ignore[arg-type]


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "mean", "std"), [("mnist", 0.1307, 0.3081), ("fashion-mnist", 0.2860, 0.3530)]
)
def test_the_real_files(name: str, mean: float, std: float) -> None:
    source = load_source(name)
    assert (len(source.train_inputs), len(source.test_inputs)) == (60_000, 10_000)
    [(inputs, _)] = source.test.batches(10_000)
    oracle = (source.test_inputs.double() / 255 - mean) / std
    torch.testing.assert_close(inputs.double(), oracle, rtol=1e-3, atol=1e-3)
    assert [len(chunk.train) for chunk in growing(source)] == [6000 * n for n in range(1, 11)]


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "settings", "outputs"),
    [("cifar10", {}, 10), ("cifar100", {}, 100), ("image-folder", {"path": "tiny-imagenet-20"}, 20)],
)
def test_the_real_images(name: str, settings: dict[str, Any], outputs: int) -> None:
    source = load_source(name, **settings)
    counts = source.train_targets.bincount()
    assert int(counts.min()) == int(counts.max())
    assert len(counts) == source.outputs == outputs
    assert 0.4 < float(source.train_inputs.double().mean()) / 255 < 0.55
    assert source.test_inputs.shape[1:] == source.train_inputs.shape[1:]
