"""Data folders, readers and images: what is read is what is there, and what is not there is said."""

import csv
import io
import json
import shutil
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit import images
from evalkit.data import Data, check_published, decode, read_boxes, read_json, read_jsonl, read_parquet, read_tsv, require, resolve
from evalkit.errors import DataError, ImageError
from evalkit.geometry import Box, Size
from evalkit.types import Crop, Image, Lazy, Resize

TOY = Data(hub=("old/toy", "new/toy"), files=("split/rows.jsonl|rows.jsonl",), licence="none", layout="rows.jsonl and images/")


def in_cache(cache: Path, repository: str, files: dict[str, str]) -> Path:
    """A snapshot as the hub's client lays it out: blobs, a folder of links per commit, a reference from the branch."""
    home, commit = cache / f"datasets--{repository.replace('/', '--')}", "0" * 39 + "1"
    snapshot = home / "snapshots" / commit
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(commit)
    (home / "blobs").mkdir()
    for number, (place, text) in enumerate(files.items()):
        blob = home / "blobs" / f"{number:040x}"
        blob.write_text(text)
        (snapshot / place).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / place).symlink_to(blob)
    return snapshot


# ---------------------------------------------------------------- where the data is


def test_a_given_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    assert TOY.folder(tmp_path) == tmp_path
    assert TOY.annotations(tmp_path) == [tmp_path / "rows.jsonl"]


def test_the_first_alternative_that_is_there_is_taken(tmp_path: Path) -> None:
    (tmp_path / "split").mkdir()
    (tmp_path / "split" / "rows.jsonl").touch()
    (tmp_path / "rows.jsonl").touch()
    assert TOY.annotations(tmp_path) == [tmp_path / "split" / "rows.jsonl"]


def test_a_missing_folder_is_named_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere, found nothing.*evalkit data TASK --download.*--data DIR.*rows\.jsonl and images/"):
        TOY.folder(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="found a file"):
        TOY.folder(tmp_path / "file")


def test_a_partial_folder_is_told_what_it_lacks_and_holds(tmp_path: Path) -> None:
    for name in "abcdefg":
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"expected split/rows\.jsonl or rows\.jsonl in .*, found a, b, c, d, e and 2 more"):
        TOY.folder(tmp_path)


def test_the_snapshot_in_the_hubs_cache_is_found_under_any_accepted_name(tmp_path: Path) -> None:
    snapshot = in_cache(tmp_path, "new/toy", {"rows.jsonl": "{}\n", "images/a.txt": ""})
    assert TOY.folder(None, cache=tmp_path) == snapshot


def test_an_empty_cache_says_how_to_fill_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"old/toy or new/toy is not in the Hugging Face cache.*evalkit data TASK --download"):
        TOY.folder(None, cache=tmp_path)


def test_a_snapshot_without_the_rows_is_an_error(tmp_path: Path) -> None:
    in_cache(tmp_path, "old/toy", {"README.md": "hello"})
    with pytest.raises(DataError, match=r"expected split/rows\.jsonl or rows\.jsonl in .*found README\.md"):
        TOY.folder(None, cache=tmp_path)


def test_download_fetches_the_revision_and_checks_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def fetch(name: str, **options: Any) -> str:
        asked.append((name, options))
        return str(in_cache(tmp_path, name, {"rows.jsonl": "{}"}))

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    folder = TOY.download(cache=tmp_path)
    assert (folder / "rows.jsonl").exists()
    assert asked == [("old/toy", {"repo_type": "dataset", "revision": "main", "cache_dir": tmp_path, "allow_patterns": None})]


def test_a_failed_download_is_an_error_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(name: str, **options: Any) -> str:
        raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    with pytest.raises(DataError, match="old/toy could not be downloaded: no route"):
        TOY.download(cache=tmp_path)
    with pytest.raises(DataError, match="not on the Hugging Face hub"):
        Data(hub=(), files=("*.json",), licence="", layout="").download()


def test_the_fingerprint_is_that_of_names_and_contents_of_the_rows(tmp_path: Path) -> None:
    here, there, other = tmp_path / "here", tmp_path / "there", tmp_path / "other"
    for folder in (here, there, other):
        folder.mkdir()
        (folder / "rows.jsonl").write_text('{"a": 1}\n' if folder != other else '{"a": 2}\n')
    (there / "image.jpg").write_text("anything")
    assert TOY.fingerprint(here) == TOY.fingerprint(there) != TOY.fingerprint(other)
    assert TOY.fingerprint(in_cache(tmp_path, "old/toy", {"rows.jsonl": '{"a": 1}\n'})) == TOY.fingerprint(here)


def test_the_fingerprint_of_a_large_file_sees_size_beginning_and_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalkit.data.WHOLE", 3 * 2**20)
    prints = []
    for change in (None, 0, 4 * 2**20 - 1):
        content = bytearray(4 * 2**20)
        if change is not None:
            content[change] = 1
        (tmp_path / "rows.jsonl").write_bytes(content)
        prints.append(TOY.fingerprint(tmp_path))
    (tmp_path / "rows.jsonl").write_bytes(bytes(5 * 2**20))
    assert len({*prints, TOY.fingerprint(tmp_path)}) == 4


def test_counts_that_agree_with_the_published_ones_are_not_mentioned() -> None:
    counts = {"rows": 3, "simple": 2, "complex": 1, "answer=0": 1, "answer=7": 2}
    assert check_published("toy", {"rows": 3, "simple": 2, "answer=0": 1}, counts) == []
    assert check_published("toy", {"complex": 4, "answer=9": 1}, counts) == [
        "expected 4 rows tagged complex in toy, got 1",
        "expected 1 rows with answer 9 in toy, got 0",
    ]


# ---------------------------------------------------------------- readers


def test_json_lines_come_in_order_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes('\ufeff{"a": "é"}\r\n\n{"a": 2}'.encode())
    assert list(read_jsonl(path)) == [{"a": "é"}, {"a": 2}]
    path.write_text('{"a": 1}\nnot json\n')
    assert next(read_jsonl(path)) == {"a": 1}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'{"a": 1}\n{"a": ', r"rows\.jsonl, line 2, got.*cut off"),
        (b'{"a": 1}\n\n[1]\n', r"expected a JSON object in .*line 3, got list"),
        (b'{"a": "\xe9"}\n', r"expected UTF-8 text in .*line 1, got byte 0xe9"),
        (b'{"a": 1}\n' + b"[" * 100_000, r"expected JSON that can be read in .*rows\.jsonl, line 2, got: maximum recursion"),
        (b'{"a": ' + b"9" * 5000 + b"}", r"expected JSON that can be read in .*line 1, got: Exceeds the limit"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "rows.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=complaint):
        list(read_jsonl(tmp_path / "rows.jsonl"))


def test_a_json_file_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('[{"a": 1}, {"a": 2}]')
    assert read_json(path) == [{"a": 1}, {"a": 2}]
    path.write_text('[{"a": 1}, {"a"')
    with pytest.raises(DataError, match=r"expected JSON in .*rows\.json, got.*cut off"):
        read_json(path)
    path.write_bytes(b'["\xff"]')
    with pytest.raises(DataError, match="expected UTF-8"):
        read_json(path)


@pytest.mark.parametrize("reader", [read_jsonl, read_json, read_tsv, lambda path: read_parquet(path, ("a",))])
def test_a_missing_file_is_named(tmp_path: Path, reader: Callable[[Path], Any]) -> None:
    with pytest.raises(DataError, match=r"expected a file at .*absent"):
        list(reader(tmp_path / "absent"))


def test_tab_separated_cells_may_be_long_quoted_and_empty(tmp_path: Path) -> None:
    long = "A" * 300_000
    (tmp_path / "rows.tsv").write_text(
        f'index\timage\ttext\n0\t{long}\t"two\nlines, ""quoted"""\r\n1\tNA\t\n2\t5" wide\t""\n', encoding="utf-8"
    )
    assert list(read_tsv(tmp_path / "rows.tsv")) == [
        {"index": "0", "image": long, "text": 'two\nlines, "quoted"'},
        {"index": "1", "image": "NA", "text": ""},
        {"index": "2", "image": '5" wide', "text": ""},
    ]


@given(st.lists(st.lists(st.text('a"\t\n\r ', max_size=6), min_size=2, max_size=2), max_size=6), st.integers(0, 9))
def test_tab_separated_cells_are_read_as_pythons_csv_writes_them(tmp_path_factory: pytest.TempPathFactory, rows: Any, kind: int) -> None:
    ending, quoting = ("\n", "\r\n")[kind % 2], (csv.QUOTE_ALL, csv.QUOTE_MINIMAL)[kind // 5]
    if quoting == csv.QUOTE_MINIMAL:  # a lone \r is then not always quoted, and ends a line as well
        rows = [[cell.replace("\r", "") for cell in cells] for cells in rows]
    path = tmp_path_factory.mktemp("tsv") / "rows.tsv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, "excel-tab", lineterminator=ending, quoting=quoting).writerows([["a", "b"], *rows])
    assert [list(row.values()) for row in read_tsv(path)] == rows


def test_a_cell_of_many_quoted_lines_is_read_in_linear_time(tmp_path: Path) -> None:
    def seconds(lines: int) -> float:
        (tmp_path / "rows.tsv").write_text('a\tb\n1\t"' + 'said ""x""\n' * lines + '"\n')
        began = time.process_time()
        [row] = read_tsv(tmp_path / "rows.tsv")
        assert row["b"] == 'said "x"\n' * lines
        return time.process_time() - began

    assert seconds(200_000) < 20 * max(seconds(20_000), 0.01)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"a\tb\n1\t2\n3", r"expected 2 cells in .*line 3, got 1"),
        (b"a\tb\n1\t2\n3\t4\t5\n", r"expected 2 cells in .*line 3, got 3"),
        (b'a\tb\n1\t"2\n3\t4\n', r"closing quote of a cell in .*line 2"),
        (b'a\tb\n1\t"2"3\n', r"expected a tab behind the closing quote of a cell in .*line 2, got '3'"),
        (b"a\tb\n1\t\xff\n", "expected UTF-8 text in .*line 2"),
        (b"", "expected a header"),
    ],
)
def test_a_bad_tab_separated_row_is_named(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "rows.tsv").write_bytes(content)
    with pytest.raises(DataError, match=complaint):
        list(read_tsv(tmp_path / "rows.tsv"))


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    """Five rows in row groups of two; images as bytes and as the hub's struct."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [{"qa": [{"q": n}], "image": {"bytes": b"image %d" % n, "path": None}, "plain": b"plain %d" % n} for n in range(5)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet", row_group_size=2)
    return tmp_path / "rows.parquet"


def test_parquet_rows_come_in_order_with_images_read_on_use(parquet: Path) -> None:
    rows = list(read_parquet(parquet, ("qa",), images=("image", "plain")))
    assert [row["qa"] for row in rows] == [[{"q": n}] for n in range(5)]
    assert [row["image"].read() for row in reversed(rows)] == [b"image %d" % n for n in reversed(range(5))]
    assert rows[3]["plain"].read() == b"plain 3"
    assert rows[3]["image"].name == f"{parquet}, row 3, column image"
    assert len({row["image"] for row in rows}) == 5


def test_a_parquet_file_with_other_columns_or_cut_off_is_an_error(parquet: Path) -> None:
    with pytest.raises(DataError, match=r"expected the columns qa, picture in .*got image, plain, qa"):
        list(read_parquet(parquet, ("qa",), images=("picture",)))
    parquet.write_bytes(parquet.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"expected a Parquet file at .*cut off"):
        list(read_parquet(parquet, ("qa",)))


@pytest.mark.parametrize("days", [2**30, -(2**30)])
def test_a_date_beyond_pythons_is_an_error_that_names_the_row_group(tmp_path: Path, days: int) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"day": pa.array([0, days], pa.date32())}), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"row group 0 of .*rows\.parquet cannot be read"):
        list(read_parquet(tmp_path / "rows.parquet", ("day",)))


def test_a_parquet_cell_without_bytes_is_an_image_error(parquet: Path) -> None:
    lazy = next(read_parquet(parquet, ("plain",), images=("qa",)))["qa"]
    with pytest.raises(ImageError, match=r"expected an image's bytes in .*row 0, column qa, got list"):
        resolve(Image(lazy))


def test_require_names_what_was_expected_and_what_is_there() -> None:
    row = {"text": "Which?", "label": 3}
    require(row, ("text", "label"), "f, row 1")
    require(row, {"label": (int, str)}, "f, row 1")
    with pytest.raises(DataError, match="expected the columns text, answer in f, row 1, got text, label"):
        require(row, ("text", "answer"), "f, row 1")
    with pytest.raises(DataError, match="expected str in column label of f, row 1, got 3"):
        require(row, {"label": str}, "f, row 1")


@pytest.mark.parametrize("row", [1, "text", ["text", "label"], None])
def test_a_row_that_is_no_mapping_is_an_error(row: Any) -> None:
    with pytest.raises(DataError, match="expected the columns text, label in f, row 1, got "):
        require(row, ("text", "label"), "f, row 1")


def test_boxes_come_as_corners_or_as_corner_width_and_height() -> None:
    rows = [[10, 20, 30.5, 40], [0, 0, 1, 1]]
    assert read_boxes(rows, "f, row 1") == (Box(10, 20, 30.5, 40), Box(0, 0, 1, 1))
    assert read_boxes(rows, "f, row 1", "xywh") == (Box(10, 20, 40.5, 60), Box(0, 0, 1, 1))
    assert read_boxes([], "f, row 1") == ()


@pytest.mark.parametrize(
    "value",
    [
        *[None, 7, "none", {"x": 1}, [7], ["1234"], [{0: 1, 1: 2, 2: 3, 3: 4}], [[1, 2]], [[1, 2, 3, 4], [1, 2, 3, 4, 5]]],
        *([[x, 2, 3, 4]] for x in ("a", None, True, [1], float("nan"), float("inf"), 10**400)),
    ],
)
def test_what_are_no_boxes_is_named(value: Any) -> None:
    with pytest.raises(DataError, match="expected a list of boxes, each of four finite numbers, in bbox of f, row 1, got "):
        read_boxes(value, "bbox of f, row 1", "xywh")


# ---------------------------------------------------------------- images


def encoded(picture: PIL.Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(data: bytes | Path, **fields: Any) -> list[Any]:
    picture = decode(Image(data, **fields))
    assert picture.mode == "RGB"
    return np.asarray(picture).tolist()


def gradient() -> PIL.Image.Image:
    return PIL.Image.fromarray(np.arange(8 * 6 * 3, dtype=np.uint8).reshape(6, 8, 3))


def huge(width: int, height: int) -> bytes:
    """A PNG whose header declares this size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def test_resolve_reads_size_and_the_digest_of_the_bytes(tmp_path: Path) -> None:
    data = encoded(gradient())
    (tmp_path / "a.png").write_bytes(data)
    (tmp_path / "b.png").write_bytes(encoded(gradient().rotate(180)))
    a = resolve(Image(tmp_path / "a.png"))
    assert (a.size, len(a.digest)) == (Size(8, 6), 64)
    assert a.digest == resolve(Image(data)).digest == resolve(Image(Lazy("row 1", lambda: data))).digest
    assert a.digest != resolve(Image(tmp_path / "b.png")).digest
    assert resolve(a) is a


def test_a_size_stated_by_the_rows_gives_way_to_the_images_own() -> None:
    assert resolve(Image(encoded(gradient()), size=Size(99, 99))).size == Size(8, 6)


def test_resolve_needs_only_the_header() -> None:
    whole = encoded(PIL.Image.effect_noise((200, 200), 50), "PNG")
    assert resolve(Image(whole[: len(whole) // 2])).size == Size(200, 200)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_truncated_image_is_an_error_at_decoding_at_the_latest(kind: str) -> None:
    whole = encoded(PIL.Image.effect_noise((200, 200), 50).convert("RGB"), kind)
    with pytest.raises(ImageError, match="an image of"):
        decode(resolve(Image(whole[: len(whole) // 2])))


@pytest.mark.parametrize("data", [b"<html>404</html>", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF1234WEBP", b"BM"])
def test_what_is_no_image_is_an_image_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "broken.jpg").write_bytes(data)
    for read in (resolve, decode):
        with pytest.raises(ImageError, match=r"broken\.jpg"):
            read(Image(tmp_path / "broken.jpg"))


def test_a_missing_an_empty_and_a_folder_as_image_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"no image at .*absent\.jpg.*--data"):
        resolve(Image(tmp_path / "absent.jpg"))
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ImageError, match=r"empty\.jpg is empty"):
        decode(Image(tmp_path / "empty.jpg"))
    with pytest.raises(ImageError, match="cannot be read"):
        resolve(Image(tmp_path))


def test_the_extension_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "jpeg.png").write_bytes(encoded(gradient(), "JPEG"))
    assert resolve(Image(tmp_path / "jpeg.png")).size == Size(8, 6)
    assert decode(Image(tmp_path / "jpeg.png")).size == (8, 6)


def test_a_one_pixel_image_is_an_image() -> None:
    data = encoded(PIL.Image.new("RGB", (1, 1), (1, 2, 3)))
    assert resolve(Image(data)).size == Size(1, 1)
    assert pixels(data) == [[[1, 2, 3]]]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 65535])
def test_the_size_that_is_told_is_that_of_the_pixels_whatever_the_orientation(kind: str, orientation: int) -> None:
    told, file = PIL.Image.Exif(), io.BytesIO()
    told[0x0112] = orientation
    PIL.Image.new("RGB", (48, 32)).save(file, kind, exif=told)
    for upright in (False, True):
        image = resolve(Image(file.getvalue(), upright=upright))
        assert decode(image).size == image.size
        lies = orientation in (5, 6, 7, 8) and (upright or kind == "TIFF")  # PIL turns a TIFF by itself
        assert image.size == (Size(32, 48) if lies else Size(48, 32))


def test_the_orientation_is_applied_only_where_the_task_says_so() -> None:
    exif = PIL.Image.Exif()
    exif[images.ORIENTATION] = 6
    data = encoded(gradient(), "PNG", exif=exif)
    plain, upright = resolve(Image(data)), resolve(Image(data, upright=True))
    assert (plain.size, upright.size) == (Size(8, 6), Size(6, 8))
    assert np.array_equal(np.asarray(decode(plain)), np.asarray(gradient()))
    assert np.array_equal(np.asarray(decode(upright)), np.rot90(np.asarray(gradient()), -1))


def test_transparency_lies_over_white() -> None:
    half = PIL.Image.fromarray(np.array([[[0, 0, 0, 0], [0, 0, 0, 255], [255, 0, 0, 51]]], dtype=np.uint8))
    assert pixels(encoded(half)) == [[[255, 255, 255], [0, 0, 0], [255, 204, 204]]]
    assert pixels(encoded(half.convert("LA")))[0][:2] == [[255, 255, 255], [0, 0, 0]]


def test_the_transparent_entry_of_a_palette_lies_over_white() -> None:
    palette = PIL.Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    for kind in ("PNG", "GIF"):
        assert pixels(encoded(palette, kind, transparency=0)) == [[[255, 255, 255], [40, 50, 60]]]
    assert pixels(encoded(palette, "PNG", transparency=bytes([255, 0]))) == [[[10, 20, 30], [255, 255, 255]]]
    assert pixels(encoded(palette)) == [[[10, 20, 30], [40, 50, 60]]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_cut(kind: str) -> None:
    levels = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    assert pixels(encoded(PIL.Image.fromarray(levels), kind)) == [[[0] * 3, [1] * 3, [128] * 3, [255] * 3]]


def test_wide_integers_and_floats_are_scaled_from_their_range() -> None:
    def grey(levels: Any) -> list[int]:
        return [pixel[0] for pixel in pixels(encoded(PIL.Image.fromarray(levels), "TIFF"))[0]]

    assert grey(np.array([[0, 257, 65535]], dtype=np.int32)) == [0, 1, 255]
    assert grey(np.array([[-5, 2**31 - 1]], dtype=np.int32)) == [0, 255]
    assert grey(np.array([[0, 0.5, 1, np.nan]], dtype=np.float32)) == [0, 128, 255, 0]
    assert grey(np.array([[0, 128, 255]], dtype=np.float32)) == [0, 128, 255]
    assert grey(np.array([[0, 0]], dtype=np.float32)) == [0, 0]


def test_cmyk_and_grey_become_rgb_as_pil_converts() -> None:
    assert pixels(encoded(PIL.Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "TIFF")) == [[[255, 0, 0]]]
    assert pixels(encoded(PIL.Image.new("1", (1, 1), 1))) == [[[255, 255, 255]]]
    assert pixels(encoded(PIL.Image.new("L", (1, 1), 7))) == [[[7, 7, 7]]]


def test_of_an_animation_the_first_frame_is_taken() -> None:
    frames = [PIL.Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    assert pixels(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))[0][0] == [255, 0, 0]


def test_a_huge_image_is_refused_with_its_size_and_the_bound() -> None:
    for read in (resolve, decode):
        with pytest.raises(ImageError, match=r"40000 x 40000 pixels, expected at most 268,435,456"):
            read(Image(huge(40_000, 40_000)))


def test_pils_own_pixel_limit_neither_warns_nor_refuses_nor_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 10)
    image = resolve(Image(encoded(gradient())))
    assert decode(image.derive(Crop(0, 0, 8, 5))).size == (8, 5)
    assert PIL.Image.MAX_IMAGE_PIXELS == 10
    monkeypatch.undo()
    assert resolve(Image(huge(16_000, 16_000))).size == Size(16_000, 16_000)


def test_derived_images_are_made_from_their_parents_pixels() -> None:
    image = resolve(Image(encoded(gradient())))
    crop = image.derive(Crop(2, 1, 6, 4))
    assert np.array_equal(np.asarray(decode(crop)), np.asarray(gradient())[1:4, 2:6])
    again = crop.derive(Resize(8, 6))
    assert np.array_equal(np.asarray(decode(again)), np.asarray(decode(crop).resize((8, 6), PIL.Image.Resampling.BICUBIC)))


def test_a_derivation_resolves_to_the_same_whether_its_parent_was_resolved_or_not() -> None:
    data = encoded(gradient())
    late, early = (
        resolve(Image(data).derive(Crop(2, 1, 6, 4)).derive(Resize(2, 2))),
        resolve(Image(data)).derive(Crop(2, 1, 6, 4)).derive(Resize(2, 2)),
    )
    assert (late.size, late.digest) == (early.size, early.digest) == (Size(2, 2), early.digest)
    assert late.digest != resolve(Image(data)).digest


@pytest.mark.parametrize("crop", [Crop(0, 0, 9, 6), Crop(-1, 0, 2, 2), Crop(3, 3, 3, 5)])
def test_a_crop_outside_its_parent_is_an_error(crop: Crop) -> None:
    with pytest.raises(ImageError, match="expected a crop inside 8 x 6 pixels"):
        decode(Image(encoded(gradient())).derive(crop))


def test_real_photographs_decode_whatever_they_are_called(shared: Callable[[str], Path], tmp_path: Path) -> None:
    photographs = sorted(path for path in shared("real/photos").iterdir() if path.is_file())
    assert photographs
    smallest = min(photographs, key=lambda path: path.stat().st_size)
    for path in photographs:
        image = resolve(Image(path))
        with PIL.Image.open(path) as opened:
            assert image.size == opened.size
    assert decode(resolve(Image(smallest))).size == resolve(Image(smallest)).size
    shutil.copy(smallest, tmp_path / "renamed.gif")
    assert resolve(Image(tmp_path / "renamed.gif")).digest == resolve(Image(smallest)).digest


def test_line_separators_inside_a_string_do_not_end_a_json_line(tmp_path: Path) -> None:
    rows = [{"a": n, "b": "ü\u2028"} for n in range(3)]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    assert list(read_jsonl(tmp_path / "rows.jsonl")) == rows
