"""Who came first, as ranks: no date enters the prepared cohort."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_federation import STUDY as TOY

from fedescc.client.intake.eligibility import Scans
from fedescc.client.intake.intake import load_cohort
from fedescc.client.intake.order import last_date, temporal_order
from fedescc.client.site import Site, SiteFile
from fedescc.common.study import Study, read_study
from fedescc.common.yamlfile import parse_model

ESCC = read_study("escc-pcr")
DAY = date(2024, 3, 1)
DATED = TOY.replace(
    "recorded:\n",
    "recorded:\n  seen: {type: date, available_at: treatment}\n  reported: {type: date, available_at: pathology}\n",
)


@given(st.lists(st.one_of(st.none(), st.dates(date(2019, 1, 1), date(2025, 1, 1))), max_size=30))
def test_a_rank_counts_the_patients_of_earlier_dates(dates):
    found = temporal_order(dates)
    if not any(dates):
        assert found is None
        return
    expected = [-1 if one is None else sum(other < one for other in dates if other) for one in dates]
    assert found.tolist() == expected
    assert found.dtype == np.int32


def test_the_last_date_up_to_surgery_counts():
    values = {"first_dose_date": DAY, "surgery_date": DAY + timedelta(days=90), "age": 60.0}
    scans = Scans(dates={"pre": DAY - timedelta(days=5), "post": DAY + timedelta(days=80)})
    assert last_date(ESCC, values, scans) == DAY + timedelta(days=90)
    del values["surgery_date"]
    assert last_date(ESCC, values, scans) == DAY + timedelta(days=80)
    assert last_date(ESCC, values, None) == DAY
    assert last_date(ESCC, {"age": 60.0}, Scans()) is None


def test_what_is_dated_after_surgery_does_not_count():
    study = parse_model(DATED, Study, "dated")
    assert last_date(study, {"seen": DAY, "reported": DAY + timedelta(days=900)}, None) == DAY


@pytest.fixture
def site(tmp_path: Path) -> SiteFile:
    lines = ["patient_id,age,marker,sex,outcome,seen"]
    lines += [f"P{i},50,{i},male,{i % 2},{DAY + timedelta(days=int(day))}" for i, day in enumerate([30, 10, 20, 10])]
    lines.append("P4,50,4,male,1,")
    (tmp_path / "clinical.csv").write_text("\n".join(lines) + "\n")
    settings = {"site": "a", "clinical": {"path": "clinical.csv"}, "work": "work"}
    return SiteFile(settings=Site.model_validate(settings), folder=tmp_path)


def test_intake_keeps_ranks_and_never_dates(site: SiteFile) -> None:
    study = parse_model(DATED, Study, "dated")
    for _ in range(2):  # made, and read from the cache
        cohort = load_cohort(site, study)
        assert cohort.order is not None
        by_marker = dict(zip(cohort.numeric["marker"].tolist(), cohort.order.tolist(), strict=True))
        assert by_marker == {0: 3, 1: 0, 2: 2, 3: 0, 4: -1}
    kept = b"".join(path.read_bytes() for path in (site.work / "cache").rglob("*") if path.is_file())
    for word in (b"2024-03", b"20240311", DAY.isoformat().encode()):
        assert word not in kept


def test_a_study_without_dates_has_no_order(site: SiteFile) -> None:
    assert load_cohort(site, parse_model(TOY, Study, "toy")).order is None
