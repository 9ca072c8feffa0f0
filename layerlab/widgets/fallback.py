"""Tables in HTML that needs no script or style sheet, for exported notebooks; and the same as text."""

from __future__ import annotations

import html
from collections.abc import Sequence


def html_table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column names its rows."""
    columns = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in head)
    body = "".join(
        "<tr>"
        + "".join(
            f'<th scope="row" style="text-align:left">{html.escape(cell)}</th>' if not number else f"<td>{html.escape(cell)}</td>"
            for number, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return f"<table><caption>{html.escape(caption)}</caption><thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table>"


def verbatim(text: str) -> str:
    """Text whose lines and spaces stay."""
    return f'<pre style="font-family:monospace">{html.escape(text)}</pre>'


def paragraph(text: str) -> str:
    """One paragraph; nothing for no text."""
    return f"<p>{html.escape(text)}</p>" if text else ""


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width."""
    table = [list(head), *[list(row) for row in rows]]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table)
