"""Drawing from the global generators of random numbers without leaving a trace in them."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int, devices: Iterable[torch.device] = ()) -> Iterator[None]:
    """Seed all global generators inside the block; afterwards they are as they were before it.

    These are torch's on the CPU and on `devices` (and on the current CUDA device once CUDA is in use),
    Python's `random`, and NumPy's where NumPy is loaded: an initialiser may draw from any of them.

    Args:
        seed: the same seed gives the same draws. At least 0, below 2**63.
        devices: accelerators that may be drawn on; the CPU is always among them.

    >>> before = torch.get_rng_state()
    >>> with seeded(0):
    ...     first = torch.rand(3)
    >>> with seeded(0):
    ...     second = torch.rand(3)
    >>> torch.equal(first, second), torch.equal(before, torch.get_rng_state())
    (True, True)
    """
    generators = [torch.default_generator, *map(_generator, _accelerators(devices))]
    states = [generator.get_state() for generator in generators]
    python_state = random.getstate()
    # NumPy is an optional dependency: where nothing has loaded it, nothing can draw from it.
    numpy = sys.modules.get("numpy")
    numpy_state = numpy.random.get_state() if numpy else None
    try:
        for generator in generators:
            generator.manual_seed(seed)
        random.seed(seed)
        if numpy:
            numpy.random.seed(seed % 2**32)
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        random.setstate(python_state)
        if numpy:
            numpy.random.set_state(numpy_state)


def _accelerators(devices: Iterable[torch.device]) -> list[torch.device]:
    """The accelerators among `devices`, each once, with its index."""
    found = [device for device in devices if device.type not in ("cpu", "meta")]
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        found.append(torch.device("cuda", torch.cuda.current_device()))
    return list(dict.fromkeys(found))


def _generator(device: torch.device) -> torch.Generator:
    if device.type == "mps":
        return torch.mps._get_default_mps_generator()
    generator: torch.Generator = torch.get_device_module(device).default_generators[device.index]
    return generator
