"""The design's layers and house rules hold: read from the source, and from what a new process has imported."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import evalkit

ROOT = Path(__file__).resolve().parents[1]
LAYERS = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("A row imports itself and the rows above it.\n\n")[2].partition("\n\n")[0]
ROW = {name: number for number, row in enumerate(LAYERS.split("\n")) for name in row.split()}
ROOF = "__init__"  # the public names, resolved on use: any layer, imported by none
SCRIPTS = "demo"  # the training of the demo checkpoint: run by hand, imported by none
HEAVY = set(
    """
    PIL accelerate av cv2 datasets huggingface_hub math_verify matplotlib numpy openai pandas peft pyarrow pycocotools ray safetensors scipy
    sklearn sympy tokenizers torch torchvision transformers vllm
    """.split()
)
MODULES = sorted((ROOT / "evalkit").rglob("*.py"))
LIBRARY = [path for path in MODULES if path.relative_to(ROOT).parts[1] != SCRIPTS]
TASKS = sorted((ROOT / "tasks").glob("*.py"))


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def every(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=label)


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), path.name)


def part(path: Path) -> str:
    """The layer's name of a file of the package: its file or its folder."""
    first = path.relative_to(ROOT / "evalkit").parts[0]
    return first.removesuffix(".py")


def imports(node: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    """The dotted names that `node` imports, each `from X import Y` as X.Y, relative ones resolved against `package`."""
    for found in ast.walk(node):
        if isinstance(found, ast.Import):
            yield from (alias.name for alias in found.names)
        elif isinstance(found, ast.ImportFrom):
            base = package[: len(package) - found.level + 1] if found.level else ()
            stem = ".".join([*base, *([found.module] if found.module else [])])
            yield from (f"{stem}.{alias.name}" for alias in found.names)


def own_imports(path: Path) -> set[str]:
    """The parts of the package that a file imports, wherever in the file it does."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    names = (name.split(".") for name in imports(tree(path), package))
    return {name[1] for name in names if name[0] == "evalkit" and name[1:] != ["__version__"]}


def at_import(node: ast.AST) -> Iterator[ast.stmt]:
    """The statements that run when a module is imported: no function bodies, nothing under TYPE_CHECKING."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.stmt):
            yield child
        yield from at_import(child)


def heavy_at_import(path: Path) -> set[str]:
    plain = [statement for statement in at_import(tree(path)) if isinstance(statement, ast.Import | ast.ImportFrom)]
    return {name.split(".")[0] for statement in plain for name in imports(statement, ("evalkit",))} & HEAVY


@every(LIBRARY)
def test_every_part_has_its_place_in_the_layers(path: Path) -> None:
    assert part(path) in ROW or part(path) == ROOF, f"name evalkit/{part(path)} in its row of CONTRIBUTING.md"


@every([path for path in LIBRARY if part(path) != ROOF])
def test_a_layer_imports_itself_and_the_layers_above(path: Path) -> None:
    wrong = {name for name in own_imports(path) if name not in ROW or ROW[name] > ROW[part(path)]}
    assert not wrong, f"{label(path)} reaches down, or to the roof: {sorted(wrong)}"


@every(MODULES)
def test_nothing_in_the_package_imports_tasks_or_tests(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(tree(path), ("evalkit",))} & {"tasks", "tests", "configs", "setup"}


@every(LIBRARY)
def test_heavy_libraries_are_imported_on_use(path: Path) -> None:
    assert not heavy_at_import(path)


@every(TASKS)
def test_a_task_file_imports_the_public_names_and_nothing_else_of_evalkit(path: Path) -> None:
    names = {name for name in imports(tree(path), ("",)) if name.split(".")[0] in {"evalkit", "tasks", ""}}
    public = {f"evalkit.{name}" for name in evalkit.__all__}
    assert names <= public, f"{label(path)} imports {sorted(names - public)}"
    assert not heavy_at_import(path)


@every([path for path in LIBRARY if part(path) not in {"cli", "__main__"}])
def test_only_the_command_line_prints_and_reads_the_environment(path: Path) -> None:
    found = [ast.unparse(node) for node in ast.walk(tree(path)) if isinstance(node, ast.Name | ast.Attribute)]
    assert not {"print", "os.environ", "os.getenv", "sys.argv"} & set(found)


@every([*MODULES, *TASKS])
def test_no_except_without_an_exception(path: Path) -> None:
    assert not [node.lineno for node in ast.walk(tree(path)) if isinstance(node, ast.ExceptHandler) and node.type is None]


@every([*MODULES, *TASKS])
def test_files_stay_short_enough_to_read(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= 450


@pytest.mark.parametrize(
    "code",
    ["import evalkit", "import runpy; sys.argv = ['evalkit', '--help']; runpy.run_module('evalkit', run_name='__main__', alter_sys=True)"],
    ids=["import evalkit", "python -m evalkit --help"],
)
def test_nothing_heavy_is_loaded_before_it_is_used(code: str) -> None:
    report = f"import atexit, json, sys; atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr)); {code}"
    done = subprocess.run([sys.executable, "-c", report], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not set(json.loads(done.stderr.splitlines()[-1])) & HEAVY


def test_every_public_name_resolves() -> None:
    assert [name for name in evalkit.__all__ if not hasattr(evalkit, name)] == []
