"""The slow copy of a network: where its tensors are, and how it follows what is done to the network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from .names import is_loaded_instance, is_sharded, local, named_modules, named_weights, write
from .pairs import Pairs, Treatment, treatments
from .plain_copy import HALF, check_copyable, plain_copy
from .sharding import in_parts, on_any_rank, process_groups, reshard, take_from_first_rank


class Average:
    """A tortoise: a module of its own, or under FSDP2 shards like the hare's.

    Args:
        model: the hare.
        buffers: what is done with floating buffers.
        tortoise: a module given to be the tortoise, which keeps its values and dtypes; None: a copy.
        share_frozen: parameters that require no gradient are shared.

    Raises:
        ValueError: the model cannot be copied, or the tortoise given does not match it.
    """

    def __init__(
        self, model: nn.Module, buffers: Treatment, tortoise: nn.Module | None, share_frozen: bool
    ) -> None:
        reshard(model)
        for name, module in named_modules(model):
            _refuse_fsdp1(name, module)
            check_copyable(name, module)
        self.model = model
        self.buffers: Treatment = buffers
        self.given = tortoise is not None
        self.share_frozen = share_frozen
        self.module = tortoise
        hare = named_weights(model)
        self.shared = {
            name: tensor
            for name, tensor in hare.items()
            if share_frozen and isinstance(tensor, nn.Parameter) and not tensor.requires_grad
        }
        if share_frozen and (self.given or not self.shared):
            why = "a tortoise was given" if self.given else "no parameter of the model is frozen"
            raise ValueError(f"share_frozen is True but {why}, so it would be ignored: leave it out")
        self.treatment = treatments(model, buffers)
        if tortoise is not None:
            reshard(tortoise)
            _check_given(hare, named_weights(tortoise))
            tortoise.requires_grad_(False).eval()
        self._own: dict[str, Tensor] = {}
        if not self.given:
            self._build(hare)
        self._pair()

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The averages by canonical name; shards where the hare is sharded; without what is shared."""
        return self.pairs.tortoise

    def _build(self, hare: Mapping[str, Tensor]) -> None:
        if not in_parts(self.model):
            self.module = plain_copy(self.model, [id(tensor) for tensor in self.shared.values()])
            return
        self._own = {
            name: tensor.detach().to(_dtype(tensor), copy=True)
            for name, tensor in hare.items()
            if name not in self.shared
        }

    def _sides(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        hare = named_weights(self.model)
        tortoise = self._own if self.module is None else named_weights(self.module)
        return _without(hare, self.shared), _without(tortoise, self.shared)

    def _pair(self) -> None:
        """Make the lists for the averaging step."""
        hare, tortoise = self._sides()
        self.pairs = Pairs(hare, tortoise, {name: self.treatment[name] for name in hare})
        self.groups = process_groups(self.model)
        listed = set(map(id, hare.values()))
        # Buffers are sometimes assigned anew in a forward; where they are kept tells.
        self._slots = [
            (module._buffers, name, buffer)
            for _, module in named_modules(self.model)
            for name, buffer in module._buffers.items()
            if id(buffer) in listed
        ]
        self._sharded_module = self.module if self.module is not None and in_parts(self.module) else None

    def follow_moves(self) -> None:
        """Follow what a step can notice at little cost: a model moved or cast, also in part, buffers assigned anew."""
        if self.pairs.moved():
            self.follow()
        for place, name, buffer in self._slots:
            if place.get(name) is not buffer:
                self.follow()
                break
        if self._sharded_module is not None:
            reshard(self._sharded_module)

    def follow(self) -> None:
        """Follow a model that was moved, cast or refilled.

        Raises:
            RuntimeError: tensors were replaced, added, removed, resized or unfrozen.
        """
        reshard(self.model)
        if self.module is not None:
            reshard(self.module)
        hare, tortoise = self._sides()
        if self._unfrozen() or not self.pairs.match(hare, tortoise):
            self._refuse_changes(hare)
            self._align(hare, tortoise)
            self._pair()

    def _unfrozen(self) -> list[str]:
        live = named_weights(self.model) if self.shared else {}
        return [
            name
            for name, tensor in self.shared.items()
            if live.get(name) is not tensor or tensor.requires_grad
        ]

    def _refuse_changes(self, hare: Mapping[str, Tensor]) -> None:
        known = self.pairs.hare
        changes = {
            "added": sorted(hare.keys() - known.keys()),
            "removed": sorted(known.keys() - hare.keys()),
            "resized": [name for name in hare if name in known and hare[name].shape != known[name].shape],
            "replaced": [
                name
                for name, tensor in hare.items()
                if isinstance(tensor, nn.Parameter) and tensor is not known.get(name, tensor)
            ],
            "unfrozen or replaced, though shared with the tortoise": self._unfrozen(),
        }
        # Resizing `parameter.data` leaves the object; the tortoise tells the size it had.
        changes["resized"] += [
            name
            for name, tensor in hare.items()
            if name in known and tensor is known[name] and tensor.shape != self.pairs.tortoise[name].shape
        ]
        found = "; ".join(f"{what}: {some(names)}" for what, names in changes.items() if names)
        if found:
            raise RuntimeError(
                f"the weights of the model are not those that are averaged ({found}): call rebind() right after "
                "changing the network, and attach() the optimizer that holds the new parameters"
            )

    def _align(self, hare: Mapping[str, Tensor], tortoise: Mapping[str, Tensor]) -> None:
        """Move the tortoise to where the hare is, in the dtype that goes with the hare's."""
        for name, tensor in tortoise.items():
            dtype = tensor.dtype if self.given else _dtype(hare[name])
            if self.module is None:
                self._own[name] = tensor.to(hare[name].device, dtype)
            else:
                tensor.data = tensor.data.to(hare[name].device, dtype)

    @torch.no_grad()
    def rebind(self) -> None:
        """Pair anew after the network was changed: what is new starts as a copy, other averages go on."""
        before = self.pairs
        reshard(self.model)
        hare = named_weights(self.model)
        self.shared = {
            name: tensor
            for name, tensor in hare.items()
            if self.share_frozen
            and isinstance(tensor, nn.Parameter)
            and not tensor.requires_grad
            and name not in before.hare
        }
        fresh = treatments(self.model, self.buffers)
        self.treatment = {name: self.treatment.get(name, what) for name, what in fresh.items()}
        if self.given and self.module is not None:
            _check_given(hare, named_weights(self.module))
        else:
            self._build(hare)
        self._pair()
        for name, tensor in self.pairs.hare.items():
            same = name in before.hare and tensor.shape == before.tortoise[name].shape
            goes_on = same and (not isinstance(tensor, nn.Parameter) or tensor is before.hare[name])
            source = before.tortoise[name] if goes_on else tensor
            write(self.pairs.tortoise[name], source)

    def agree(self) -> None:
        """Make the buffers of the tortoise the first process's; all processes must call it."""
        take_from_first_rank(self._buffers(), self.groups)

    def _buffers(self) -> list[Tensor]:
        return [self.tensors[name] for name in self.pairs.written_buffers()]

    def refuse_non_finite(self, step: int, note: str) -> None:
        """Raise a RuntimeError that names the tensors that hold a NaN or an infinity, if any do.

        Under DDP and FSDP2 all processes must call it, and all raise if one of them finds some: the others would
        wait for it, or go on without it.
        """
        found = self.pairs.non_finite()
        if on_any_rank(bool(found), self.tensors.values(), self.groups):
            raise RuntimeError(
                f"the tortoise is not finite at step {step} ({note}): {some(found) or 'on another process'}. Go back "
                "to a saved state, and lower the learning rate or clip gradients; check_every= finds out earlier"
            )

    def saved(self) -> dict[str, Tensor]:
        """The averages to save, buffers the first process's; all processes must call it."""
        tensors = {name: tensor.detach() for name, tensor in self.tensors.items()}
        if self.groups:
            names = self.pairs.written_buffers()
            tensors |= {name: tensors[name].clone() for name in names}
            take_from_first_rank([tensors[name] for name in names], self.groups)
        return tensors

    def check_saved(self, tensors: Mapping[str, Tensor]) -> None:
        """Raise a ValueError that names what differs, if the saved averages are of another model."""
        own = self.tensors
        differing = {
            "missing": sorted(own.keys() - tensors.keys()),
            "unexpected": sorted(tensors.keys() - own.keys()),
            "of another shape": [n for n in own if n in tensors and own[n].shape != tensors[n].shape],
        }
        found = "; ".join(f"{what}: {some(names)}" for what, names in differing.items() if names)
        if found:
            raise ValueError(
                f"the state is of another model ({found}): load it beside the model it was saved with"
            )

    def load(self, tensors: Mapping[str, Tensor], copied: Iterable[str]) -> None:
        """Take up saved averages, and which floating buffers are copied."""
        for name, tensor in self.tensors.items():
            write(tensor, tensors[name])
        for name, buffer in self.pairs.hare.items():
            if not isinstance(buffer, nn.Parameter) and buffer.is_floating_point():
                self.treatment[name] = "copy" if name in copied else self.buffers
        self._pair()

    def copied(self) -> list[str]:
        """Names of the floating buffers that are copied, some because they were not finite at the start."""
        return [name for name, what in self.treatment.items() if what == "copy" and name not in self.shared]

    @torch.no_grad()
    def distance(self) -> float:
        """The distance of the parameters."""
        parts = [
            (self.tensors[name] - tensor.detach()).abs().square().sum()
            for name, tensor in self.pairs.hare.items()
            if isinstance(tensor, nn.Parameter) and self.treatment[name] == "average"
        ]
        wholes = [cast(Any, part).full_tensor() if is_sharded(part) else part for part in parts]
        return math.sqrt(sum(float(whole) for whole in wholes))


def some(names: Iterable[str]) -> str:
    """The first names, for an error message."""
    listed = list(names)
    return ", ".join(listed[:8]) + (f" and {len(listed) - 8} more" if len(listed) > 8 else "")


def _dtype(tensor: Tensor) -> torch.dtype:
    # At a decay of 0.999 the steps of an average in half precision round to nothing.
    return torch.float32 if tensor.dtype in HALF else tensor.dtype


def _without(tensors: Mapping[str, Tensor], left_out: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name not in left_out}


def _refuse_fsdp1(name: str, module: nn.Module) -> None:
    file = "torch.distributed.fsdp.fully_sharded_data_parallel"
    if is_loaded_instance(module, file, "FullyShardedDataParallel"):
        raise ValueError(
            f"{name or 'model'} is sharded by FullyShardedDataParallel, which flattens the weights, expected "
            "torch.distributed.fsdp.fully_shard: shard the model with it"
        )


def _check_given(hare: Mapping[str, Tensor], tortoise: Mapping[str, Tensor]) -> None:
    differing = sorted(hare.keys() ^ tortoise.keys())
    differing += [
        f"{name} {tuple(tortoise[name].shape)} instead of {tuple(hare[name].shape)}"
        for name in hare
        if name in tortoise and tortoise[name].shape != hare[name].shape
    ]
    if differing:
        raise ValueError(f"tortoise has other weights than the model ({some(differing)}): build both alike")
    elsewhere = [
        name
        for name in hare
        if hare[name].device != tortoise[name].device
        or getattr(hare[name], "placements", None) != getattr(tortoise[name], "placements", None)
    ]
    if elsewhere:
        raise ValueError(
            f"tortoise is on another device or sharded otherwise ({some(elsewhere)}): place both alike"
        )
    storages = {local(tensor).untyped_storage().data_ptr() for tensor in hare.values()} - {0}
    aliased = [n for n, tensor in tortoise.items() if local(tensor).untyped_storage().data_ptr() in storages]
    if aliased:
        raise ValueError(
            f"tortoise shares storage with the model ({some(aliased)}): give a copy.deepcopy of it"
        )
