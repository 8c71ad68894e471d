"""The store keeps what was paid for, once, and nothing else."""

import asyncio
import errno
import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from evalkit.engines.stored import Stored, StoredOnly
from evalkit.errors import Gap, Refused, UserError
from evalkit.geometry import Box, Mask, Size
from evalkit.store import VERSION, Lock, Store, held
from evalkit.types import Generate, Image, Message, ModelInfo, Request, Response, Sampling


def request(text: str, **fields: object) -> Request:
    return Request(Generate((Message("user", (text,)),)), **fields)  # type: ignore[arg-type]


class Counting:
    """Answers with the prompt reversed and counts how often it was asked."""

    info = ModelInfo("counting", "print")

    def __init__(self, gaps: int = 0) -> None:
        self.asked, self.gaps = 0, gaps

    async def answer(self, asked: Request) -> Response:
        self.asked += 1
        await asyncio.sleep(0.001)
        if self.asked <= self.gaps:
            raise Gap("out of memory")
        return Response(asked.kind.messages[0].content[0][::-1])  # type: ignore[union-attr, index]


def test_an_answer_is_on_disk_when_the_call_returns(tmp_path: Path) -> None:
    """Another connection sees the row before anything is closed."""
    store = Store(tmp_path / "a.sqlite")

    async def ask() -> None:
        await Stored(Counting(), store).answer(request("abc", sample="t/1"))
        rows = sqlite3.connect(tmp_path / "a.sqlite").execute("SELECT sample, response FROM answers").fetchall()
        assert rows == [("t/1", '{"text":"cba"}')]

    asyncio.run(ask())
    store.close()


def test_equal_requests_are_asked_once_in_flight_and_after(tmp_path: Path) -> None:
    store, engine = Store(tmp_path / "a.sqlite"), Counting()

    async def ask() -> None:
        stored = Stored(engine, store)
        replies = await asyncio.gather(*(stored.answer(request("abc", sample=f"t/{i}")) for i in range(20)))
        assert {reply.text for reply in replies} == {"cba"}
        assert (await stored.answer(request("abc"))).text == "cba"
        assert (await stored.answer(request("abc", draw=1))).text == "cba"

    asyncio.run(ask())
    assert engine.asked == 2, "a second draw is another request"
    store.close()


def test_a_gap_leaves_no_row_and_is_asked_again(tmp_path: Path) -> None:
    store, engine = Store(tmp_path / "a.sqlite"), Counting(gaps=1)

    async def ask() -> None:
        stored = Stored(engine, store)
        with pytest.raises(Gap, match="out of memory"):
            await stored.answer(request("abc"))
        assert len(store) == 0
        assert (await stored.answer(request("abc"))).text == "cba"

    asyncio.run(ask())
    store.close()


def test_a_response_comes_back_whole(tmp_path: Path) -> None:
    whole = Response(
        "t",
        "length",
        "r",
        (Size(3, 4),),
        5,
        6,
        0.5,
        (-1.5, -2.0),
        (Box(1, 2, 3, 4),),
        (Mask("ab", Size(8, 9)),),
        (((0.5, 0.25),),),
        labels=("cup",),
        scores=(0.9,),
    )
    long = "x" * 500
    asked = request(long, sample="t/1")
    store = Store(tmp_path / "a.sqlite")
    asyncio.run(store.put("k", asked, whole))
    assert store.get("k") == whole
    ((form, response),), _ = held(store.path, "t/1")
    assert response["text"] == whole.text
    assert form["messages"][0]["content"] == [long]
    store.close()


def test_what_changes_answers_is_in_the_key_and_nothing_else() -> None:
    one = request("abc")
    assert one.key("p") == request("abc", sample="other", turn=3).key("p")
    different = [
        request("abd").key("p"),
        request("abc", draw=1).key("p"),
        request("abc", to="judge").key("p"),
        one.key("q"),
        Request(Generate(one.kind.messages, Sampling(max_tokens=7))).key("p"),  # type: ignore[union-attr]
        Request(Generate(one.kind.messages, prefill="x")).key("p"),  # type: ignore[union-attr]
    ]
    assert len({one.key("p"), *different}) == 7


def test_rescoring_refuses_what_was_never_asked(tmp_path: Path) -> None:
    store = Store(tmp_path / "a.sqlite")
    known = StoredOnly(Counting.info, store, {("t/8", 1): "time-out"})
    with pytest.raises(Refused, match=r"t/9.*Run `evalkit run` again"):
        asyncio.run(known.answer(request("new", sample="t/9")))
    with pytest.raises(Gap, match="time-out"):
        asyncio.run(known.answer(request("new", sample="t/8", draw=1000)))
    store.close()


def test_text_that_is_no_unicode_is_kept_and_hangs_nothing(tmp_path: Path) -> None:
    """A lone surrogate can come from a tokenizer; SQLite and UTF-8 refuse it."""
    store, odd = Store(tmp_path / "a.sqlite"), "long \ud83d" * 40
    asyncio.run(asyncio.wait_for(store.put("k", request(odd, sample="t/\ud83d"), Response(odd)), 20))
    assert store.get("k") == Response(odd)
    ((form, _),), _ = held(store.path, "t/\ud83d")
    assert form["messages"][0]["content"] == [odd]
    store.close()


def test_what_cannot_be_written_is_an_error_of_who_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "a.sqlite")
    monkeypatch.setattr(store, "_commit", lambda *_: 1 / 0)
    with pytest.raises(UserError, match="cannot read or write the store"):
        asyncio.run(asyncio.wait_for(store.put("k", request("abc"), Response("")), 20))
    store.close()


def test_images_are_recalled_as_they_were(tmp_path: Path) -> None:
    store = Store(tmp_path / "a.sqlite")
    seen = [Image(tmp_path / "gone.png", size=Size(3, 4), digest="d"), Image(tmp_path / "too.png", size=Size(5, 6), digest="e")]
    store.note("t/1", seen)
    asyncio.run(store.put("k", request("abc"), Response("")))
    assert store.recall("t/1", [replace(image, size=None, digest="") for image in seen]) == seen
    assert store.recall("t/1", seen[:1]) is None
    assert store.recall("t/2", seen) is None
    store.close()


def test_greedy_decoding_draws_nothing_so_its_key_knows_no_seed() -> None:
    def key(**fields: float) -> str:
        return Request(Generate((Message("user", ("q",)),), Sampling(**fields))).key("p")  # type: ignore[arg-type]

    assert key() == key(seed=1) == key(top_p=0.5)
    assert len({key(), key(temperature=1), key(temperature=1, seed=1), key(temperature=1, top_p=0.5), key(max_tokens=3)}) == 5


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "a.sqlite")
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    with pytest.raises(UserError, match="update evalkit"):
        Store(tmp_path / "a.sqlite")


def test_a_store_of_other_columns_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    Store(tmp_path / "a.sqlite").close()
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as connection:
        connection.execute("ALTER TABLE answers RENAME COLUMN response TO reply")
    before = (tmp_path / "a.sqlite").read_bytes()
    with pytest.raises(UserError, match="to have the columns"):
        Store(tmp_path / "a.sqlite")
    assert (tmp_path / "a.sqlite").read_bytes() == before


def test_a_store_without_seals_is_given_them(tmp_path: Path) -> None:
    store = Store(tmp_path / "a.sqlite")
    store.note("t/1", [Image(tmp_path / "1.png", size=Size(3, 4), digest="d")])
    asyncio.run(store.put("k", request("abc", sample="t/1"), Response("x")))
    store.close()
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as connection:
        connection.executescript("ALTER TABLE answers DROP COLUMN seal; ALTER TABLE images DROP COLUMN seal; PRAGMA user_version = 1;")
    told, images = held(tmp_path / "a.sqlite", "t/1")
    assert [response for _, response in told] == [{"text": "x"}]
    assert images == [("d", Size(3, 4))]
    for _ in range(2):
        with closing(Store(tmp_path / "a.sqlite")) as store:
            assert store.get("k") == Response("x")
            assert store.recall("t/1", [Image(tmp_path / "1.png")])
            assert not store.damaged


def test_a_row_that_is_not_as_it_was_written_counts_as_not_there_and_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(tmp_path / "a.sqlite")
    store.note("t/1", [Image(tmp_path / "1.png", size=Size(3, 4), digest="d")])
    asyncio.run(store.put("k", request("abc", sample="t/1"), Response("seven")))
    asyncio.run(store.put("l", request("abd", sample="t/1"), Response("eight")))
    store.close()
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as connection, connection:
        connection.execute("UPDATE answers SET response = replace(response, 'seven', 'sevex')")
        connection.execute("UPDATE images SET width = 300")
    with closing(Store(tmp_path / "a.sqlite")) as store:
        assert store.get("k") is None
        assert store.recall("t/1", [Image(tmp_path / "1.png")]) is None
        assert [response["text"] for _, response in held(store.path, "t/1")[0]] == ["eight"]
        assert held(store.path, "t/1")[1] == []
        assert store.damaged == 2
        asyncio.run(store.put("k", request("abc", sample="t/1"), Response("seven")))
        assert store.get("k") == Response("seven")
    assert "a damaged row" in caplog.text


def test_a_damaged_page_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with closing(Store(tmp_path / "a.sqlite")) as store:
        for number in range(40):
            asyncio.run(store.put(str(number), request("abc"), Response("x" * 300)))
    data = (tmp_path / "a.sqlite").read_bytes()
    (tmp_path / "a.sqlite").write_bytes(data[:4096] + bytes(len(data) - 4096))
    with pytest.raises(UserError, match="--check"), closing(Store(tmp_path / "a.sqlite")) as store:
        store.get("7")


def test_answers_behind_a_damaged_place_of_the_journal_are_not_lost(tmp_path: Path) -> None:
    """SQLite drops all that follows it; here a process died before anything was in the database itself."""
    store = Store(tmp_path / "a.sqlite")
    for number in range(6):
        asyncio.run(store.put(f"key {number}", request("long " * 300, sample=f"t/{number}"), Response(str(number) * 900)))
    for ending in ("", "-wal"):
        (tmp_path / f"b.sqlite{ending}").write_bytes((tmp_path / f"a.sqlite{ending}").read_bytes())
    store.close()
    journal = bytearray((tmp_path / "b.sqlite-wal").read_bytes())
    at = journal.index(b"1" * 900)
    journal[at : at + 9] = b"damaged: "
    (tmp_path / "b.sqlite-wal").write_bytes(journal)
    with closing(Store(tmp_path / "b.sqlite")) as store:
        assert [number for number in range(6) if store.get(f"key {number}") == Response(str(number) * 900)] != [0]
        assert store.get("key 5") == Response("5" * 900)
        ((form, _),), _ = held(store.path, "t/5")
        assert form["messages"][0]["content"] == ["long " * 300]


def test_a_store_that_is_moved_away_ends_the_run_instead_of_going_on_unseen(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with closing(Store(tmp_path / "run" / "a.sqlite")) as store:
        asyncio.run(store.put("k", request("abc"), Response("x")))
        (tmp_path / "run").rename(tmp_path / "aside")
        with pytest.raises(UserError, match="removed or moved away"):
            asyncio.run(asyncio.wait_for(store.put("l", request("abd"), Response("y")), 20))
    with closing(Store(tmp_path / "aside" / "a.sqlite")) as store:
        assert store.get("k") == Response("x")


def test_a_full_disk_is_said_to_be_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(UserError, match="No space left"):
        Lock(tmp_path)


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").write_bytes(b"no database at all, but long enough to look at " * 40)
    with pytest.raises(UserError, match="no readable store"):
        Store(tmp_path / "a.sqlite")


def test_two_runs_on_one_folder_do_not_mix(tmp_path: Path) -> None:
    with Lock(tmp_path / "run"), pytest.raises(UserError, match="another evalkit"):
        Lock(tmp_path / "run")
    with Lock(tmp_path / "run"):
        pass
