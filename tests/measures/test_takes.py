"""What a Probe records of the measures of derivatives and of churn, against the functions themselves."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hare_tortoise.measures import Context, Probe, takes, undisturbed
from hare_tortoise.measures.churn import churn, decision_churn
from hare_tortoise.measures.curvature import (
    hessian_effective_rank,
    hessian_eigenvalues,
    hessian_rank,
    hessian_trace,
)
from hare_tortoise.measures.gradients import (
    fresh_gradients,
    gradient_alignment,
    gradient_covariance,
    gradient_norm,
    gradient_norm_per_layer,
    zero_gradient_ratio,
)
from hare_tortoise.measures.ntk import ntk_rank
from hare_tortoise.methods import HareTortoise
from hare_tortoise.testing import TiedNetwork, batch
from tests.measures.untouched import untouched

BATCHES = [batch(number, torch.float64) for number in range(2)]
X = torch.cat([inputs for inputs, _ in BATCHES])
Y = torch.cat([targets for _, targets in BATCHES])


def network() -> nn.Module:
    torch.manual_seed(0)
    return TiedNetwork().double()


def taken(take: Callable[[Context], float | dict[str, float]], context: Context) -> dict[str, float]:
    with undisturbed(context.model):
        found = take(context)
    return found if isinstance(found, dict) else {"": found}


def test_each_is_what_its_function_gives() -> None:
    model = network()
    context = Context(model=model, batches=BATCHES)
    gradients = fresh_gradients(model, X, Y)
    norms = taken(takes.take_gradient_norm, context)
    assert norms[""] == float(gradient_norm(gradients))
    assert norms["l1"] == float(gradient_norm(gradients, order=1))
    assert norms["layer/head"] == float(gradient_norm_per_layer(gradients)["head"])
    assert norms["l1/layer/last"] == float(gradient_norm_per_layer(gradients, order=1)["last"])
    zeros = taken(takes.take_zero_gradient_ratio, context)
    assert zeros[""] == float(zero_gradient_ratio(gradients))
    head = {name: gradient for name, gradient in gradients.items() if name.startswith("head.")}
    assert zeros["layer/head"] == float(zero_gradient_ratio(head))
    assert {key for key in zeros if key} == {key for key in norms if key.startswith("layer/")}
    covariance = taken(takes.take_gradient_covariance, context)
    assert covariance[""] == float(gradient_alignment(gradient_covariance(model, X, Y)))
    assert 0 < covariance["conflict"] < 1
    assert taken(takes.take_ntk_rank, context)[""] == float(ntk_rank(model, X))
    assert taken(takes.take_hessian_eigenvalue, context)[""] == float(hessian_eigenvalues(model, X, Y))
    assert taken(takes.take_hessian_trace, context)[""] == float(hessian_trace(model, X, Y))
    rank = taken(takes.take_hessian_rank, context)
    values = hessian_eigenvalues(model, X, Y, k=50)
    assert rank == {
        "": float(hessian_effective_rank(values)),
        "srank": float(hessian_rank(values)),
        "error": 0.0,
    }
    assert 1 < rank[""] < rank["srank"] < 50


def test_curvature_that_is_not_known_is_recorded_without_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    context = Context(model=model, batches=BATCHES)
    monkeypatch.setattr(takes, "PRODUCTS", 60)
    assert taken(takes.take_hessian_rank, context)["error"] == math.inf
    monkeypatch.setattr(takes, "PRODUCTS", 5)
    monkeypatch.setattr(takes, "EIGENVALUES", 1)
    assert 1e-3 < taken(takes.take_hessian_rank, context)["error"] < 1


def test_the_loss_of_the_probe_is_used() -> None:
    def halved(outputs: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(outputs, targets) / 2

    model = network()
    whole, half = (Context(model=model, batches=BATCHES, loss=loss) for loss in (cross_entropy, halved))
    for take in (takes.take_gradient_norm, takes.take_hessian_eigenvalue, takes.take_hessian_trace):
        assert taken(take, half)[""] == pytest.approx(taken(take, whole)[""] / 2)


def test_fewer_samples_are_spread_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    context = Context(model=network(), batches=BATCHES)
    inputs, targets = takes.spread(context, 4)
    chosen = [0, 5, 10, 15]
    assert torch.equal(inputs, X[chosen])
    assert torch.equal(targets, Y[chosen])
    monkeypatch.setattr(takes, "KERNEL", 4)
    assert taken(takes.take_ntk_rank, context)[""] == float(ntk_rank(network(), X[chosen]))


def test_churn_is_to_the_last_time() -> None:
    model, memory = network(), dict[str, Tensor]()
    first = model(X).detach()
    assert taken(takes.take_churn, Context(model=model, batches=BATCHES, memory=memory)) == {}
    with torch.no_grad():
        model.get_parameter("head.bias").add_(torch.tensor([1.0, 0.0, 0.0]))
    found = taken(takes.take_churn, Context(model=model, batches=BATCHES, memory=memory))
    assert found == {
        "": pytest.approx(float(churn(model(X), first))),
        "decisions": pytest.approx(float(decision_churn(model(X), first))),
    }
    assert found[""] == pytest.approx(1 / 3)
    assert taken(takes.take_churn, Context(model=model, batches=BATCHES, memory=memory))[""] == 0.0


def test_the_tortoise_is_measured_as_the_network_that_is_trained() -> None:
    """It is kept without gradients, and is so again afterwards."""
    model = network()
    model.get_parameter("head.bias").requires_grad_(False)
    method = HareTortoise(model, decay=0.5, reset_every=None)
    names = ["gradient-norm", "ntk-rank", "hessian-rank", "trainability"]
    own = Probe(model, (X, Y), measures=names).take()
    assert own["gradient-norm"] > 0
    with untouched(method.deployed):
        found = Probe(model, (X, Y), measures=names, method=method, of="deployed").take()
    assert found == pytest.approx(own)
