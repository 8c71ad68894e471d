"""How VLMEvalKit asks a multiple choice, and how it reads the reply where it has no LLM to ask (`exact_matching`).

Source: open-compass/VLMEvalKit, `vlmeval/dataset/image_mcq.py: ImageMCQDataset.build_prompt` and `vlmeval/utils/matching_util.py` at
18fc37a. Later in 2025 the letter had to be among the last five words as well, and a reply of more than twice the length of all options
was not searched for their texts.
"""

import string
from base64 import b64decode
from binascii import Error
from collections.abc import Mapping, Sequence
from typing import Any

from evalkit import DataError, Image, Lazy, Prediction, Sample, Unparsed

PARTING = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
NO_REPLY = "Failed to obtain answer via API"


def prompt(question: str, options: Sequence[str], hint: str = "") -> str:
    """The whole wording of a question."""
    listed = "".join(f"{letter}. {option}\n" for letter, option in zip(string.ascii_uppercase, options, strict=False))
    asked = f"Options:\n{listed}Please select the correct answer from the options above. \n" if options else ""
    return f"{f'Hint: {hint}' + chr(10) if hint else ''}Question: {question}\n{asked}"


def exact_matching(prediction: Prediction, sample: Sample) -> str | Unparsed:
    """The letter that stands alone among the words, if one option's does; else that of the only option whose text the reply holds."""
    if prediction.answer is None:
        return Unparsed(prediction.failure)
    letters = string.ascii_uppercase[: len(sample.options)]
    words = set(prediction.answer.translate(PARTING).split())
    if NO_REPLY not in prediction.answer:
        if any(refusal in prediction.answer for refusal in REFUSALS):
            return Unparsed("a refusal")
        alone = [letter for letter in letters if letter in words]
        if len(alone) == 1:
            return alone[0]
        if not alone and "Z" in words:
            return Unparsed("the letter Z, for none of them")
    whole = prediction.answer.lower()
    held = [letter for letter, option in zip(letters, sample.options, strict=True) if option.lower() in whole]
    return held[0] if len(held) == 1 else Unparsed("no one letter and no one option")


def options(row: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """The texts in the columns A, B, ... as far as there are any; "nan" is pandas' word for an empty cell.

    Raises:
        DataError: one is empty between two that are not.
    """
    cells = [cell(row, letter) for letter in string.ascii_uppercase]
    texts = [text for text in cells if text]
    if cells[: len(texts)] != texts:
        raise DataError(
            f"expected options in the columns A, B, ... without a gap in {where}, got {dict(zip('ABCDEF', cells, strict=False))}"
        )
    return tuple(texts)


def cell(row: Mapping[str, Any], name: str) -> str:
    """The text of a cell, "" where it is empty or the column is absent."""
    value = row.get(name)
    return "" if value is None or value != value or str(value) == "nan" else str(value)


def image(text: str, where: str) -> Image:
    """The image of a cell in base64.

    Raises:
        DataError: when the image is read, where it is no base64.
    """

    def read() -> bytes:
        try:
            return b64decode(text, validate=True)
        except (Error, ValueError) as error:
            raise DataError(
                f"expected an image in base64 in column image of {where}, got: {error}; is the file whole? Fetch it again"
            ) from error

    return Image(Lazy(f"{where}, column image", read))
