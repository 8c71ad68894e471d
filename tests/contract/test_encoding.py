"""What pixels reach a server: the original bytes where decoding changes nothing, else the decoded ones, exactly."""

import asyncio
import base64
import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image as Pillow

from evalkit.data import decode, resolve
from evalkit.engines import encoding
from evalkit.engines.encoding import Encoder, Resizing, encode, original, smart_resize
from evalkit.errors import ImageError, Refused
from evalkit.geometry import Size
from evalkit.types import Budget, Crop, Image, Lazy, Resize


def saved(image: Pillow.Image, form: str, **options: Any) -> Image:
    """The image in memory, as a file of that format."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return resolve(Image(file.getvalue()))


def noise(mode: str = "RGB", size: tuple[int, int] = (60, 40)) -> Pillow.Image:
    """A picture that no codec flatters."""
    return Pillow.effect_noise(size, 60).convert(mode)


def turned(image: Pillow.Image, orientation: int) -> Pillow.Exif:
    """The EXIF data that says how an image is to be turned."""
    exif = image.getexif()
    exif[0x0112] = orientation
    return exif


def sent(url: str) -> tuple[str, bytes]:
    """The media type and the bytes of a data URL."""
    head, _, data = url.partition(",")
    return head.removeprefix("data:").removesuffix(";base64"), base64.b64decode(data)


AS_IT_IS: dict[str, Callable[[], Image]] = {
    "JPEG": lambda: saved(noise(), "JPEG"),
    "progressive JPEG": lambda: saved(noise(), "JPEG", progressive=True),
    "grey JPEG": lambda: saved(noise("L"), "JPEG"),
    "PNG": lambda: saved(noise(), "PNG"),
    "grey PNG": lambda: saved(noise("L"), "PNG"),
    "WebP": lambda: saved(noise(), "WEBP"),
    "JPEG that says it is upright": lambda: saved(noise(), "JPEG", exif=turned(noise(), 1)),
}
REWRITTEN: dict[str, Callable[[], Image]] = {
    "turned JPEG": lambda: saved(noise(), "JPEG", exif=turned(noise(), 6)),
    "turned JPEG, to be upright": lambda: resolve(Image(saved(noise(), "JPEG", exif=turned(noise(), 6)).source, upright=True)),
    "CMYK JPEG": lambda: saved(noise("CMYK"), "JPEG"),
    "transparent PNG": lambda: saved(noise("RGBA"), "PNG"),
    "PNG with one transparent colour": lambda: saved(noise(), "PNG", transparency=(1, 2, 3)),
    "palette PNG": lambda: saved(noise("P"), "PNG"),
    "16-bit PNG": lambda: saved(noise("L").convert("I").point(lambda level: level * 256).convert("I;16"), "PNG"),
    "GIF": lambda: saved(noise("P"), "GIF"),
    "BMP": lambda: saved(noise(), "BMP"),
    "animated WebP": lambda: saved(noise(), "WEBP", save_all=True, append_images=[noise()], lossless=True),
    "crop": lambda: saved(noise(), "JPEG").derive(Crop(5, 6, 30, 33)),
    "resize": lambda: saved(noise(), "JPEG").derive(Resize(33, 21)),
}


@pytest.mark.parametrize("make", AS_IT_IS.values(), ids=AS_IT_IS)
def test_an_image_that_every_decoder_reads_alike_goes_as_it_is(make: Callable[[], Image]) -> None:
    image = make()
    kind, data = sent(encode(image)[0])
    assert data == image.source
    with Pillow.open(io.BytesIO(data)) as opened:
        assert kind == f"image/{str(opened.format).lower()}"
        assert opened.convert("RGB").tobytes() == decode(image).tobytes()


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
@pytest.mark.parametrize("make", REWRITTEN.values(), ids=REWRITTEN)
def test_any_other_goes_as_the_pixels_that_evalkit_decodes(make: Callable[[], Image], form: encoding.Form) -> None:
    image = make()
    kind, data = sent(encode(image, form=form)[0])
    assert kind == f"image/{form.lower()}"
    with Pillow.open(io.BytesIO(data)) as opened:
        assert (opened.format, opened.mode) == (form, "RGB")
        assert not opened.getexif()
        assert opened.tobytes() == decode(image).tobytes()


def test_real_photographs_reach_the_server_with_the_pixels_that_evalkit_decodes(shared: Callable[[str], Path]) -> None:
    for path in sorted(shared("real/photos").iterdir()):
        image = resolve(Image(path))
        _, data = sent(encode(image, form="WEBP")[0])
        with Pillow.open(io.BytesIO(data)) as opened:
            assert opened.convert("RGB").tobytes() == decode(image).tobytes(), path.name


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_file_that_is_cut_off_never_goes_as_it_is(form: str) -> None:
    whole = saved(noise(), form).source
    assert isinstance(whole, bytes)
    for length in (len(whole) // 2, len(whole) - 1):
        cut = Image(whole[:length], size=Size(60, 40), digest="cut")
        assert original(cut) is None
    with pytest.raises(ImageError):
        encode(Image(whole[: len(whole) // 2]))


def test_what_is_no_image_is_an_image_error() -> None:
    with pytest.raises(ImageError):
        encode(Image(b"no image", size=Size(9, 9), digest="none"))


def test_a_side_too_long_for_webp_goes_as_png() -> None:
    kind, _ = sent(encode(saved(Pillow.new("RGBA", (17000, 2)), "PNG"), form="WEBP")[0])
    assert kind == "image/png"


# ---------------------------------------------------------------- a declared resize

DEMO = Resizing(32, 16384, 26000)
QWEN = Resizing(28, 3136, 200704)


@given(
    width=st.integers(1, 9000),
    height=st.integers(1, 9000),
    factor=st.sampled_from([14, 28, 32]),
    least=st.integers(1, 300),
    spread=st.integers(4, 60),
)
def test_a_resized_image_is_within_its_bounds_and_nearly_in_proportion(
    width: int, height: int, factor: int, least: int, spread: int
) -> None:
    assume(max(width, height) <= 20 * min(width, height))
    low, high = least * factor**2, least * factor**2 * spread
    assume(least * spread >= 100)
    found = smart_resize(Size(width, height), factor, low, high)
    assert found.width % factor == found.height % factor == 0
    assert low <= found.width * found.height <= high
    assert found == smart_resize(found, factor, low, high)


def test_it_is_what_the_processor_of_transformers_does() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("torchvision")
    module = pytest.importorskip("transformers.models.qwen2_vl.image_processing_qwen2_vl")
    for width in (30, 56, 100, 333, 640, 1000, 2246, 5000):
        for height in (30, 57, 480, 777, 1582, 4000):
            for factor, low, high in ((28, 3136, 200704), (32, 65536, 16777216), (32, 16384, 26000)):
                theirs = module.smart_resize(height, width, factor, low, high)
                assert smart_resize(Size(width, height), factor, low, high) == (theirs[1], theirs[0])


def test_evalkit_resizes_and_says_what_is_seen() -> None:
    image = saved(noise(size=(640, 480)), "JPEG")
    url, seen = encode(image, QWEN)
    assert seen == (504, 364)
    with Pillow.open(io.BytesIO(sent(url)[1])) as opened:
        assert opened.size == seen
        assert opened.tobytes() == decode(image.derive(Resize(504, 364))).tobytes()


def test_an_image_that_has_its_size_already_goes_as_it_is() -> None:
    image = saved(noise(size=(504, 364)), "JPEG")
    url, seen = encode(image, QWEN)
    assert sent(url)[1] == image.source
    assert seen == image.size


def test_a_budget_within_the_bounds_is_kept_and_any_other_refused() -> None:
    image = saved(noise(size=(640, 480)), "PNG")
    assert QWEN.size(Image(image.source, budget=Budget(max_pixels=50_000))) == smart_resize(Size(640, 480), 28, 3136, 50_000)
    for budget in (Budget(max_pixels=3000), Budget(min_pixels=300_000), Budget(min_pixels=9000, max_pixels=8000), Budget(min_pixels=100)):
        with pytest.raises(Refused, match="expected an image's budget within the 3136 to 200704 pixels"):
            QWEN.size(Image(image.source, budget=budget))
    with pytest.raises(Refused, match="only where the model's resize is declared"):
        encode(Image(image.source, budget=Budget(max_pixels=50_000)))


def test_an_image_that_the_server_would_resize_again_is_an_image_error() -> None:
    with pytest.raises(ImageError, match="one side more than 200 times the other"):
        QWEN.size(saved(Pillow.new("RGB", (4020, 20)), "PNG"))
    with pytest.raises(ImageError, match="would the server not resize again"):
        DEMO.size(saved(Pillow.new("RGB", (480, 32)), "PNG"))


# ---------------------------------------------------------------- once an image


def counted(image: Image, reads: list[str]) -> Image:
    """The image, each reading of its bytes noted."""
    data = image.source
    assert isinstance(data, bytes)

    def read() -> bytes:
        reads.append(threading.current_thread().name)
        return data

    return Image(Lazy("counted", read), size=image.size, digest=image.digest)


def ask_for(encoder: Encoder, images: list[Image]) -> list[tuple[str, Size | None]]:
    """The encodings of images that are all asked for at once."""

    async def together() -> list[tuple[str, Size | None]]:
        return await asyncio.gather(*(encoder(image) for image in images))

    return asyncio.run(together())


def test_many_questions_about_one_image_encode_it_once_and_in_a_thread() -> None:
    reads: list[str] = []
    image = counted(saved(noise(), "PNG"), reads)
    encoder = Encoder(None, "PNG", room=1_000_000)
    assert len(set(ask_for(encoder, [image] * 50))) == 1
    ask_for(encoder, [image] * 50)
    encoder.close()
    assert len(reads) == 1
    assert reads[0].startswith("encoding")


def test_no_more_is_kept_than_there_is_room_for() -> None:
    reads: list[str] = []
    images = [counted(saved(noise(), "PNG"), reads) for _ in range(4)]
    room = 3 * max(len(encode(image)[0]) for image in images)
    reads.clear()
    encoder = Encoder(None, "PNG", room)
    for image in (*images[:3], images[0], images[3], images[0], images[1]):
        ask_for(encoder, [image])
    encoder.close()
    assert len(reads) == 5  # the fourth image drove out the second, not the first, which had been asked for since


def test_budgets_of_one_image_are_kept_apart_and_failures_not_at_all() -> None:
    image = saved(noise(size=(640, 480)), "PNG")
    encoder = Encoder(QWEN, "PNG", room=10_000_000)
    tight = Image(image.source, None, Budget(max_pixels=50_000), image.size, image.digest)
    whole, small = ask_for(encoder, [image, tight])
    assert whole[1] != small[1]
    reads: list[str] = []
    broken = counted(Image(b"no image", size=Size(60, 40), digest="broken"), reads)
    for _ in range(2):
        with pytest.raises(ImageError):
            ask_for(encoder, [broken])
    encoder.close()
    assert len(reads) >= 2
