"""What is shipped: the version wherever the code runs from, the pins, the wheel."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from hare_tortoise._version import find_version

ROOT = Path(__file__).parent.parent
DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# What `python3 -m venv` puts there by itself, and the project.
NOT_PINNED = {"pip", "setuptools", "wheel", "hare-tortoise"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {normal(name): version for name, version in pairs}


def unpinned(installed: dict[str, str], pinned: dict[str, str]) -> dict[str, str]:
    """Distributions whose installed version is not the pinned one; a local label such as +cpu is ignored."""
    return {
        name: version
        for name, version in installed.items()
        if name not in NOT_PINNED and pinned.get(name) != version.split("+")[0]
    }


def test_version_is_that_of_the_metadata() -> None:
    assert find_version() == metadata.version("hare-tortoise") == DECLARED["version"]


def test_version_without_metadata_is_read_from_the_checkout(tmp_path: Path) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text('[project]\nname = "not-installed-anywhere"\nversion = "7.8.9"\n')
    assert find_version("not-installed-anywhere", project) == "7.8.9"
    project.write_text('[project]\nname = "another"\nversion = "7.8.9"\n')
    assert find_version("not-installed-anywhere", project) == "0+unknown"
    assert find_version("not-installed-anywhere", tmp_path / "missing.toml") == "0+unknown"


def test_an_uninstalled_checkout_can_be_imported(tmp_path: Path) -> None:
    shutil.copytree(
        ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
    )
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(
        text.replace(f'version = "{DECLARED["version"]}"', 'version = "9.9"')
    )
    # The metadata of the environment is hidden, as if nothing were installed.
    code = (
        "import sys; from importlib import metadata\n"
        "def missing(name): raise metadata.PackageNotFoundError(name)\n"
        "metadata.version = missing\n"
        f"sys.path.insert(0, {str(tmp_path / 'src')!r})\n"
        "import hare_tortoise; print(hare_tortoise.__version__, hare_tortoise.__file__)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    version, file = result.stdout.split()
    assert version == "9.9"
    assert Path(file).is_relative_to(tmp_path)


def test_every_installed_distribution_is_pinned() -> None:
    # not all of sys.path: setuptools, once imported, adds copies of its own
    found = metadata.distributions(path=[sysconfig.get_path("purelib")])
    installed = {normal(dist.metadata["Name"]): dist.version for dist in found}
    assert "torch" in installed
    assert unpinned(installed, pins()) == {}


def test_a_missing_pin_is_seen() -> None:
    installed = {"torch": "2.13.0+cpu", "numpy": "2.0", "pip": "1.0", "new": "1.0"}
    assert unpinned(installed, {"torch": "2.13.0", "numpy": "2.1"}) == {"numpy": "2.0", "new": "1.0"}


def test_torch_is_pinned_for_any_build() -> None:
    assert pins()["torch"] == "2.13.0"


def test_every_dependency_is_pinned() -> None:
    wanted = [
        *DECLARED["dependencies"],
        *(line for lines in DECLARED["optional-dependencies"].values() for line in lines),
    ]
    names = {normal(re.split(r"[\[<>=!~; ]", line, maxsplit=1)[0]) for line in wanted}
    assert names - NOT_PINNED <= pins().keys()


def test_the_core_needs_only_torch() -> None:
    assert [re.split(r"[<>=]", line)[0] for line in DECLARED["dependencies"]] == ["torch"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from a copy so that the checkout stays as it is."""
    copy = tmp_path_factory.mktemp("project")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(copy / "dist"),
        str(copy),
    ]
    subprocess.run(command, capture_output=True, check=True)
    (path,) = (copy / "dist").glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_is_complete(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    sources = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.py")}
    assert sources <= names
    assert "hare_tortoise/py.typed" in names
    assert not [name for name in names if not name.startswith(("hare_tortoise/", "hare_tortoise-"))]


def test_the_wheel_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    folder = f"hare_tortoise-{DECLARED['version']}.dist-info"
    said = wheel.read(f"{folder}/METADATA").decode()
    assert "License-Expression: MIT" in said
    assert [
        line for line in said.splitlines() if line.startswith("Requires-Dist") and "extra" not in line
    ] == ["Requires-Dist: torch>=2.11"]
    assert "hare-tortoise = hare_tortoise.cli:main" in wheel.read(f"{folder}/entry_points.txt").decode()
    assert f"{folder}/licenses/LICENSE" in wheel.namelist()
