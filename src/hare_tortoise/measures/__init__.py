"""What plasticity is measured by: pure functions, and a Probe that takes them during training."""

from .churn import churn, decision_churn
from .context import Context
from .curvature import hessian_effective_rank, hessian_eigenvalues, hessian_rank, hessian_trace
from .features import features
from .generalization import generalization_gap
from .gradients import (
    fresh_gradients,
    gradient_alignment,
    gradient_conflict,
    gradient_covariance,
    gradient_norm,
    gradient_norm_per_layer,
    zero_gradient_ratio,
)
from .norms import (
    distance_from_initialization,
    distances,
    feature_norm,
    hare_tortoise_distance,
    weight_norm,
    weight_norms,
)
from .ntk import empirical_ntk, ntk_rank
from .probe import Probe
from .rank import approximate_rank, effective_rank, singular_values, srank, stable_rank
from .registry import MEASURES, Measure
from .sequences import (
    average_accuracy,
    backward_transfer,
    forgetting,
    forward_transfer,
    intransigence,
    online_accuracy,
)
from .trainability import trainability
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
    "average_accuracy",
    "backward_transfer",
    "check_deterministic",
    "churn",
    "dead_units",
    "decision_churn",
    "distance_from_initialization",
    "distances",
    "dormancy_scores",
    "dormant_ratio",
    "effective_rank",
    "empirical_ntk",
    "feature_norm",
    "features",
    "forgetting",
    "forward_transfer",
    "fresh_gradients",
    "generalization_gap",
    "gradient_alignment",
    "gradient_conflict",
    "gradient_covariance",
    "gradient_norm",
    "gradient_norm_per_layer",
    "hare_tortoise_distance",
    "hessian_effective_rank",
    "hessian_eigenvalues",
    "hessian_rank",
    "hessian_trace",
    "intransigence",
    "ntk_rank",
    "online_accuracy",
    "refuse_train_mode",
    "saturated_units",
    "singular_values",
    "srank",
    "stable_rank",
    "trainability",
    "undisturbed",
    "unit_activity",
    "weight_norm",
    "weight_norms",
    "zero_activation_ratio",
    "zero_gradient_ratio",
]
