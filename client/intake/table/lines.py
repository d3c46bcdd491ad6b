"""Lines and columns of a delimited text file."""

import codecs
import csv
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from fedescc.client.site import ClinicalTable
from fedescc.common.errors import Refusal

Record = tuple[int, list[str]]


class TableLine(NamedTuple):
    """One line: its number in the file and its cells by column."""

    number: int
    cells: dict[str, str]


def read_lines(path: Path, table: ClinicalTable) -> tuple[tuple[str, ...], list[TableLine]]:
    """Column names and lines of the table; blank lines are left out.

    Args:
        path: delimited text (RFC 4180).
        table: delimiter, encoding, and the column names of a file without a header line.

    Raises:
        Refusal: unreadable or empty file, another delimiter, a repeated column, or a line with another number of
            fields.

    """
    records = list(_records(path, table))
    if table.columns is None:
        header = tuple(cell.strip() for cell in records.pop(0)[1]) if records else ()
        header, records = _without_empty_columns(header, records)
        if len(header) == 1 and (refusal := wrong_delimiter(header, table)):
            raise refusal
    else:
        header = table.columns
    if not records:
        raise Refusal("empty-table", f"{path.name} holds no patients", "export the table again")
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(header, start=1):
        places[name].append(place)
    if repeated := next((found for found in places.values() if len(found) > 1), None):
        # Their number, not their name: where the header line is missing, that is a patient's.
        what = f"{path.name}: columns {' and '.join(map(str, repeated))} have one name"
        raise Refusal(
            "repeated-column", what, "rename or remove one; a file without header line needs clinical.columns"
        )
    for number, cells in records:
        if len(cells) != len(header):
            raise wrong_delimiter(header, table) or Refusal(
                "wrong-field-count",
                f"{path.name}, line {number}: {len(cells)} fields, {len(header)} columns expected",
                "check clinical.delimiter, clinical.columns and the quoting",
            )
    return header, [TableLine(number, dict(zip(header, cells, strict=True))) for number, cells in records]


def wrong_delimiter(header: Sequence[str], table: ClinicalTable) -> Refusal | None:
    """What to say where another delimiter would part the column names into more than the site file's does."""
    counts = {one: sum(cell.count(one) for cell in header) for one in ";\t|," if one != table.delimiter}
    found = max(counts, key=lambda one: counts[one])
    if not counts[found] or counts[found] < len(header):
        return None
    return Refusal(
        "wrong-delimiter",
        f"the clinical table's column names hold {found!r}, and clinical.delimiter is {table.delimiter!r}",
        f"set clinical.delimiter to {json.dumps(found)} or correct the table",
    )


def _without_empty_columns(header: tuple[str, ...], records: list[Record]) -> tuple[tuple[str, ...], list[Record]]:
    """Header and records without the columns at the end that have neither name nor values."""
    width = max((n for n, name in enumerate(header, start=1) if name), default=0)
    if width == len(header):
        return header, records
    cut = [(n, cells if any(cell.strip() for cell in cells[width:]) else cells[:width]) for n, cells in records]
    return header[:width], cut


def _records(path: Path, table: ClinicalTable) -> Iterator[Record]:
    """Line number and cells of every line that is not blank."""
    try:
        with path.open(encoding=_encoding(path, table), newline="") as file:
            if file.read(1) != "\ufeff":
                file.seek(0)
            reader = csv.reader(file, delimiter=table.delimiter, strict=True)
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield reader.line_num, cells
    except (OSError, UnicodeError, LookupError, csv.Error) as error:
        raise Refusal(
            "unreadable-table",
            f"cannot read the clinical table {path}: {type(error).__name__}",
            f"check clinical.path and clinical.encoding (now {table.encoding})",
        ) from error


def _encoding(path: Path, table: ClinicalTable) -> str:
    """The site file's encoding, unless the file starts with UTF-8's own mark."""
    with path.open("rb") as file:
        return "utf-8-sig" if file.read(3) == codecs.BOM_UTF8 else table.encoding
