"""Rows of the projections: what changes the weights after every step, without a gradient."""

from __future__ import annotations

from hare_tortoise.methods import (
    FromScratch,
    HareTortoise,
    NormalizeAndProject,
    SoftShrinkPerturb,
    SoftWeightRescaling,
    SpectralNormalization,
    WeightClipping,
)
from tests.contract.row import FRESH, Bad, broken_initialiser, chain, other_network, row

HEAD = (
    Bad({"head": "tail"}, "head is 'tail', but the model has no such module"),
    Bad({"head": "body.2"}, "head is 'body.2', a module without parameters"),
)
FACTORS = (-0.1, 1.1, float("nan"))

ROWS = [
    row(
        "weight-clipping",
        WeightClipping,
        *HEAD,
        *(Bad({"zeta": value}, "zeta is .*above 0") for value in (0.0, -1.0, float("nan"))),
        neutral={"zeta": float("inf")},
        zeta=0.5,
    ),
    row("weight-clipping(head=head)", WeightClipping, zeta=0.5, head="head"),
    row(
        "spectral-normalization",
        SpectralNormalization,
        *HEAD,
        *(Bad({"bound": value}, "bound is .*above 0") for value in (0.0, -1.0, float("nan"), float("inf"))),
        *(Bad({"iterations": value}, "iterations is .*at least 1") for value in (0, 1.5, True)),
        neutral={"bound": 100.0, "leave_smaller": True},
        head="head",
    ),
    row("spectral-normalization(head=None)", SpectralNormalization, head=None, bound=0.5, leave_smaller=True),
    row(
        "normalize-and-project",
        NormalizeAndProject,
        *HEAD,
        *(Bad({"every": value}, "every is .*at least 1") for value in (0, -3, 1.5)),
        Bad({"affine": "drop"}, 'affine is \'drop\', expected "normalize" or "keep"'),
        neutral={"every": 1000},
        head="head",
    ),
    row("normalize-and-project(every=2)", NormalizeAndProject, head=None, every=2, affine="keep"),
    row(
        "soft-weight-rescaling",
        SoftWeightRescaling,
        *(Bad({"strength": value}, "strength is .*from 0 to 1") for value in FACTORS),
        *(Bad({"head_strength": value}, "head_strength is .*from 0 to 1") for value in FACTORS),
        Bad({"head": "head"}, "head is 'head' and head_strength is None, expected both or neither"),
        Bad({"head_strength": 0.1}, "head is None and head_strength is 0.1, expected both or neither"),
        Bad({"head": "tail", "head_strength": 0.1}, "head is 'tail', but the model has no such module"),
        neutral={"strength": 0.0},
        strength=0.1,
    ),
    row(
        "soft-weight-rescaling(head=head)", SoftWeightRescaling, strength=0.1, head="head", head_strength=0.5
    ),
    row(
        "soft-shrink-perturb",
        SoftShrinkPerturb,
        FRESH[0],
        Bad({"fresh": other_network}, "fresh= must build a network with the model's names", when="step"),
        Bad({"fresh": lambda: 3}, r"fresh\(\) gave a int, expected a torch.nn.Module", when="step"),
        Bad({"fresh": broken_initialiser}, "no weights on the disk", OSError, when="step"),
        *(Bad({"shrink": value}, "shrink is .*from 0 to 1") for value in FACTORS),
        *(Bad({"perturb": value}, "perturb is .*at least 0") for value in (-0.1, float("nan"), float("inf"))),
        *(Bad({"redraw_every": value}, "redraw_every is .*at least 1") for value in (0, 1.5)),
        neutral={"shrink": 1.0, "perturb": 0.0},
        shrink=0.95,
    ),
    row("soft-shrink-perturb(redraw_every=2)", SoftShrinkPerturb, shrink=0.9, perturb=0.3, redraw_every=2),
    chain(
        "weight-clipping+soft-shrink-perturb+hare-tortoise",
        lambda model: (
            WeightClipping(model, zeta=0.5),
            SoftShrinkPerturb(model, shrink=0.95),
            HareTortoise(model, decay=0.9, reset_every=2),
        ),
    ),
    chain(
        "from-scratch+spectral-normalization+normalize-and-project+soft-weight-rescaling+hare-tortoise",
        lambda model: (
            FromScratch(model),
            SpectralNormalization(model, head="head"),
            NormalizeAndProject(model, head="head", every=2),
            SoftWeightRescaling(model, strength=0.1),
            HareTortoise(model, decay=0.9, reset_every=2),
        ),
    ),
]
