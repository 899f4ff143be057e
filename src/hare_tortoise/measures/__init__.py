"""What plasticity is measured by: pure functions, and a Probe that takes them during training."""

from .context import Context
from .features import features
from .norms import (
    distance_from_initialisation,
    distances,
    feature_norm,
    hare_tortoise_distance,
    weight_norm,
    weight_norms,
)
from .probe import Probe
from .rank import approximate_rank, effective_rank, singular_values, srank, stable_rank
from .registry import MEASURES, Measure
from .undisturbed import check_deterministic, refuse_train_mode, undisturbed
from .units import (
    Activity,
    activity,
    dead_units,
    dormancy_scores,
    dormant_ratio,
    saturated_units,
    unit_activity,
    zero_activation_ratio,
)

__all__ = [
    "MEASURES",
    "Activity",
    "Context",
    "Measure",
    "Probe",
    "activity",
    "approximate_rank",
    "check_deterministic",
    "dead_units",
    "distance_from_initialisation",
    "distances",
    "dormancy_scores",
    "dormant_ratio",
    "effective_rank",
    "feature_norm",
    "features",
    "hare_tortoise_distance",
    "refuse_train_mode",
    "saturated_units",
    "singular_values",
    "srank",
    "stable_rank",
    "undisturbed",
    "unit_activity",
    "weight_norm",
    "weight_norms",
    "zero_activation_ratio",
]
