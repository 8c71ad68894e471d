"""What every test may use."""

import json
import signal
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import settings
from PIL import Image

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_configure() -> None:
    """No property is false for being slow on a busy machine; and Ctrl-C reaches what tests start, even where they run in a shell's
    background, which ignores it for all below.
    """
    settings.register_profile("evalkit", deadline=None)
    settings.load_profile("evalkit")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def shared() -> Callable[[str], Path]:
    """Finds real data beside the checkout, or skips the test, saying so."""

    def find(place: str) -> Path:
        if not (SHARED / place).exists():
            pytest.skip(f"the shared data ../shared/{place} is absent")
        return SHARED / place

    return find


@pytest.fixture
def golden_data(tmp_path: Path) -> Callable[[Path], Path]:
    """Writes the data that the first line of a task's golden file holds, in the benchmark's own layout, into a folder."""

    def write(golden: Path) -> Path:
        head = json.loads(golden.read_text(encoding="utf-8").splitlines()[0])
        folder = tmp_path / "golden data"
        for place, content in head["files"].items():
            path = folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, dict) and "draw" in content:
                Image.new("RGB", tuple(content["draw"]), "gray").save(path)
            elif isinstance(content, dict) and "labels" in content:
                labels = Image.new("P", (len(content["labels"][0]), len(content["labels"])))
                labels.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
                labels.putdata([int(label) for row in content["labels"] for label in row])
                labels.save(path)
            elif isinstance(content, str):
                path.write_text(content, encoding="utf-8", newline="")
            else:
                lines = [json.dumps(row) for row in content] if path.suffix == ".jsonl" else [json.dumps(content)]
                path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return folder

    return write


@pytest.fixture
def make_video() -> Callable[..., Path]:
    """Writes a video whose frame n has grey level 8 * n, in the top left corner white; frames may have sizes and times of their own."""
    av = pytest.importorskip("av")

    def write(
        path: Path,
        count: int = 24,
        rate: int | Fraction = 30,
        size: tuple[int, int] = (64, 48),
        codec: str = "libx264",
        milliseconds: Sequence[int] = (),
        turn: int = 0,
        keys: int = 12,
        **options: str,
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w", options={"movflags": "faststart"} if path.suffix == ".mp4" else {}) as container:
            stream = container.add_stream(codec, rate=rate, options=options)
            stream.width, stream.height, stream.pix_fmt, stream.gop_size = *size, "yuv420p", keys
            if turn:
                if not hasattr(stream, "set_display_rotation"):
                    pytest.skip("this av writes no rotation: it takes 17.1")
                stream.set_display_rotation(turn)
            if milliseconds:
                stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
            for number in range(count):
                picture = Image.new("RGB", size, (8 * number,) * 3)
                picture.paste("white", (0, 0, size[0] // 4, size[1] // 4))
                frame = av.VideoFrame.from_image(picture)
                frame.pts = milliseconds[number] if milliseconds else number
                frame.time_base = Fraction(1, 1000) if milliseconds else 1 / Fraction(rate)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return write
