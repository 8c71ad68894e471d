"""The engine many times over on a real Ray cluster of this machine: one queue, replicas that die, images that travel once."""

import asyncio
import contextlib
import hashlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")

import ray

import evalkit
from evalkit import engines, protocols, task
from evalkit.config import RunConfig
from evalkit.data import decode, resolve
from evalkit.engines import _cluster, replicated
from evalkit.engines.replicated import Replicated, replicate
from evalkit.engines.stored import Stored
from evalkit.errors import Gap, ImageError, Refused, UserError
from evalkit.geometry import Box
from evalkit.interfaces import Engine
from evalkit.store import Store
from evalkit.types import Crop, Generate, Image, Lazy, Message, Request, Response, Segment

from .engines import answer, answers, picture

GPUS = 2  # so many the cluster is told to have
GRACE = 120.0  # seconds until a test gives up waiting for what must happen
Make = Callable[[], Engine]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """A cluster of one machine, which outlives the engines of these tests."""
    ray.init("local", num_cpus=2, num_gpus=GPUS, include_dashboard=False, log_to_driver=False, logging_level=logging.CRITICAL)
    yield
    ray.shutdown()


@pytest.fixture(autouse=True)
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dead rise at once."""
    monkeypatch.setattr(replicated, "REST", 0.01)
    monkeypatch.setattr(replicated, "LOOK", 0.2)


def obedient(room: int = 40, slots: int = 32) -> Make:
    """Makes an engine of so many slots that does what it is told, in words such as `sleep 0.1`, and says in which process.

    Nested, so that Ray sends the code and not its name: a replica need not find the tests.
    """

    def make() -> Any:
        import asyncio
        import os
        import signal
        import time
        from typing import Any

        from evalkit import errors
        from evalkit.types import ModelInfo, Response

        class Obedient:
            info = ModelInfo("obedient", "obedient")
            died = ""

            def __init__(self) -> None:
                self.room, self.slots = room, asyncio.Semaphore(slots)

            async def answer(self, request: Any) -> Any:
                deed, _, how = request.kind.messages[-1].content[-1].partition(" ")
                if deed == "raise":
                    raise getattr(errors, how, OSError)(f"not {request.sample}")
                if deed == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                if deed == "die":
                    self.died = "its heart stopped"
                    raise errors.Gap(self.died)
                async with self.slots:
                    begun = time.monotonic()
                    await asyncio.sleep(float(how or 0))
                    return Response(f"{request.sample} by {os.getpid()}", seconds=time.monotonic() - begun)

        return Obedient()

    return make


def tell(words: str, *images: Image, name: str = "") -> Request:
    """A request that tells an obedient engine what to do; its sample's name is in the answer."""
    return Request(Generate((Message("user", (*images, words)),)), sample=name or words)


def process(response: Response) -> int:
    """Of the replica that answered."""
    return int(response.text.rpartition(" ")[2])


@pytest.fixture(scope="module")
def pair(cluster: None) -> Iterator[Replicated]:
    """Two obedient replicas, for the tests that do not kill one."""
    engine = Replicated(obedient(), 2, gpus=0)
    yield engine
    engine.close()


@pytest.fixture
def open_engine() -> Iterator[Callable[..., Replicated]]:
    """Makes replicas that end with the test."""
    made: list[Replicated] = []

    def make(*arguments: Any, **options: Any) -> Replicated:
        made.append(Replicated(*arguments, **{"gpus": 0, **options}))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


def run(work: Awaitable[Any]) -> Any:
    async def within() -> Any:
        return await asyncio.wait_for(work, GRACE)

    return asyncio.run(within())


# ---------------------------------------------------------------- one queue


def test_every_answer_reaches_its_own_request_and_all_replicas_work(pair: Replicated) -> None:
    names = [f"number {index}" for index in range(300)]
    found = answers(pair, [tell("sleep 0.02", name=name) for name in names])
    assert [response.text.rpartition(" by ")[0] for response in found] == names
    assert len({process(response) for response in found}) == 2


def test_no_answer_waits_for_others_of_its_group(pair: Replicated) -> None:
    async def in_order() -> list[str]:
        came: list[str] = []

        async def one(words: str) -> None:
            came.append((await pair.answer(tell(words))).text.partition(" by")[0])

        await asyncio.gather(one("sleep 2"), *(one("sleep 0") for _ in range(20)))
        return came

    assert run(in_order())[-1] == "sleep 2"


def test_a_replica_that_is_faster_answers_more(tmp_path: Path, open_engine: Callable[..., Replicated]) -> None:
    make = obedient(room=10, slots=8)

    def one_slow() -> Any:
        engine: Any = make()
        try:
            (tmp_path / "slow").mkdir()  # the first to come is the slow one
        except FileExistsError:
            return engine
        quick = engine.answer

        async def answer(request: Any) -> Any:
            return await quick(replace(request, kind=Generate((Message("user", ("sleep 0.6",)),))))

        engine.answer = answer
        return engine

    found = answers(open_engine(one_slow, 2), [tell("sleep 0.1")] * 300)
    fewer, more = sorted(Counter(process(response) for response in found).values())
    assert 1.5 < more / fewer < 9


def test_work_of_skewed_lengths_keeps_eight_busy_to_the_end(open_engine: Callable[..., Replicated]) -> None:
    """When the first replica has nothing left to do, no more is left than what the others hold.

    Were the work dealt out beforehand, every eighth request to each, those without a long one would be done by three quarters.
    """
    work = [f"sleep {2.4 if index % 10 == 0 else 0.4}" for index in range(4000)]
    engine, came = open_engine(obedient(), 8), list[int]()

    async def one(words: str) -> None:
        came.append(process(await engine.answer(tell(words))))

    async def everything() -> None:
        await asyncio.gather(*map(one, work))

    run(everything())
    last = {number: place for place, number in enumerate(came)}
    assert len(last) == 8
    assert min(last.values()) >= len(work) - engine.room


def test_an_error_of_one_request_is_its_callers_alone_and_as_it_was(pair: Replicated) -> None:
    kinds = {"Gap": Gap, "ImageError": ImageError, "Refused": Refused, "UserError": UserError, "something else": Gap}
    found = answers(pair, [tell(f"raise {kind}") for kind in kinds] + [tell("sleep 0")] * 5)
    assert [type(error) for error in found[:5]] == list(kinds.values())
    assert [str(error) for error in found[:4]] == [f"not raise {kind}" for kind in list(kinds)[:4]]
    assert str(found[4]) == "OSError: not raise something else"
    assert all(isinstance(response, Response) for response in found[5:])


def test_a_request_of_a_kind_it_does_not_serve_is_refused_at_once(pair: Replicated) -> None:
    with pytest.raises(Refused, match="segment"):
        answer(pair, Request(Segment(picture(10, 10, (0, 0, 0)), (Box(1, 2, 3, 4),))))


def test_a_caller_who_leaves_takes_nobody_along(pair: Replicated) -> None:
    async def leave_half() -> list[Response]:
        tasks = [asyncio.ensure_future(pair.answer(tell("sleep 0.05", name=str(index)))) for index in range(200)]
        await asyncio.sleep(0.01)
        for left in tasks[::2]:
            left.cancel()
        return await asyncio.gather(*tasks[1::2])

    assert [response.text.partition(" ")[0] for response in run(leave_half())] == [str(index) for index in range(1, 200, 2)]


# ---------------------------------------------------------------- the demo checkpoint


def test_two_replicas_of_the_demo_checkpoint_reply_as_one_engine_does(open_engine: Callable[..., Replicated]) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    options = RunConfig(engine="transformers", device="cpu", batch_size=4)
    alone, many = engines.open_model("demo", options, []).engine, replicate("demo", options, 2)
    try:
        assert many.info == alone.info
        assert many.info.details["replicas"] == 2
        assert many.sampling == alone.sampling  # type: ignore[attr-defined]
        asked = protocols.find("grit", max_tokens=48)
        samples = [replace(one, images=tuple(map(resolve, one.images))) for one in task.find("shapes:32", None).samples()]
        requests = [replace(next(asked.converse(one, alone.info)), sample=one.id) for one in samples]
        assert [_content(response) for response in answers(many, requests)] == [_content(response) for response in answers(alone, requests)]
    finally:
        many.close()
        engines.close(alone)


def _content(response: Response) -> Response:
    return replace(response, seconds=0.0)


# ---------------------------------------------------------------- images


SEEING = '''
import hashlib
from evalkit.data import decode
from evalkit.types import Response, images_of

class Looking:
    """Says what it sees."""
    def answer(self, request):
        seen = [decode(image) for image in images_of(request)]
        return Response(" ".join(f"{one.size} {hashlib.sha256(one.tobytes()).hexdigest()}" for one in seen))

class Guessing:
    """Guesses by what it sees."""
    frame = "original"

    def generate(self, messages, images):
        drawn = int(hashlib.sha256(images[0].tobytes()).hexdigest(), 16)
        return ["A", "yes", "no", "2", f"[0, 0, {images[0].width}, {images[0].height // 2}]"][drawn % 5]
'''


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the plugins."""
    path = tmp_path_factory.mktemp("plugin") / "seeing.py"
    path.write_text(SEEING)
    return path


@pytest.fixture(scope="module")
def looking(cluster: None, plugins: Path) -> Iterator[Replicated]:
    """Two replicas of the plugin that says what it sees."""
    engine = replicate(f"plugin:{plugins}:Looking", RunConfig(device="cpu"), 2)
    yield engine
    engine.close()


def _seen(*images: Image) -> str:
    return " ".join(f"{one.size} {hashlib.sha256(one.tobytes()).hexdigest()}" for one in map(decode, images))


def test_images_of_every_source_and_what_derives_from_them_arrive_as_they_are(looking: Replicated, tmp_path: Path) -> None:
    inside = picture(120, 90, (200, 10, 10))
    assert isinstance(inside.source, bytes)
    data = inside.source
    (tmp_path / "red.png").write_bytes(data)
    images = [
        inside,
        resolve(Image(tmp_path / "red.png")),
        resolve(Image(Lazy("row 7", lambda: data))),
        inside.derive(Crop(10, 20, 70, 60)),
        inside.derive(Crop(10, 20, 70, 60)).derive(Crop(5, 5, 20, 30)),
        Image(data),
    ]
    found = answers(looking, [tell("look", image) for image in images] + [tell("look", *images)])
    assert [response.text for response in found] == [*map(_seen, images), _seen(*images)]


def test_an_images_bytes_are_read_once_however_often_it_is_asked_about(looking: Replicated) -> None:
    base, reads = picture(80, 60, (1, 2, 3)), []

    def read() -> bytes:
        reads.append(1)
        return base.source  # type: ignore[return-value]

    image = replace(base, source=Lazy("once", read))
    answer(looking, tell("look", image))
    answers(looking, [tell("look", image, image.derive(Crop(0, 0, 10 + index, 10))) for index in range(30)])
    assert len(reads) == 1


def test_an_image_that_cannot_be_read_is_named_to_its_own_caller(looking: Replicated, tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(b"no image at all")
    good, absent = picture(20, 20, (5, 5, 5)), Image(tmp_path / "absent.png", digest="absent")
    found = answers(looking, [tell("look", image) for image in (good, absent, Image(tmp_path / "cut.png", digest="cut"), good)])
    assert [type(outcome) for outcome in found] == [Response, ImageError, ImageError, Response]
    assert str(tmp_path / "absent.png") in str(found[1])
    assert str(tmp_path / "cut.png") in str(found[2])


def test_requests_about_one_image_go_to_one_replica_while_it_has_room(pair: Replicated) -> None:
    images = [picture(30, 30, (index, 0, 0)) for index in range(8)]
    rounds = [answers(pair, [tell("sleep 0.01", image) for image in images]) for _ in range(4)]
    homes = [[process(response) for response in found] for found in rounds]
    assert homes == [homes[0]] * 4
    assert len(set(homes[0])) == 2
    crowd = answers(pair, [tell("sleep 0.05", images[0])] * 200)
    assert len({process(response) for response in crowd}) == 2


def test_a_runs_result_does_not_depend_on_the_number_of_replicas(plugins: Path, tmp_path: Path) -> None:
    model, options = f"plugin:{plugins}:Guessing", {"device": "cpu", "out": tmp_path / "out"}
    alone = evalkit.run(model, "shapes:96", **options)
    summary = (alone.folder / "summary.json").read_bytes()
    assert 0 < (alone.value("shapes:96", "accuracy") or 0) < 1
    shutil.rmtree(tmp_path / "out")
    many = evalkit.run(model, "shapes:96", replicas=2, **options)
    assert many.folder == alone.folder
    assert (many.folder / "summary.json").read_bytes() == summary


# ---------------------------------------------------------------- death


def test_what_a_killed_replica_held_is_asked_again_and_no_answer_counts_twice(
    tmp_path: Path, open_engine: Callable[..., Replicated]
) -> None:
    engine, store = open_engine(obedient(), 2), Store(tmp_path / "store.sqlite")
    stored, names = Stored(engine, store), [f"number {index}" for index in range(400)]

    async def killing() -> list[Response]:
        tasks = [asyncio.ensure_future(stored.answer(tell(f"sleep 0.1{index:03}", name=name))) for index, name in enumerate(names)]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        first = next(done for done in tasks if done.done()).result()
        os.kill(process(first), signal.SIGKILL)
        return await asyncio.gather(*tasks)

    found = run(killing())
    assert [response.text.rpartition(" by ")[0] for response in found] == names
    assert len(store) == len(names)
    store.close()


def test_a_killed_replica_works_again(open_engine: Callable[..., Replicated]) -> None:
    engine = open_engine(obedient(), 2)
    before = {process(response) for response in answers(engine, [tell("sleep 0.02")] * 100)}
    os.kill(min(before), signal.SIGKILL)

    async def until_two() -> set[int]:
        after: set[int] = set()
        while len(after) < 2:
            after |= {process(response) for response in await asyncio.gather(*[engine.answer(tell("sleep 0.02")) for _ in range(100)])}
        return after

    assert len(before & run(until_two())) == 1


def test_a_request_that_kills_is_a_gap_and_costs_no_other_its_answer(open_engine: Callable[..., Replicated]) -> None:
    engine = open_engine(obedient(), 1)
    found = run_all(engine, [tell("sleep 0.01")] * 10 + [tell("kill")] + [tell("sleep 0.01")] * 60)
    assert isinstance(found[10], Gap)
    assert "died with it in flight" in str(found[10])
    assert all(isinstance(response, Response) for response in found[:10] + found[11:]), found


def test_an_engine_that_says_it_died_is_started_again(open_engine: Callable[..., Replicated]) -> None:
    found = run_all(open_engine(obedient(), 1), [tell("die"), *[tell("sleep 0.01")] * 20])
    assert "its heart stopped" in str(found[0])
    assert all(isinstance(response, Response) for response in found[1:]), found


def test_where_none_is_left_everybody_gets_a_gap_with_the_last_words(open_engine: Callable[..., Replicated]) -> None:
    engine = open_engine(obedient(), 2)
    found = run_all(engine, [tell("kill")] * 50)
    assert {type(error) for error in found} == {Gap}
    assert any("no replica is left" in str(error) and "died" in str(error) for error in found)
    [late] = run_all(engine, [tell("sleep 0")])
    assert "no replica is left" in str(late)


def test_closing_gives_a_gap_to_those_who_wait_and_ends_the_processes() -> None:
    engine = Replicated(obedient(), 2, gpus=0)
    workers = {process(response) for response in answers(engine, [tell("sleep 0.02")] * 100)}

    async def closed() -> list[Any]:
        tasks = [asyncio.ensure_future(engine.answer(tell("sleep 600"))) for _ in range(100)]
        await asyncio.sleep(0.1)
        await asyncio.to_thread(engine.close)
        return await asyncio.gather(*tasks, return_exceptions=True)

    assert {type(error) for error in run(closed())} == {Gap}
    engine.close()
    with pytest.raises(Gap, match="closed"):
        answer(engine, tell("sleep 0"))
    assert ray.is_initialized()
    until = time.monotonic() + GRACE
    while any(Path(f"/proc/{number}").exists() for number in workers):
        assert time.monotonic() < until
        time.sleep(0.1)


def run_all(engine: Engine, requests: list[Request]) -> list[Any]:
    """The responses (or what was raised), in any case within the grace."""

    async def together() -> list[Any]:
        return await asyncio.gather(*(engine.answer(request) for request in requests), return_exceptions=True)

    found: list[Any] = run(together())
    return found


# ---------------------------------------------------------------- what a user can mend


def test_more_replicas_than_gpus_are_refused_with_their_number(
    open_engine: Callable[..., Replicated], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=rf"a GPU for each of 3 replicas, and the cluster has {GPUS}: at most 2 fit"):
        open_engine(obedient(), 3, gpus=None)
    with pytest.raises(UserError, match=rf"3 GPUs of one machine for each of 1 replicas, and the cluster has {GPUS}: at most 0 fit"):
        open_engine(obedient(), 1, gpus=3)
    monkeypatch.setattr(_cluster, "FREED", 0.1)
    open_engine(obedient(), 1, gpus=1)
    with pytest.raises(UserError, match=r"has 2, of which 1 are free: at most 1 fit"):
        open_engine(obedient(), 2, gpus=1)


def test_each_replica_takes_the_gpus_that_its_engine_is_split_over() -> None:
    args = ("tensor_parallel_size=4", "pipeline-parallel-size=2")
    with pytest.raises(UserError, match="8 GPUs of one machine for each of 4 replicas"):
        replicate("demo", RunConfig(engine="vllm", engine_args=args), 4)
    with pytest.raises(UserError, match="leave --device cuda:1 out"):
        replicate("demo", RunConfig(device="cuda:1"), 2)


def test_an_engine_that_cannot_be_made_is_told_in_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such directory"):
        replicate(str(tmp_path / "nowhere"), RunConfig(device="cpu"), 2)

    def broken() -> Any:
        raise OSError("the disk is on fire")

    def dying() -> Any:
        os._exit(7)

    with pytest.raises(UserError, match="does not start: OSError: the disk is on fire"):
        Replicated(broken, 2, gpus=0)
    with pytest.raises(UserError, match=r"a replica died while it was starting: .*exit"):
        Replicated(dying, 1, gpus=0)


def test_replicas_that_are_not_one_engine_are_refused() -> None:
    def differing() -> Any:
        import os

        from evalkit.engines.scripted import Scripted
        from evalkit.types import ModelInfo

        return Scripted(lambda request: "", ModelInfo("differing", str(os.getpid()), details={"vllm": str(os.getpid())}))

    with pytest.raises(UserError, match="two that differ in vllm"):
        Replicated(differing, 2, gpus=0)


def test_without_ray_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'evalkit\[ray\]'"):
        Replicated(obedient(), 2)


# ---------------------------------------------------------------- a cluster of its own

OWN = """
    import asyncio
    import ray
    from evalkit.config import RunConfig
    from evalkit.engines.replicated import replicate
    from evalkit.errors import UserError
    from evalkit.types import Generate, Message, Request
    for address in ("127.0.0.1:1", "nonsense", "ray://127.0.0.1:1"):
        try:
            replicate("mute", RunConfig(device="cpu"), 2, address)
        except UserError as error:
            assert f"expected a Ray cluster at {address}" in str(error), error
        else:
            raise AssertionError(address)
    engine = replicate("mute", RunConfig(device="cpu"), 2)
    print(asyncio.run(engine.answer(Request(Generate((Message("user", ("Hello",)),))))).finish, flush=True)
    input()
    engine.close()
    print(ray.is_initialized())
"""


@pytest.fixture
def usual_ports_taken() -> Iterator[None]:
    """The ports that Ray's documentation names are another's."""
    with contextlib.ExitStack() as taken:
        for port in (6379, 8265, 10001):
            with contextlib.suppress(OSError):  # they are already
                taken.enter_context(socket.create_server(("", port)))
        yield


@pytest.mark.usefixtures("usual_ports_taken")
def test_a_cluster_that_it_started_ends_with_it(tmp_path: Path) -> None:
    """In a process of its own. What Ray starts for it has its temporary folder in the command line."""
    folder = Path(f"/tmp/evalkit-{os.getpid()}")  # Ray's sockets need a short path
    variables = {**os.environ, "RAY_TMPDIR": str(folder), "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", textwrap.dedent(OWN)]
    with subprocess.Popen(command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as own:
        assert own.stdin and own.stdout
        try:
            assert own.stdout.readline() == "stop\n"
            assert _of(folder)
            assert own.communicate("\n", timeout=GRACE)[0] == "False\n"
            until = time.monotonic() + GRACE
            while _of(folder):
                assert time.monotonic() < until
                time.sleep(0.1)
        finally:
            own.kill()
            shutil.rmtree(folder, ignore_errors=True)


def _of(folder: Path) -> list[Path]:
    """The processes that have the folder in their command line."""
    return [place.parent for place in Path("/proc").glob("[0-9]*/cmdline") if str(folder) in _command(place)]


def _command(place: Path) -> str:
    try:
        return place.read_text(errors="replace")
    except OSError:  # it ended meanwhile
        return ""


TWICE = ["init", "shutdown"] * 2


@pytest.mark.parametrize(
    ("slow", "address", "said", "done"),
    [(1, None, "", TWICE[:3]), (2, None, "Ray does not start.*too slow", TWICE), (1, "auto", "expected a Ray cluster", TWICE[:2])],
)
def test_a_cluster_that_starts_too_slowly_is_tried_once_more_and_then_told_of(
    slow: int, address: str | None, said: str, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    class Slow:
        exceptions = ray.exceptions

        @staticmethod
        def is_initialized() -> bool:
            return False

        @staticmethod
        def init(*_: Any, **__: Any) -> None:
            calls.append("init")
            if calls.count("init") <= slow:
                raise Exception("too slow")  # noqa: TRY002 - as Ray does

        @staticmethod
        def shutdown() -> None:
            calls.append("shutdown")

    monkeypatch.setattr(_cluster, "library", lambda: Slow)
    monkeypatch.setattr(_cluster, "_reach", lambda address: None)
    if said:
        with pytest.raises(UserError, match=said):
            _cluster.join(address)
    else:
        assert _cluster.join(address)
    assert calls == done
