"""A plugin's messages, images and failures pass as they are, and a wrong one is told apart in words."""

import asyncio
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evalkit.config import RunConfig
from evalkit.engines import plugin, replicated
from evalkit.errors import Gap, UserError
from evalkit.geometry import Box, Frame, Mask, Point, Size
from evalkit.types import Generate, Likelihood, Message, Request, Sampling

from .engines import answer, answers, ask, picture

Load = Callable[..., plugin.Plugin]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads the class `Model` of a source text."""

    def make(source: str, name: str = "Model", file: str = "mine.py") -> plugin.Plugin:
        path = tmp_path / file
        path.write_text(textwrap.dedent(source))
        return plugin.load(f"{path}:{name}")

    return make


def test_messages_and_images_arrive_in_their_order(load: Load) -> None:
    engine = load("""
        class Model:
            def generate(self, messages, images):
                return repr((messages, [image.size for image in images], {image.mode for image in images}))
    """)
    messages = (
        Message("system", ("Be brief.",)),
        Message("user", (picture(30, 20, (1, 2, 3)), "One?", picture(40, 10, (1, 2, 3)))),
        Message("assistant", ("Yes.",)),
        Message("user", ("And", picture(50, 60, (1, 2, 3)))),
    )
    said = [
        {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "One?"}, {"type": "image"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Yes."}]},
        {"role": "user", "content": [{"type": "text", "text": "And"}, {"type": "image"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "It"}]},
    ]
    response = answer(engine, Request(Generate(messages, Sampling(), "It")))
    assert response.text == repr((said, [(30, 20), (40, 10), (50, 60)], {"RGB"}))


def test_a_stop_string_cuts_what_generate_returned(load: Load) -> None:
    engine = load("""
        class Model:
            def generate(self, messages, images):
                return "four</answer> and more"
    """)
    assert answer(engine, ask(0, stop=("</answer>",))).text == "four"


@pytest.mark.parametrize("method", ["def answer(self, request)", "async def answer(self, request)", "def generate(self, messages, images)"])
def test_whatever_it_raises_is_a_gap_with_its_words(load: Load, method: str) -> None:
    engine = load(f"""
        class Model:
            {method}:
                raise KeyError("no such weight")
    """)
    with pytest.raises(Gap, match="KeyError: 'no such weight'"):
        answer(engine, ask(0))


def test_a_reply_of_the_wrong_type_is_a_gap(load: Load) -> None:
    engine = load("""
        class Model:
            def generate(self, messages, images):
                return None
    """)
    with pytest.raises(Gap, match="expected a str from the plugin Model, got None"):
        answer(engine, ask(0))


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("'only text'", "expected a Response from the plugin Model, got 'only text'"),
        ("Response(None)", "expected a str as text from the plugin Model, got None"),
        ("Response({'answer': 'A'})", "expected a str as text"),
        ("Response('A', finish='eos')", "expected stop or length or refused as finish from the plugin Model, got 'eos'"),
        ("Response('A', finish=None)", "as finish"),
        ("Response('A', finish=['stop'])", "as finish"),
        ("Response('A', masks=({'size': [2, 2], 'counts': '04'},))", "expected a tuple of Masks as masks from the plugin Model, got"),
        ("Response('A', masks=[Mask('04', Size(2, 2))])", "expected a tuple of Masks as masks"),
        ("Response('A', masks=(Mask('04', [2, 2]),))", "expected a tuple of Masks as masks"),
        ("Response('A', reasoning=None)", "expected a str as reasoning"),
        ("Response('A', tokens_out='7')", "expected an int as tokens_out from the plugin Model, got '7'"),
        ("Response('A', seconds=float('nan'))", "expected a finite number as seconds from the plugin Model, got nan"),
        ("Response('A', seen=((2, 2),))", "expected a tuple of Sizes as seen"),
        ("Response('A', boxes=((0, 0, 1, 1),))", "expected a tuple of finite Boxes as boxes"),
        ("Response('A', boxes=(Box(0, 0, 1, float('inf')),))", "expected a tuple of finite Boxes as boxes"),
        ("Response('A', boxes=(Box(0, 0, 1, 1),), labels=('a', 'b'))", "expected as many labels as boxes from the plugin Model, got"),
        ("Response('A', likelihoods=0.5)", "expected a tuple of floats as likelihoods"),
        ("Response('A', attention=((0.5,),))", "expected a tuple of grids"),
    ],
)
def test_a_response_with_a_field_that_cannot_be_kept_is_a_gap(load: Load, returned: str, words: str) -> None:
    engine = load(f"""
        from evalkit.geometry import Box, Mask, Size
        from evalkit.types import Response
        class Model:
            def answer(self, request):
                return {returned}
    """)
    with pytest.raises(Gap, match=words):
        answer(engine, ask(0))


def test_another_number_of_likelihoods_than_continuations_is_a_gap_and_not_kept(load: Load) -> None:
    engine = load("""
        from evalkit.types import Response
        class Model:
            answers = ("likelihood",)
            def answer(self, request):
                return Response(likelihoods=(-1.0, float("-inf")))
    """)
    messages = (Message("user", ("Which?",)),)
    assert answer(engine, Request(Likelihood(messages, ("A", "B")))).likelihoods == (-1.0, float("-inf"))
    with pytest.raises(Gap, match="expected 3 likelihoods, one a continuation, from the plugin Model, got"):
        answer(engine, Request(Likelihood(messages, ("A", "B", "C"))))


@pytest.mark.parametrize("method", ["def", "async def"])
@pytest.mark.parametrize(
    ("deed", "words"),
    [
        ("sys.exit(0)", "SystemExit: 0"),
        ("raise asyncio.CancelledError", "CancelledError"),
        ("next(iter(()))", "StopIteration"),
        ("raise Odd", "raised Odd: something that cannot be told"),
    ],
)
def test_what_no_event_loop_outlives_is_a_gap_too_and_the_next_request_is_answered(load: Load, method: str, deed: str, words: str) -> None:
    engine = load(f"""
        import asyncio
        import sys
        from evalkit.types import Response
        class Odd(Exception):
            def __str__(self):
                raise ValueError
        class Model:
            asked = 0
            {method} answer(self, request):
                self.asked += 1
                if self.asked == 1:
                    {deed}
                return Response("yes")
    """)
    with pytest.raises(Gap, match=words):
        answer(engine, ask(0))
    assert answer(engine, ask(1)).text == "yes"


@pytest.mark.parametrize(("method", "waits"), [("def", "time.sleep(600)"), ("async def", "await asyncio.sleep(600)")])
def test_a_call_that_never_returns_is_a_gap_and_the_others_are_answered(load: Load, method: str, waits: str) -> None:
    engine = load(f"""
        import asyncio
        import time
        from evalkit.types import Response
        class Model:
            patience = 1.5
            asked = 0
            {method} answer(self, request):
                self.asked += 1
                if self.asked == 2:
                    {waits}
                return Response("yes")
    """)

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(engine.answer(ask(index)) for index in range(5)), return_exceptions=True)

    ended = asyncio.run(all_of_them())
    assert [type(one).__name__ for one in ended] == ["Response", "Gap", "Response", "Response", "Response"]
    assert "said nothing for 1.5 s: where it may take longer, give its class a `patience`" in str(ended[1])


def test_coroutines_are_given_up_only_when_all_are_silent(load: Load) -> None:
    engine = load("""
        import asyncio
        from evalkit.types import Response
        class Model:
            patience, free = 1.0, asyncio.Semaphore(1)
            async def answer(self, request):
                async with self.free:
                    await asyncio.sleep(0.3)
                return Response("yes")
    """)
    assert [response.text for response in answers(engine, [ask(index) for index in range(8)])] == ["yes"] * 8


@pytest.mark.parametrize("patience", ["0", "-1", "'long'", "None", "float('nan')"])
def test_a_patience_that_is_none_is_told(load: Load, patience: str) -> None:
    with pytest.raises(UserError, match=r"expected Model.patience in .* in seconds, above 0, got"):
        load(f"""
            class Model:
                patience = {patience}
                def generate(self, messages, images):
                    return ""
        """)


def test_closing_gives_a_gap_to_those_who_wait(load: Load) -> None:
    engine = load("""
        import time
        class Model:
            def generate(self, messages, images):
                time.sleep(1)
                return "yes"
    """)

    async def closing() -> list[Any]:
        tasks = [asyncio.ensure_future(engine.answer(ask(index))) for index in range(3)]
        await asyncio.sleep(0.3)
        engine.close()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, *others = asyncio.run(asyncio.wait_for(closing(), 60))
    assert first.text == "yes"
    assert [str(other) for other in others] == ["the engine was closed"] * 2


def test_plain_methods_run_one_after_the_other_on_one_thread(load: Load) -> None:
    engine = load("""
        import threading
        class Model:
            inside = 0
            def generate(self, messages, images):
                self.inside += 1
                assert self.inside == 1
                self.inside -= 1
                return str(threading.get_ident())
    """)
    threads = {response.text for response in answers(engine, [ask(index) for index in range(32)])}
    assert len(threads) == 1
    assert threads != {str(threading.get_ident())}


def test_async_methods_run_together(load: Load) -> None:
    engine = load("""
        import asyncio
        from evalkit.types import Response
        class Model:
            waiting, all_here = 0, asyncio.Event()
            async def answer(self, request):
                self.waiting += 1
                if self.waiting == 4:
                    self.all_here.set()
                await self.all_here.wait()
                return Response("together")
    """)
    assert [response.text for response in answers(engine, [ask(index) for index in range(4)])] == ["together"] * 4


def test_the_attributes_of_the_class_are_its_info(load: Load) -> None:
    plain = "class Model:\n    def generate(self, messages, images):\n        return ''\n"
    told = load(plain + "    name, frame, fingerprint = 'mine', 'seen', 'weights 7'\n")
    assert (told.info.name, told.info.frame) == ("mine", Frame.SEEN)
    bare = load(plain)
    assert (bare.info.name, bare.info.frame, bare.info.answers) == ("Model", None, {"generate"})


def test_given_regions_come_to_answer_as_values(load: Load) -> None:
    engine = load("""
        from evalkit import Response
        class Model:
            takes_regions = True
            def answer(self, request):
                return Response(repr(request.kind.regions))
    """)
    given = (Box(1, 2, 3, 4), None, Point(5, 6), Mask("04", Size(2, 2)))
    assert engine.info.takes_regions
    assert answer(engine, Request(Generate((Message("user", ("Which?",)),), regions=given))).text == repr(given)


def test_a_class_that_takes_regions_must_have_answer(load: Load) -> None:
    with pytest.raises(UserError, match=r"takes regions, which generate\(messages, images\) does not get: give it answer\(request\)"):
        load("class Model:\n    takes_regions = True\n    generate = print\n")
    assert not load("class Model:\n    generate = print\n").info.takes_regions


def test_the_fingerprint_changes_with_the_file_the_class_and_its_own(load: Load) -> None:
    method = "    def generate(self, messages, images):\n        return ''\n"
    plain = f"class Model:\n{method}class Other:\n{method}"
    known = {
        load(plain).info.fingerprint,
        load(plain, "Other").info.fingerprint,
        load(plain + "# changed\n").info.fingerprint,
        load(plain + "# changed\nModel.fingerprint = 7\n").info.fingerprint,
    }
    assert len(known) == 4
    assert load(plain, file="elsewhere.py").info.fingerprint in known


@pytest.mark.parametrize(
    ("source", "name", "words"),
    [
        ("class Model:\n    pass", "Model", r"to have answer\(request\) or generate\(messages, images\), found neither"),
        ("class Model:\n    generate = print", "Modell", "no class 'Modell'.*Did you mean 'Model'"),
        ("import nowhere_at_all", "Model", "does not load: ModuleNotFoundError"),
        ("class Model:\n    def __init__(self):\n        raise OSError('no weights')", "Model", "cannot be made: OSError: no weights"),
        ("class Model:\n    frame = 'thousands'\n    generate = print", "Model", "Did you mean 'thousand'"),
    ],
)
def test_a_wrong_plugin_is_told_apart_in_words(load: Load, source: str, name: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load(source, name)


@pytest.mark.parametrize("spec", ["nowhere.py:Model", "Model", "nowhere.py", ""])
def test_a_plugin_that_is_not_there_is_told(spec: str) -> None:
    with pytest.raises(UserError, match=r"expected a plugin as path\.py:Class"):
        plugin.load(spec)


@pytest.mark.parametrize("end", ["", ":"])
def test_a_file_without_a_class_is_told_its_classes(tmp_path: Path, end: str) -> None:
    (tmp_path / "mine.py").write_text("from pathlib import Path\nclass Small:\n    pass\nclass Large:\n    pass\n")
    with pytest.raises(UserError, match=r"expected a plugin as path\.py:Class, got no class for the file .*There are: Large, Small\."):
        plugin.load(f"{tmp_path / 'mine.py'}{end}")


@pytest.mark.parametrize(
    ("name", "safe"), [("org/model", "org--model"), ("..", "Model"), ("../up", "--up"), (r"a\\b", "a--b"), ("", "Model")]
)
def test_a_name_is_made_safe_for_a_folder(load: Load, name: str, safe: str) -> None:
    assert load(f"class Model:\n    name = '{name}'\n    generate = print\n").info.name == safe


@pytest.mark.parametrize(("name", "engine"), [("plugin:own.py:Echo", "auto"), ("own.py:Echo", "plugin")])
def test_replicas_find_a_plugin_named_from_the_folder_of_the_run(
    name: str, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are made in another folder."""
    made: list[Callable[[], Any]] = []
    monkeypatch.setattr(replicated, "Replicated", lambda make, *_, **__: made.append(make))
    (tmp_path / "own.py").write_text("class Echo:\n    def generate(self, messages, images):\n        return 'yes'\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    replicated.replicate(name, RunConfig(engine=engine, device="cpu"), 2)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert made[0]().info.name == "Echo"


def test_closing_closes_the_plugin(load: Load) -> None:
    engine = load("""
        class Model:
            closed = False
            def generate(self, messages, images):
                return str(self.closed)
            def close(self):
                type(self).closed = True
    """)
    assert asyncio.run(engine.answer(ask(0))).text == "False"
    engine.close()
    assert engine._wrapped.closed
