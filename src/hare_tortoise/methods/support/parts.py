"""Parts of a network that a user names by their path: the head, the last layers."""

from __future__ import annotations

from torch import nn

from .names import named_modules, named_weights, unwrap
from .sharding import reshard


def find_part(model: nn.Module, path: str, argument: str = "head") -> nn.Module:
    """Find a module by its path, without the prefixes of wrappers.

    Args:
        model: any module, wrapped or not.
        path: e.g. `"head"` or `"classifier.2"`.
        argument: what the user gave the path as, for the message.

    Raises:
        TypeError: it is no path, but say the module itself.
        ValueError: there is no such module.

    >>> find_part(nn.Sequential(nn.Linear(2, 1)), "0")
    Linear(in_features=2, out_features=1, bias=True)
    """
    if not isinstance(path, str):
        raise TypeError(f"{argument} is a {type(path).__name__}, expected a str: {_cure(model, path)}")
    module = unwrap(model)
    for part in path.split("."):
        children = dict(module.named_children())
        if part not in children:
            raise ValueError(
                f"{argument} is {path!r}, but the model has no such module; where {part!r} was looked for there are: "
                f"{', '.join(children) or 'no modules'}"
            )
        module = unwrap(children[part])
    return module


def weights_of_part(model: nn.Module, path: str, argument: str = "head") -> list[str]:
    """Canonical names of the parameters and buffers of a module that is named by its path.

    Raises:
        TypeError: `path` is no string.
        ValueError: there is no such module, or it has no parameters.

    >>> weights_of_part(nn.Sequential(nn.Linear(2, 1)), "0")
    ['0.weight', '0.bias']
    """
    module = find_part(model, path, argument)
    reshard(model)
    own = set(map(id, named_weights(module).values()))
    names = [name for name, tensor in named_weights(model).items() if id(tensor) in own]
    if not names:
        raise ValueError(
            f"{argument} is {path!r}, a module without parameters; name the last layer that has some"
        )
    return names


def _cure(model: nn.Module, part: object) -> str:
    own = [
        name
        for name, module in named_modules(model)
        if isinstance(part, nn.Module) and module is unwrap(part)
    ]
    return (
        f"give its path in the model, {own[0]!r}"
        if own and own[0]
        else 'give a path, such as "head" or "body.2"'
    )
