"""The likelihood protocol through whole runs: what a checkpoint says is what torch says, and who cannot say it is refused."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import evalkit
from evalkit import api
from evalkit import task as tasks
from evalkit.errors import Refused

TASK = """
import json
from pathlib import Path

from evalkit import Accuracy, Image, Rule, Sample, Task, Wants

VARIANTS = ()
DATA = None
HERE = Path(__file__).parent


class Written:
    name = "written"

    def measure(self, value, sample):
        return {"likelihoods": list(value)}

    def summarise(self, records):
        return {}


def task(variant, data):
    rules = (
        Rule("likelihood", lambda p, s: p.answer, Accuracy(), reads="likelihoods"),
        Rule("likelihood", lambda p, s: p.likelihoods, Written(), reads="likelihoods"),
        Rule("strict", lambda p, s: p.answer, Accuracy()),
    )
    return Task("colours", 1, samples, rules, "accuracy", ("choice",))


def samples():
    for row in json.loads((HERE / "rows.json").read_text()):
        yield Sample(
            row["id"], row["question"], "unused", (Image(HERE / f"{row['id']}.png"),), Wants("choice"), row["answer"],
            options=tuple(row["options"]), statements=tuple(row["statements"]),
        )
"""
PLUGIN = """
from evalkit.types import Response


class Talks:
    def generate(self, messages, images):
        return "A"


class Weighs:
    answers = ("likelihood",)

    def answer(self, request):
        return Response(likelihoods=tuple(-float(len(text)) for text in request.kind.continuations))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with six questions about the colour of a shape, their images, and plugins; every second one with statements."""
    place, shapes = tmp_path_factory.mktemp("colours"), tasks.module("shapes")
    rows = []
    for index in range(2, 26, 4):
        drawn = shapes.scene("test", index)
        (place / f"{index}.png").write_bytes(shapes.png(drawn))
        statements = [f"It is {colour}, is it not?" for colour in drawn.options] if index % 8 == 2 else []
        rows.append(
            {"id": str(index), "question": drawn.question, "answer": drawn.answer, "options": drawn.options, "statements": statements}
        )
    (place / "rows.json").write_text(json.dumps(rows))
    (place / "colours.py").write_text(TASK)
    (place / "plugins.py").write_text(PLUGIN)
    (place / "replies.jsonl").write_text("".join(json.dumps({"sample": row["id"], "text": "A"}) + "\n" for row in rows))
    return place


def run(place: Path, model: str, out: Path, **options: Any) -> api.Summary:
    return evalkit.run(model, str(place / "colours.py"), protocol="likelihood", out=out, **options)


def written(folder: Path) -> dict[str, list[float]]:
    """The likelihoods of each sample's options, as the run's records hold them."""
    records = map(json.loads, (folder / "records.jsonl").read_text().splitlines())
    return {record["sample"]: record["likelihoods"] for record in records if record["metric"] == "written"}


@pytest.fixture(scope="module")
def demo(place: Path, tmp_path_factory: pytest.TempPathFactory) -> api.Summary:
    """The demo checkpoint's run, several options in a batch."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    return run(place, "demo", tmp_path_factory.mktemp("out"), batch_size=5)


@pytest.fixture(scope="module")
def directly() -> Callable[[Path, str, str], float]:
    """The mean log-probability of the tokens of a reply and of its end after a question about an image, one row and no padding."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from PIL import Image

    from evalkit import config

    source = config.model("demo").source
    model = transformers.AutoModelForImageTextToText.from_pretrained(source, dtype=torch.float32).eval()
    processor = transformers.AutoProcessor.from_pretrained(source)

    def compute(image: Path, question: str, reply: str) -> float:
        content = [{"type": "image"}, {"type": "text", "text": question}]
        prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False)
        inputs = dict(processor(text=[prompt], images=[Image.open(image).convert("RGB")], return_tensors="pt"))
        tail = torch.tensor([[*processor.tokenizer(reply, add_special_tokens=False).input_ids, processor.tokenizer.eos_token_id]])
        for name, more in (("input_ids", tail), ("attention_mask", tail * 0 + 1), ("mm_token_type_ids", tail * 0)):
            if name in inputs:
                inputs[name] = torch.cat([inputs[name], more], dim=1)
        with torch.inference_mode():
            logits = model(**inputs).logits[0].double().log_softmax(-1)
        start = inputs["input_ids"].shape[1] - tail.shape[1]
        return sum(float(logits[start + i - 1, token]) for i, token in enumerate(tail[0].tolist())) / tail.shape[1]

    return compute


def test_an_options_likelihood_is_the_mean_log_probability_of_its_tokens_and_its_end(
    place: Path, demo: api.Summary, directly: Callable[[Path, str, str], float]
) -> None:
    found = written(demo.folder)
    for row in json.loads((place / "rows.json").read_text())[:4]:
        expected = [directly(place / f"{row['id']}.png", row["question"], text) for text in row["statements"] or row["options"]]
        assert found[row["id"]] == pytest.approx(expected, abs=1e-4)
        assert max(expected) - min(expected) > 1e-3, "options that are alike would show nothing"


def test_the_answer_is_the_letter_of_the_likeliest_option(place: Path, demo: api.Summary) -> None:
    found = written(demo.folder)
    right = [
        "ABCD"[max(range(4), key=lambda i: found[row["id"]][i])] == row["answer"] for row in json.loads((place / "rows.json").read_text())
    ]
    assert demo.value("colours", "accuracy", "likelihood") == sum(right) / len(right)
    assert demo.protocol == "likelihood"
    assert {row["rule"] for row in demo.numbers} == {"likelihood", "majority"}


def test_it_depends_on_the_image(place: Path, demo: api.Summary, tmp_path: Path) -> None:
    blind = run(place, "demo", tmp_path, blind=True)
    assert blind.protocol == "likelihood, blind"
    seen, unseen = written(demo.folder), written(blind.folder)
    assert seen.keys() == unseen.keys()
    assert all(unseen[sample] != pytest.approx(seen[sample], abs=1e-3) for sample in seen)


def test_it_is_scored_again_from_the_store(demo: api.Summary) -> None:
    before = written(demo.folder)
    again, differences = api.score(demo.folder)
    assert (again.numbers, differences, written(demo.folder)) == (demo.numbers, [], before)


def test_a_plugin_that_weighs_options_is_an_engine_for_it(place: Path, tmp_path: Path) -> None:
    summary = run(place, f"plugin:{place / 'plugins.py'}:Weighs", tmp_path)
    for row in json.loads((place / "rows.json").read_text()):
        assert written(summary.folder)[row["id"]] == [-len(text) for text in row["statements"] or row["options"]]


@pytest.mark.parametrize("model", ["plugin:{}/plugins.py:Talks", "replay:{}/replies.jsonl"])
def test_an_engine_that_cannot_is_refused_by_name(place: Path, tmp_path: Path, model: str) -> None:
    with pytest.raises(Refused, match=r"(Talks|replies), got likelihood: choose another engine"):
        run(place, model.format(place), tmp_path)
    assert not list(tmp_path.rglob("summary.json"))


@pytest.mark.parametrize("model", ["plugin:{}/plugins.py:Talks", "replay:{}/replies.jsonl"])
def test_on_the_command_line_that_is_one_message_and_exit_code_2(place: Path, tmp_path: Path, model: str) -> None:
    command = ["evalkit", "run", "--model", model.format(place), "--tasks", str(place / "colours.py"), "--protocol", "likelihood"]
    told = subprocess.run([sys.executable, "-m", *command, "--out", str(tmp_path)], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (2, "")
    assert "got likelihood" in told.stderr
    assert "Traceback" not in told.stderr


def test_a_sample_without_options_is_refused_by_name(place: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.py"
    bare.write_text(TASK.replace("HERE = Path(__file__).parent", f"HERE = Path({str(place)!r})").replace('tuple(row["options"])', "()"))
    with pytest.raises(Refused, match="sample '6' has none"):
        evalkit.run(f"plugin:{place / 'plugins.py'}:Weighs", str(bare), protocol="likelihood", out=tmp_path / "out")
