"""The measures by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from . import takes
from .context import Context, Take
from .norms import distances, feature_norm, hare_tortoise_distance, total, weight_norms
from .rank import counted_rank, energy_rank, entropy_rank
from .trainability import trainability
from .units import Activity, dead_units, dormant_ratio, saturated_units, zero_activation_ratio

Found = dict[str, float]
_PROBE_SAMPLES, _PROBE_STEPS = 512, 100


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A measure as a Probe takes it and a report shows it.

    Args:
        take: computes it. A dict has the figure to show under the key "" and details under other keys (`"0.1"`,
            `"layer/body.1"`); a Probe records them as `name` and `name/key`.
        description: what it is, one line.
        reading: how to read it, one line: what a high or low value means.
        higher_is: whether a higher value is "better" or "worse" for plasticity; None: neither by itself.
        cost: of taking it once, in forwards of the probe's data and the like.
        needs: what of the context it uses that costs something to have: "initial", "deployed", "fresh".
    """

    take: Take
    description: str
    reading: str
    higher_is: Literal["better", "worse"] | None
    cost: str
    needs: frozenset[str] = frozenset()


def _dormant(context: Context) -> Found:
    found = {"": float(dormant_ratio(context.activity))}
    for threshold in (0.0, 0.1):
        found[f"{threshold:g}"] = float(dormant_ratio(context.activity, threshold))
    return found | _per_layer(dormant_ratio, context.activity)


def _zeros(context: Context) -> Found:
    layers = context.activity
    return {"": float(zero_activation_ratio(layers))} | _per_layer(zero_activation_ratio, layers)


def _saturated(context: Context) -> Found:
    layers = {name: layer for name, layer in context.activity.items() if layer.saturated is not None}
    return {"": float(saturated_units(layers))} | _per_layer(saturated_units, layers)


def _per_layer(measure: Callable[[Activity], Tensor], layers: Mapping[str, Activity]) -> Found:
    return {f"layer/{name}": float(measure(layer)) for name, layer in layers.items()}


def _with_layers(norms: Found) -> Found:
    return {"": total(norms)} | {f"layer/{name}": norm for name, norm in norms.items()}


def _apart(context: Context) -> float:
    if context.trained is None or context.deployed is None:
        raise ValueError(
            "hare-tortoise-distance needs the network that is deployed: give the method by method="
        )
    return hare_tortoise_distance(context.trained, context.deployed)


def _trainability(context: Context) -> float:
    if context.targets.is_floating_point():
        raise ValueError(
            f"the targets are of {context.targets.dtype}, expected class labels (whole numbers): trainability fits "
            "random labels of classes; leave it out, or call trainability() with a loss of outputs and labels"
        )
    if context.outputs.ndim != 2:
        raise ValueError(
            f"the outputs have shape {tuple(context.outputs.shape)}, expected (samples, classes): trainability draws "
            "one label for each sample; leave it out, or wrap the model in a module that answers so"
        )
    inputs, _ = takes.spread(context, _PROBE_SAMPLES)
    found = trainability(
        context.model,
        context.fresh,
        inputs,
        context.outputs.shape[1],
        steps=_PROBE_STEPS,
        loss=context.loss,
    )
    return float(found)


_FORWARD = "one forward of the data"
_SVD = "one forward of the data and the singular values of the features"

MEASURES: dict[str, Measure] = {
    "dormant-ratio": Measure(
        take=_dormant,
        description="Share of hidden units whose mean activation is at most 0.025 of their layer's mean",
        reading="Such units hardly act on any input; a share that grows over the stream means capacity left unused.",
        higher_is="worse",
        cost=_FORWARD,
    ),
    "dead-units": Measure(
        take=lambda context: float(dead_units(context.activity)),
        description="Share of hidden units that are zero for all inputs",
        reading="Behind a ReLU a dead unit gets no gradient, and stays dead on these inputs unless others revive it.",
        higher_is="worse",
        cost=_FORWARD,
    ),
    "saturated-units": Measure(
        take=_saturated,
        description="Share of hidden units (tanh, sigmoid and the like) that lie at a bound for all inputs",
        reading="A saturated unit gets next to no gradient; the more there are, the less can still be learnt.",
        higher_is="worse",
        cost=_FORWARD,
    ),
    "zero-activation-ratio": Measure(
        take=_zeros,
        description="Share of hidden activations that are exactly zero",
        reading="About half behind ReLU at the start; sparser is not worse by itself, but near 1 most are silent.",
        higher_is=None,
        cost=_FORWARD,
    ),
    "effective-rank": Measure(
        take=lambda context: float(entropy_rank(context.singular_values)),
        description="Exponential of the entropy of the features' singular values",
        reading="Over how many directions the features spread; with a fall fewer inputs can be told apart.",
        higher_is="better",
        cost=_SVD,
    ),
    "stable-rank": Measure(
        take=lambda context: float(energy_rank(context.singular_values)),
        description="Squared Frobenius norm of the features over their largest squared singular value",
        reading="Near 1 a single direction dominates the features; small singular values hardly count.",
        higher_is="better",
        cost=_SVD,
    ),
    "srank": Measure(
        take=lambda context: float(counted_rank(context.singular_values)),
        description="Number of singular values of the features that hold 99 % of their sum",
        reading="How many directions the features need; a fall over the stream is a collapse.",
        higher_is="better",
        cost=_SVD,
    ),
    "approximate-rank": Measure(
        take=lambda context: float(counted_rank(context.singular_values.square())),
        description="Number of singular values of the features that hold 99 % of the sum of their squares",
        reading="How many directions the features' energy needs; a fall over the stream is a collapse.",
        higher_is="better",
        cost=_SVD,
    ),
    "feature-norm": Measure(
        take=lambda context: float(feature_norm(context.features)),
        description="Mean length of the features",
        reading="Steady growth goes with exploding outputs and less sensitive layers; near 0 the features have died.",
        higher_is=None,
        cost=_FORWARD,
    ),
    "weight-norm": Measure(
        take=lambda context: _with_layers(weight_norms(context.model)),
        description="Norm of all parameters",
        reading="Growth without end makes each step relatively smaller, which is one way in which learning slows down.",
        higher_is="worse",
        cost="one pass over the weights",
    ),
    "distance-from-initialization": Measure(
        take=lambda context: _with_layers(distances(context.model, context.initial)),
        description="Distance of all parameters from where they started",
        reading="How far training has gone from a state that could learn; compare methods, not networks.",
        higher_is=None,
        cost="one pass over the weights, and a copy of them",
        needs=frozenset({"initial"}),
    ),
    "hare-tortoise-distance": Measure(
        take=_apart,
        description="Distance between the trained network and the one that is deployed",
        reading="Falls to 0 at a reset and grows back; how far the hare runs ahead depends on learning rate and decay.",
        higher_is=None,
        cost="one pass over both networks",
        needs=frozenset({"deployed"}),
    ),
    "gradient-norm": Measure(
        take=takes.take_gradient_norm,
        description="Norm of the gradient of the loss on the data, newly computed",
        reading="Near 0 nothing more is learnt from these data; explosive growth goes with unstable training.",
        higher_is=None,
        cost="one forward and backward of the data",
    ),
    "zero-gradient-ratio": Measure(
        take=takes.take_zero_gradient_ratio,
        description="Share of the elements of the gradient of the loss on the data that are exactly zero",
        reading="The data do not move these weights; those into and out of dead units are among them.",
        higher_is="worse",
        cost="one forward and backward of the data",
    ),
    "gradient-covariance": Measure(
        take=takes.take_gradient_covariance,
        description="Mean cosine between the gradients of two samples",
        reading="Near 1 all samples ask for the same step; below 0 they work against each other.",
        higher_is=None,
        cost=f"the gradients of {takes.PAIRS} samples, one by one",
    ),
    "hessian-eigenvalue": Measure(
        take=takes.take_hessian_eigenvalue,
        description="Eigenvalue of the loss's Hessian of the largest magnitude",
        reading="Sharpness: the higher it is, the smaller the steps that do not diverge; below 0 it curves downwards.",
        higher_is="worse",
        cost=f"up to 400 Hessian products on {takes.CURVATURE} samples; the extra `curvature`",
    ),
    "hessian-trace": Measure(
        take=takes.take_hessian_trace,
        description="Sum of the eigenvalues of the loss's Hessian, estimated",
        reading="The curvature summed over all directions; near 0 the loss is flat, or its ups and downs cancel.",
        higher_is=None,
        cost=f"99 Hessian products on {takes.CURVATURE} samples; the extra `curvature`",
    ),
    "hessian-rank": Measure(
        take=takes.take_hessian_rank,
        description=f"Effective rank of the {takes.EIGENVALUES} largest eigenvalues (magnitudes) of the loss's Hessian",
        reading=f"A lower bound, at most {takes.EIGENVALUES}, of how many directions curve; few at a task's start go "
        "with a loss of plasticity.",
        higher_is="better",
        cost=f"up to {takes.PRODUCTS} Hessian products on {takes.CURVATURE} samples; the extra `curvature`",
    ),
    "ntk-rank": Measure(
        take=takes.take_ntk_rank,
        description=f"Number of eigenvalues of the tangent kernel on {takes.KERNEL} samples with 99 % of the sum",
        reading="How many samples and outputs a step can move independently; with a fall more of them move together.",
        higher_is="better",
        cost=f"the derivatives of all outputs of {takes.KERNEL} samples",
    ),
    "churn": Measure(
        take=takes.take_churn,
        description="Mean change of the outputs since the last taking",
        reading="How much training, or a reset, moves the answers to the same inputs; none at the first taking.",
        higher_is=None,
        cost="one forward of the data, and its outputs kept",
    ),
    "trainability": Measure(
        take=_trainability,
        description="Loss after fitting random labels from here, minus that from a fresh network",
        reading="Above 0 it learns something new worse than a fresh network does: that is a loss of plasticity.",
        higher_is="worse",
        cost=f"{2 * _PROBE_STEPS} training steps on {_PROBE_SAMPLES} samples, on two copies",
        needs=frozenset({"fresh"}),
    ),
}
