"""The protocol's rules: outcome per rule, order of reasons, endpoint and flow counts."""

from datetime import date, timedelta
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fedescc.client.intake.eligibility import Decision, Scans, decide, endpoint_label, flow
from fedescc.common.study import Study, read_study

ESCC = read_study("escc-pcr")
HEART = read_study("heart-disease")
FIRST, LAST, SURGERY = date(2023, 1, 10), date(2023, 3, 1), date(2023, 4, 20)
VALUES: dict[str, Any] = {
    "age": 61.0,
    "sex": "male",
    "cT": "cT3",
    "cN": "cN1",
    "cycles": 2.0,
    "histology": "ESCC",
    "neoadjuvant": "chemoimmunotherapy",
    "other_malignancy": "no",
    "other_antitumour_therapy": "no",
    "first_dose_date": FIRST,
    "last_dose_date": LAST,
    "surgery_date": SURGERY,
    "ypT": "ypT0",
    "ypN": "ypN0",
}
SCANS = Scans(
    found={"pre": "found", "post": "found"},
    dates={"pre": FIRST, "post": LAST + timedelta(days=21)},
    quality=(),
    roi=True,
)


def codes(scans: Scans = SCANS, faults: tuple[str, ...] = (), study: Study = ESCC, **changes: Any) -> tuple[str, ...]:
    values = {name: value for name, value in (VALUES | changes).items() if value is not None}
    return decide(study, values, faults, scans).codes


def scans(**changes: Any) -> Scans:
    return Scans(**{**SCANS.__dict__, **changes})


def test_an_eligible_patient_has_no_code() -> None:
    assert decide(ESCC, VALUES, (), SCANS) == Decision((), 1)
    assert decide(ESCC, VALUES, (), SCANS).code == "included"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"histology": "adenocarcinoma"}, "escc_confirmed"),
        ({"neoadjuvant": "chemoradiotherapy"}, "neoadjuvant_chemoimmunotherapy"),
        ({"cycles": 0.0}, "neoadjuvant_chemoimmunotherapy"),
        ({"age": 17.9}, "adult"),
        ({"surgery_date": date(2025, 8, 1)}, "surgery_in_period"),
        ({"other_malignancy": "yes"}, "other_malignancy"),
        ({"other_antitumour_therapy": "yes"}, "other_antitumour_therapy"),
        ({"sex": None}, "incomplete_clinical_data"),
        ({"cT": None}, "incomplete_clinical_data"),
        ({"ypN": None}, "endpoint_unknown"),
        ({"smoking": None}, None),
    ],
)
def test_every_rule_excludes_under_its_own_code(changes: dict[str, Any], expected: str | None) -> None:
    assert codes(**changes) == ((expected,) if expected else ())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"found": {"pre": "none", "post": "found"}}, "ct_before_treatment"),
        ({"found": {"pre": "found", "post": "none"}}, "ct_before_surgery"),
        ({"found": {"pre": "unknown", "post": "found"}}, "ct_before_treatment:unknown"),
        ({"found": {"pre": "found", "post": "ambiguous"}}, "ct_before_surgery:ambiguous"),
        ({"dates": {"pre": FIRST + timedelta(1), "post": LAST + timedelta(1)}}, "chronology"),
        ({"dates": {"pre": FIRST, "post": LAST}}, "chronology"),
        ({"dates": {"pre": FIRST, "post": SURGERY}}, "chronology"),
        ({"roi": False}, "roi_available"),
        ({"quality": ("missing_slices",)}, "poor_quality_ct"),
        ({"quality": None, "roi": None}, None),
    ],
)
def test_ct_rules(changes: dict[str, Any], expected: str | None) -> None:
    assert codes(scans(**changes)) == ((expected,) if expected else ())


def test_an_unknown_value_is_told_from_a_failing_one() -> None:
    assert codes(histology=None)[0] == "escc_confirmed:unknown"
    assert codes(other_malignancy=None)[0] == "other_malignancy:unknown"
    # One failing condition decides whatever the unknown one would have said.
    assert codes(cycles=0.0, neoadjuvant=None)[0] == "neoadjuvant_chemoimmunotherapy"


def test_unknown_dates_leave_chronology_unknown() -> None:
    found = codes(surgery_date=None)
    assert found == ("surgery_in_period:unknown", "chronology:unknown", "incomplete_clinical_data")


def test_doses_out_of_order_break_the_chronology() -> None:
    assert codes(last_dose_date=FIRST - timedelta(1)) == ("chronology",)
    assert codes(first_dose_date=FIRST + timedelta(3), last_dose_date=FIRST + timedelta(3)) == ()


def test_reasons_come_in_protocol_order_and_the_first_is_counted() -> None:
    found = codes(
        scans(found={"pre": "none", "post": "none"}),
        ("clinical_out_of_range:nlr",),
        histology="other",
        age=15.0,
        other_malignancy="yes",
        ypT=None,
    )
    assert found == (
        "clinical_out_of_range:nlr",
        "escc_confirmed",
        "ct_before_treatment",
        "ct_before_surgery",
        "adult",
        "other_malignancy",
        "endpoint_unknown",
    )


def test_a_study_without_rules_still_needs_what_it_learns_from() -> None:
    data = yaml.safe_load(ESCC.to_yaml())
    data["eligibility"] = {}
    bare = Study.model_validate(data)
    assert codes(study=bare) == ()
    assert codes(Scans(), study=bare) == ("no_ct_pre", "no_ct_post")
    assert codes(scans(roi=False, quality=("gantry_tilt",)), study=bare) == ("ct_quality", "no_roi")
    assert codes(study=bare, sex=None, cN=None) == ("missing:sex", "missing:cN")


def test_an_exclusion_rule_with_two_conditions_needs_both() -> None:
    data = yaml.safe_load(ESCC.to_yaml())
    when = {"smoking": {"one_of": ["current"]}, "drinking": {"one_of": ["current"]}}
    data["eligibility"]["exclusion"] = [{"code": "both", "text": "", "when": when}]
    study = Study.model_validate(data)
    assert codes(study=study, smoking="current", drinking="current") == ("both",)
    assert codes(study=study, smoking="current", drinking="never") == ()
    assert codes(study=study, smoking="current") == ("both:unknown",)
    assert codes(study=study, smoking="never") == ()


def test_a_study_without_images_needs_none() -> None:
    assert decide(HEART, {"age": 50.0, "sex": "male", "num": 3.0}, ()) == Decision((), 1)
    assert decide(HEART, {"age": 50.0, "num": 0.0}, ()) == Decision(("missing:sex",), 0)
    assert decide(HEART, {"age": 50.0, "sex": "male"}, ()) == Decision(("endpoint_unknown",), None)


@pytest.mark.parametrize(
    ("ypT", "ypN", "label"),
    [
        ("ypT0", "ypN0", 1),
        ("ypT0", "ypN1", 0),
        ("ypTis", "ypN0", 0),
        ("ypT2", "ypN2", 0),
        (None, "ypN0", None),
        ("ypT2", None, None),
    ],
)
def test_pcr_is_ypt0_with_ypn0_and_unknown_when_a_part_is(ypT: str, ypN: str, label: int | None) -> None:
    values = {name: value for name, value in {"ypT": ypT, "ypN": ypN}.items() if value}
    assert endpoint_label(ESCC, values) == label


PATIENT = st.fixed_dictionaries(
    {},
    optional={
        "age": st.floats(0, 110),
        "sex": st.sampled_from(["male", "female"]),
        "histology": st.sampled_from(["ESCC", "other"]),
        "other_malignancy": st.sampled_from(["yes", "no"]),
        "ypT": st.sampled_from(["ypT0", "ypT1"]),
    },
)


@given(st.lists(st.tuples(PATIENT, st.booleans()), max_size=30))
def test_included_and_excluded_add_up_to_all(patients: list[tuple[dict[str, Any], bool]]) -> None:
    decisions = [decide(ESCC, VALUES | values if full else values, (), SCANS) for values, full in patients]
    counts = flow(decisions)
    assert sum(counts.values()) == len(patients)
    assert counts["included"] == sum(not decision.codes for decision in decisions)
    assert next(iter(counts)) == "included"


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"pcr": "yes", "ypT": "ypT2"}, "pcr_with_residual_tumour"),
        ({"pcr": "yes", "ypN": "ypN1"}, "pcr_with_positive_nodes"),
        ({"pcr": "no"}, "no_pcr_without_tumour"),
        ({"trg_system": "AJCC", "trg": "2"}, "ajcc_residue_with_ypt0"),
        ({"trg_system": "AJCC", "trg": "0", "ypT": "ypT1"}, "ajcc_complete_with_tumour"),
        ({"trg_system": "Mandard", "trg": "3"}, "mandard_residue_with_ypt0"),
        ({"trg_system": "Mandard", "trg": "1", "ypT": "ypT1"}, "mandard_complete_with_tumour"),
        ({"pcr": "yes"}, None),
        ({"pcr": "no", "ypN": "ypN1"}, None),
        ({"pcr": "no", "ypT": "ypTis"}, None),
        ({"trg_system": "AJCC", "trg": "0"}, None),
        ({"trg_system": "Mandard", "trg": "1"}, None),
        ({"trg_system": "JES", "trg": "1"}, "jes_residue_with_ypt0"),
        ({"trg_system": "JES", "trg": "3", "ypT": "ypT1"}, "jes_complete_with_tumour"),
        ({"trg_system": "JES", "trg": "3"}, None),
        ({"trg_system": "Becker", "trg": "2"}, None),
        ({"trg": "3"}, None),
    ],
)
def test_records_of_the_outcome_that_contradict_each_other_exclude(values: dict[str, Any], code: str | None) -> None:
    """The patient of `VALUES` has ypT0 and ypN0; grades as AJCC (8th edition) and Mandard (1994) define them."""
    found = codes(**values)
    assert found == ((code,) if code else ())


def test_a_ct_without_a_date_leaves_the_chronology_unknown() -> None:
    """As one that a reader chose by its UID may be."""
    assert codes(scans(dates={"pre": FIRST})) == ("chronology:unknown",)


def test_a_study_of_two_cts_has_a_chronology_also_without_a_rule_for_it() -> None:
    data = yaml.safe_load(ESCC.to_yaml())
    rules = data["eligibility"]["inclusion"]
    data["eligibility"]["inclusion"] = [rule for rule in rules if rule["built_in"] != "chronology"]
    silent = Study.model_validate(data)
    assert codes(study=silent) == ()
    swapped = scans(dates={"pre": LAST + timedelta(days=21), "post": FIRST})
    assert codes(swapped, study=silent) == ("no_chronology",)
