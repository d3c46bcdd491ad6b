"""One cell of the clinical table as a value of the study, or the reason why not."""

import math
import re
from datetime import date, datetime

from fedescc.client.site import ClinicalTable
from fedescc.common.errors import Refusal
from fedescc.common.protocol import CategoricalVariable, DateVariable, NumericVariable, Variable

Value = float | str | date

# Only what a spreadsheet writes: float() would also take "nan", "1_000" and other scripts' digits.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_TOUCHING = re.compile("%[A-Za-z]%[A-Za-z]")


class RowFault(Exception):
    """A readable value that the study does not allow; it excludes the patient under ``code``."""

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(code)


def read_cell(text: str, name: str, variable: Variable, table: ClinicalTable, where: str) -> Value | None:
    """The value of study variable ``name``, in the study's terms; None when missing.

    Args:
        text: the cell as written.
        name: study variable.
        variable: its declaration.
        table: the site's missing texts, value maps and date format.
        where: column and line, for a refusal; never holds the value itself.

    Raises:
        Refusal: a number or date that is none.
        RowFault: outside the study's range, or an unknown category.

    """
    text = text.strip()
    if _is_missing(text, name, table):
        return None
    text = _mapped(text, table.values.get(name, {}))
    if isinstance(variable, CategoricalVariable):
        return _category(text, name, variable)
    if isinstance(variable, DateVariable):
        return _date(text, name, table.date_format, where)
    return _number(text, name, variable, where)


def _is_missing(text: str, name: str, table: ClinicalTable) -> bool:
    return text in table.missing or plain(text) in {plain(item) for item in table.missing_values.get(name, ())}


def plain(text: str) -> str:
    """Number text in one spelling (``1.0``, ``01`` and ``1`` are the same code); other text as it is."""
    return f"{float(text):.17g}" if _NUMBER.fullmatch(text) else text


def _mapped(text: str, values: dict[str, str]) -> str:
    if text in values:
        return values[text]
    return {plain(key): value for key, value in values.items()}.get(plain(text), text)


def _category(text: str, name: str, variable: CategoricalVariable) -> str:
    by_spelling = {plain(category): category for category in variable.categories}
    if plain(text) not in by_spelling:
        raise RowFault(f"clinical_unknown_category:{name}")
    return by_spelling[plain(text)]


def _number(text: str, name: str, variable: NumericVariable, where: str) -> float:
    if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise Refusal(
            "unparsable-value",
            f"{where} ({name}) is not a number",
            f"write {name} in {variable.unit} with a decimal point, or list the text under clinical.missing",
        )
    value = float(text)
    if not variable.range[0] <= value <= variable.range[1]:
        raise RowFault(f"clinical_out_of_range:{name}")
    return value


def _date(text: str, name: str, date_format: str, where: str) -> date:
    try:
        moment = datetime.strptime(text, date_format)
    except ValueError:
        moment = None
    # Between directives that touch, strptime guesses where one ends: %Y%m%d would take 2024115.
    if moment is None or (_TOUCHING.search(date_format) and moment.strftime(date_format).lower() != text.lower()):
        raise Refusal(
            "unparsable-value",
            f"{where} ({name}) is not a date like {date_format}",
            "correct the cell or set clinical.date_format",
        )
    return moment.date()
