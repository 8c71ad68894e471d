"""A run's numbers as evaluation results of a model card: what is in them, what is refused, and what the hub is asked."""

import hashlib
import http.server
import importlib
import json
import sys
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

import evalkit
from evalkit.cli.push import command
from evalkit.errors import Refused, UserError
from evalkit.report.push_hub import results
from evalkit.report.runs import Run, opened

hub = pytest.importorskip("huggingface_hub")
CONSTANTS = importlib.import_module("huggingface_hub.constants")
SHA, TOKEN = "5503434ddd753f426f4b38109466949a1217c2bb", "hf_ownersecret"
TASK = f'''
from evalkit import Accuracy, Data, Rule, Sample, Task, Unparsed, Wants, parsers

VARIANTS = ()
DATA = Data(("someone/own",), ("rows.txt",), "CC0", "rows.txt", revision="{SHA}")


def read(prediction, sample):
    return parsers.yes_no(prediction.answer) if prediction.answer is not None else Unparsed(prediction.failure)


def task(variant, data):
    return Task("own", 1, samples, (Rule("official", read, Accuracy()),), "accuracy", ("yes_no",), data=DATA, published={{"rows": 4}})


def samples():
    for number in range(4):
        yield Sample(str(number), "Is it?", "Is it?", (), Wants("yes_no"), "yes", tags=frozenset({{"even" if number % 2 == 0 else "odd"}}))
'''
PLUGIN = """
class Mine:
    def generate(self, messages, images):
        raise RuntimeError("no answer")
"""
CARD = """---
license: mit
model-index:
- name: theirs
  results:
  - task: {type: image-text-to-text}
    dataset: {name: other, type: someone/other}
    metrics: [{type: accuracy, value: 0.125}]
---
# A model

Its own words.
"""


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Run]:
    """Runs the task on replies, of which the first three are right."""
    (tmp_path / "own.py").write_text(TASK)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.txt").write_text("4")

    def run(replies: int = 4, model: str = "", **options: Any) -> Run:
        rows = [{"sample": str(number), "text": "no" if number == 3 else "yes"} for number in range(replies)]
        (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
        model = model or f"replay:{tmp_path / 'mine.jsonl'}"
        made = evalkit.run(model, str(tmp_path / "own.py"), data=str(tmp_path / "data"), out=tmp_path / "out", **options)
        return opened([made.folder])[0]

    return run


def push(run: Run | Path, *options: str) -> Result:
    place = run.folder.path if isinstance(run, Run) else run
    return CliRunner().invoke(command, [str(place), "--to", "hub", *options])


# ---------------------------------------------------------------- what would be sent


def test_a_dry_run_prints_the_cards_metadata_with_value_interval_rule_and_revision_and_asks_nobody(
    make: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CONSTANTS, "ENDPOINT", "http://127.0.0.1:9")
    done = push(make(), "--dry-run", "--repo", "me/mine")
    (model,) = yaml.safe_load(done.stdout)["model-index"]
    (entry,) = model["results"]
    (metric,) = entry["metrics"]
    assert (done.exit_code, model["name"]) == (0, "mine")
    assert entry["dataset"] == {"type": "someone/own", "name": "own", "revision": SHA}
    assert (metric["type"], metric["value"]) == ("accuracy", 0.75)
    assert metric["name"] == "accuracy, rule official, protocol direct"
    assert metric["args"]["n"] == 4
    assert metric["args"]["low"] < 0.75 < metric["args"]["high"]


def test_the_card_that_is_printed_is_one_that_the_hubs_own_package_reads(make: Callable[..., Run]) -> None:
    found = results(make())
    text = push(make(), "--dry-run", "--repo", "me/mine").stdout
    (read,) = hub.ModelCard(f"---\n{text}---\n").data.eval_results
    assert read == found.card[0]


def test_a_leaderboards_file_holds_the_share_in_percent_and_reads_back(make: Callable[..., Run]) -> None:
    found = results(make(), {"own": "own_test"})
    ((path, text),) = found.boards.items()
    assert path == ".eval_results/own.yaml"
    (entry,) = hub.parse_eval_result_entries(yaml.safe_load(text))
    assert (entry.dataset_id, entry.task_id, entry.value, entry.dataset_revision) == ("someone/own", "own_test", 75.0, SHA)
    assert "rule official" in entry.notes


def part(run: Run, **changes: Any) -> Run:
    """The run with other words about its task."""
    return Run(run.folder, {**run.summary, "tasks": [{**run.summary["tasks"][0], **changes}]}, run.manifest)


def test_what_is_not_the_benchmarks_number_is_refused_with_the_reason(make: Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / "none.py").write_text(PLUGIN)
    cases = {
        "only 2 of 4 samples were asked": lambda: make(limit=2),
        "1 samples have no reply": lambda: make(replies=3),
        "4 answers did not come": lambda: make(model=f"plugin:{tmp_path / 'none.py'}:Mine"),
        "'oracle' is a script": lambda: make(model="oracle"),
        "without the images": lambda: make(model="mute", blind=True),
        "the data has 4 samples where the benchmark has 5": lambda: part(make(), published=5),
    }
    for reason, made in cases.items():
        with pytest.raises(Refused, match=reason):
            results(made())


def test_a_task_whose_data_is_not_on_the_hub_is_left_out_and_the_others_go(make: Callable[..., Run], tmp_path: Path) -> None:
    run = make()
    tasks = [*run.summary["tasks"], {**run.summary["tasks"][0], "task": "homemade"}]
    both = Run(
        run.folder,
        {
            **run.summary,
            "tasks": tasks,
            "numbers": [*run.summary["numbers"], *({**row, "task": "homemade"} for row in run.summary["numbers"])],
        },
        {**run.manifest, "tasks": [*run.manifest["tasks"], {"name": "homemade", "version": 1, "data": None}]},
    )
    found = results(both)
    assert [entry.dataset_name for entry in found.card] == ["own"]
    assert found.notes == ("homemade is left out: its data is not on the hub",)
    with pytest.raises(Refused, match=r"leaderboard of homemade .* not on the hub"):
        results(both, {"homemade": "x"})


# ---------------------------------------------------------------- what the hub is asked


class Hub(http.server.ThreadingHTTPServer):
    """As much of the hub as a commit of small files needs: one repository, with a card or without."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.files: dict[str, str] = {}
        self.commits: list[list[dict[str, Any]]] = []
        self.asked: list[str] = []
        self.status = 200

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def sha(self) -> str:
        return hashlib.sha1(json.dumps(self.files).encode()).hexdigest()


class Answers(http.server.BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, value: Any, status: int = 200, **headers: str) -> None:
        data = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path.startswith("/api/models/me/mine"):
            self.answer({"id": "me/mine", "sha": self.server.sha, "siblings": [{"rfilename": name} for name in self.server.files]})
        elif "/resolve/" in self.path and (name := self.path.rpartition("/")[2]) in self.server.files:
            self.answer(self.server.files[name], ETag=f'"{self.server.sha}"', X_Repo_Commit=self.server.sha)
        else:
            self.answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")

    def do_POST(self) -> None:
        self.server.asked.append(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if "/preupload/" in self.path:
            self.answer(
                {"files": [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in json.loads(body)["files"]]}
            )
        elif "/commit/" not in self.path:
            self.answer({})
        elif self.server.status != 200 or self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.answer({"error": "Forbidden"}, self.server.status if self.server.status != 200 else 401)
        else:
            self.server.commits.append([json.loads(line) for line in body.splitlines()])
            told = {"success": True, "commitOid": SHA, "commitUrl": f"{self.server.address}/me/mine/commit/{SHA}"}
            self.answer(told | ({"pullRequestUrl": f"{self.server.address}/me/mine/discussions/1"} if "create_pr=1" in self.path else {}))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with Hub() as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        monkeypatch.setattr(CONSTANTS, "ENDPOINT", made.address)
        monkeypatch.setattr(CONSTANTS, "HUGGINGFACE_CO_URL_TEMPLATE", f"{made.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}")
        monkeypatch.setattr(CONSTANTS, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield made
        made.shutdown()


def sent(server: Hub) -> dict[str, str]:
    """The files of the last commit."""
    values = [line["value"] for line in server.commits[-1] if line["key"] == "file"]
    return {value["path"]: b64decode(value["content"]).decode() for value in values}


def test_a_push_adds_to_the_card_and_leaves_all_else_in_it_alone(make: Callable[..., Run], server: Hub) -> None:
    server.files["README.md"] = CARD
    done = push(make(), "--repo", "me/mine", "--leaderboard", "own=own_test")
    assert done.exit_code == 0, done.output
    files = sent(server)
    card = hub.ModelCard(files["README.md"])
    assert card.text.strip() == "# A model\n\nIts own words."
    assert (card.data.license, card.data.model_name) == ("mit", "theirs")
    assert [(one.dataset_name, one.metric_value) for one in card.data.eval_results] == [("other", 0.125), ("own", 0.75)]
    assert set(files) == {"README.md", ".eval_results/own.yaml"}
    assert server.commits[-1][0]["value"]["parentCommit"] == server.sha
    assert f"commit/{SHA}" in done.stdout
    assert "adds accuracy, rule official, protocol direct of own: 0.75" in done.stdout


def test_a_repository_without_a_card_gets_one(make: Callable[..., Run], server: Hub) -> None:
    assert push(make(), "--repo", "me/mine").exit_code == 0
    card = hub.ModelCard(sent(server)["README.md"])
    assert (card.data.model_name, len(card.data.eval_results)) == ("mine", 1)


def test_the_same_numbers_again_are_no_commit_and_others_need_overwrite(make: Callable[..., Run], server: Hub) -> None:
    assert push(make(), "--repo", "me/mine").exit_code == 0
    server.files = sent(server)
    assert "nothing to do" in push(make(), "--repo", "me/mine").stdout
    server.files["README.md"] = server.files["README.md"].replace("value: 0.75", "value: 0.5")
    refused = push(make(), "--repo", "me/mine")
    assert isinstance(refused.exception, UserError)
    assert "nothing was sent. --overwrite replaces accuracy, rule official, protocol direct of own: 0.5 by 0.75" in str(refused.exception)
    assert len(server.commits) == 1
    assert "replaces accuracy" in push(make(), "--repo", "me/mine", "--overwrite").stdout
    assert "value: 0.75" in sent(server)["README.md"]


def test_a_leaderboards_file_that_is_there_needs_overwrite(make: Callable[..., Run], server: Hub) -> None:
    server.files[".eval_results/own.yaml"] = "- other"
    refused = push(make(), "--repo", "me/mine", "--leaderboard", "own=x")
    assert "already: say --overwrite" in str(refused.exception)
    assert not server.commits
    assert push(make(), "--repo", "me/mine", "--leaderboard", "own=x", "--overwrite").exit_code == 0


def test_a_pull_request_is_one(make: Callable[..., Run], server: Hub) -> None:
    done = push(make(), "--repo", "me/mine", "--pull-request")
    assert "discussions/1" in done.stdout
    assert any("create_pr=1" in path for path in server.asked)


def test_what_the_hub_refuses_is_told_and_the_token_never(make: Callable[..., Run], server: Hub) -> None:
    gone = push(make(), "--repo", "me/gone")
    server.status = 403
    forbidden = push(make(), "--repo", "me/mine")
    for done in (gone, forbidden):
        assert isinstance(done.exception, UserError)
        assert "did not take the numbers" in str(done.exception)
        assert "hf auth login" in str(done.exception)
        assert TOKEN not in f"{done.exception} {done.output}"
    assert "Repository Not Found" in str(gone.exception)
    assert "403" in str(forbidden.exception)


def test_a_hub_that_cannot_be_reached_is_told(make: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CONSTANTS, "ENDPOINT", "http://127.0.0.1:9")
    assert "did not take the numbers for me/mine" in str(push(make(), "--repo", "me/mine").exception)


# ---------------------------------------------------------------- mistakes


def test_mistakes_are_told_with_the_next_step(make: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make()
    make(limit=2)
    cases = {
        "name it with --repo": (run, ()),
        "--offline does nothing with --to hub": (run, ("--offline",)),
        "TASK=ID": (run, ("--repo", "a/b", "--leaderboard", "own")),
        "no task 'won'. Did you mean 'own'": (run, ("--dry-run", "--leaderboard", "won=x")),
        "found none": (tmp_path / "data", ("--dry-run",)),
        "holds 2: name one": (tmp_path / "out", ("--dry-run",)),
    }
    for said, (place, options) in cases.items():
        error = push(place, *options).exception
        assert isinstance(error, UserError), said
        assert said in str(error)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install 'evalkit[push]'" in str(push(run, "--dry-run").exception)


def test_hostile_names_stay_inside_their_fields(make: Callable[..., Run]) -> None:
    """A task of a foreign summary cannot name a file elsewhere or break the YAML."""
    run, name = make(), "../../x: {y}\n- z\ud800"
    hostile = Run(
        run.folder,
        {
            **run.summary,
            "tasks": [{**run.summary["tasks"][0], "task": name}],
            "numbers": [{**row, "task": name} for row in run.summary["numbers"]],
        },
        {**run.manifest, "tasks": [{**run.manifest["tasks"][0], "name": name}]},
    )
    found = results(hostile, {name: "id"})
    (path,) = found.boards
    assert path.startswith(".eval_results/")
    assert path.count("/") == 1
    data = hub.ModelCardData(model_name="m", eval_results=list(found.card)).to_yaml()
    assert yaml.safe_load(data)["model-index"][0]["results"][0]["dataset"]["name"] == name.replace("\ud800", "\N{REPLACEMENT CHARACTER}")
