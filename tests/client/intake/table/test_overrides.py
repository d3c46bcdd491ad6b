"""A person's decisions: read whole or refused, and what the record says of them."""

from pathlib import Path

import pytest

from fedescc.client.intake.table.overrides import Override, accepted, read_overrides
from fedescc.common.errors import Refusal

HEADER = "patient_id,time_point,action,value,reader\n"


def write(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "overrides.csv"
    path.write_text(header + "".join(f"{line}\n" for line in lines))
    return path


def test_decisions_by_patient(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "P1,pre,use_series,1.2.840.1,Dr A",
        "P1,pre,accept,noisy,Dr A",
        " P1 ,post,accept,low_similarity,Dr A",
        "P2,post,refuse_ct,,Dr B",
    )
    assert read_overrides(path) == {
        "P1": (
            Override("pre", "use_series", "1.2.840.1", "Dr A"),
            Override("pre", "accept", "noisy", "Dr A"),
            Override("post", "accept", "low_similarity", "Dr A"),
        ),
        "P2": (Override("post", "refuse_ct", "", "Dr B"),),
    }
    mine = read_overrides(path)["P1"]
    assert (accepted(mine, "pre"), accepted(mine, "post")) == ({"noisy"}, {"low_similarity"})


def test_further_columns_and_a_byte_order_mark_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "overrides.csv"
    path.write_text("\ufeffdate,reader,value,action,time_point,patient_id,why\n2024-01-01,A,4,use_series,pre,P1,x\n")
    assert read_overrides(path) == {"P1": (Override("pre", "use_series", "4", "A"),)}


def test_a_note_holds_neither_a_uid_nor_who_decided() -> None:
    series, finding = Override("pre", "use_series", "1.2.840.1", "Dr A"), Override("post", "accept", "noisy", "Dr A")
    assert (series.note, series.unused_note) == ("pre:override:use_series", "pre:override_unused:use_series")
    assert (finding.note, finding.unused_note) == ("post:override:accept:noisy", "post:override_unused:accept:noisy")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (",pre,accept,noisy,A", "patient_id is empty"),
        ("P1,pre,accept,noisy,", "reader is empty"),
        ("P1,later,accept,noisy,A", "time_point is none of pre, post"),
        ("P1,pre,approve,noisy,A", "action is none of"),
        ("P1,pre,accept,gantry_tilt,A", "accept takes one of"),
        ("P1,pre,use_series,,A", "use_series takes"),
        ("P1,pre,refuse_ct,noisy,A", "refuse_ct takes no value"),
        ("P1", "reader is empty"),
    ],
)
def test_a_line_that_says_nothing_clear_is_refused_with_its_number(tmp_path: Path, line: str, what: str) -> None:
    path = write(tmp_path, "P0,pre,accept,noisy,A", line)
    with pytest.raises(Refusal, match=rf"line 3: {what}"):
        read_overrides(path)


def test_geometry_cannot_be_accepted_by_hand(tmp_path: Path) -> None:
    for code in ("missing_slices", "gantry_tilt", "no_mask"):
        with pytest.raises(Refusal, match="invalid-override"):
            read_overrides(write(tmp_path, f"P1,pre,accept,{code},A"))


def test_two_decisions_about_one_ct_are_refused(tmp_path: Path) -> None:
    lines = ["P1,pre,use_series,1,A", "P1,post,use_series,2,A"]
    assert len(read_overrides(write(tmp_path, *lines))["P1"]) == 2
    for second in ("P1,pre,use_series,3,A", "P1,pre,refuse_ct,,A"):
        with pytest.raises(Refusal, match="contradicting-overrides"):
            read_overrides(write(tmp_path, *lines, second))


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", b'"'], ids=["absent", "no UTF-8", "open quote"])
def test_an_unreadable_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "overrides.csv"
    if content is not None:
        path.write_bytes(HEADER.encode() + content)
    with pytest.raises(Refusal, match="unreadable-overrides"):
        read_overrides(path)


def test_a_missing_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="no column 'reader'"):
        read_overrides(write(tmp_path, header="patient_id,time_point,action,value\n"))
