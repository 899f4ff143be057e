from __future__ import annotations

import gzip
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets  # noqa: F401  # its first import draws from `random`
import torch
from torch import Tensor

from hare_tortoise.streams import Source

MakeSource = Callable[..., Source]


@pytest.fixture(autouse=True)
def global_random_states_stay() -> Iterator[None]:
    """Nothing in this folder may draw from a global generator."""
    before = torch.get_rng_state(), random.getstate(), repr(np.random.get_state())
    yield
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
    assert before[2] == repr(np.random.get_state())


@pytest.fixture(autouse=True)
def no_data_of_the_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if request.node.get_closest_marker("data") is None:
        monkeypatch.setenv("HARE_TORTOISE_DATA", str(tmp_path / "no data"))


@pytest.fixture
def make_source() -> MakeSource:
    def make(count: int = 40, classes: int = 4, *, sort: bool = False) -> Source:
        """Inputs hold their own row number; labels go round, or are sorted by class."""
        labels = torch.arange(count) % classes
        return Source(
            "made",
            train_inputs=torch.arange(count).float().unsqueeze(1),
            train_targets=labels.sort().values if sort else labels,
            test_inputs=torch.arange(classes).float().unsqueeze(1),
            test_targets=torch.arange(classes),
            outputs=classes,
            input_shape=(1,),
        )

    return make


def idx_bytes(values: Tensor) -> bytes:
    header = bytes([0, 0, 8, values.ndim]) + b"".join(side.to_bytes(4, "big") for side in values.shape)
    return header + bytes(values.to(torch.uint8).flatten().tolist())


@pytest.fixture
def mnist_arrays() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "train-images-idx3-ubyte": torch.randint(256, (12, 5, 4), generator=generator),
        "train-labels-idx1-ubyte": torch.arange(12) % 10,
        "t10k-images-idx3-ubyte": torch.randint(256, (6, 5, 4), generator=generator),
        "t10k-labels-idx1-ubyte": torch.arange(6),
    }


@pytest.fixture
def mnist_root(tmp_path: Path, mnist_arrays: dict[str, Tensor]) -> Path:
    """Files of MNIST's form, two gzipped and two not."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for number, (name, values) in enumerate(mnist_arrays.items()):
        content = idx_bytes(values)
        if number % 2:
            (raw / name).write_bytes(content)
        else:
            (raw / f"{name}.gz").write_bytes(gzip.compress(content))
    return tmp_path
