"""The calls of tools that a reply makes, in the form of Qwen-Agent and its kin: JSON between `<tool_call>` and `</tool_call>`.

Source of both rules: TIGER-AI-Lab/Pixel-Reasoner at a3a6c3a, `experience_maker.py`, `require_tool` and `parse_last_tool`.
"""

import json
from typing import Any, NamedTuple

from ..types import Unparsed

START, END = "<tool_call>", "</tool_call>"
TURN_END = "<|im_end|>"


class ToolCall(NamedTuple):
    """One call: whatever JSON values stand under `name` and `arguments`."""

    name: Any
    arguments: Any


def calls_tool(reply: str) -> bool:
    """Whether a reply asks for a tool: without the token that ends a turn it ends with `</tool_call>`, nothing after it.

    >>> calls_tool("Closer. <tool_call>{}</tool_call><|im_end|>"), calls_tool("<tool_call>{}</tool_call> Then I see."), calls_tool("")
    (True, False, False)
    """
    return reply.replace(TURN_END, "").endswith(END)


def last_call(text: str) -> ToolCall | Unparsed:
    r"""What stands between the last `<tool_call>` of a text and the next `</tool_call>`, or the text's end where there is none.

    `Unparsed` where that is no JSON object with a name and arguments. Its reason is worded as Python's errors are, which the authors
    give back to the model as they are.

    >>> last_call('<tool_call>{"name": "a", "arguments": {}}</tool_call> <tool_call>{"name": "b", "arguments": {"x": 1}}</tool_call>')
    ToolCall(name='b', arguments={'x': 1})
    >>> last_call('<tool_call>\n{"name": "a"}\n</tool_call>'), last_call("<tool_call>zoom, please</tool_call>")
    (Unparsed(reason="'arguments'"), Unparsed(reason='Expecting value: line 1 column 1 (char 0)'))
    """
    try:
        call = json.loads(text.rpartition(START)[2].partition(END)[0])
        return ToolCall(call["name"], call["arguments"])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        return Unparsed(str(error))
