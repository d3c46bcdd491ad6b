"""The clinical table: what is read, what excludes one patient, and what refuses the file."""

import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fedescc.client.intake.table.cells import plain
from fedescc.client.intake.table.clinical import Clinical, read_clinical
from fedescc.client.site import Site, SiteFile
from fedescc.common.errors import Refusal
from fedescc.common.study import Study
from fedescc.common.yamlfile import parse_model

STUDY = parse_model(
    """
format: 1
name: tiny
title: Tiny
endpoint: {name: cure, text: cured, positive_when: {outcome: {one_of: [cured]}}}
prediction_time: baseline
covariates:
  age: {type: numeric, unit: years, range: [0, 110], required: true, available_at: baseline}
  albumin: {type: numeric, unit: g/L, range: [15, 65], available_at: baseline}
  ecog: {type: categorical, categories: ["0", "1"], available_at: baseline}
recorded:
  outcome: {type: categorical, categories: [cured, ill], available_at: pathology}
  visit: {type: date, available_at: surgery}
model: {kind: linear}
""",
    Study,
    "study",
)
HEADER = "patient_id,age,albumin,ecog,outcome,visit\n"
ROW = "p1,61,40,1,cured,2024-02-29\n"


def read(folder: Path, text: str | bytes, study: Study = STUDY, **clinical: Any) -> Clinical:
    (folder / "clinical.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    settings = {"site": "a", "clinical": {"path": "clinical.csv", **clinical}}
    return read_clinical(SiteFile(settings=Site.model_validate(settings), folder=folder), study)


def refusal(folder: Path, text: str | bytes, study: Study = STUDY, **clinical: Any) -> str:
    with pytest.raises(Refusal) as caught:
        read(folder, text, study, **clinical)
    line = str(caught.value)
    assert "\n" not in line
    assert "p1" not in re.sub(re.escape(str(folder)), "", line), "a refusal names no patient"
    return line


def test_values_come_in_the_studys_types(tmp_path: Path) -> None:
    clinical = read(tmp_path, HEADER + ROW)
    (row,) = clinical.rows
    assert row.patient_id == "p1"
    assert row.values == {
        "age": 61.0,
        "albumin": 40.0,
        "ecog": "1",
        "outcome": "cured",
        "visit": date(2024, 2, 29),
    }
    assert (row.faults, row.split, clinical.warnings) == ((), None, ())


@pytest.mark.parametrize("text", ["", "NA", "?", "  ", " NA "])
def test_missing_values_are_absent(tmp_path: Path, text: str) -> None:
    (row,) = read(tmp_path, HEADER + f"p1,61,{text},{text},cured,{text}\n").rows
    assert set(row.values) == {"age", "outcome"}


def test_missing_texts_of_one_column(tmp_path: Path) -> None:
    (row,) = read(tmp_path, HEADER + "p1,0,0.0,0,cured,\n", missing_values={"albumin": ["0"]}).rows
    assert "albumin" not in row.values
    assert (row.values["age"], row.values["ecog"]) == (0.0, "0")


def test_renamed_columns_mapped_values_and_local_dates(tmp_path: Path) -> None:
    text = "id;Age_years;albumin;PS;result;seen\nx;61;40;good;remission;29.02.2024\n"
    (row,) = read(
        tmp_path,
        text,
        delimiter=";",
        patient_id="id",
        names={"age": "Age_years", "ecog": "PS", "outcome": "result", "visit": "seen"},
        values={"ecog": {"good": "0"}, "outcome": {"remission": "cured"}},
        date_format="%d.%m.%Y",
    ).rows
    assert row.patient_id == "x"
    assert row.values["ecog"] == "0"
    assert row.values["outcome"] == "cured"
    assert row.values["visit"] == date(2024, 2, 29)


@pytest.mark.parametrize("text", ["1", "1.0", "01", "1.", "+1", "1e0"])
def test_number_codes_are_one_category_however_they_are_written(tmp_path: Path, text: str) -> None:
    (row,) = read(tmp_path, HEADER + f"p1,61,,{text},cured,\n").rows
    assert row.values["ecog"] == "1"
    (row,) = read(tmp_path, HEADER + f"p1,61,,,{text},\n", values={"outcome": {"1": "cured"}}).rows
    assert row.values["outcome"] == "cured"


@given(st.integers(-999, 999))
def test_plain_spelling(number: int) -> None:
    assert plain(f"{number}.0") == plain(f"{number}") == str(number)
    assert plain(f"x{number}") == f"x{number}"


def test_a_file_without_header_and_identifier(tmp_path: Path) -> None:
    columns = ["age", "albumin", "ecog", "outcome", "visit"]
    rows = read(tmp_path, "61,40,1,cured,\n62,?,0,ill,\n", columns=columns, patient_id="row_number").rows
    assert [row.patient_id for row in rows] == ["1", "2"]
    assert [row.values["age"] for row in rows] == [61.0, 62.0]


def test_byte_order_mark_quotes_and_blank_lines(tmp_path: Path) -> None:
    text = "﻿" + HEADER + '\n"p,1",61,40,1,cured,\n\n,,,,,\n'
    assert [row.patient_id for row in read(tmp_path, text).rows] == ["p,1"]


def test_another_encoding(tmp_path: Path) -> None:
    text = (HEADER + "p1,61,40,1,治愈,\n").encode("gb18030")
    (row,) = read(tmp_path, text, encoding="gb18030", values={"outcome": {"治愈": "cured"}}).rows
    assert row.values["outcome"] == "cured"
    assert "unreadable-table" in refusal(tmp_path, text)


@pytest.mark.parametrize(
    ("cells", "fault"),
    [
        ("p2,111,40,1,cured,", "clinical_out_of_range:age"),
        ("p2,-1,40,1,cured,", "clinical_out_of_range:age"),
        ("p2,61,4.1,1,cured,", "clinical_out_of_range:albumin"),
        ("p2,61,40,3,cured,", "clinical_unknown_category:ecog"),
        ("p2,61,40,1,better,", "clinical_unknown_category:outcome"),
    ],
)
def test_an_impossible_value_is_a_fault_of_its_patient_only(tmp_path: Path, cells: str, fault: str) -> None:
    first, second = read(tmp_path, HEADER + ROW + cells + "\n").rows
    assert first.faults == ()
    assert second.faults == (fault,)
    assert fault.split(":")[1] not in second.values


@pytest.mark.parametrize("text", ["sixty", "nan", "inf", "-inf", "1e999", "1_0", "0x1F", "61,5", "6 1", "٦١", "1e"])
def test_what_is_no_number_refuses_the_file_by_column_and_line(tmp_path: Path, text: str) -> None:
    line = refusal(tmp_path, HEADER + ROW + f'p2,"{text}",40,1,cured,\n')
    assert "column 'age', line 3 (age) is not a number [unparsable-value]" in line
    assert text not in line


@pytest.mark.parametrize("text", ["2024-02-30", "29.02.2024", "2024-02-28 10:00", "tomorrow"])
def test_what_is_no_date_refuses_the_file(tmp_path: Path, text: str) -> None:
    line = refusal(tmp_path, HEADER + f"p1,61,40,1,cured,{text}\n")
    assert "column 'visit', line 2 (visit) is not a date like %Y-%m-%d" in line


@pytest.mark.parametrize(
    ("text", "date_format", "known"),
    [
        ("20240229", "%Y%m%d", True),
        ("2024229", "%Y%m%d", False),
        ("202422 9", "%Y%m%d", False),
        ("29feb2024", "%d%b%Y", True),
        ("9FEB2024", "%d%b%Y", False),
        ("2024-2-9", "%Y-%m-%d", True),
    ],
)
def test_dates_without_separators_are_not_guessed(tmp_path: Path, text: str, date_format: str, known: bool) -> None:
    table = HEADER + f"p1,61,40,1,cured,{text}\n"
    if known:
        (row,) = read(tmp_path, table, date_format=date_format).rows
        assert row.values["visit"] in {date(2024, 2, 29), date(2024, 2, 9)}
    else:
        assert "is not a date like" in refusal(tmp_path, table, date_format=date_format)


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_another_delimiter_is_named(tmp_path: Path, delimiter: str) -> None:
    text = (HEADER + ROW).replace(",", delimiter)
    for table in (text, text.replace("61", "61,5"), text.replace("age", "age, years", 1)):
        line = refusal(tmp_path, table)
        assert "wrong-delimiter" in line
        assert f"set clinical.delimiter to {json.dumps(delimiter)}" in line
    assert 'set clinical.delimiter to ","' in refusal(tmp_path, HEADER + ROW, delimiter=delimiter)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "latin-1", "utf-16", "utf-16-le"])
def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path, encoding: str) -> None:
    text = HEADER.replace("patient_id", '"patient_id"') + ROW.replace("p1", "李1")
    marked = text.encode("utf-16") if encoding.startswith("utf-16") else text.encode("utf-8-sig")
    (row,) = read(tmp_path, marked, encoding=encoding).rows
    assert row.patient_id == "李1"


def test_empty_columns_at_the_end_are_dropped(tmp_path: Path) -> None:
    text = HEADER.strip() + ",, \n" + ROW.strip() + ",,\n" + ROW.replace("p1", "p2").strip() + ", \n"
    assert [row.patient_id for row in read(tmp_path, text).rows] == ["p1", "p2"]
    assert "wrong-field-count" in refusal(tmp_path, text + ROW.replace("p1", "p3").strip() + ",x,\n")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "empty-table"),
        ("\n\n", "empty-table"),
        (HEADER, "empty-table"),
        (HEADER + "p1,61,40,1,cured\n", "line 2: 5 fields, 6 columns expected"),
        (HEADER + ROW + "p2,61,40,1,cured,,\n", "line 3: 7 fields, 6 columns expected"),
        (HEADER + ROW + "p2,61,40,1,ill,\n" + ROW, "lines 2 and 4"),
        (HEADER + " p1 ,61,40,1,cured,\n" + ROW, "repeated-patient"),
        (HEADER + ",61,40,1,cured,\n", "missing-patient-id"),
        (HEADER.replace("age", "years") + ROW, "no column 'age' (for age)"),
        (HEADER.replace("outcome", "result") + ROW, "no column 'outcome' (for outcome)"),
        (HEADER.replace("patient_id", "name") + ROW, "no column 'patient_id'"),
        (HEADER.replace("albumin", "age") + ROW, "columns 2 and 3 have one name"),
        (HEADER + '"p1,61\n', "unreadable-table"),
    ],
)
def test_a_wrong_file_is_refused_as_a_whole(tmp_path: Path, text: str, part: str) -> None:
    assert part in refusal(tmp_path, text)


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    site = SiteFile(settings=Site.model_validate({"site": "a", "clinical": {"path": "x.csv"}}), folder=tmp_path)
    with pytest.raises(Refusal, match="FileNotFoundError"):
        read_clinical(site, STUDY)


def test_an_optional_column_may_be_absent_unless_it_is_mapped(tmp_path: Path) -> None:
    text = "patient_id,age,outcome\np1,61,cured\n"
    clinical = read(tmp_path, text)
    assert clinical.rows[0].values == {"age": 61.0, "outcome": "cured"}
    assert "no column for albumin: missing for every patient" in clinical.warnings
    assert "no column 'ALB' (for albumin)" in refusal(tmp_path, text, names={"albumin": "ALB"})


def test_mappings_are_checked_against_the_study(tmp_path: Path) -> None:
    line = refusal(tmp_path, HEADER + ROW, values={"outcome": {"1": "healed"}})
    assert "'healed' is no category of the study" in line
    assert "use one of: cured, ill" in line
    clinical = read(tmp_path, HEADER + ROW, names={"weight": "kg"}, values={"weight": {"a": "b"}})
    assert "clinical.names.weight is ignored: the study has no such variable" in clinical.warnings


def with_split() -> Study:
    data = yaml.safe_load(STUDY.to_yaml())
    data["analysis"]["split"]["allow_column"] = True
    return Study.model_validate(data)


def test_a_split_column_is_honoured_where_the_study_allows_it(tmp_path: Path) -> None:
    header = "patient_id,age,outcome,part\n"
    text = header + "a,61,ill,train\nb,61,ill,Val\nc,61,ill,validation\nd,61,ill, test \n"
    rows = read(tmp_path, text, with_split(), split="part").rows
    assert [row.split for row in rows] == ["train", "validation", "validation", "test"]
    assert "split-not-allowed" in refusal(tmp_path, text, split="part")
    assert "line 2 says none of" in refusal(tmp_path, header + "a,61,ill,\n", with_split(), split="part")
    assert "no column 'fold'" in refusal(tmp_path, text, with_split(), split="fold")
