"""Images that are drawn on: where the outline is, to the pixel, and what stays as it was."""

import io
import os
import tracemalloc
import zipfile
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from evalkit.errors import ImageError
from evalkit.geometry import Box, Size
from evalkit.images import LARGEST, OUTLINE, decode, image_in, resolve
from evalkit.types import Draw, Image

GRAY = (90, 90, 90)


def gray(width: int, height: int) -> Image:
    file = io.BytesIO()
    PIL.Image.new("RGB", (width, height), GRAY).save(file, "PNG")
    return Image(file.getvalue())


def drawn(image: Image, *boxes: Box) -> np.ndarray:
    """Which pixels have the outline's colour, bool (height, width); the others must be as they were."""
    pixels = np.asarray(decode(image.derive(Draw(boxes))))
    red = (pixels == OUTLINE).all(axis=2)
    assert (pixels[~red] == GRAY).all()
    return red


def frame(width: int, height: int, outer: tuple[int, int, int, int], thick: int) -> np.ndarray:
    """The outline of a box just inside its edges, x2 and y2 exclusive, pixel by pixel."""
    x1, y1, x2, y2 = outer
    expected = np.zeros((height, width), bool)
    expected[y1:y2, x1:x2] = True
    expected[y1 + thick : y2 - thick, x1 + thick : x2 - thick] = False
    return expected


def test_a_box_is_outlined_in_red_two_pixels_wide_just_inside_its_edges() -> None:
    assert OUTLINE == (255, 0, 0)
    assert (drawn(gray(60, 40), Box(10, 5, 30, 25)) == frame(60, 40, (10, 5, 30, 25), 2)).all()


def test_the_outline_grows_with_the_longer_side() -> None:
    assert (drawn(gray(1000, 200), Box(100, 20, 400, 120)) == frame(1000, 200, (100, 20, 400, 120), 5)).all()


def test_corners_in_any_order_and_between_pixels_are_rounded_to_the_same_box() -> None:
    assert (drawn(gray(60, 40), Box(29.6, 25.4, 10.4, 4.6)) == frame(60, 40, (10, 5, 30, 25), 2)).all()


def test_a_box_that_leaves_the_image_is_cut_at_its_border() -> None:
    assert (drawn(gray(60, 40), Box(-20, -3, 30, 25)) == frame(60, 40, (0, 0, 30, 25), 2)).all()
    assert (drawn(gray(60, 40), Box(-9, -9, 999, 999)) == frame(60, 40, (0, 0, 60, 40), 2)).all()


def test_a_box_outside_the_image_marks_no_more_than_its_border() -> None:
    marked = drawn(gray(60, 40), Box(100, 100, 120, 130))
    assert not marked[:38, :58].any()


def test_several_boxes_are_all_drawn() -> None:
    both = drawn(gray(60, 40), Box(10, 5, 30, 25), Box(20, 10, 50, 35))
    assert (both == frame(60, 40, (10, 5, 30, 25), 2) | frame(60, 40, (20, 10, 50, 35), 2)).all()


def test_the_parent_stays_as_it_was() -> None:
    parent = gray(60, 40)
    before = decode(parent).tobytes()
    decode(parent.derive(Draw((Box(0, 0, 60, 40),))))
    assert decode(parent).tobytes() == before


@pytest.mark.parametrize("boxes", [(), (Box(1, 2, 3, 4),)])
def test_a_drawn_image_has_its_parents_size_and_a_digest_of_its_own(boxes: tuple[Box, ...]) -> None:
    parent = resolve(gray(60, 40))
    image = resolve(gray(60, 40).derive(Draw(boxes)))
    other = resolve(gray(60, 40).derive(Draw((Box(1, 2, 3, 5),))))
    assert image.size == Size(60, 40)
    assert len({image.digest, parent.digest, other.digest}) == 3


# ---------------------------------------------------------------- files and archives of strangers


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n{} loop\n%%EOF\n"


def iptc(data: bytes) -> bytes:
    """An IPTC file of 10 x 10 pixels that are another image's bytes."""
    fields = ((3, 20, b"\0\0\0\x0a"), (3, 30, b"\0\0\0\x0a"), (3, 60, b"\1\0"), (3, 120, b"\5"), (8, 10, data))
    return b"".join(bytes((0x1C, *tag)) + len(value).to_bytes(2, "big") + value for *tag, value in fields)


def test_no_program_of_a_strangers_is_run_to_decode_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    for data in (EPS, iptc(EPS)):
        with suppress(Exception):
            PIL.Image.open(BytesIO(data)).load()
        assert (tmp_path / "asked").exists()
        (tmp_path / "asked").unlink()
        assert "not an image in any format that PIL reads by itself" in ended(Image(data))
        assert not (tmp_path / "asked").exists()


def packed(folder: Path, way: int, data: bytes, name: str = "a.png") -> bytearray:
    """Writes images.zip and returns its bytes."""
    with zipfile.ZipFile(folder / "images.zip", "w", way) as archive:
        archive.writestr(name, data)
    return bytearray((folder / "images.zip").read_bytes())


def ended(image: Image) -> str:
    """The mode of the pixels, or the error's words."""
    try:
        return decode(image).mode
    except ImageError as error:
        return str(error)


@pytest.mark.parametrize("way", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_with_a_changed_byte_gives_the_image_or_an_error_that_names_it(tmp_path: Path, way: int) -> None:
    source = gray(64, 48).source
    assert isinstance(source, bytes)
    whole = packed(tmp_path, way, source)
    assert resolve(image_in(tmp_path, "a.png")).size == Size(64, 48)
    failed = 0
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 0x55
        (tmp_path / "images.zip").write_bytes(changed)
        os.utime(tmp_path / "images.zip", ns=(place, place))
        said = ended(image_in(tmp_path, "a.png"))
        assert said == "RGB" or "images.zip, a.png" in said
        failed += said != "RGB"
    assert failed > len(whole) // 4


def test_an_encrypted_member_is_an_error(tmp_path: Path) -> None:
    data = packed(tmp_path, zipfile.ZIP_STORED, b"x")
    data[6] |= 1
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "images.zip").write_bytes(data)
    with pytest.raises(ImageError, match=r"images\.zip, a\.png cannot be read: .*encrypted"):
        resolve(image_in(tmp_path, "a.png"))


def test_a_member_that_says_it_is_huge_is_refused_before_it_is_read(tmp_path: Path) -> None:
    data = packed(tmp_path, zipfile.ZIP_DEFLATED, bytes(100_000))
    place = data.rindex(b"PK\x01\x02") + 24
    data[place : place + 4] = (LARGEST + 1).to_bytes(4, "little")
    (tmp_path / "images.zip").write_bytes(data)
    with pytest.raises(ImageError, match=r"expected at most 1,073,741,824 bytes, got 1,073,741,825"):
        resolve(image_in(tmp_path, "a.png"))


@pytest.mark.parametrize("name", ["../a.png", "/a.png", "x" * 3000])
def test_nothing_of_an_archive_is_written_wherever_its_names_lead(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    packed(folder, zipfile.ZIP_STORED, b"no image", name)
    with pytest.raises(ImageError):
        resolve(image_in(folder, name))
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "images.zip"]


@pytest.mark.parametrize("name", ["/dev/zero", "pipe", "a\0b", "x" * 300, "sparse"])
def test_a_name_that_leads_to_no_file_or_to_one_too_large_is_an_error_at_once(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(LARGEST + 1)
    tracemalloc.start()
    with pytest.raises(ImageError, match="cannot be read"):
        resolve(Image(tmp_path / name))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 1 << 24


def test_wide_pixels_and_clear_ones_are_what_they_were() -> None:
    """16-bit levels from end to end, and half a transparent red over white."""
    levels = np.array([[0, 128, 257, 32768, 65535]], dtype=np.uint16)
    file = io.BytesIO()
    PIL.Image.fromarray(levels).save(file, "PNG")
    assert np.asarray(decode(Image(file.getvalue())))[0, :, 0].tolist() == [0, 0, 1, 128, 255]
    file = io.BytesIO()
    PIL.Image.new("RGBA", (1, 1), (255, 0, 0, 128)).save(file, "PNG")
    assert np.asarray(decode(Image(file.getvalue(), upright=True)))[0, 0].tolist() == [255, 127, 127]
