"""What evalkit depends on is listed with its licence, and the oldest versions that it names are those that were tried."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SOURCES = {"always": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
NOT_TRIED = {"vllm", "ray", "wandb"}


def asked() -> dict[str, set[str]]:
    """Each package that pyproject.toml names, with where it does."""
    found: dict[str, set[str]] = {}
    for where, lines in SOURCES.items():
        for name in (canonicalize_name(Requirement(line).name) for line in lines if where != "all"):
            found.setdefault(name, set()).add(where)
    return found


def listed() -> dict[str, tuple[set[str], str]]:
    """Each package of the first table of docs/licences.md, with what it comes with and its licence."""
    table = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8").split("\n\n")[2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {name: (set(where.split(", ")), licence) for name, where, licence, _ in rows}


def oldest() -> dict[str, str]:
    """The exact versions of setup/oldest.txt."""
    lines = (ROOT / "setup" / "oldest.txt").read_text(encoding="utf-8").splitlines()
    return {canonicalize_name(name): version for name, exact, version in (line.partition("==") for line in lines) if exact}


def test_every_dependency_is_listed_where_it_belongs_and_no_other_is() -> None:
    assert {name: where for name, (where, _) in listed().items()} == asked(), "write the list anew: python setup/licences.py"


@pytest.mark.parametrize("name", sorted(asked()))
def test_its_licence_is_known_and_lets_evalkit_be_apache(name: str) -> None:
    licence = listed()[name][1]
    assert any(licence.startswith(known) for known in ("Apache-2.0", "BSD", "MIT", "MPL-2.0", "PSF-2.0")), licence


@pytest.mark.parametrize("extra", [extra for extra in SOURCES if extra not in ("all", "dev")])
def test_the_oldest_versions_are_tried(extra: str) -> None:
    for requirement in map(Requirement, SOURCES[extra]):
        name = canonicalize_name(requirement.name)
        assert name in NOT_TRIED or requirement.specifier.contains(oldest()[name]), f"{requirement} is not what setup/oldest.txt tries"
