"""Tables with caption and scopes, and the footnotes that say why a value is missing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fedescc.server.report.formats import DASH
from fedescc.server.report.markup import Child, Html, el, join
from fedescc.server.report.reasons import REASONS

_DENSE_ABOVE = 10
_SLIM = 3  # columns up to which a table is not stretched over the page
_WRAPS_ABOVE = 40  # letters of a text; shorter ones, such as names, stay on one line


@dataclass
class Footnotes:
    """Letters for reason codes, in order of first use; ``name`` keeps their anchors apart from other tables'."""

    name: str
    codes: list[str] = field(default_factory=list)

    def missing(self, code: str | None) -> Html:
        """An en dash, and the letter of the reason why the value is missing."""
        if code is None:
            return Html(DASH)
        if code not in self.codes:
            self.codes.append(code)
        anchor = f"#{self.name}-reason-{self.codes.index(code) + 1}"
        letter = el("sup", el("a", self._letter(code), href=anchor))
        return join([el("abbr", DASH, title=REASONS.get(code, code)), letter])

    def legend(self) -> Html | None:
        """The reasons used, or None where nothing is missing."""
        if not self.codes:
            return None
        items = [
            el("li", el("code", code), f" {DASH} {REASONS[code]}" if code in REASONS else None, id=self._anchor(code))
            for code in self.codes
        ]
        return el("ol", *items, type="a", class_="reasons")

    def _anchor(self, code: str) -> str:
        return f"{self.name}-reason-{self.codes.index(code) + 1}"

    def _letter(self, code: str) -> str:
        place = self.codes.index(code)
        return chr(ord("a") + place) if place < 26 else str(place + 1)


def table(
    caption: str, head: Sequence[Child], rows: Iterable[Sequence[Child]], *, lead: int = 0, left: int = 1
) -> Html:
    """A table that scrolls sideways on a narrow screen.

    Args:
        caption: what the table shows.
        head: column headings.
        rows: cells; the first of each row is its heading.
        lead: this many first rows are set off as the main ones.
        left: this many first columns hold text; the others hold numbers and are set flush right.

    """
    classes = [None if column < left else "num" for column in range(len(head))]
    headings = [el("th", cell, scope="col", class_=kind) for cell, kind in zip(head, classes, strict=True)]
    body = [_row(row, classes, "lead" if place < lead else None) for place, row in enumerate(rows)]
    parts = [el("caption", el("span", caption)), el("thead", el("tr", *headings)), el("tbody", *body)]
    kind = "dense" if len(head) > _DENSE_ABOVE else "slim" if len(head) <= _SLIM else None
    return el("div", el("table", *parts, class_=kind), class_="scroll", role="group", tabindex=0, aria_label=caption)


def _row(cells: Sequence[Child], classes: Sequence[str | None], kind: str | None) -> Html:
    first = el("th", cells[0], scope="row", class_=_long(cells[0]))
    rest = [el("td", cell, class_=name or _long(cell)) for cell, name in zip(cells[1:], classes[1:], strict=True)]
    return el("tr", first, *rest, class_=kind)


def _long(cell: Child) -> str | None:
    return "long" if isinstance(cell, str) and not isinstance(cell, Html) and len(cell) > _WRAPS_ABOVE else None
