"""Which replies call a tool, and what the last call of a text is."""

import pytest

from evalkit.parsers.tool_calls import ToolCall, calls_tool, last_call
from evalkit.types import Unparsed


@pytest.mark.parametrize(
    ("reply", "calls"),
    [
        ("</tool_call>", True),
        ("<tool_call>{}</tool_call><|im_end|>", True),
        ("<tool_call>{}</tool_call>\n", False),
        ("<tool_call>{}</tool_call>.", False),
        ("<tool_call>{}", False),
        ("<tool_call>{}</tool_call", False),
        ("</TOOL_CALL>", False),
        ("", False),
    ],
)
def test_a_reply_calls_a_tool_where_it_ends_with_the_closing_tag(reply: str, calls: bool) -> None:
    assert calls_tool(reply) is calls


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ('<tool_call>\n{"name": "a", "arguments": {"x": [1, 2.5]}}\n</tool_call>', ToolCall("a", {"x": [1, 2.5]})),
        ('<tool_call>{"name": "a", "arguments": 1}</tool_call><tool_call>{"name": "b", "arguments": 2}</tool_call>', ToolCall("b", 2)),
        ('<tool_call>{"name": "a", "arguments": 1}</tool_call> and so </tool_call>', ToolCall("a", 1)),
        ('<tool_call>{"name": "a", "arguments": 1}', ToolCall("a", 1)),
        ('{"name": "a", "arguments": 1}</tool_call>', ToolCall("a", 1)),
        ('<tool_call><tool_call>{"name": "é", "arguments": {}}</tool_call>', ToolCall("é", {})),
    ],
)
def test_the_last_call_is_read_from_its_opening_tag_to_the_next_closing_one(text: str, call: ToolCall) -> None:
    assert last_call(text) == call


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<tool_call></tool_call>", "Expecting value: line 1 column 1 (char 0)"),
        ("<tool_call>{'name': 'a'}</tool_call>", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ('<tool_call>{"arguments": {}}</tool_call>', "'name'"),
        ('<tool_call>{"name": "a"}</tool_call>', "'arguments'"),
        ('<tool_call>{"name": "a", "arguments": {}} {}</tool_call>', "Extra data: line 1 column 32 (char 31)"),
        ("<tool_call>[]</tool_call>", "list indices must be integers or slices, not str"),
        ("<tool_call>7</tool_call>", "'int' object is not subscriptable"),
    ],
)
def test_what_is_no_call_is_told_in_the_words_that_the_authors_give_back(text: str, reason: str) -> None:
    assert last_call(text) == Unparsed(reason)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"name": ' * 50_000, "9" * 10_000, '{"name": "a", "arguments": ' + "9" * 10_000 + "}"])
def test_a_call_that_would_exhaust_the_reader_is_unparsed(content: str) -> None:
    assert isinstance(last_call(f"<tool_call>{content}</tool_call>"), Unparsed)
