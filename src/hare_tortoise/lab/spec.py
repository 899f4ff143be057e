"""The notation of methods, scenarios, sources and networks: ``name(setting=value)+other``.

One notation serves the command line and Python recipes. It is read with Python's own parser: values are Python
literals, bare words (strings) or calls of a schedule, as in ``hare-tortoise(decay=warmup(0.99))+l2-init``.
"""

from __future__ import annotations

import ast
import keyword
import re
from dataclasses import dataclass
from typing import TypeAlias

Value: TypeAlias = "bool | int | float | str | tuple[Value, ...] | Call | None"

_TOKEN = re.compile(
    r"""
      (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    | (?P<external>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)
    | (?P<name>[A-Za-z_]\w*(?:-[A-Za-z_]\w*)*)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Call:
    """A name with its settings.

    Args:
        name: in kebab case (``hare-tortoise``), or ``package.module:Class`` as it was written.
        settings: name and value of each setting, in the order written.
        positional: values without a name; only schedules take them: ``warmup(0.99)``.

    Example:
        >>> call = parse("hare_tortoise(reset_every=100, decay=warmup(0.99))")
        >>> str(call)
        'hare-tortoise(reset_every=100, decay=warmup(0.99))'
        >>> dict(call.settings)["reset_every"]
        100
    """

    name: str
    settings: tuple[tuple[str, Value], ...] = ()
    positional: tuple[Value, ...] = ()

    @property
    def external(self) -> bool:
        """Whether the name is a path to the user's own code: ``package.module:attribute``."""
        return ":" in self.name

    def __str__(self) -> str:
        inside = [_write(value) for value in self.positional]
        inside += [f"{name}={_write(value)}" for name, value in self.settings]
        return f"{self.name}({', '.join(inside)})" if inside else self.name


def parse(text: str) -> Call:
    """Read one call, such as ``growing(chunks=5)``.

    Raises:
        ValueError: The text is not in the notation, or is a sum of several calls.
    """
    calls = parse_sum(text)
    if len(calls) != 1:
        raise ValueError(f"{text!r} names {len(calls)} things joined by '+', expected one")
    return calls[0]


def parse_sum(text: str) -> tuple[Call, ...]:
    """Read a composition: one call or several joined by ``+``.

    Example:
        >>> [call.name for call in parse_sum("hare-tortoise(decay=0.99)+l2-init")]
        ['hare-tortoise', 'l2-init']

    Raises:
        ValueError: The text is not in the notation.
    """
    try:
        reader = _Reader(text.strip())
        return tuple(reader.call(part) for part in _terms(reader.node))
    except (SyntaxError, ValueError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else error
        raise ValueError(
            f"cannot read {text!r}: {reason}; write it as name(setting=value), several joined by '+', "
            "paths in quotes"
        ) from None


def split_list(text: str) -> tuple[str, ...]:
    """Split a comma-separated list at the commas outside of parentheses and quotes.

    Example:
        >>> split_list("ema, shrink-perturb(shrink=0.2, perturb=0.8)")
        ('ema', 'shrink-perturb(shrink=0.2, perturb=0.8)')
    """
    parts, depth = [""], 0
    for match in _TOKEN.finditer(text):
        depth += (match[0] in "([") - (match[0] in ")]")
        if match[0] == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += match[0]
    return tuple(part.strip() for part in parts if part.strip())


def kebab(name: str) -> str:
    """Spell a Python name as the command line does.

    Example:
        >>> kebab("HareTortoise"), kebab("L2Init"), kebab("SwitchEMA"), kebab("warm_start")
        ('hare-tortoise', 'l2-init', 'switch-ema', 'warm-start')
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name)
    return words.replace("_", "-").lower()


def read_value(text: str) -> Value:
    """Read one value: a literal, a bare word, or a call such as ``warmup(0.99)``.

    Example:
        >>> read_value("1e-3"), read_value("fresh"), read_value("(1, 2)")
        (0.001, 'fresh', (1, 2))

    Raises:
        ValueError: The text is not a value.
    """
    try:
        reader = _Reader(text.strip())
        return reader.value(reader.node)
    except (SyntaxError, ValueError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else error
        raise ValueError(
            f"cannot read the value {text!r}: {reason}; write a number, a word, a tuple such as (1, 2), or "
            "text in quotes"
        ) from None


def _terms(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [*_terms(node.left), *_terms(node.right)]
    return [node]


class _Reader:
    """Reads a text with Python's parser, which knows no names with hyphens or colons: it sees stand-ins."""

    def __init__(self, text: str) -> None:
        self.names: list[str] = []
        self.text = _TOKEN.sub(self._stand_in, text)
        self.node = ast.parse(self.text, mode="eval").body

    def _stand_in(self, match: re.Match[str]) -> str:
        if not match["external"] and "-" not in (match["name"] or ""):
            return match[0]
        self.names.append(match[0])
        return f"__name_{len(self.names) - 1}_"

    def written(self, text: str) -> str:
        """Give back the names as they were written."""
        return re.sub(r"__name_(\d+)_", lambda match: self.names[int(match[1])], text)

    def call(self, node: ast.expr) -> Call:
        if isinstance(node, ast.Name):
            return Call(self._name(node))
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            raise ValueError(f"{self._source(node)!r} is not a name")
        settings = []
        for item in node.keywords:
            if item.arg is None:
                raise ValueError("'**' is not part of the notation")
            name = self.written(item.arg).replace("-", "_")
            settings.append((name, self.value(item.value, f"{name}=")))
        names = [name for name, _ in settings]
        if len(set(names)) != len(names):
            raise ValueError(f"a setting is given twice among {names}")
        return Call(self._name(node.func), tuple(settings), tuple(self.value(item) for item in node.args))

    def _name(self, node: ast.Name) -> str:
        name = self.written(node.id)
        return name if ":" in name else kebab(name)

    def value(self, node: ast.expr, setting: str = "") -> Value:
        """Read a value; `setting` is what stands before it, for the message."""
        if isinstance(node, ast.Call):
            return self.call(node)
        if isinstance(node, ast.Name):
            return self.written(node.id)
        if isinstance(node, ast.Tuple | ast.List):
            return tuple(self.value(item) for item in node.elts)
        try:
            value = ast.literal_eval(node)
        except (ValueError, TypeError):
            # its message shows an object of Python's parser
            value = ...
        if value is None or isinstance(value, bool | int | float | str):
            return value
        text = self._source(node)
        raise ValueError(
            f"{text!r} is not a number, word, tuple or schedule; if it is text, quote it: {setting}{text!r}"
        )

    def _source(self, node: ast.expr) -> str:
        return self.written(ast.get_source_segment(self.text, node) or ast.unparse(node))


def _write(value: Value) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(_write(item) for item in value)}{',' if len(value) == 1 else ''})"
    if isinstance(value, str):
        token = _TOKEN.fullmatch(value)
        bare = value.isidentifier() and not keyword.iskeyword(value)
        return value if bare or (token and token["external"]) else repr(value)
    if isinstance(value, Call):
        return str(value) if value.settings or value.positional else f"{value.name}()"
    return repr(value)
