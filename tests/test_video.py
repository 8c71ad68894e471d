"""Videos: which frames are chosen, that they are those and no others whatever the container, and what is said of broken files."""

import hashlib
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from evalkit import video as videos
from evalkit.errors import ImageError, UserError
from evalkit.geometry import Size
from evalkit.images import decode, image_in, resolve
from evalkit.types import Crop, Image, Lazy, Still
from evalkit.video import frame_numbers, frames

Make = Callable[..., Path]


def numbers(images: tuple[Image, ...]) -> list[int]:
    return [image.operation.number for image in images if isinstance(image.operation, Still)]


def seen(image: Image) -> int:
    """The number that a frame of `make_video` shows, read off its bottom right corner."""
    pixels = decode(image)
    level: Any = pixels.getpixel((pixels.width - 4, pixels.height - 4))
    return round(level[0] / 8)


def every(path: Path, count: int = 24) -> list[Image]:
    return [Image(path).derive(Still(number)) for number in range(count)]


# ---------------------------------------------------------------- which frames


def by_the_authors(count: int, last: int, fps: float, clip: tuple[float, float] | None) -> list[int]:
    """MVBench's formula with numpy, as its notebook computes it."""
    import numpy as np

    start, end = clip or (-100000, 100000)
    first, final = max(0, round(start * fps)), min(round(end * fps), last)
    part = float(final - first) / count
    return [int(first + (part / 2) + np.round(part * place)) for place in range(count)]


@pytest.mark.parametrize("last", [0, 1, 7, 15, 16, 17, 100, 899, 17_981])
@pytest.mark.parametrize("count", [1, 8, 16])
def test_even_frames_are_those_of_the_authors_formula(count: int, last: int) -> None:
    chosen = frame_numbers(0, last, count)
    assert chosen == by_the_authors(count, last, 30, None)
    assert chosen == sorted(chosen)
    assert 0 <= chosen[0] <= chosen[-1] <= last


@pytest.mark.parametrize("clip", [None, (0.1, 0.6), (0.0, 0.31), (0.25, 99.0)])
def test_a_clip_is_looked_at_between_its_seconds(tmp_path: Path, make_video: Make, clip: tuple[float, float] | None) -> None:
    path = make_video(tmp_path / "a.mp4")
    assert numbers(frames(Image(path), 16, clip=clip)) == by_the_authors(16, 23, 30.0, clip)


def test_a_clip_beyond_the_end_is_the_last_frame(tmp_path: Path, make_video: Make) -> None:
    video = Image(make_video(tmp_path / "a.mp4"))
    assert set(numbers(frames(video, 4, clip=(5.0, 9.0)))) == {23}
    assert numbers(frames(video, 4, rate=2, clip=(5.0, 9.0))) == [23]


@pytest.mark.parametrize(
    ("count", "rate", "clip", "expected"),
    [
        (20, 10, None, [0, 6, 13, 19]),  # 2 seconds at 2 a second
        (20, 5, None, [0, 3, 5, 8, 11, 14, 16, 19]),  # 4 seconds
        (3, 10, None, [0, 2]),  # at least 4, but no more than there are, and even
        (1, 10, None, [0]),
        (24, 1, None, [0, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18, 20, 21, 23]),  # 48 wanted, 16 at most
        (20, 5, (1.1, 3.0), [6, 9, 12, 15]),  # from ceil(5.5) to floor(15)
    ],
)
def test_frames_at_a_rate_are_those_of_qwens_rule(
    tmp_path: Path, make_video: Make, count: int, rate: int, clip: tuple[float, float] | None, expected: list[int]
) -> None:
    video = Image(make_video(tmp_path / "a.mp4", count, rate))
    assert numbers(frames(video, 16, rate=2.0, clip=clip)) == expected


def test_uneven_times_make_the_mean_rate(tmp_path: Path, make_video: Make) -> None:
    """Ten frames in the first tenth of a second and ten in the ten seconds after are about two a second, and frames count, not seconds."""
    times = [10 * n for n in range(10)] + [1000 * n for n in range(1, 11)]
    path = make_video(tmp_path / "a.mp4", 20, milliseconds=times)
    assert numbers(frames(Image(path), 16)) == by_the_authors(16, 19, 2.0, None)
    assert max(numbers(frames(Image(path), 16, clip=(0.0, 2.0)))) < 6
    assert [seen(image) for image in every(path, 20)] == list(range(20))


# ---------------------------------------------------------------- frames as images


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("plain.mp4", {"bf": "0"}),
        ("reordered.mp4", {"bf": "3"}),
        ("ntsc.mp4", {"rate": Fraction(30_000, 1001)}),
        ("slow.mkv", {"rate": Fraction(7, 3)}),
        ("open-groups.mp4", {"bf": "3", "x264-params": "open-gop=1"}),
        ("stream.ts", {"bf": "3"}),
        ("raw.h264", {"bf": "3"}),
        ("untimed.avi", {"bf": "3"}),
        ("mpeg4.avi", {"codec": "mpeg4", "bf": "2", "qmin": "1", "qmax": "1"}),
        ("vp9.webm", {"codec": "libvpx-vp9"}),
        ("hidden.webm", {"codec": "libvpx", "auto-alt-ref": "1", "lag-in-frames": "16", "arnr-maxframes": "7"}),
        ("uneven.mp4", {"milliseconds": [n * n * 3 for n in range(24)], "bf": "3"}),
        ("one-key.mp4", {"keys": 250, "bf": "3"}),
    ],
)
def test_every_frame_is_the_one_of_its_number(tmp_path: Path, make_video: Make, name: str, settings: dict[str, Any]) -> None:
    """In order, backwards and jumping about."""
    path = make_video(tmp_path / name, **settings)
    images = every(path)
    assert set(numbers(frames(Image(path), 240))) <= set(range(24)), "as many frames as were written"
    assert [seen(image) for image in images] == list(range(24))
    assert [seen(image) for image in reversed(images)] == list(range(24))[::-1]
    jumps = [20, 3, 13, 12, 11, 23, 0, 14]
    assert [seen(images[number]) for number in jumps] == jumps
    with pytest.raises(ImageError, match=r"expected a frame from 0 to 23 of .*, got 24"):
        decode(Image(path).derive(Still(24)))


def test_frames_that_a_file_says_not_to_show_have_no_number(tmp_path: Path, make_video: Make) -> None:
    """A video trimmed without being written anew still holds the frames before its beginning."""
    av = pytest.importorskip("av")
    whole, path = make_video(tmp_path / "whole.mp4", bf="3"), tmp_path / "trimmed.mp4"
    with av.open(str(whole)) as source, av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as trimmed:
        stream = trimmed.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                before = int(5 / 30 / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - before, packet.dts - before, stream
                trimmed.mux(packet)
    assert numbers(frames(Image(path), 4)) == frame_numbers(0, 18, 4)
    assert [seen(image) for image in every(path, 19)] == list(range(5, 24))
    assert seen(every(path, 19)[12]) == 17


def test_a_still_has_the_videos_size_and_a_digest_of_file_and_number(tmp_path: Path, make_video: Make) -> None:
    path = make_video(tmp_path / "a.mp4", size=(98, 54))
    first, second = (resolve(image) for image in every(path)[:2])
    video = Image(path, size=Size(98, 54), digest=hashlib.sha256(path.read_bytes()).hexdigest())
    assert (first.size, first.digest) == (Size(98, 54), video.derive(Still(0)).digest)
    assert first.digest != second.digest
    assert decode(first).size == (98, 54)
    assert resolve(first.derive(Crop(0, 0, 40, 30))).size == Size(40, 30)
    assert decode(every(path)[9].derive(Crop(60, 30, 98, 54))).getpixel((9, 9)) == decode(every(path)[9]).getpixel((69, 39))


def test_a_file_that_changes_is_read_anew(tmp_path: Path, make_video: Make) -> None:
    path = tmp_path / "a.mp4"
    before = resolve(every(make_video(path))[0])
    after = resolve(every(make_video(path, 10, size=(32, 80)))[0])
    assert (before.size, after.size) == (Size(64, 48), Size(32, 80))
    assert before.digest != after.digest
    assert max(numbers(frames(Image(path), 16))) < 10


@pytest.mark.parametrize(("turn", "corner"), [(90, (0, -1)), (-90, (-1, 0)), (180, (-1, -1))])
def test_a_noted_rotation_is_applied(tmp_path: Path, make_video: Make, turn: int, corner: tuple[int, int]) -> None:
    """Degrees count counter-clockwise: turned by 90, the white corner comes from the top left to the bottom left."""
    still = resolve(every(make_video(tmp_path / "a.mp4", turn=turn))[0])
    pixels = decode(still)
    assert still.size == pixels.size == ((48, 64) if turn % 180 else (64, 48))
    x, y = (4 if side == 0 else length - 4 for side, length in zip(corner, pixels.size, strict=True))
    assert pixels.getpixel((x, y)) == pytest.approx((255, 255, 255), abs=6)
    assert pixels.getpixel((pixels.width - x, pixels.height - y)) == pytest.approx((0, 0, 0), abs=6)


def test_frames_of_another_size_are_brought_to_that_of_the_first(tmp_path: Path, make_video: Make) -> None:
    parts = [make_video(tmp_path / "1.h264", 6), make_video(tmp_path / "2.h264", 10, size=(32, 80))]
    joined = tmp_path / "joined.h264"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    images = every(joined, 16)
    assert {resolve(image).size for image in images} == {Size(64, 48)}
    assert [decode(image).size for image in images] == [(64, 48)] * 16
    assert [seen(image) for image in images] == [*range(6), *range(10)]


def test_a_video_may_be_bytes_or_come_from_elsewhere(tmp_path: Path, make_video: Make) -> None:
    data = make_video(tmp_path / "a.mp4").read_bytes()
    for source in (data, Lazy("row 3", lambda: data)):
        chosen = frames(Image(source), 6)
        assert [seen(image) for image in chosen] == numbers(chosen) == frame_numbers(0, 23, 6)
        assert resolve(chosen[0]).size == Size(64, 48)


def test_threads_get_the_frames_they_ask_for(tmp_path: Path, make_video: Make) -> None:
    images = [image for name in "abc" for image in every(make_video(tmp_path / f"{name}.mp4", bf="3"))]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(seen, images * 2)) == list(range(24)) * 6


def test_a_video_is_decoded_once_where_its_frames_are_asked_for_in_order(
    tmp_path: Path, make_video: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = frames(Image(make_video(tmp_path / "a.mp4", keys=250)), 16)
    resolve(images[0])
    opened, decoded = [], []
    original = videos._opened

    class Counted:
        """The container, its frames counted as they come out."""

        def __init__(self, container: Any) -> None:
            self.container = container

        def __getattr__(self, name: str) -> Any:
            return getattr(self.container, name)

        def decode(self, stream: Any) -> Any:
            for frame in self.container.decode(stream):
                decoded.append(frame.pts)
                yield frame

    def counted(file: Any) -> tuple[Any, Any]:
        container, stream = original(file)
        opened.append(file)
        return Counted(container), stream

    monkeypatch.setattr(videos, "_opened", counted)
    monkeypatch.setattr(videos, "_idle", type(videos._idle)())
    for image in images:
        decode(image)
    assert (len(opened), len(decoded)) == (1, numbers(images)[-1] + 1)


def test_no_more_videos_stay_open_than_are_allowed(tmp_path: Path, make_video: Make) -> None:
    for number in range(videos.OPEN + 3):
        decode(every(make_video(tmp_path / f"{number}.mp4", 2))[1])
    assert len(videos._idle) <= videos.OPEN


# ---------------------------------------------------------------- what cannot be read


@pytest.mark.parametrize(
    ("name", "share", "settings"),
    [
        ("index-first.mp4", 0.7, {}),
        ("header.mp4", 0.1, {}),
        ("index-last.mov", 0.9, {}),
        ("long.webm", 0.6, {"codec": "libvpx-vp9", "rate": 1}),
        ("index-last.avi", 0.6, {"codec": "mpeg4"}),
    ],
)
def test_a_video_that_is_cut_off_is_said_to_be(tmp_path: Path, make_video: Make, name: str, share: float, settings: dict[str, Any]) -> None:
    whole = make_video(tmp_path / f"whole {name}", **settings).read_bytes()
    path = tmp_path / name
    path.write_bytes(whole[: int(share * len(whole))])
    images = frames(Image(path), 16)
    assert len(images) == 16, "as many as of a whole one, so that what was stored can be scored again"
    for read in (resolve, decode):
        with pytest.raises(ImageError, match=rf"{name} .*(is cut off: |is it cut off\?).*Fetch it again"):
            read(images[0])


def test_what_is_no_video_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video " * 500)
    (tmp_path / "empty.mp4").touch()
    for name, complaint in {
        "text.mp4": "cannot be read as a video",
        "empty.mp4": "cannot be read as a video",
        "none.mp4": r"no video at .*none\.mp4: No such file",
    }.items():
        [image] = frames(Image(tmp_path / name), 1)
        with pytest.raises(ImageError, match=complaint):
            resolve(image)
        with pytest.raises(ImageError, match=complaint):
            decode(image)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    import numpy as np

    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(ImageError, match=r"a\.wav has no video in it"):
        resolve(frames(Image(tmp_path / "a.wav"), 1)[0])


def test_a_video_that_appears_later_does_not_give_wrong_frames(tmp_path: Path, make_video: Make) -> None:
    images = frames(Image(tmp_path / "a.mp4"), 4)
    make_video(tmp_path / "a.mp4")
    with pytest.raises(ImageError, match=r"expected a frame from 0 to 23 of .*a\.mp4, got -1"):
        resolve(images[0])


def test_frames_that_do_not_decode_are_said_to_be(tmp_path: Path, make_video: Make) -> None:
    """The packets are there and their times are whole, but the second half of their content is nothing."""
    path = make_video(tmp_path / "a.webm", codec="libvpx-vp9", keys=250)
    data = bytearray(path.read_bytes())
    half = len(data) // 2
    path.write_bytes(data[:half] + b"\x00" * (len(data) - half))
    with pytest.raises(ImageError, match=r"a\.webm"):
        list(map(decode, every(path)))


def test_without_the_library_the_extra_is_named(tmp_path: Path, make_video: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where a frame is read: a replay needs none."""
    path = make_video(tmp_path / "a.mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    images = frames(Image(path), 16)
    assert len(images) == 16
    for read in (resolve, decode):
        with pytest.raises(UserError, match=r"videos need PyAV .*pip install 'evalkit\[video\]'"):
            read(images[0])


# ---------------------------------------------------------------- images in archives


def test_an_image_is_found_unpacked_or_in_the_archive_beside(tmp_path: Path) -> None:
    import zipfile

    PIL.Image.new("RGB", (5, 4), "red").save(tmp_path / "a.png")
    PIL.Image.new("RGB", (7, 6), "red").save(tmp_path / "b.png")
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.write(tmp_path / "a.png", "images/a.png")
        archive.write(tmp_path / "b.png", "images/b.png")
    (tmp_path / "images").mkdir()
    PIL.Image.new("RGB", (9, 8), "red").save(tmp_path / "images" / "b.png")
    assert resolve(image_in(tmp_path, "images/a.png")).size == Size(5, 4)
    assert resolve(image_in(tmp_path, "images/b.png")).size == Size(9, 8)
    assert image_in(tmp_path, "images/a.png") == image_in(tmp_path, "images/a.png")
    with pytest.raises(ImageError, match=r"no image at .*images\.zip, images/c\.png"):
        resolve(image_in(tmp_path, "images/c.png"))
    (tmp_path / "images.zip").write_bytes((tmp_path / "images.zip").read_bytes()[:-40])
    with pytest.raises(ImageError, match=r"expected a zip file at .*images\.zip.*cut off"):
        resolve(image_in(tmp_path, "images/a.png"))
    (tmp_path / "images.zip").unlink()
    with pytest.raises(ImageError, match=r"no image at .*a\.png"):
        resolve(image_in(tmp_path, "images/a.png"))
