"""The example of a third party's package: it installs, keeps the contract, is used by name on the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "weight-noise"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the package is installed, and nothing of its sources can be found."""
    place = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(place), str(EXAMPLE)], check=True)
    assert [path.name for path in place.glob("*.py")] == ["weight_noise.py"]
    return {**os.environ, "PYTHONPATH": str(place), "OMP_NUM_THREADS": "1"}


def test_its_own_tests_pass(installed: dict[str, str], tmp_path: Path) -> None:
    test = tmp_path / "test_weight_noise.py"
    test.write_bytes((EXAMPLE / "test_weight_noise.py").read_bytes())
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", str(test)]
    done = subprocess.run(command, cwd=tmp_path, env=installed, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "5 passed" in done.stdout


def test_it_is_used_by_name_from_the_command_line(installed: dict[str, str], tmp_path: Path) -> None:
    methods = "warm-start,weight_noise:WeightNoise(std=0.3),weight_noise:WeightNoise(std=0.0)+hare-tortoise(decay=0.9)"
    command = [sys.executable, "-m", "hare_tortoise", "compare", "--methods", methods, "--seeds", "1"]
    command += ["--set", "epochs=2", "--scenario", "growing(chunks=2)", "--workers", "1", "--quiet"]
    done = subprocess.run(command, cwd=tmp_path, env=installed, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (comparison,) = json.loads((tmp_path / "runs" / "comparison.json").read_text(encoding="utf-8"))
    final = {entry["method"]: entry["final"]["mean"] for entry in comparison["entries"]}
    assert len(final) == 3
    # so much noise at every step leaves little to learn with
    assert final["weight_noise:WeightNoise(std=0.3)"] < final["warm-start"]
