"""The folder a synthetic cohort is written to."""

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK

from fedescc.client.site import read_site
from fedescc.common.errors import Refusal
from fedescc.common.study import Study, read_study
from fedescc.simulations.patients.cohort import held_out, site_sizes, write_cohort
from fedescc.simulations.patients.outcome import LATENTS, draw_outcome
from fedescc.simulations.patients.phantom import phantom_case
from fedescc.simulations.patients.scanners import scanner

SEED = 4
SITES, PATIENTS = 2, 4


@pytest.fixture(scope="module")
def study() -> Study:
    return read_study("escc-pcr")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory, study: Study) -> Path:
    out = tmp_path_factory.mktemp("cohort") / "out"
    write_cohort(out, site_sizes(SITES, PATIENTS), SEED, study, workers=1)
    return out


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_layout(cohort: Path) -> None:
    assert {path.name for path in cohort.iterdir()} == {
        "cohort.json", "study.yaml", "truth.csv", "site-a", "site-b"
    }  # fmt: skip
    assert {path.name for path in (cohort / "site-a").iterdir()} == {
        "clinical.csv", "dicom", "site.yaml", "work"
    }  # fmt: skip
    assert (cohort / "site-b" / "masks" / "SYN-b-0000" / "post.nii.gz").is_file()
    assert not list((cohort / "site-b").rglob("RS.dcm"))


def test_every_patient_has_two_dated_studies(cohort: Path) -> None:
    for site, size in zip("ab", site_sizes(SITES, PATIENTS), strict=True):
        patients = sorted((cohort / f"site-{site}" / "dicom").iterdir())
        assert len(patients) == size
        for index, patient in enumerate(patients):
            dates = draw_outcome(SEED, "ab".index(site), index).ct_dates
            assert [p.name for p in sorted(patient.iterdir())] == [f"{d:%Y%m%d}" for d in dates]


def test_dicom_on_disk_is_the_phantom(cohort: Path) -> None:
    case = phantom_case(SEED, 0, 1)
    folder = cohort / "site-a" / "dicom" / "SYN-a-0001" / f"{case.post.study_date:%Y%m%d}"
    read = [pydicom.dcmread(path) for path in sorted(folder.glob("IM*.dcm"))]
    hu = np.stack([d.pixel_array.astype(int) + int(d.RescaleIntercept) for d in read])
    np.testing.assert_array_equal(hu, case.post.hu)
    assert (folder / "RS.dcm").is_file()


@pytest.mark.parametrize("point", ["pre", "post"])
def test_nifti_is_the_roi_on_the_ct_grid(cohort: Path, point: str) -> None:
    case = phantom_case(SEED, 1, 1)
    scan = {"pre": case.pre, "post": case.post}[point]
    image = SimpleITK.ReadImage(str(cohort / "site-b" / "masks" / "SYN-b-0001" / f"{point}.nii.gz"))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), scan.roi)
    np.testing.assert_allclose(image.GetOrigin(), scan.grid.origin_xyz_mm, atol=1e-4)
    np.testing.assert_allclose(image.GetSpacing(), scan.grid.spacing_zyx_mm[::-1], atol=1e-6)
    np.testing.assert_allclose(image.GetDirection(), scan.direction, atol=1e-7)


def test_site_files_are_valid_and_relaxed_for_synthetic_data(cohort: Path) -> None:
    for letter in "ab":
        path = cohort / f"site-{letter}" / "site.yaml"
        site = read_site(path)
        assert site.settings.site == f"site-{letter}"
        assert site.settings.policy.min_class_count == 2
        assert site.settings.policy.score_histogram == "plain"
        assert site.settings.policy.small_newton == "plain"
        assert "real hospital keeps the defaults" in path.read_text(encoding="utf-8")
        assert site.settings.images is not None
        assert (site.settings.images.masks is not None) == (letter == "b")
        assert site.path(site.settings.clinical.path).is_file()


def test_clinical_table_is_the_record(cohort: Path, study: Study) -> None:
    table = rows(cohort / "site-a" / "clinical.csv")
    assert list(table[0]) == ["patient_id", *study.variables]
    for index, row in enumerate(table):
        record = draw_outcome(SEED, 0, index).clinical
        assert row["patient_id"] == f"SYN-a-{index:04d}"
        assert row["surgery_date"] == record["surgery_date"].isoformat()
        assert float(row["age"]) == record["age"]
        assert row["cps"] == ("" if record["cps"] is None else f"{record['cps']:g}")


def test_second_site_uses_its_own_columns_and_codes(cohort: Path) -> None:
    table = rows(cohort / "site-b" / "clinical.csv")
    clinical = read_site(cohort / "site-b" / "site.yaml").settings.clinical
    assert clinical.names["sex"] == "Sex"
    assert clinical.date_format == "%d.%m.%Y"
    for index, row in enumerate(table):
        record = draw_outcome(SEED, 1, index).clinical
        assert clinical.values["sex"][row["Sex"]] == record["sex"]
        column = clinical.names["other_malignancy"]
        assert clinical.values["other_malignancy"][row[column]] == record["other_malignancy"]
        assert row["surgery_date"] == record["surgery_date"].strftime("%d.%m.%Y")
        assert (row["albumin"] == "NA") == (record["albumin"] is None)


def test_truth_lies_outside_the_sites(cohort: Path) -> None:
    truth = rows(cohort / "truth.csv")
    assert len(truth) == SITES * PATIENTS
    for row in truth:
        site, index = "ab".index(row["site"][-1]), int(row["patient_id"][-4:])
        outcome = draw_outcome(SEED, site, index)
        assert int(row["label"]) == outcome.label
        assert float(row["probability"]) == pytest.approx(outcome.probability, rel=1e-8)
        assert [float(row[name]) for name in LATENTS] == pytest.approx(list(outcome.latents.values()), rel=1e-8)
    for letter in "ab":
        text = (cohort / f"site-{letter}" / "clinical.csv").read_text(encoding="utf-8")
        assert "probability" not in text
        assert "shrinkage" not in text


def test_about(cohort: Path, study: Study) -> None:
    about = json.loads((cohort / "cohort.json").read_text(encoding="utf-8"))
    assert about["seed"] == SEED
    assert about["synthetic"] is True
    assert about["study_sha256"] == study.sha256 == read_study(cohort / "study.yaml").sha256
    assert about["sites"] == dict(zip(("site-a", "site-b"), site_sizes(SITES, PATIENTS), strict=True))


def test_salts_are_256_bits_and_differ(cohort: Path) -> None:
    salts = [(cohort / f"site-{s}" / "work" / "salt").read_text(encoding="ascii").strip() for s in "ab"]
    assert [len(bytes.fromhex(salt)) for salt in salts] == [32, 32]
    assert salts[0] != salts[1]


def test_same_seed_same_bytes_with_any_number_of_workers(cohort: Path, study: Study, tmp_path: Path) -> None:
    steps: list[int] = []
    write_cohort(tmp_path / "b", site_sizes(SITES, PATIENTS), SEED, study, workers=2, progress=lambda: steps.append(1))
    assert len(steps) == SITES * PATIENTS
    assert digest(tmp_path / "b") == digest(cohort)


def test_another_seed_gives_another_cohort(study: Study, tmp_path: Path, cohort: Path) -> None:
    write_cohort(tmp_path / "c", [4], SEED + 1, study, workers=1)
    name = "site-a/clinical.csv"
    assert digest(tmp_path / "c")[name] != digest(cohort)[name]


def test_folder_with_files_is_refused_and_left_alone(study: Study, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep", encoding="utf-8")
    with pytest.raises(Refusal, match="not an empty folder"):
        write_cohort(tmp_path, [4], 0, study, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("sizes", [[], [10] * 27, [5, 0], [5, 8001]])
def test_sizes_out_of_range_are_refused(study: Study, tmp_path: Path, sizes: list[int]) -> None:
    with pytest.raises(Refusal, match="1 to 26 sites"):
        write_cohort(tmp_path / "x", sizes, 0, study)
    assert not (tmp_path / "x").exists()


def test_negative_seed_is_refused(study: Study, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="seed"):
        write_cohort(tmp_path / "x", [4, 4], -1, study)


def test_study_of_other_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="the phantom has no data"):
        write_cohort(tmp_path / "x", [4], 0, read_study("heart-disease"))


@pytest.mark.parametrize(
    ("sites", "patients", "expected"),
    [(1, 40, [40]), (4, 40, [61, 47, 33, 19]), (2, 4, [6, 2]), (3, 10, [15, 10, 5])],
)
def test_site_sizes(sites: int, patients: int, expected: list[int]) -> None:
    assert site_sizes(sites, patients) == expected


@pytest.mark.parametrize("sites", range(1, 27))
def test_site_sizes_add_up(sites: int) -> None:
    sizes = site_sizes(sites, 17)
    assert sum(sizes) == sites * 17
    assert sizes == sorted(sizes, reverse=True)


def test_held_out_patients_mix_sites_as_the_cohort_does() -> None:
    pairs = held_out(site_sizes(4, 40), 400)
    assert len(set(pairs)) == 400
    counts = [sum(site == 100 + k for site, _ in pairs) for k in range(4)]
    np.testing.assert_allclose(np.array(counts) / 400, np.array(site_sizes(4, 40)) / 160, atol=0.005)


def test_first_five_sites_use_both_mask_formats_and_both_orders() -> None:
    places = [scanner(site) for site in range(5)]
    assert {place.masks for place in places} == {"rtstruct", "nifti"}
    assert {place.descending for place in places} == {True, False}
    assert len({(place.pixel_mm, place.slice_mm) for place in places}) == 5
