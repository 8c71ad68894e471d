"""Nothing in the package or in a task runs what a stranger wrote: read from the source, and tried."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted([*(ROOT / "evalkit").rglob("*.py"), *(ROOT / "tasks").glob("*.py")])

NEVER = set(
    """
    eval os.system os.popen pty.spawn commands.getoutput subprocess.getoutput subprocess.getstatusoutput asyncio.create_subprocess_shell
    runpy.run_path runpy.run_module code.interact
    pickle.load pickle.loads pickle.Unpickler cPickle.loads dill.load dill.loads cloudpickle.load cloudpickle.loads joblib.load
    marshal.load marshal.loads shelve.open pandas.read_pickle yaml.load yaml.unsafe_load yaml.full_load jsonpickle.decode
    ssl._create_unverified_context ssl._create_default_https_context ssl.CERT_NONE ssl.CERT_OPTIONAL ssl.VerifyMode
    tempfile.mktemp tarfile.open shutil.unpack_archive xml.etree.ElementTree.parse xml.dom.minidom.parse numpy.fromfile
    """.split()
)
"""What runs or trusts what it is given, unpacks archives or takes any certificate: called, kept under another name or replaced."""
NEVER_LIKE = ("os.exec", "os.spawn", "os.posix_spawn")
METHODS = {"extractall", "extract", "subprocess_shell"}
"""Methods that nothing here has a use for, of whatever object."""
UNSAFE = {
    "shell": True,
    "verify": False,
    "allow_pickle": True,
    "verify_ssl": False,
    "verify_mode": False,
    "trust_env": False,
    "weights_only": False,
    "check_hostname": False,
}
"""Arguments, attributes and keys that are nowhere of such a truth."""
FOREIGN = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml", "jsonpickle", "telnetlib", "ftplib", "xmlrpc"}
"""Modules that nothing imports."""
RUNS = {"evalkit/task.py"}
"""Where code is run on purpose: a task file or a plug-in that the user names by its path."""
PROCESSES = {"evalkit/parsers/math.py", "evalkit/manifest.py", "evalkit/engines/launch.py"}
"""Where a process is started: math-verify's, git's for the commit, the keeper's of an engine's own."""
LOADS_TORCH = {"evalkit/demo/train.py"}
"""Where torch.load is called, with weights_only: a training of the demo goes on from its own state."""


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


class Source:
    """A file as it is read here: against slips, not against one who hides what is done."""

    def __init__(self, path: Path) -> None:
        self.nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"), path.name)))
        self.imported: list[tuple[str, int]] = []
        self._known: dict[str, str] = {}
        for node in self.nodes:
            if isinstance(node, ast.Import):
                self._known |= {alias.asname: alias.name for alias in node.names if alias.asname}
                self.imported += [(alias.name, node.lineno) for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                self._known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
                self.imported += [(f"{node.module}.{alias.name}", node.lineno) for alias in node.names]
        self._constants: dict[str, list[ast.Constant]] = {}
        for name, value, _ in self.said():
            if isinstance(value, ast.Constant):
                self._constants.setdefault(name, []).append(value)

    def name(self, node: ast.AST) -> str:
        """The dotted name of what is called or named, through what it was imported as."""
        first, dot, rest = ast.unparse(node).partition(".")
        return (self._known.get(first, first) + dot + rest).removeprefix("builtins.")

    def named(self) -> Iterator[tuple[str, int]]:
        """All that is imported or named, dotted, with its line."""
        yield from ((name.removeprefix("builtins."), line) for name, line in self.imported)
        yield from ((self.name(node), node.lineno) for node in self.nodes if isinstance(node, ast.Name | ast.Attribute))

    def said(self) -> Iterator[tuple[str, ast.expr, int]]:
        """Every value that gets a name: as argument, attribute, variable, key or default."""
        for node in self.nodes:
            pairs: list[tuple[ast.AST | str | None, ast.expr | None]] = []
            if isinstance(node, ast.Call):
                pairs = [(keyword.arg, keyword.value) for keyword in node.keywords]
            elif isinstance(node, ast.Assign):
                pairs = [(target, node.value) for target in node.targets]
            elif isinstance(node, ast.AnnAssign | ast.NamedExpr):
                pairs = [(node.target, node.value)]
            elif isinstance(node, ast.Dict):
                pairs = list(zip(node.keys, node.values, strict=True))
            elif isinstance(node, ast.arguments):
                listed = [*node.posonlyargs, *node.args]
                pairs = [(given.arg, value) for given, value in zip(listed[::-1], node.defaults[::-1], strict=False)]
                pairs += [(given.arg, value) for given, value in zip(node.kwonlyargs, node.kw_defaults, strict=True)]
            yield from ((_last(place), value, value.lineno) for place, value in pairs if value is not None)

    def truths(self, value: ast.expr) -> set[bool]:
        """What a value may be where the file says it by a constant, in place or under a name."""
        found = [value] if isinstance(value, ast.Constant) else self._constants.get(_last(value), []) if isinstance(value, ast.Name) else []
        return {bool(constant.value) for constant in found}


def _last(place: ast.AST | str | None) -> str:
    """The last name of a place that gets a value."""
    match place:
        case str():
            return place
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Constant(value=str(name)):
            return name
        case ast.Subscript(slice=ast.Constant(value=str(name))):
            return name
    return ""


def unsafe(path: Path) -> list[str]:
    """What a file does that nothing here may do."""
    source, where = Source(path), label(path)
    found = [f"import {name}, line {line}" for name, line in source.imported if name.partition(".")[0] in FOREIGN]
    for name, line in source.named():
        runs = name in ("exec", "compile", "__import__") and where not in RUNS
        starts = name.startswith(("subprocess.", "asyncio.create_subprocess")) and where not in PROCESSES
        if name in NEVER or name.startswith(NEVER_LIKE) or ("." in name and name.rpartition(".")[2] in METHODS) or runs or starts:
            found.append(f"{name}, line {line}")
    for name, value, line in source.said():
        if UNSAFE.get(name) in source.truths(value):
            found.append(f"{name} = {ast.unparse(value)}, line {line}")
    for call in (node for node in source.nodes if isinstance(node, ast.Call)):
        said = {keyword.arg: source.truths(keyword.value) for keyword in call.keywords}
        if source.name(call.func) == "torch.load" and not (where in LOADS_TORCH and said.get("weights_only") == {True}):
            found.append(f"torch.load, line {call.lineno}")
        if True in said.get("trust_remote_code", ()):
            found.append(f"{ast.unparse(call.func)}(trust_remote_code=True), line {call.lineno}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_nothing_is_unpickled_evaluated_unpacked_run_in_a_shell_or_fetched_without_tls(path: Path) -> None:
    assert unsafe(path) == []


FOUND = """
import pickle
from pickle import loads
eval("1")
f = eval
import builtins; builtins.eval("1")
from builtins import eval as f
map(eval, texts)
import os; os.system("ls")
from os import system as s; s("ls")
import os; os.execvp("ls", ["ls"])
exec("1")
run = exec
import subprocess; subprocess.run("ls", shell=True)
import subprocess; subprocess.run(["ls"])
from asyncio import create_subprocess_shell
import asyncio; asyncio.create_subprocess_shell("ls")
import asyncio; asyncio.create_subprocess_exec("ls")
loop.subprocess_shell(protocol, "ls")
import runpy; runpy.run_path("a.py")
f(shell=True)
f(shell=1)
f(verify=False)
f(verify=0)
flag = False; f(verify=flag)
def g(flag=False): f(verify=flag)
f(**{"verify": False})
session.verify = False
options["verify"] = False
import ssl; c.verify_mode = ssl.CERT_NONE
from ssl import CERT_NONE; c.verify_mode = CERT_NONE
import ssl; c.verify_mode = ssl.VerifyMode(0)
c.verify_mode = 0
c.check_hostname = False
import ssl; ssl._create_default_https_context = f
import ssl; f(context=ssl._create_unverified_context())
import torch; torch.load("a")
import torch; torch.load("a", weights_only=False)
import yaml; yaml.load("a")
import numpy as np; np.load("a", allow_pickle=True)
f(trust_remote_code=True)
zip.extractall(".")
import tarfile; tarfile.open("a")
"""


@pytest.mark.parametrize("code", FOUND.strip().splitlines())
def test_the_search_finds_what_it_looks_for(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module(__name__), "ROOT", tmp_path)
    (tmp_path / "a.py").write_text(code)
    assert unsafe(tmp_path / "a.py")


@pytest.mark.parametrize(
    "code", ["model.eval()", "import re; re.compile('a')", "f(verify=True)", "f(verify=flag)", "c.check_hostname = True", "f(shell=False)"]
)
def test_the_search_finds_no_more(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module(__name__), "ROOT", tmp_path)
    (tmp_path / "a.py").write_text(code)
    assert not unsafe(tmp_path / "a.py")


def test_code_of_a_checkpoint_is_trusted_only_where_it_is_asked_for() -> None:
    """Every `trust_remote_code` of a signature or a dataclass is False unless somebody says otherwise."""
    defaults = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                arguments = [*node.args.posonlyargs, *node.args.args]
                pairs = [
                    *zip(arguments[::-1], node.args.defaults[::-1], strict=False),
                    *zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True),
                ]
                defaults += [default for argument, default in pairs if argument.arg == "trust_remote_code" and default is not None]
            elif isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "trust_remote_code" and node.value is not None:
                defaults.append(node.value)
    assert len(defaults) >= 4
    assert all(isinstance(default, ast.Constant) and default.value is False for default in defaults)


def test_a_checkpoint_with_code_of_its_own_is_refused_and_its_code_does_not_run(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from evalkit.engines import checkpoint
    from evalkit.errors import UserError

    (tmp_path / "config.json").write_text('{"model_type": "mine", "auto_map": {"AutoConfig": "own.Config"}, "architectures": ["Mine"]}')
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError):
        checkpoint.config_of(tmp_path, False)
    assert not (tmp_path / "ran").exists()


def test_pickled_weights_run_nothing(tmp_path: Path) -> None:
    """Weights that are a pickle which would write a file: they are refused, and where their maker is trusted they still run nothing."""
    pytest.importorskip("transformers")
    import pickle
    import shutil

    from evalkit.engines.transformers import Transformers
    from evalkit.errors import UserError

    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return open, (str(tmp_path / "ran"), "w")

    place = shutil.copytree(ROOT / "evalkit" / "demo" / "checkpoints" / "demo", tmp_path / "checkpoint")
    for path in place.glob("*.safetensors*"):
        path.unlink()
    (place / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match=r"found a pickle, pytorch_model.bin: .* --trust-remote-code"):
        Transformers(place, device="cpu")
    with pytest.raises(UserError, match="does not load"):
        Transformers(place, device="cpu", trust_remote_code=True)
    (place / "decoy.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match=r"does not load.*safetensors"):
        Transformers(place, device="cpu")
    assert not (tmp_path / "ran").exists()
