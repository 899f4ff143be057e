"""Ways to keep a network plastic, one file each, and how they are composed."""

from .from_scratch import FromScratch
from .head_reset import HeadReset
from .l2_init import L2Init
from .method import Batches, Change, Loss, Method
from .optimizer_reset import OptimizerReset
from .shrink_perturb import ShrinkPerturb
from .warm_start import WarmStart

__all__ = [
    "Batches",
    "Change",
    "FromScratch",
    "HeadReset",
    "L2Init",
    "Loss",
    "Method",
    "OptimizerReset",
    "ShrinkPerturb",
    "WarmStart",
]
