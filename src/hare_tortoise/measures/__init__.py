"""What plasticity is measured by: pure functions, and a Probe that takes them during training."""

from .context import Context
from .registry import MEASURES, Measure
from .undisturbed import check_deterministic, refuse_train_mode, undisturbed

__all__ = [
    "MEASURES",
    "Context",
    "Measure",
    "check_deterministic",
    "refuse_train_mode",
    "undisturbed",
]
