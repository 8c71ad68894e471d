"""Secrets are planted wherever a run may meet one, and then looked for in every byte that was written and every word that was said."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.contract.server import Deed, Raw, Reply, Server, Status
from tests.faults.tally import Fault, Tally

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk-planted-7f3a9c51e8b24d60"
JUDGES = "sk-judge-planted-0d4be91c77a2"
SECRETS = {
    "OPENAI_API_KEY": KEY,
    "JUDGE_API_KEY": JUDGES,
    "HF_TOKEN": "hf_planted0123456789abcdefABCDEF",
    "WANDB_API_KEY": "planted" + "0123456789abcdef" * 2,
    "HTTPS_PROXY": "http://proxyuser:proxy-planted-55@127.0.0.1:9",
}
PASSWORD = "url-planted-31415926"
HIDDEN = [KEY, JUDGES, SECRETS["HF_TOKEN"], SECRETS["WANDB_API_KEY"], "proxy-planted-55", PASSWORD]
NOBODY = "http://127.0.0.1:9/v1"
QUICK = ("--engine-args", "attempts=2", "--engine-args", "first_pause=0.01", "--engine-args", "patience=0.2")
FORMS = [
    form.encode()
    for word in HIDDEN
    for form in (word, base64.b64encode(word.encode()).decode(), base64.b64encode(f"user:{word}".encode()).decode(), word[::-1])
]

TASK = """
from evalkit import JUDGED, Accuracy, Judge, Rule, Sample, Task, Wants

VARIANTS, DATA = ("whole", "crash", "judged"), None


def task(variant, data):
    def export(answered, folder):
        (folder / "out.txt").write_text("".join(row["text"] for _, row in answered), "utf-8")
        return [folder / "out.txt"]

    def crashing(prediction, sample):
        if variant == "crash" and sample.id == "7":
            raise RuntimeError("a mistake in a task's own file")
        return prediction.text

    judged = variant == "judged"
    rules = (Rule("strict", crashing, Accuracy()), *(JUDGED if judged else ()))
    graders = (Judge(),) if judged else ()
    return Task("planted:" + variant, 1, lambda: map(sample, range(60)), rules, "accuracy", ("text",), graders, export=export)


def sample(place):
    return Sample(str(place), f"question {place}", f"question {place}", (), Wants("text"), "yes")
"""


def deeds(key: str = KEY) -> list[Deed]:
    """What the server does, one after the other: it answers, and repeats the key wherever a server might."""
    said = {"error": {"message": f"Incorrect API key provided: {key}", "code": key, "param": f"Bearer {key}"}}
    return [
        Reply("yes"),
        Reply(f"Your header was: Authorization: Bearer {key}"),
        Reply("", message={"reasoning_content": f"the key is {key}"}),
        Status(400, said),
        Status(400, f"<html>Authorization: Bearer {key}</html>"),
        Status(500, said),
        Status(503, f"upstream said: Authorization: Bearer {key}"),
        Status(429, said, {"retry-after": "0", "x-key": key}),
        Raw(f"Authorization: Bearer {key}".encode(), "text/plain"),
        Raw(json.dumps({"error": said}).encode()),
        Raw(json.dumps({"choices": [], "headers": {"Authorization": f"Bearer {key}"}}).encode()),
        Raw(json.dumps({"choices": [{"message": {"content": None, "echo": key}}]}).encode()),
        Raw(json.dumps({"choices": [{"error": {"message": key}, "message": {}}]}).encode()),
        Raw(json.dumps({"choices": [{"finish_reason": "error", "error": key, "message": {"content": key}}]}).encode()),
        Reply("no", finish=key),
    ]


def evalkit(folder: Path, *words: object) -> bytes:
    """All that a command says, with every secret in its environment and nowhere to write but below the folder."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "LD_LIBRARY_PATH", "OMP_NUM_THREADS")}
    places = {"HOME": "home", "TMPDIR": "tmp", "XDG_CACHE_HOME": "cache", "XDG_CONFIG_HOME": "config", "XDG_DATA_HOME": "data"}
    environ = kept | SECRETS | {name: str(folder / place) for name, place in places.items()}
    environ |= {"NO_PROXY": "127.0.0.1,localhost", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    for place in (*places.values(), "work"):
        (folder / place).mkdir(exist_ok=True)
    command = [sys.executable, "-m", "evalkit", *map(str, words)]
    done = subprocess.run(command, capture_output=True, env=environ, cwd=folder / "work", check=False)
    return done.stdout + done.stderr


def found(folder: Path, said: dict[str, bytes]) -> Iterator[str]:
    """Where a secret is, in what was said or in any file below the folder, its own name included."""
    places = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    for name, data in [*said.items(), *((name, path.read_bytes() + name.encode()) for name, path in places.items())]:
        for form in FORMS:
            if form in data:
                at = data.index(form)
                yield f"{form.decode()} is in {name}: ...{data[max(at - 60, 0) : at]!r}"


def _runs(folder: Path, times: int) -> Tally:
    """Runs against servers that repeat the key, one that crashes and one that is refused; then everything that reads their folders."""
    told, said = Tally(), dict[str, bytes]()
    out, planted = folder / "runs", folder / "planted"
    planted.mkdir()
    (folder / "task.py").write_text(TASK, "utf-8")

    def run(name: str, *more: object, model: object = "openai:tiny", variant: str = "whole") -> None:
        said[name] = evalkit(folder, "run", "--model", model, "--tasks", f"{folder / 'task.py'}:{variant}", "--out", out, *more)

    def against(name: str, script: Any, *more: object, variant: str = "whole") -> None:
        with Server(script) as server:
            run(name, *QUICK, "--base-url", server.url, *more, variant=variant)
            told.tried += len(server.arrived)

    listed, judges = deeds(), deeds(JUDGES)
    with Server(lambda number, body: judges[number % len(judges)]) as server:
        judge = planted / "judge.toml"
        judge.write_text(
            f'source = "openai:judge"\nbase_url = "{server.url}"\nkey = "JUDGE_API_KEY"\n'
            'engine_args = ["attempts=2", "first_pause=0.01"]\n',
            "utf-8",
        )
        against("servers that repeat their keys", lambda number, body: listed[number % len(listed)], "--judge", judge, variant="judged")
        told.tried += len(server.arrived)
        if not server.arrived or server.arrived[0].headers["authorization"] != f"Bearer {JUDGES}":
            told.crashed(f"no judge was asked: {said['servers that repeat their keys'][-300:]!r}")
    against("a run that crashes", lambda number, body: Reply(f"Bearer {KEY}"), variant="crash")
    if times > 1:
        _more(against, listed)
    before = len(said)
    _refused(run, planted, times > 1)
    told.tried += len(said) - before
    shutil.rmtree(planted)
    for place in sorted(out.glob("*")):
        for words in _readers(place) if times > 1 or (place / "summary.json").exists() else ():
            said[f"{' '.join(words[:3])} of {place.name}"] = evalkit(folder, *words)
            told.tried += 1
    said["data"] = evalkit(folder, "data", "vstar")
    told.tried += 1
    for where in found(folder, said):
        told.crashed(where)
    crashed = said["a run that crashes"]
    if b"a mistake in a task's own file" not in crashed or not (out.exists() and any(out.iterdir())):
        told.crashed(f"nothing was tried: {crashed[-300:]!r}")
    if times > 1:
        told.notes.append(f"{sum(path.stat().st_size for path in folder.rglob('*') if path.is_file()):,} bytes were searched")
    return told


def _more(against: Callable[..., None], listed: list[Deed]) -> None:
    """More runs: refused, sent elsewhere, through a proxy that wants a password."""
    refused = Status(401, {"error": {"message": f"Incorrect API key provided: {KEY}", "code": KEY}})
    elsewhere = Status(302, "", {"location": f"http://x/?key={KEY}"})
    against("the same, again", lambda number, body: listed[(number + 7) % len(listed)])
    against("a key that is refused", lambda number, body: listed[3] if number else refused, "--label", "l=2")
    against("a server that sends elsewhere", lambda number, body: elsewhere, "--label", "l=3")
    against("no such model", lambda number, body: Status(404, f"no {KEY}"), "--label", "l=4")
    against("a judge at OpenAI", lambda number, body: Reply("yes"), "--judge", "openai:tiny", "--limit", 3, variant="judged")


def _refused(run: Callable[..., None], planted: Path, whole: bool) -> None:
    """Runs that are given a secret where none may be: in a URL, an engine's options, a file of a model or of options."""
    url, label = f"http://user:{PASSWORD}@127.0.0.1:9/v1", ("--label", "l=5")
    files = {
        "password": f'source = "openai:tiny"\nbase_url = "{url}"\n',
        "options": f'base_url = "{NOBODY}"\nengine_args = ["api_key={KEY}"]\n',
    }
    given = [f"base_url={url}", f"api_key={KEY}", f"hf_token={SECRETS['HF_TOKEN']}", f'extra_body={{"metadata": {{"api-key": "{KEY}"}}}}']
    for number, argument in enumerate(given):
        files[f"model {number}"] = f'source = "openai:tiny"\nbase_url = "{NOBODY}"\nengine_args = [\'{argument}\']\n'
        if whole or number < 3:
            run(f"--engine-args {argument.partition('=')[0]}", "--engine-args", argument, "--base-url", NOBODY, *QUICK, *label)
    run("a password in the URL", "--base-url", url, *label)
    for name, text in files.items():
        if whole or name in ("password", "model 3"):
            path = planted / f"{name}.toml"
            path.write_text(text, "utf-8")
            if name == "options":
                run(f"a file of {name}", "--config", path, *label)
            else:
                run(f"a file of a model, {name}", *QUICK, *label, model=path)


def _readers(run: Path) -> Iterator[Sequence[str]]:
    """The commands that read a run's folder, or say why they cannot."""
    yield "show", str(run), "--limit", "100"
    yield "score", str(run)
    yield "table", str(run), "--numbers", "all", "--format", "json"
    yield "table", str(run), "--format", "html"
    yield "export", str(run)
    yield "view", str(run), "--out", f"{run}-view"


def _command_lines(folder: Path, times: int) -> Tally:
    """What a manifest keeps of a command line."""
    from evalkit.manifest import SECRET

    told = Tally()
    for name in ("api-key", "api_key", "HF_TOKEN", "x-secret", "password", "my.token", "AWS_SECRET_ACCESS_KEY"):
        for form in (f"--{name}={KEY}", f"{name}={KEY}", f"--engine-args={name}={KEY}", f"{name}={KEY} {KEY}"):
            told.tried += 1
            if re.search(KEY, SECRET.sub(r"\1\2***", form)):
                told.crashed(f"{form} is kept")
    return told


FAULTS = (
    Fault("keys, tokens and passwords in a run with errors and a crash: every byte", _runs, 2, 1),
    Fault("secrets on the command line, as a manifest keeps it", _command_lines, 28, 28),
)
