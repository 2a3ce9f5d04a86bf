"""Text that models wrote is not trusted: it is escaped wherever it is shown."""

import html
import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_MARKDOWN = re.compile(r"([\\`*\[\]|~#!$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")


def visible(text: str) -> str:
    """The text with control characters, terminal escapes and direction marks written out in hexadecimal."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def markdown_cell(text: str) -> str:
    """The text inside one cell of a Markdown table: no pipe, newline, markup or HTML of it takes effect."""
    text = visible(text.replace("\r\n", "\n"))
    return _MARKDOWN.sub(r"\\\1", html.escape(text, quote=False)).replace("\n", "<br>").replace("\t", " ")


def code_cell(text: str) -> str:
    """A label inside one cell of a Markdown table, shown as it is: only what would break the table is escaped."""
    return html.escape(visible(text), quote=False).replace("|", "\\|").replace("\n", " ").replace("\t", " ")


def terminal(text: str) -> str:
    """The text for a terminal that rich draws: neither its markup nor an escape sequence takes effect."""
    from rich.markup import escape

    return escape(visible(text))
