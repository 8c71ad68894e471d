"""From a reply's text to a value: letter, number, yes or no, boxes, tags. A failed parse is a reason, never a value."""

from .boxes import integer_quadruples, labelled_quadruples, quadruples
from .choice import letter
from .numbers import count, number
from .tags import between, final_answer
from .yes_no import yes_no

__all__ = ["between", "count", "final_answer", "integer_quadruples", "labelled_quadruples", "letter", "number", "quadruples", "yes_no"]
