"""The command line: parses, calls the laboratory, prints. No logic."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence

from hare_tortoise._version import __version__

EXTRA = 'this command needs the laboratory: pip install "hare-tortoise[lab]"'
# What the extra `lab` brings; that one of these is missing means that the extra was left out.
LAB_MODULES = frozenset(
    {"numpy", "plotly", "pooch", "requests", "PIL", "rich", "safetensors", "sklearn", "scipy", "tyro"}
)
WRONG_USE = 2
FAILED = 1
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: what stands after the name of the program; by default that of this process.

    Returns:
        0; 2 for wrong use; 1 for a failed run, or if nobody reads what is printed; 130 after Ctrl-C.

    >>> main(["--version"])  # doctest: +ELLIPSIS
    hare-tortoise ...
    0
    """
    try:
        code = _answer(list(sys.argv[1:] if arguments is None else arguments))
        # Not at exit, where a reader that has gone (`| head`) would be complained of.
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return code


def _answer(given: list[str]) -> int:
    if given[:1] == ["--version"]:
        print(f"hare-tortoise {__version__}")
        return 0
    if importlib.util.find_spec("tyro") is None:
        return _complain(EXTRA)
    return _run(given)


def _run(given: list[str]) -> int:
    from hare_tortoise.cli.parser import parse

    try:
        return parse(given).run(given)
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else FAILED
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in LAB_MODULES:
            return _complain(EXTRA)
        raise
    except ImportError as error:
        if "pip install" in str(error):  # for something that was named
            return _complain(str(error))
        raise
    except (ValueError, FileNotFoundError) as error:
        return _complain(str(error))
    except BrokenPipeError:
        raise
    except OSError as error:
        return _complain(str(error), FAILED)
    except KeyboardInterrupt:
        return _complain("interrupted; the same command goes on from here", INTERRUPTED)


def _complain(message: str, code: int = WRONG_USE) -> int:
    print(f"hare-tortoise: {message}", file=sys.stderr)
    return code
