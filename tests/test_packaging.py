"""What is shipped: the wheel, the sdist and an editable install carry tasks, configs, published numbers and demo checkpoints.

An installed package is tried in a new virtual environment, from an empty folder. To keep that quick the third-party packages are
those of the environment that runs the tests: a `.pth` line adds its site-packages. Python reads no `.pth` files in a folder that was
added so, therefore an editable install there stays out of sight, and the checkout with it.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
SITE = Path(sysconfig.get_path("purelib"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CHECKPOINTS = ("demo", "demo-early")
trained = pytest.mark.skipif(
    not (ROOT / "evalkit/demo/checkpoints/demo/config.json").exists(), reason="the demo checkpoint has not been trained yet"
)


def called(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """The finished process of a command run in `folder`, with nothing of this Python's environment and no hub."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "EVALKIT"))}
    return subprocess.run(
        [*map(str, command)], cwd=folder, env=outside | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, check=False
    )


def succeeded(*command: str | Path, folder: Path) -> str:
    done = called(*command, folder=folder)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def below(folder: str) -> set[str]:
    """The files that belong to a folder of the checkout, relative to the checkout."""
    found = (path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file())
    return {path.as_posix() for path in found if "__pycache__" not in path.parts}


def carried() -> set[str]:
    """What has to be in the sdist, by its path there."""
    return below("tasks") | below("configs") | below("evalkit") | {"results/published.csv"}


def files_of(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A wheel made from the checkout, an sdist, and a wheel made from that sdist, by kind."""
    checkout, unpacked = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("unpacked")
    build = (sys.executable, "-m", "build", "--no-isolation")
    succeeded(*build, "--wheel", "--outdir", checkout, ROOT, folder=ROOT)
    succeeded(*build, "--outdir", unpacked, ROOT, folder=ROOT)  # the sdist, then a wheel from it
    (wheel,), (sdist,), (again,) = checkout.glob("*.whl"), unpacked.glob("*.tar.gz"), unpacked.glob("*.whl")
    return {"wheel": wheel, "sdist": sdist, "wheel from the sdist": again}


def environment(folder: Path, package: Path) -> Path:
    """The `bin` folder of a new virtual environment that holds `package`, and the third-party packages of this one."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    site = Path(succeeded(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=folder).strip())
    (site / "dependencies.pth").write_text(f"{SITE}\n", encoding="utf-8")
    for hook in SITE.glob("torchvision_schemas.pth"):  # set-up's, where torchvision needs it
        shutil.copy(hook, site)
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation")
    succeeded(*pip, "--ignore-installed", package, folder=folder)
    return folder / "bin"


@pytest.fixture(scope="module", params=["wheel", "sdist"])
def installed(request: pytest.FixtureRequest, built: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("clean"), built[request.param])


def test_the_wheel_holds_one_package_and_no_tests(built: dict[str, Path]) -> None:
    files = files_of(built["wheel"])
    assert {name.split("/")[0] for name in files} == {"evalkit"}
    assert not [name for name in files if "test" in name.lower()]


def test_the_wheel_carries_everything_that_is_read_at_run_time(built: dict[str, Path]) -> None:
    expected = {name if name.startswith("evalkit/") else f"evalkit/_bundled/{name}" for name in carried()}
    assert files_of(built["wheel"]) == expected


def test_the_sdist_carries_the_originals_and_no_tests(built: dict[str, Path]) -> None:
    with tarfile.open(built["sdist"]) as archive:
        files = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    assert carried() | {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"} <= files
    assert not [name for name in files if name.startswith("tests/")]


def test_a_wheel_made_from_the_sdist_is_the_same(built: dict[str, Path]) -> None:
    with zipfile.ZipFile(built["wheel"]) as one, zipfile.ZipFile(built["wheel from the sdist"]) as other:
        assert {i.filename: i.CRC for i in one.infolist()} == {i.filename: i.CRC for i in other.infolist()}


@trained
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_wheel_carries_whole_checkpoints(built: dict[str, Path], name: str) -> None:
    folder = f"evalkit/demo/checkpoints/{name}"
    needed = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "processor_config.json", "chat_template.jinja"}
    assert {f"{folder}/{file}" for file in needed} <= files_of(built["wheel"])


@trained
def test_both_checkpoints_take_at_most_12_megabytes() -> None:
    assert sum((ROOT / name).stat().st_size for name in below("evalkit/demo/checkpoints")) <= 12_000_000


def test_an_installed_package_sees_no_checkout(installed: Path, tmp_path: Path) -> None:
    code = "import evalkit, json, sys; print(json.dumps([evalkit.__file__, *sys.path]))"
    module, *places = json.loads(succeeded(installed / "python", "-c", code, folder=tmp_path))
    assert Path(module).is_relative_to(installed.parent)
    assert str(ROOT) not in places


def test_an_installed_package_lists_every_task(installed: Path, tmp_path: Path) -> None:
    printed = succeeded(installed / "evalkit", "tasks", folder=tmp_path)
    assert not [path.stem for path in (ROOT / "tasks").glob("[!_]*.py") if path.stem not in printed]


@trained
def test_the_demo_runs_from_an_empty_folder(built: dict[str, Path], tmp_path: Path) -> None:
    empty, out = tmp_path / "empty", tmp_path / "out"
    empty.mkdir()
    binaries = environment(tmp_path / "clean", built["wheel"])
    command = ("run", "--model", "demo", "--tasks", "shapes", "--limit", "24", "--out", out)
    succeeded(binaries / "evalkit", *command, folder=empty)
    (summary,) = out.glob("*/summary.json")
    assert json.loads(summary.read_text(encoding="utf-8"))
    assert not list(empty.iterdir())


def test_an_editable_install_lists_every_task(tmp_path: Path) -> None:
    script = Path(sys.executable).parent / "evalkit"
    if not script.exists():
        pytest.skip("evalkit is not installed in this environment; `make test` installs it, editable")
    printed = succeeded(script, "tasks", folder=tmp_path)
    assert not [path.stem for path in (ROOT / "tasks").glob("[!_]*.py") if path.stem not in printed]


def test_the_core_install_is_at_most_40_third_party_packages_without_torch() -> None:
    found: set[tuple[str, str]] = set()
    wanted = [(Requirement(text), "") for text in PROJECT["dependencies"]]
    while wanted:
        requirement, extra = wanted.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        for asked in ["", *requirement.extras]:
            if (name, asked) not in found:
                found.add((name, asked))
                wanted += [(Requirement(text), asked) for text in distribution(name).requires or []]
    names = {name for name, _ in found}
    assert "torch" not in names
    assert len(names) <= 40, sorted(names)


def test_the_extra_all_is_every_extra_but_dev() -> None:
    extras = PROJECT["optional-dependencies"]
    (everything,) = (Requirement(text) for text in extras["all"])
    assert everything.extras == extras.keys() - {"all", "dev"}


def test_exact_versions_satisfy_the_ranges_and_the_ranges_pin_nothing() -> None:
    lines = (ROOT / "setup/constraints-linux-cpu.txt").read_text(encoding="utf-8").splitlines()
    exact = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pinned = {canonicalize_name(name): version for name, version in exact.items()}
    extras = (text for name, texts in PROJECT["optional-dependencies"].items() if name not in {"all", "vllm"} for text in texts)
    for requirement in map(Requirement, [*PROJECT["dependencies"], *extras]):
        assert {clause.operator for clause in requirement.specifier} == {">="}, f"{requirement} has a bound that is no lower bound"
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement
