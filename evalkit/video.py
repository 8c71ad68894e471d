"""Videos: which of their frames are looked at, and those frames as images. PyAV, which is FFmpeg, decodes (extra `video`).

A frame's number is its place in the order in which frames are shown, from 0, whatever the order in which they are stored and
however unevenly they follow each other. All frames of a video have one size, that of the first: one of another size is resampled
to it. A rotation that a file notes (quarter turns) is applied, since the readers by which the benchmarks' numbers came about
apply it too: decord, OpenCV, the `ffmpeg` program. Pixels are taken for square.
"""

import hashlib
import threading
from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ImageError, UserError
from .geometry import Size
from .images import read
from .types import Image, Still

if TYPE_CHECKING:
    import PIL.Image

NOTED = 1024
"""Of how many videos the frame times are kept, a few kilobytes each."""
OPEN = 8
"""How many videos stay open where they were last read, so that the frames of one, asked for in order, are decoded in one go."""
LEAST = 4
"""How many frames are chosen at a rate at least, where there are as many."""
UNSURE = 0.9, 1.0
"""A video is cut off where it ends before this share of its declared duration less so many seconds: headers are not exact."""
UNTIMED, HIDING = {"avi"}, {"vp8"}
"""Containers that store no times, and codecs whose packets may hold a frame that is never shown: their frames are counted decoding."""
MICRO = 1_000_000  # FFmpeg counts whole files in millionths of a second
TURNS = {90: "ROTATE_90", 180: "ROTATE_180", 270: "ROTATE_270"}  # counter-clockwise, as PIL counts


# ---------------------------------------------------------------- which frames


def frames(video: Image, count: int = 16, rate: float | None = None, clip: tuple[float, float] | None = None) -> tuple[Image, ...]:
    """`count` frames of a video, spread evenly, as images that are decoded when wanted; where it has fewer, some come twice.

    With `rate` so many a second instead and `count` at most, none twice. The video's frame times are read, once for each file,
    and no pixel. Where it cannot be read the frames have no number, so that only reading them fails, and each with the reason.

    Args:
        video: a file that FFmpeg reads, by its path, its bytes or where they come from.
        clip: from which second to which it is looked at; the whole of it where None.

    The frames without a rate are MVBench's (`get_index` in its `mvbench.ipynb`): `frame_numbers` from round(start * fps) to
    round(end * fps), cut to the frames there are, `fps` being the mean. Those at a rate are Qwen's (`smart_nframes` and
    `calculate_video_frame_range` of qwen-vl-utils 0.0.14): n = frames / fps * rate, at least 4 and at most `count` and the frames
    there are, made even downwards, at round(first + (last - first) * i / (n - 1)) from ceil(start * fps) to floor(end * fps). A
    clip beyond the end is the last frame; one frame at a rate is that frame, where Qwen's code gives up.
    """
    try:
        index = _index(_file(video))
    except UserError:
        return tuple(video.derive(Still(-1)) for _ in range(count))
    last, fps = index.count - 1, index.rate
    if rate is None:
        start, end = (0, last) if clip is None else (max(round(clip[0] * fps), 0), min(round(clip[1] * fps), last))
        numbers = frame_numbers(min(start, end, last), max(end, 0), count)
    else:
        numbers = _paced(*((0, last) if clip is None else _within(clip, fps, last)), fps, rate, count)
    return tuple(video.derive(Still(number)) for number in numbers)


def frame_numbers(first: int, last: int, count: int) -> list[int]:
    """`count` numbers in [first, last] in order, the middles of as many even parts: int(first + part / 2 + round(part * i)).

    `part` is (last - first) / count, halves are rounded to even. Source: `get_index` of MVBench's `mvbench.ipynb`.

    >>> frame_numbers(0, 59, 4), frame_numbers(3, 4, 3)
    ([7, 22, 37, 51], [3, 3, 4])
    """
    part = (last - first) / count
    return [int(first + part / 2 + round(part * place)) for place in range(count)]


def _paced(first: int, last: int, fps: float, rate: float, most: int) -> list[int]:
    """Frame numbers in [first, last] at `rate` a second, `most` at most; see `frames`.

    >>> _paced(0, 59, 30.0, 2.0, 16), _paced(0, 2999, 30.0, 2.0, 4), _paced(5, 5, 30.0, 2.0, 16)
    ([0, 20, 39, 59], [0, 1000, 1999, 2999], [5])
    """
    total = last - first + 1
    if total < 2:
        return [first]
    count = int(min(max(total / fps * rate, LEAST), most, total) // 2 * 2)
    return [round(first + (last - first) * place / (count - 1)) for place in range(count)]


def _within(clip: tuple[float, float], fps: float, last: int) -> tuple[int, int]:
    """The first and the last frame of a clip by Qwen's rule; see `frames`."""
    start, end = (min(max(second, 0.0), (last + 1) / fps) for second in clip)
    first, final = min(-int(-start * fps // 1), last), min(int(end * fps // 1), last)
    return first, max(first, final)


# ---------------------------------------------------------------- frames as images


def measured(video: Image, number: int = 0) -> Image:
    """The video with `size` (pixels of its frames, as turned) and `digest` (sha256 of its bytes) filled in; it has a frame `number`.

    Raises:
        ImageError: it is missing, cut off or no video, or has no such frame.
        UserError: PyAV is not installed.
    """
    file = _file(video)
    _check(file, number)
    return replace(video, size=video.size or _shape(file).size, digest=video.digest or _digest(file))


def decode_still(video: Image, number: int) -> "PIL.Image.Image":
    """The pixels of the frame of this number, RGB. For any number of threads; quick where frames are asked for in order.

    Raises:
        ImageError: the video is missing, cut off or no video, has no such frame, or it cannot be decoded.
        UserError: PyAV is not installed.
    """
    import PIL.Image

    file = _file(video)
    _check(file, number)
    shape = _shape(file)
    with _borrowed(file) as reader:
        image: PIL.Image.Image = reader.frame(number).to_image(width=shape.width, height=shape.height)
    return image.transpose(PIL.Image.Transpose[TURNS[shape.turn]]) if shape.turn else image


# ---------------------------------------------------------------- what is known of a video


@dataclass(frozen=True, slots=True)
class _File:
    key: str
    """Another for another content."""
    video: Image = field(compare=False)

    @property
    def name(self) -> str:
        return self.video.name


@dataclass(frozen=True, slots=True)
class _Index:
    """The frames of a video, in the order in which they are shown."""

    count: int
    rate: float
    """Frames a second, the mean."""
    times: "array[int]"
    """When each is shown, in units of the stream; empty where the file does not say, so that only counting finds a frame."""
    keys: "array[int]"
    """The frames at which decoding can start."""


@dataclass(frozen=True, slots=True)
class _Shape:
    width: int
    height: int
    turn: int
    """Degrees counter-clockwise from the pixels as stored to those shown."""

    @property
    def size(self) -> Size:
        return Size(self.height, self.width) if self.turn % 180 else Size(self.width, self.height)


def _file(video: Image) -> _File:
    if not isinstance(video.source, Path):
        return _File(video.digest or hashlib.sha256(read(video)).hexdigest(), video)
    try:
        stat = video.source.stat()
    except OSError as error:
        raise ImageError(f"no video at {video.name}: {error.strerror}. Complete the data set's folder, or name the whole one") from error
    return _File(f"{video.source.resolve()} {stat.st_size} {stat.st_mtime_ns}", video)


def _check(file: _File, number: int) -> None:
    count = _index(file).count
    if not 0 <= number < count:
        raise ImageError(f"expected a frame from 0 to {count - 1} of {file.name}, got {number}: was the video there from the start?")


@lru_cache(NOTED)
def _digest(file: _File) -> str:
    return hashlib.sha256(read(file.video)).hexdigest()


@lru_cache(NOTED)
def _shape(file: _File) -> _Shape:
    with _borrowed(file) as reader:
        frame = reader.frame(0)
        return _Shape(frame.width, frame.height, round(frame.rotation / 90) * 90 % 360)


@lru_cache(NOTED)
def _index(file: _File) -> _Index:
    """By the packets' times, where they are those of the frames shown; else by decoding the whole video once."""
    with _said(file):
        container, stream = _opened(file)
        with container:
            packets, rate = _packets(file, container, stream), float(stream.average_rate or stream.guessed_rate or 0)
            timed = container.format.name not in UNTIMED and stream.codec_context.name not in HIDING
        times = array("q", sorted({time for time, _ in packets if time is not None}))
        if timed and len(times) == len(packets):
            keys = sorted(bisect_left(times, time) for time, key in packets if key and time is not None)
            found = _Index(len(times), rate, times, array("q", keys))
        else:
            container, stream = _opened(file)
            with container:
                found = _Index(sum(1 for _ in container.decode(stream)), rate, array("q"), array("q"))
    if not found.count or not rate:
        raise ImageError(f"{file.name} holds no frame of a video: fetch it again")
    return found


def _packets(file: _File, container: Any, stream: Any) -> list[tuple[int | None, bool]]:
    """The time of each of the stream's packets that is shown, and whether decoding can start there.

    Raises:
        ImageError: the file ends before its header says.
    """
    packets, end, corrupt = [], 0.0, False
    for packet in container.demux():  # all streams, since the longest makes the duration that the header declares
        if packet.size and packet.pts is not None:
            end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.size and packet.stream_index == stream.index:
            corrupt = packet.is_corrupt
            if not packet.is_discard:
                packets.append((packet.pts, packet.is_keyframe))
    declared, begin = (container.duration or 0) / MICRO, (container.start_time or 0) / MICRO
    if corrupt or (end and end - begin < UNSURE[0] * declared - UNSURE[1]):
        raise ImageError(f"{file.name} is cut off: {len(packets)} frames to second {end - begin:.1f} of {declared:.1f}. Fetch it again")
    return packets


# ---------------------------------------------------------------- reading


class _Reader:
    """A video that is open at one of its frames. For one thread at a time."""

    def __init__(self, file: _File) -> None:
        self._file, self._index = file, _index(file)
        with _said(file):
            self._container, self._stream = _opened(file)
            self._stand()

    def frame(self, number: int) -> Any:
        """The frame of that number, by going on to it, or from where decoding can start before it.

        Raises:
            ImageError: it does not come out of the decoder.
        """
        with _said(self._file):
            keys = self._index.keys
            key = keys[place - 1] if (place := bisect_right(keys, number)) else 0
            if key > max(self._at, 0) or (key and number < self._at):
                self._container.seek(self._index.times[key], stream=self._stream)
                self._stand()
            self._go_on(number)
            if self._at != number:  # it lies behind, or the container did not find the place
                self._container.close()
                self._container, self._stream = _opened(self._file)
                self._stand()
                self._go_on(number)
        if self._at != number:
            raise ImageError(f"frame {number} of {self._file.name} cannot be decoded: fetch it again")
        return self._frame

    def close(self) -> None:
        """Closes the file."""
        self._container.close()

    def _stand(self) -> None:
        """Stands before the frame that the container is at."""
        self._frames, self._frame, self._at = self._container.decode(self._stream), None, -1

    def _go_on(self, number: int) -> None:
        times = self._index.times
        while self._at < number and (frame := next(self._frames, None)) is not None:
            if not times:
                self._frame, self._at = frame, self._at + 1
            elif frame.pts is not None and (place := bisect_left(times, frame.pts)) < len(times) and times[place] == frame.pts:
                self._frame, self._at = frame, place


_idle: OrderedDict[str, _Reader] = OrderedDict()
_lock = threading.Lock()


@contextmanager
def _borrowed(file: _File) -> Iterator[_Reader]:
    """An open reader of the video that no other thread has, kept for the next who asks; one that failed is not."""
    with _lock:
        reader = _idle.pop(file.key, None)
    reader = reader or _Reader(file)
    try:
        yield reader
    except BaseException:
        reader.close()
        raise
    with _lock:
        dropped = [_idle.pop(file.key)] if file.key in _idle else []
        _idle[file.key] = reader
        while len(_idle) > OPEN:
            dropped.append(_idle.popitem(last=False)[1])
    for one in dropped:
        one.close()


def _opened(file: _File) -> tuple[Any, Any]:
    """The open file and its video stream."""
    import av

    source = file.video.source
    container = av.open(str(source) if isinstance(source, Path) else BytesIO(read(file.video)))
    stream = container.streams.best("video")
    if stream is None:
        container.close()
        raise ImageError(f"{file.name} has no video in it: expected a file with a video stream, is it cut off? Fetch it again")
    return container, stream


@contextmanager
def _said(file: _File) -> Iterator[None]:
    """What FFmpeg stumbles over, as an error with words."""
    try:
        import av
    except ImportError as error:
        raise UserError(f"videos need PyAV ({error}): pip install 'evalkit[video]'") from error
    try:
        yield
    except av.FFmpegError as error:
        raise ImageError(f"{file.name} cannot be read as a video, is it cut off? {error.strerror}. Fetch it again") from error
