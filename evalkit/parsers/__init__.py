"""From a reply's text to a value: letter, number, yes or no, boxes, tags. A failed parse is a reason, never a value."""

from .boxes import integer_quadruples, labelled_quadruples, quadruples
from .choice import letter
from .math import is_verified, verified
from .numbers import count, number
from .tags import between, final_answer
from .yes_no import yes_no

__all__ = [
    "between",
    "count",
    "final_answer",
    "integer_quadruples",
    "is_verified",
    "labelled_quadruples",
    "letter",
    "number",
    "quadruples",
    "verified",
    "yes_no",
]
