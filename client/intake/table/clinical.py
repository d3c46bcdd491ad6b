"""Read the clinical table: one row a patient, in the study's variables."""

from dataclasses import dataclass
from pathlib import Path

from fedescc.client.cohort import SplitName
from fedescc.client.intake.table.cells import RowFault, Value, read_cell
from fedescc.client.intake.table.lines import TableLine, read_lines, wrong_delimiter
from fedescc.client.site import ROW_NUMBER, ClinicalTable, SiteFile
from fedescc.common.errors import Refusal
from fedescc.common.protocol import CategoricalVariable
from fedescc.common.study import Study

_SPLITS: dict[str, SplitName] = {
    "train": "train",
    "val": "validation",
    "validation": "validation",
    "test": "test",
}


@dataclass(frozen=True)
class PatientRow:
    """One patient of the table; stays at the site.

    Attributes:
        patient_id: the hospital's identifier, or the row's number.
        values: study variable -> value; a missing one is absent.
        faults: codes of values that the study does not allow.
        split: what the site's own split column says, if it is used.
        accessions: accession numbers of the patient's CTs, if they are matched so.

    """

    patient_id: str
    values: dict[str, Value]
    faults: tuple[str, ...] = ()
    split: SplitName | None = None
    accessions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Clinical:
    """The table's patients in file order, and what a person should know about the file."""

    rows: tuple[PatientRow, ...]
    warnings: tuple[str, ...]


def read_clinical(site: SiteFile, study: Study) -> Clinical:
    """The site's clinical table in the study's variables.

    A fault of the file refuses it as a whole, because a wrong file must not be half-read; a value outside the
    study's range or categories excludes only its patient (`PatientRow.faults`).

    Raises:
        Refusal: unreadable or empty file, wrong number of fields, a needed column missing, a repeated patient,
            a number or date that is none, a split column that the study does not allow.

    """
    table = site.settings.clinical
    foreign = _check_mappings(table, study)
    path = site.path(table.path)
    header, lines = read_lines(path, table)
    try:
        absent = _check_columns(header, site, study)
    except Refusal as refusal:
        raise (refusal.code == "missing-column" and wrong_delimiter(header, table)) or refusal from None
    rows = tuple(_patient(line, number, site, study) for number, line in enumerate(lines, start=1))
    _check_distinct(rows, lines, table)
    remarks = [f"no column for {name}: missing for every patient" for name in absent]
    remarks += [f"{key} is ignored: the study has no such variable" for key in foreign]
    return Clinical(rows, tuple(remarks))


def clinical_path(site: SiteFile) -> Path:
    """Where the clinical table lies."""
    return site.path(site.settings.clinical.path)


def _check_mappings(table: ClinicalTable, study: Study) -> list[str]:
    """Refuse a value map onto no category; names that this study does not have are returned."""
    foreign = [
        f"clinical.{key}.{name}"
        for key, names in (
            ("names", table.names),
            ("values", table.values),
            ("missing_values", table.missing_values),
        )
        for name in names
        if name not in study.variables
    ]
    for name, values in table.values.items():
        variable = study.variables.get(name)
        if isinstance(variable, CategoricalVariable) and (unknown := set(values.values()) - set(variable.categories)):
            raise Refusal(
                "unknown-category",
                f"site file: clinical.values.{name}: {sorted(unknown)[0]!r} is no category of the study",
                f"use one of: {', '.join(variable.categories)}",
            )
    return foreign


def _check_columns(header: tuple[str, ...], site: SiteFile, study: Study) -> list[str]:
    """Refuse when a needed column is missing; the optional variables without a column are returned."""
    table, needed = site.settings.clinical, _needed(study)
    absent = [name for name in study.variables if column_of(name, table) not in header]
    for name in absent:
        if name in needed or name in table.names:
            raise _no_column(column_of(name, table), f"{name}", f"add it, or map it: clinical.names.{name}")
    if table.patient_id != ROW_NUMBER and table.patient_id not in header:
        raise _no_column(table.patient_id, "the patient's identifier", "set clinical.patient_id")
    if table.split is not None:
        if not study.analysis.split.allow_column:
            raise Refusal(
                "split-not-allowed",
                f"study {study.name} does not allow a split column",
                "remove clinical.split from the site file",
            )
        if table.split not in header:
            raise _no_column(table.split, "the split", "set clinical.split")
    for column in site.settings.images.accession_columns if site.settings.images else ():
        if column not in header:
            raise _no_column(column, "accession numbers", "set images.accession_columns")
    return absent


def _needed(study: Study) -> set[str]:
    rules = study.eligibility.inclusion + study.eligibility.exclusion
    required = {name for name, variable in study.variables.items() if variable.required}
    return required | set(study.endpoint.positive_when) | {name for rule in rules for name in rule.when}


def column_of(name: str, table: ClinicalTable) -> str:
    """The site's column for a study variable."""
    return table.names.get(name, name)


def _no_column(column: str, meaning: str, todo: str) -> Refusal:
    return Refusal("missing-column", f"the clinical table has no column {column!r} (for {meaning})", todo)


def _patient(line: TableLine, number: int, site: SiteFile, study: Study) -> PatientRow:
    table = site.settings.clinical
    values, faults = _values(line, table, study)
    return PatientRow(
        patient_id=_patient_id(line, number, table),
        values=values,
        faults=faults,
        split=_split(line, table),
        accessions=_accessions(line, site),
    )


def _values(line: TableLine, table: ClinicalTable, study: Study) -> tuple[dict[str, Value], tuple[str, ...]]:
    values: dict[str, Value] = {}
    faults: list[str] = []
    for name, variable in study.variables.items():
        column = column_of(name, table)
        if column not in line.cells:
            continue
        where = f"column {column!r}, line {line.number}"
        try:
            value = read_cell(line.cells[column], name, variable, table, where)
        except RowFault as fault:
            faults.append(fault.code)
            continue
        if value is not None:
            values[name] = value
    return values, tuple(faults)


def _patient_id(line: TableLine, number: int, table: ClinicalTable) -> str:
    if table.patient_id == ROW_NUMBER:
        return str(number)
    text = line.cells[table.patient_id].strip()
    if text in table.missing:
        raise Refusal("missing-patient-id", f"column {table.patient_id!r}, line {line.number} is empty", "fill it in")
    return text


def _split(line: TableLine, table: ClinicalTable) -> SplitName | None:
    if table.split is None:
        return None
    text = line.cells[table.split].strip().lower()
    if text not in _SPLITS:
        raise Refusal(
            "unknown-split",
            f"column {table.split!r}, line {line.number} says none of train, val, test",
            "fill it in for every patient or remove clinical.split",
        )
    return _SPLITS[text]


def _accessions(line: TableLine, site: SiteFile) -> tuple[str, ...]:
    columns = site.settings.images.accession_columns if site.settings.images else ()
    cells = (line.cells[column].strip() for column in columns)
    return tuple(cell for cell in cells if cell not in site.settings.clinical.missing)


def _check_distinct(rows: tuple[PatientRow, ...], lines: list[TableLine], table: ClinicalTable) -> None:
    first: dict[str, int] = {}
    for row, line in zip(rows, lines, strict=True):
        if row.patient_id in first:
            raise Refusal(
                "repeated-patient",
                f"lines {first[row.patient_id]} and {line.number} of the clinical table have the same "
                f"{table.patient_id!r}",
                "keep one row a patient",
            )
        first[row.patient_id] = line.number
