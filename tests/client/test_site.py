"""The site file: paths, defaults and what is refused."""

from pathlib import Path

import pytest

from fedescc.client.site import read_site
from fedescc.common.disclosure.budget import Budget
from fedescc.common.errors import Refusal

MINIMAL = "site: a\nclinical: {path: clinical.csv}\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "site.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    site = read_site(write(tmp_path, MINIMAL))
    assert site.path("x/y") == tmp_path / "x" / "y"
    assert site.path("/x/y") == Path("/x/y")
    assert site.work == tmp_path / "work"


def test_paths_know_the_environment_and_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = read_site(write(tmp_path, MINIMAL))
    monkeypatch.setenv("EXPORT", "/data")
    monkeypatch.setenv("HOME", "/home/me")
    assert site.path("${EXPORT}/ct") == Path("/data/ct")
    assert site.path("~/ct") == Path("/home/me/ct")
    monkeypatch.delenv("EXPORT")
    with pytest.raises(Refusal, match="unset-variable") as caught:
        site.path("${EXPORT}/ct")
    assert "set EXPORT" in str(caught.value)


def test_an_unknown_home_folder_is_refused(tmp_path: Path) -> None:
    site = read_site(write(tmp_path, MINIMAL + "work: ~nosuchuser/work\n"))
    with pytest.raises(Refusal, match="unknown-home"):
        _ = site.work


@pytest.mark.parametrize("text", ["%Y-%m-%d %Y", "%Y-%m-%d%", "%d.%m.", "%H:%M", "yyyy-mm-dd"])
def test_a_date_format_that_tells_no_date_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(Refusal, match=r"clinical\.date_format.*does not tell a date"):
        read_site(write(tmp_path, f"site: a\nclinical: {{path: c, date_format: '{text}'}}\n"))


@pytest.mark.parametrize("text", ["%Y-%m-%d", "%d.%m.%y", "%Y%m%d", "%d%b%Y", "%m/%d/%Y %H:%M"])
def test_date_formats_that_tell_a_date(tmp_path: Path, text: str) -> None:
    site = read_site(write(tmp_path, f"site: a\nclinical: {{path: c, date_format: '{text}'}}\n"))
    assert site.settings.clinical.date_format == text


def test_the_strict_release_policy_is_the_default(tmp_path: Path) -> None:
    policy = read_site(write(tmp_path, MINIMAL)).settings.policy
    assert (policy.min_class_count, policy.score_histogram, policy.small_newton) == (5, "never", "never")
    assert policy.small_changes == "never"
    assert (policy.dominance_percent, policy.query_budget) == (10, {})


def test_budgets_are_given_by_kind_of_question(tmp_path: Path) -> None:
    text = MINIMAL + "policy: {query_budget: {query.statistics: [10, 50], other: [1, 2]}}\n"
    found = read_site(write(tmp_path, text)).settings.policy.query_budget
    assert found == {"query.statistics": Budget(run=10, study=50), "other": Budget(run=1, study=2)}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("site: A\nclinical: {path: c}", "site"),
        ("site: a", "clinical: Field required"),
        (MINIMAL + "image: {}", "image: unknown key"),
        (MINIMAL + "images: {dicom: d, match: name}", "images.match"),
        (MINIMAL + "images: {dicom: d, match: accession}", "accession_columns"),
        (MINIMAL + "images: {dicom: d, accession_columns: [a]}", "accession_columns"),
        (MINIMAL + "policy: {min_class_count: 0}", "policy.min_class_count"),
        (MINIMAL + "policy: {dominance_percent: 101}", "policy.dominance_percent"),
        (MINIMAL + "policy: {dominance_percent: -1}", "policy.dominance_percent"),
        (MINIMAL + "policy: {query_budget: {query.statistic: [1, 2]}}", "no message type 'query.statistic'"),
        (MINIMAL + "policy: {query_budget: {train: [-1, 2]}}", "not below 0"),
        (MINIMAL + "policy: {query_budget: {train: [1]}}", "policy.query_budget.train"),
        ("site: a\nclinical: {path: c, delimiter: ';;'}", "clinical.delimiter"),
        ("site: a\nclinical: {path: ''}", "clinical.path"),
        (MINIMAL + "work: ''", "work: "),
        (MINIMAL + "images: {dicom: ''}", "images.dicom"),
        (MINIMAL + "images: {dicom: d, masks: ''}", "images.masks"),
        (MINIMAL + "images: {dicom: d, overrides: ''}", "images.overrides"),
        (
            MINIMAL + "images: {dicm: d}",
            "images.dicm: unknown key (did you mean 'dicom'?); images.dicom: Field required",
        ),
    ],
)
def test_faults_are_refused(tmp_path: Path, text: str, part: str) -> None:
    with pytest.raises(Refusal) as caught:
        read_site(write(tmp_path, text))
    assert part in str(caught.value)


def test_the_shipped_example_is_valid(repository: Path) -> None:
    site = read_site(repository / "configs" / "site.example.yaml").settings
    assert site.images is not None
    assert (site.images.match, site.clinical.values["sex"]) == ("patient_id", {"M": "male", "F": "female"})


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="unreadable-settings") as caught:
        read_site(tmp_path)
    assert f"give the file, such as {tmp_path / 'site.yaml'}" in str(caught.value)
