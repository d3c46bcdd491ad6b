"""Lines and columns of a delimited text file."""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fedescc.client.site import ClinicalTable
from fedescc.common.errors import Refusal


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
        Refusal: unreadable or empty file, a repeated column, or a line with another number of fields.

    """
    records = list(_records(path, table))
    if table.columns is None:
        header = tuple(cell.strip() for cell in records.pop(0)[1]) if records else ()
    else:
        header = table.columns
    if not records:
        raise Refusal("empty-table", f"{path.name} holds no patients", "export the table again")
    repeated = [name for name, count in Counter(header).items() if count > 1]
    if repeated:
        raise Refusal("repeated-column", f"{path.name}: column {repeated[0]!r} occurs twice", "rename or remove one")
    for number, cells in records:
        if len(cells) != len(header):
            raise Refusal(
                "wrong-field-count",
                f"{path.name}, line {number}: {len(cells)} fields, {len(header)} columns expected",
                "check clinical.delimiter, clinical.columns and the quoting",
            )
    return header, [TableLine(number, dict(zip(header, cells, strict=True))) for number, cells in records]


def _records(path: Path, table: ClinicalTable) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every line that is not blank."""
    try:
        with path.open(encoding=table.encoding, newline="") as file:
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
