"""Samples per second of `compare`'s training loop on MNIST, against an image folder and a bare loop.

Run it with `python -m benchmarks.throughput`.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, pad
from torch.utils.data import DataLoader, Dataset

from benchmarks.harness import Outcome, Row, median_row, ratio_row, script, take_turns
from hare_tortoise import HareTortoise
from hare_tortoise.lab.building import Setup
from hare_tortoise.lab.composition import take_apart
from hare_tortoise.lab.recipe import Recipe
from hare_tortoise.lab.training import Training
from hare_tortoise.lab.trial import Trial
from hare_tortoise.networks import mlp
from hare_tortoise.streams import Normalise, Source, growing, load_source

BATCH = 256
WORKERS = 2
THREADS = (WORKERS, 1)
RECIPE = Recipe(
    name="throughput",
    methods=("hare-tortoise(decay=0.999, reset_every=100)",),
    scenario="growing(chunks=1, label_noise=0.0)",
    network="mlp(hidden=(512, 256), batch_norm=True)",
    epochs=1,
    batch_size=BATCH,
)
Batches = Iterable[tuple[Tensor, Tensor]]


class ImageFolder(Dataset[tuple[Tensor, int]]):
    """Grey PNG files in one folder per class, decoded and normalised when asked for."""

    def __init__(self, folder: Path, prepare: Normalise) -> None:
        self.files = sorted(folder.glob("*/*.png"))
        self.labels = [int(file.parent.name) for file in self.files]
        self.mean, self.std = prepare.mean[0], prepare.std[0]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self.files[index]) as image:
            pixels = np.array(image)
        return torch.from_numpy(pixels).unsqueeze(0).float().sub_(self.mean).div_(self.std), self.labels[
            index
        ]


def images(quick: bool) -> Source:
    """MNIST where it is at hand, else as many images of its form, drawn from scikit-learn's digits."""
    root = os.environ.get("HARE_TORTOISE_DATA")
    if root and not quick and (Path(root) / "MNIST").is_dir():
        return load_source("mnist", root=Path(root))
    digits = load_digits()
    generator = torch.Generator().manual_seed(0)
    count = 600 if quick else 60_000
    rows = torch.randint(len(digits.images), (count,), generator=generator)
    small = torch.from_numpy(digits.images).float().unsqueeze(1)
    grey = pad(interpolate(small, size=(20, 20), mode="bilinear") * (255 / 16), (4, 4, 4, 4)).round()
    shift = torch.randint(-3, 4, (len(grey), 2), generator=generator).tolist()
    moved = [torch.roll(image, tuple(by), dims=(1, 2)) for image, by in zip(grey, shift, strict=True)]
    inputs, targets = torch.stack(moved).to(torch.uint8)[rows], torch.from_numpy(digits.target)[rows]
    return Source(
        "digits, enlarged",
        inputs,
        targets,
        inputs[:1000],
        targets[:1000],
        outputs=10,
        input_shape=(1, 28, 28),
        prepare=Normalise.of(inputs),
    )


def write_pngs(source: Source, folder: Path) -> None:
    """Write the training images as PNG files, one folder per class."""
    for label in range(source.outputs):
        (folder / str(label)).mkdir()
    pairs = zip(source.train_inputs.numpy(), source.train_targets.tolist(), strict=True)
    for index, (image, label) in enumerate(pairs):
        Image.fromarray(image[0]).save(folder / str(label) / f"{index:05}.png")


def network() -> nn.Module:
    """The paper's perceptron for MNIST, with the same weights for everyone."""
    torch.manual_seed(0)
    return mlp((1, 28, 28), 10, hidden=(512, 256), batch_norm=True)


def laboratory(source: Source) -> float:
    """Seconds of training that the laboratory reports for one epoch with Hare & Tortoise."""
    stream = growing(source, chunks=1, label_noise=0.0)
    model = network()
    setup = Setup(
        trial=Trial(RECIPE, RECIPE.methods[0], 1.0, 0),
        composition=take_apart(RECIPE.methods[0]),
        stream=stream,
        model=model,
        method=HareTortoise(model, decay=0.999, reset_every=100),
        augment=None,
        device=torch.device("cpu"),
    )
    last = Training(setup).finish()[-1]
    if last["samples"] != len(source.train_inputs):
        raise RuntimeError(f"one epoch took {last['samples']} samples, expected {len(source.train_inputs)}")
    return float(last["seconds"])


def loop(batches: Callable[[], Batches], *, pair: bool, log: bool) -> float:
    """Seconds of one epoch of a loop written by hand, with the same optimizer, clipping and warm-up."""
    model = network()
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=RECIPE.lr, weight_decay=RECIPE.weight_decay, fused=True)
    warm_up = RECIPE.warmup * 60_000 / BATCH
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / warm_up))
    if pair:
        HareTortoise(model, optimizer, decay=0.999, reset_every=100)
    model.train()
    logged: list[float] = []
    start = time.perf_counter()
    for inputs, targets in batches():
        optimizer.zero_grad()
        loss = cross_entropy(model(inputs), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 0.5)
        optimizer.step()
        schedule.step()
        if log:
            logged.append(loss.item())
    return time.perf_counter() - start


def in_memory(source: Source) -> Callable[[], Batches]:
    """Shuffled batches of images that were normalised beforehand."""
    assert source.prepare is not None
    inputs, targets = source.prepare(source.train_inputs), source.train_targets

    def batches() -> Batches:
        order = torch.randperm(len(inputs))
        for rows in torch.split(order, BATCH):
            yield inputs.index_select(0, rows), targets.index_select(0, rows)

    return batches


def empty_loop(batches: Callable[[], Batches]) -> float:
    """Seconds of going through the batches alone."""
    start = time.perf_counter()
    for _ in batches():
        pass
    return time.perf_counter() - start


def measure(quick: bool) -> Outcome:
    """Train an epoch in each way, in turn."""
    source = images(quick)
    count, rounds = len(source.train_inputs), 1 if quick else 5
    assert isinstance(source.prepare, Normalise)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        write_pngs(source, Path(folder))
        files = ImageFolder(Path(folder), source.prepare)
        loader = DataLoader(
            files, batch_size=BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True
        )
        for threads in THREADS:
            torch.set_num_threads(threads)
            seconds = _seconds(source, loader, rounds)
            rows += _rows(seconds, count, threads, judged=threads == max(THREADS))
    return Outcome(title="Throughput", setting=_setting(source, rounds), rows=rows)


def _seconds(source: Source, loader: Batches, rounds: int) -> dict[str, list[float]]:
    bare = in_memory(source)
    seconds = take_turns(
        {
            "compare's loop with Hare & Tortoise": lambda: laboratory(source),
            "bare loop in memory, nothing of ours": lambda: loop(bare, pair=False, log=False),
            "image folder, same step, .item() each step": lambda: loop(lambda: loader, pair=True, log=True),
            "the image folder's loader alone": lambda: empty_loop(lambda: loader),
        },
        rounds + 1,
    )
    # the first round warms up: workers start, files enter the page cache
    return {name: values[1:] for name, values in seconds.items()}


def _rows(seconds: dict[str, list[float]], count: int, threads: int, *, judged: bool) -> list[Row]:
    words = "1 thread" if threads == 1 else f"{threads} threads"
    rows = [
        median_row(f"{name} ({words})", [count / value for value in values], "samples/s")
        for name, values in seconds.items()
    ]
    ours, bare, folder, _ = seconds.values()
    for name, peer, target in (("image folder", folder, 3.0), ("bare loop", bare, 0.9)):
        what = f"compare's loop / {name}, samples per second ({words})"
        rows.append(ratio_row(what, peer, ours, at_least=target if judged else None))
    return rows


def _setting(source: Source, rounds: int) -> str:
    return (
        f"{len(source.train_inputs):,} images of 28×28 ({source.name}), MLP 784-512-256-10 with BatchNorm, "
        f"batch {BATCH}, fused AdamW, clipping, warm-up, a reset every 100 steps, one epoch at a time in "
        f"turns, medians of {rounds} after one to warm up; seconds are those of training alone. The image "
        f"folder is read by `DataLoader(num_workers={WORKERS}, persistent_workers=True)`. The targets are "
        "judged where everyone trains with as many threads as the loader has workers; with fewer, the "
        "loader has cores that the others leave idle."
    )


if __name__ == "__main__":
    script(measure, __doc__)
