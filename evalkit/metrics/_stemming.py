"""Porter's stemmer (Program 14, 1980) with the changes of nltk, which Google's rouge-score stems with."""

import re
from functools import lru_cache

_IRREGULAR = {
    "skies": "sky", "dying": "die", "lying": "lie", "tying": "tie", "innings": "inning", "outings": "outing", "cannings": "canning",
    **{word: word for word in ("sky", "news", "inning", "outing", "canning", "howe", "proceed", "exceed", "succeed")},
}  # fmt: skip
_SECOND = {
    "ational": "ate", "tional": "tion", "enci": "ence", "anci": "ance", "izer": "ize", "bli": "ble", "alli": "al", "entli": "ent",
    "eli": "e", "ousli": "ous", "ization": "ize", "ation": "ate", "ator": "ate", "alism": "al", "iveness": "ive", "fulness": "ful",
    "ousness": "ous", "aliti": "al", "iviti": "ive", "biliti": "ble", "fulli": "ful",
}  # fmt: skip
_THIRD = {"icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": ""}
_FOURTH = "al ance ence er ic able ible ant ement ment ent ion ou ism ate iti ous ive ize".split()


@lru_cache(maxsize=1 << 14)
def stem(word: str) -> str:
    """The stem of a lower-case word; a word of one or two letters is its own.

    >>> [stem(word) for word in ("sitting", "horses", "relational", "happily", "died", "sky")]
    ['sit', 'hors', 'relat', 'happili', 'die', 'sky']
    """
    if word in _IRREGULAR or len(word) <= 2:
        return _IRREGULAR.get(word, word)
    word = _second(_y_to_i(_past(_singular(word))))
    word = _replaced(word, _THIRD)
    return _double_l(_final_e(_fourth(word)))


def _form(word: str) -> str:
    """The word with c for each consonant and v for each vowel; a y is what the letter before it is not."""
    form = ""
    for letter in word:
        vowel = letter in "aeiou" or (letter == "y" and form.endswith("c"))
        form += "v" if vowel else "c"
    return form


def _measure(word: str) -> int:
    """How many times a consonant follows a vowel."""
    return _form(word).count("vc")


def _is_short(word: str) -> bool:
    """Whether the word ends in consonant, vowel and a consonant other than w, x and y, or is a vowel and a consonant."""
    form = _form(word)
    return (form[-3:] == "cvc" and word[-1] not in "wxy") or form == "vc"


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) == 4:
        return word[:-1]
    for ending, rest in (("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", "")):
        if word.endswith(ending):
            return word.removesuffix(ending) + rest
    return word


def _past(word: str) -> str:
    if word.endswith("ied"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) else word
    rest = next((word.removesuffix(ending) for ending in ("ed", "ing") if word.endswith(ending)), "")
    if "v" not in _form(rest):
        return word
    if rest.endswith(("at", "bl", "iz")):
        return rest + "e"
    if re.search(r"(.)\1\Z", rest) and _form(rest)[-1] == "c":
        return rest if rest[-1] in "lsz" else rest[:-1]
    return rest + "e" if _measure(rest) == 1 and _is_short(rest) else rest


def _y_to_i(word: str) -> str:
    rest = word[:-1]
    return rest + "i" if word.endswith("y") and len(rest) > 1 and _form(rest)[-1] == "c" else word


def _second(word: str) -> str:
    if word.endswith("alli") and _measure(word[:-4]):
        return _second(word[:-2])
    if word.endswith("logi") and not any(word.endswith(ending) for ending in _SECOND):
        return word[:-1] if _measure(word[:-3]) else word
    return _replaced(word, _SECOND)


def _replaced(word: str, endings: dict[str, str]) -> str:
    """The word with the first of the endings that it has replaced, where the rest has a measure above 0."""
    for ending, new in endings.items():
        if word.endswith(ending):
            rest = word.removesuffix(ending)
            return rest + new if _measure(rest) else word
    return word


def _fourth(word: str) -> str:
    for ending in _FOURTH:
        if word.endswith(ending):
            rest = word.removesuffix(ending)
            return rest if _measure(rest) > 1 and (ending != "ion" or rest[-1] in "st") else word
    return word


def _final_e(word: str) -> str:
    rest = word.removesuffix("e")
    measure = _measure(rest)
    return rest if measure > 1 or (measure == 1 and not _is_short(rest)) else word


def _double_l(word: str) -> str:
    return word[:-1] if word.endswith("ll") and _measure(word[:-1]) > 1 else word
