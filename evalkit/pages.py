"""The rows of a damaged store, read page by page, whatever its trees look like (format: sqlite.org/fileformat2.html, 1.6, 2 and 4.1).

SQLite gives up a database at the first page that is not as it should be, and of a journal all that follows such a place. But each row
of a store bears a seal, and each long text goes by its own hash: so what is as it was written can be told from what is not.
"""

import hashlib
import mmap
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from struct import error as TooShort
from struct import unpack_from
from typing import Any

Row = tuple[Any, ...]
PAGE = 4096
"""Bytes of a page where the file does not say it: as SQLite makes them."""
LEAF_OF_TABLE, LEAF_OF_INDEX, NODE_OF_INDEX = 13, 10, 2
INTEGERS = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 8: 0, 9: 0}
"""Bytes of a whole number by its serial type; 8 and 9 are the numbers 0 and 1 themselves."""


def seal(*fields: str | int) -> str:
    """Sixteen hexadecimal digits that change with any bit of the fields.

    >>> seal("key", "task/1"), seal("key", "task/2")
    ('905c6dcd3b1d4b88', '5e5682d13d7e7371')
    """
    return hashlib.blake2b("\0".join(map(str, fields)).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def rows(files: Sequence[Path]) -> Iterator[Row]:
    """The rows of a store's tables that are as they were written, in any order and some repeatedly, of a database, its journal or both.

    A file that is not there has none.
    """
    with ExitStack() as stack:
        pages: list[tuple[int, memoryview]] = []
        for path in files:
            if path.exists() and path.stat().st_size:
                file = stack.enter_context(path.open("rb"))
                memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                pages += _of_journal(memoryview(memory)) if path.name.endswith("-wal") else _of_database(memoryview(memory))
        latest = dict(pages)
        for number, page in pages:
            for payload in _payloads(number, page, latest):
                with suppress(TooShort, IndexError, UnicodeDecodeError):
                    row = _record(payload)
                    if _is_whole(row):
                        yield row


def _is_whole(row: Row) -> bool:
    kinds = [type(value) for value in row]
    if kinds == [str, bytes]:
        return bool(hashlib.sha256(row[1]).hexdigest() == row[0])
    return kinds in ([str] * 5, [str, int, str, int, int, str]) and seal(*row[:-1]) == row[-1]


def _of_database(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The pages with their numbers, from 1."""
    [said] = unpack_from(">H", data, 16) if len(data) > 18 else [0]
    size = said if said >= 512 and said & (said - 1) == 0 else PAGE
    for place in range(0, len(data), size):
        yield place // size + 1, _whole(data[place : place + size], size)


def _of_journal(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The pages that were written ahead, in order, whether or not their frames' sums are right."""
    [said] = unpack_from(">I", data, 8) if len(data) > 32 else [0]
    size = said if 512 <= said <= 65536 and said & (said - 1) == 0 else PAGE
    for place in range(32, len(data) - 24, 24 + size):
        yield unpack_from(">I", data, place)[0], _whole(data[place + 24 : place + 24 + size], size)


def _whole(page: memoryview, size: int) -> memoryview:
    """A page, with zeros for what was cut off."""
    return page if len(page) == size else memoryview(bytes(page).ljust(size, b"\0"))


def _payloads(number: int, page: memoryview, latest: dict[int, memoryview]) -> Iterator[bytes]:
    """What the cells of a page hold, with the pages that follow where it is long."""
    start, size = 100 if number == 1 else 0, len(page)
    kind = page[start]
    if kind not in (LEAF_OF_TABLE, LEAF_OF_INDEX, NODE_OF_INDEX):
        return
    least = (size - 12) * 32 // 255 - 23
    most = size - 35 if kind == LEAF_OF_TABLE else (size - 12) * 64 // 255 - 23
    [cells] = unpack_from(">H", page, start + 3)
    first = start + (12 if kind == NODE_OF_INDEX else 8)
    for place in range(first, min(first + 2 * cells, size - 1), 2):
        with suppress(TooShort, IndexError, KeyError):
            [at] = unpack_from(">H", page, place)
            length, at = _varint(page, at + 4 * (kind == NODE_OF_INDEX))
            if kind == LEAF_OF_TABLE:
                _, at = _varint(page, at)
            if length <= most:
                yield bytes(page[at : at + length])
                continue
            kept = least + (length - least) % (size - 4)
            kept = kept if kept <= most else least
            parts, left = [page[at : at + kept]], length - kept
            [following] = unpack_from(">I", page, at + kept)
            while left > 0:
                more = latest[following]
                parts.append(more[4 : 4 + min(left, size - 4)])
                left -= len(parts[-1])
                [following] = unpack_from(">I", more)
            yield b"".join(parts)


def _record(payload: bytes) -> Row:
    """The values of a row."""
    header, at = _varint(payload, 0)
    kinds = []
    while at < header:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    values: list[Any] = []
    for kind in kinds:
        length = INTEGERS[kind] if kind in INTEGERS else 8 if kind == 7 else (kind - 12) // 2
        data = payload[at : at + length]
        at += length
        if kind < 12:
            values.append(int.from_bytes(data, "big", signed=True) if kind in INTEGERS and kind < 7 else kind - 8)
        else:
            values.append(data.decode() if kind % 2 else data)
    return tuple(values)


def _varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """A whole number of one to nine bytes, and where it ends."""
    value = 0
    for byte in data[at : at + 8]:
        value, at = value << 7 | byte & 0x7F, at + 1
        if byte < 0x80:
            return value, at
    return value << 8 | data[at], at + 1
