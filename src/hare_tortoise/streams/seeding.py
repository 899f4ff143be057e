"""Generators of their own for everything that is drawn, so that no draw depends on another."""

from __future__ import annotations

import hashlib

import torch


def derived_generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator that depends on `seed` and `purpose` alone, and leaves the global one as it was.

    It is seeded with the first eight bytes of sha256 of `"seed/purpose/…"`. Two purposes give unrelated
    draws, so asking for one thing more never changes the others.

    Args:
        seed: any int.
        purpose: what the draws are for, for instance `"label noise", 3`.

    Returns:
        A new generator.

    Example:
        >>> draw = lambda *purpose: torch.rand((), generator=derived_generator(*purpose)).item()
        >>> draw(0, "order") == draw(0, "order"), draw(0, "order") == draw(0, "noise")
        (True, False)
    """
    text = "/".join(str(part) for part in (seed, *purpose))
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
    return torch.Generator().manual_seed(number)
