"""Images per second and memory of a folder that is read as it is needed, against a plain DataLoader.

Run it with `python -m benchmarks.image_folder`.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Subset

from benchmarks.harness import Outcome, Row, median_row, quartiles, ratio_row, script, take_turns
from hare_tortoise.streams import LoaderExamples, LoaderSource, load_source

BATCH = 128
WORKERS = 2
EARLY = 2000
# Of the folder's images in one timed pass: short passes in turns, as what else the machine does changes slowly
PASS = 5120
ROOT = Path(__file__).parent.parent


def write_images(top: Path, count: int, side: int) -> None:
    """JPEG files of noise on gradients, from a seed: 15 to 20 kB each at 224 pixels; 20 classes, 40 files to test."""
    generator = np.random.default_rng(0)
    down, across = np.mgrid[0:side, 0:side].astype(np.float32)[..., None] / side
    for number in range(count + 40):
        folder = top / ("train" if number < count else "val") / f"class{number % 20:02}"
        folder.mkdir(parents=True, exist_ok=True)
        slopes = generator.uniform(-80, 80, (2, 3)).astype(np.float32)
        gradient = generator.uniform(60, 190, 3).astype(np.float32) + slopes[0] * down + slopes[1] * across
        coarse = generator.normal(0, 16, (side // 2, side // 2, 3)).astype(np.float32)
        noisy = gradient + coarse.repeat(2, axis=0).repeat(2, axis=1)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{number:05}.jpg", quality=85)


def source_of(folder: Path) -> LoaderSource:
    """The folder, read as it is needed."""
    source = load_source("image-folder", path=folder, in_memory=False, workers=WORKERS)
    assert isinstance(source, LoaderSource)
    return source


def pass_through(batches: Callable[[], Iterable[Sequence[torch.Tensor]]]) -> float:
    """Seconds of one pass, the start of processes included."""
    start = time.perf_counter()
    for _ in batches():
        pass
    return time.perf_counter() - start


def speeds(name: str, folder: Path, rounds: int) -> list[Row]:
    """Passes over training images in turns: the stream and the plain loader, with and without normalisation."""
    source = source_of(folder)
    chosen = torch.randperm(len(source.train_targets), generator=torch.Generator().manual_seed(0))[:PASS]
    count, prepare = len(chosen), source.prepare
    assert prepare is not None
    files = source.examples.reader.dataset
    ours = source.part(chosen, source.train_targets[chosen])
    raw = LoaderExamples(files, rows=chosen, workers=WORKERS)
    generator = torch.Generator().manual_seed(0)

    def plain() -> DataLoader[tuple[torch.Tensor, torch.Tensor]]:
        rows = Subset(files, chosen.tolist())
        return DataLoader(rows, batch_size=BATCH, shuffle=True, num_workers=WORKERS, generator=generator)

    seconds = take_turns(
        {
            "stream, before normalisation": lambda: pass_through(
                lambda: raw.batches(BATCH, generator=generator)
            ),
            "plain DataLoader": lambda: pass_through(plain),
            "stream": lambda: pass_through(lambda: ours.batches(BATCH, generator=generator)),
            "plain DataLoader, then normalised": lambda: pass_through(
                lambda: ((prepare(inputs), targets) for inputs, targets in plain())
            ),
        },
        rounds + 1,
    )
    # the first round warms up: files enter the page cache
    seconds = {what: values[1:] for what, values in seconds.items()}
    unprepared, bare, stream, normalised = seconds.values()
    rows = [
        median_row(f"{name}: {what}", [count / value for value in values], "images/s")
        for what, values in seconds.items()
    ]
    return [
        *rows,
        ratio_row(f"{name}: stream / plain DataLoader, neither normalised", bare, unprepared, at_least=0.9),
        ratio_row(f"{name}: stream / plain DataLoader, both normalised", normalised, stream, at_least=0.9),
        ratio_row(f"{name}: stream / plain DataLoader, the stream alone normalised", bare, stream),
    ]


def resident() -> int:
    """Bytes of this process and its children, what they share counted once."""
    pids = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
    total = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += next(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


def grow(folder: Path, early: int) -> None:
    """Print the memory after `early` images and after as many as there are, both with all batches read ahead."""
    torch.set_num_threads(1)
    source = source_of(folder)
    count = len(source.train_targets)
    rows = torch.arange(count + 8 * BATCH) % count
    seen, found = 0, list[int]()
    for _, targets in source.part(rows, source.train_targets[rows]).batches(BATCH):
        seen += len(targets)
        if len(found) < 2 and seen >= (early, count)[len(found)]:
            time.sleep(1)  # the workers read ahead as far as they may
            found.append(resident())
    print(*found)


def memory(folder: Path, early: int, rounds: int) -> list[Row]:
    """Memory early and late in a pass, of fresh processes."""
    command = [sys.executable, "-m", "benchmarks.image_folder", "--grow", str(folder), str(early)]
    pairs = []
    for _ in range(rounds):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"reading for the memory failed:\n{done.stderr}")
        first, last = map(int, done.stdout.split())
        pairs.append((first, last))
    ratios = [last / first for first, last in pairs]
    mebi = 2**20
    return [
        Row(
            what=f"memory after {early:,} images",
            value=statistics.median(p[0] for p in pairs) / mebi,
            unit="MiB",
        ),
        Row(what="memory after all images", value=statistics.median(p[1] for p in pairs) / mebi, unit="MiB"),
        Row(
            what="memory after all images / early",
            value=statistics.median(ratios),
            unit="x",
            spread=quartiles(ratios),
            at_most=1.05,
        ),
    ]


def measure(quick: bool) -> Outcome:
    """Generate a folder, read it in turns, and Tiny-ImageNet's part where it is at hand."""
    count, side, rounds = (300, 32, 1) if quick else (20_000, 224, 3)
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder) / "generated"
        write_images(top, count, side)
        rows += speeds(f"{count:,} files", top, rounds)
        tiny = Path(os.environ.get("HARE_TORTOISE_DATA", "")) / "tiny-imagenet-20"
        if not quick and tiny.is_dir():
            rows += speeds("Tiny-ImageNet, 20 classes", tiny, 2 * rounds - 1)
        rows += memory(top, min(EARLY, count // 2), 2 * rounds - 1)
    return Outcome(title="Image folders", setting=_setting(count, side, rounds), rows=rows)


def _setting(count: int, side: int, rounds: int) -> str:
    return (
        f"{count:,} generated JPEG files of {side}×{side} pixels, and the part of Tiny-ImageNet where it is at hand "
        f"(10,000 files of 64×64), {min(count, PASS):,} of them a pass, in shuffled "
        f"batches of {BATCH} by {WORKERS} processes, one thread in the parent, "
        "no training; the same decoding by Pillow and the same collation for everyone, passes in turns, medians of "
        f"{rounds} ({2 * rounds - 1} for Tiny-ImageNet) after one to warm up. The plain loader starts its processes "
        "for each pass, the stream keeps them. Normalising happens in the parent, in batches on the device, here the "
        "CPU: it takes a share of the cores that decoding would use. Memory is the proportional set size of parent "
        f"and processes with all batches read ahead, of {2 * rounds - 1} runs."
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--grow"]:
        grow(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        script(measure, __doc__)
