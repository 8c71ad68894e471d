"""What can go wrong, and whose turn it is then.

EvalkitError
├── UserError            the user can mend it: said in one message, exit code 2, never a traceback
│   ├── DataError        a data set or one of its files is missing, partial or not what was expected
│   │   └── ImageError   an image cannot be read
│   └── Refused          what was asked for would give a number that means something else
└── Gap                  no answer came (time-out, out of memory, 5xx): a hole to fill next time, never an answer
"""


class EvalkitError(Exception):
    """The base of every error that evalkit raises on purpose."""


class UserError(EvalkitError):
    """Something the user can mend. The message says what was expected, what was found, where, and the next step."""


class DataError(UserError):
    """A data set is missing, partial, or not in the expected layout."""


class ImageError(DataError):
    """An image's bytes are missing or cannot be decoded. In a run it leaves a gap for its sample."""


class Refused(UserError):
    """The combination asked for cannot give an honest number, such as boxes from a model whose frame is unknown."""


class Gap(EvalkitError):
    """No answer came from an engine. It is never stored or scored; the next run asks again."""


class Interrupted(BaseException):
    """A KeyboardInterrupt under a name that nobody knows to swallow."""


def did_you_mean(word: str, known: "list[str] | tuple[str, ...]") -> str:
    """A sentence that names the nearest of `known`, or lists them all, for the end of a message.

    >>> did_you_mean("vstr", ["vstar", "vsr", "tallyqa"])
    "Did you mean 'vstar'?"
    >>> did_you_mean("zzz", ["vstar", "vsr"])
    'There are: vsr, vstar.'
    """
    import difflib

    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(sorted(known)) or 'none'}."
