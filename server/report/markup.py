"""HTML and SVG as strings that are safe by construction: `el` escapes every text that is not already `Html`."""

import re
from collections.abc import Iterable
from html import escape

# Control characters are not text, and bidirectional overrides could make a name read as something else.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_VOID = {"meta", "br", "hr"}


class Html(str):
    """Markup; a plain `str` is text and will be escaped."""

    __slots__ = ()


Child = str | int | None
Attribute = str | float | None


def text(value: str) -> Html:
    """Text as markup; unprintable characters become U+FFFD."""
    return value if isinstance(value, Html) else Html(escape(_UNPRINTABLE.sub("\ufffd", value), quote=True))


def join(parts: Iterable[Child]) -> Html:
    """Parts one after another, text escaped, None left out."""
    return Html("".join(text(part if isinstance(part, str) else str(part)) for part in parts if part is not None))


def el(tag: str, *children: Child, **attributes: Attribute) -> Html:
    """An element. ``class_`` and ``stroke_width`` become ``class`` and ``stroke-width``; None leaves one out."""
    shown = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Html(f"<{tag}{shown}>" if tag in _VOID else f"<{tag}{shown}>{join(children)}</{tag}>")


def section(name: str, heading: str, *children: Child) -> Html:
    """A section of the page with its heading, which the contents link to as ``#name``."""
    return el("section", el("h2", heading, id=f"{name}-heading"), *children, id=name, aria_labelledby=f"{name}-heading")


def _attribute(value: str | float) -> Html:
    if isinstance(value, str):
        return text(value)
    return Html(f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value)
