"""One patient's way from candidates to tensors, on synthetic thoraxes: what excludes, what is noted, what is kept."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from fedescc.client.imaging.headers.index import index_folder
from fedescc.client.imaging.masks.contours import Mask
from fedescc.client.imaging.quality import findings as quality
from fedescc.client.imaging.volumes.series import Series, group_series
from fedescc.client.intake.disk.parts import Part
from fedescc.client.intake.patient import Task, died, prepare_patient
from fedescc.client.intake.rois.mask_folder import MaskFolder, read_mask_folder
from fedescc.client.intake.table.overrides import Override
from fedescc.common.acquisition import VENDORS
from fedescc.common.imaging import Imaging, TimePoint
from fedescc.common.study import read_study

ESCC = read_study("escc-pcr")
PATIENT = "SYN-a-0000"
Edit = Callable[[Path], None]


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One synthetic patient: structure sets of tumour and tumour bed beside the two CTs."""
    from fedescc.simulations.patients.dicom_writer import write_ct, write_rtstruct
    from fedescc.simulations.patients.phantom import phantom_case

    out, case = tmp_path_factory.mktemp("hospital"), phantom_case(3, 0, 0)
    for number, day in enumerate(("before", "later")):
        write_ct(out / PATIENT / day, case, number, 3)
        write_rtstruct(out / PATIENT / day, case, number, 3)
    return out


def imaging(**changes: Any) -> Imaging:
    data = yaml.safe_load(ESCC.to_yaml())["imaging"]
    for key, value in changes.items():
        part, _, name = key.partition("__")
        data[part] = {**data[part], name: value} if name else value
    return Imaging.model_validate(data)


def task(folder: Path, rules: Imaging | None = None, *overrides: Override, days: int | None = 70) -> Task:
    index = index_folder(folder)
    series = sorted(group_series(index.rows, index.rejected), key=lambda one: one.rows[0].study_date)
    rules = rules or imaging()
    masks = read_mask_folder(index.masks, rules.roi, index.rows).of(PATIENT, series)
    days_of = sorted({one.rows[0].study_date for one in series})
    points: tuple[TimePoint, TimePoint] = ("pre", "post")
    candidates: dict[TimePoint, tuple[Series, ...]] = {
        point: tuple(one for one in series if one.rows[0].study_date == day)
        for point, day in zip(points, days_of, strict=True)
    }
    return Task(PATIENT, candidates, masks, rules, overrides, days)


@pytest.fixture
def copy(hospital: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(hospital, tmp_path / "dicom"))


def scans(folder: Path) -> list[Path]:
    return sorted((folder / PATIENT).iterdir())


def without_bed(folder: Path) -> Path:
    (scans(folder)[1] / "RS.dcm").unlink()
    return folder


def edit_pixels(folder: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Replace the stored values (y, x) of every image in one scan's folder."""
    from pydicom import dcmread

    for path in folder.glob("IM*.dcm"):
        image = dcmread(path)
        pixels = image.pixel_array
        image.PixelData = change(pixels).clip(0, 65535 >> int(image.PixelRepresentation)).astype(pixels.dtype).tobytes()
        image.save_as(path)


def test_a_sound_patient_has_tensors_and_nothing_to_note(hospital: Path) -> None:
    part, tensors = prepare_patient(task(hospital))
    assert tensors is not None
    assert (part.usable, part.quality, part.details, part.notes, part.cut) == (True, (), (), (), False)
    assert (part.chosen, part.lost, part.propagated) == ({"pre": 0, "post": 0}, (), False)
    assert (tensors.images.shape, tensors.images.dtype) == ((2, 48, 48, 48), np.float16)
    assert (tensors.rois.shape, tensors.rois.dtype) == ((2, 48, 48, 48), np.uint8)
    assert part.measures["pre.soft_hu"] == pytest.approx(45, abs=25)
    assert "post.similarity" not in part.measures


def test_how_the_scans_were_acquired_is_kept_as_codes(hospital: Path) -> None:
    codes = prepare_patient(task(hospital))[0].codes
    assert {name.split(".")[1] for name in codes} == {"vendor", "kernel", "phase"}
    for point in ("pre", "post"):
        assert codes[f"{point}.vendor"] in VENDORS
        assert codes[f"{point}.kernel"] == "smooth"
        assert codes[f"{point}.phase"] == "enhanced"


def test_the_same_patient_gives_the_same_bits(hospital: Path) -> None:
    (one, first), (other, second) = prepare_patient(task(hospital)), prepare_patient(task(hospital))
    assert first is not None
    assert second is not None
    assert one == other
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))


def test_without_a_drawn_bed_the_baseline_roi_is_carried_over(hospital: Path, copy: Path) -> None:
    drawn_part, drawn = prepare_patient(task(hospital))
    part, tensors = prepare_patient(task(without_bed(copy)))
    assert tensors is not None
    assert drawn is not None
    assert (part.propagated, part.notes) == (True, ())
    assert part.measures["post.similarity"] > 0.7
    np.testing.assert_array_equal(tensors.images[0], drawn.images[0])
    np.testing.assert_array_equal(tensors.rois[0], drawn.rois[0])
    # Rigid: the bed is as large as the tumour was (voxels of 1.5 mm; the grid is centred on either).
    assert int(tensors.rois[1].sum()) == pytest.approx(int(tensors.rois[0].sum()), rel=0.1)
    centre = [np.mean(np.nonzero(roi), axis=1) for roi in (tensors.rois[1], drawn.rois[1])]
    assert np.abs(centre[0] - centre[1]).max() < 2
    assert drawn_part.propagated is False


def test_drawn_rule_needs_a_drawn_bed(copy: Path) -> None:
    part, tensors = prepare_patient(task(without_bed(copy), imaging(roi__post_rule="drawn")))
    assert (part.roi, part.details, tensors) == (False, ("post:no_mask",), None)


def test_a_registration_below_the_studys_bound_excludes_unless_accepted(copy: Path) -> None:
    strict = imaging(roi__min_similarity=1.0)
    without_bed(copy)
    part, tensors = prepare_patient(task(copy, strict))
    assert (part.details, part.roi, tensors) == (("post:low_similarity",), False, None)
    override = Override("post", "accept", "low_similarity")
    part, tensors = prepare_patient(task(copy, strict, override))
    assert tensors is not None
    assert part.notes == ("post:override:accept:low_similarity", "post:low_similarity")
    part, _ = prepare_patient(task(copy, strict, Override("pre", "accept", "low_similarity")))
    assert part.details == ("post:low_similarity",), "accepted for another CT"


def test_a_missing_baseline_roi_is_told_once_for_each_ct_that_needs_it(copy: Path) -> None:
    (scans(copy)[0] / "RS.dcm").unlink()
    part, tensors = prepare_patient(task(copy))
    assert (part.details, part.quality, tensors) == (("pre:no_mask",), (), None)
    part, _ = prepare_patient(task(without_bed(copy)))
    assert part.details == ("pre:no_mask", "post:needs_baseline_roi")


def test_a_damaged_drawn_bed_is_not_replaced_in_silence(copy: Path) -> None:
    path = scans(copy)[1] / "RS.dcm"
    from pydicom import dcmread

    structures = dcmread(path)
    contour = structures.ROIContourSequence[0].ContourSequence[0]
    contour.ContourData = list(contour.ContourData)[:-1]
    structures.save_as(path)
    part, _ = prepare_patient(task(copy))
    assert part.details == ("post:malformed_contour",)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda pixels: pixels.astype(int) + 1000, "hu_implausible"),
        (lambda pixels: np.minimum(pixels.astype(int), 1024 + 50), "not_enhanced"),
    ],
)
def test_findings_exclude_where_the_study_says_so(
    copy: Path, change: Callable[[np.ndarray], np.ndarray], code: str
) -> None:
    edit_pixels(scans(copy)[1], change)
    part, tensors = prepare_patient(task(copy))
    assert (part.quality, tensors) == ((f"post:{code}",), None)
    part, tensors = prepare_patient(task(copy, None, Override("post", "accept", code)))
    assert tensors is not None
    assert {f"post:override:accept:{code}", f"post:{code}"} <= set(part.notes)
    assert not any("override" in note for note in prepare_patient(task(copy, imaging(quality__refuse=[])))[0].notes)
    lenient = imaging(quality__refuse=[])
    part, tensors = prepare_patient(task(copy, lenient))
    assert tensors is not None
    assert f"post:{code}" in part.notes


def test_tags_count_where_the_image_does_not_tell(hospital: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CT described as plain, in which vessels cannot be seen, is plain; the image wins wherever it tells."""
    known = quality.enhancement_of
    made = task(hospital)
    described = {
        point: tuple(
            dataclasses.replace(
                one, rows=tuple(row._replace(series_description="CHEST W/O CONTRAST") for row in one.rows)
            )
            for one in series
        )
        for point, series in made.candidates.items()
    }
    plain = dataclasses.replace(made, candidates=described)
    part, tensors = prepare_patient(plain)
    assert tensors is not None
    assert part.notes == ("pre:contrast_tag_disagrees", "post:contrast_tag_disagrees")
    monkeypatch.setattr(quality, "enhancement_of", lambda sample: known(sample)._replace(verdict="unknown"))
    part, tensors = prepare_patient(plain)
    assert (part.quality, tensors) == (("pre:not_enhanced", "post:not_enhanced"), None)
    part, tensors = prepare_patient(made)
    assert tensors is not None
    assert part.notes == ("pre:enhancement_unknown", "post:enhancement_unknown")


def test_an_unusual_interval_is_noted(hospital: Path) -> None:
    for days, noted in ((13, True), (14, False), (365, False), (366, True), (None, False)):
        part, tensors = prepare_patient(task(hospital, days=days))
        assert tensors is not None
        assert ("post:interval_unusual" in part.notes) == noted


def test_a_truncated_slice_found_only_on_reading_excludes(copy: Path) -> None:
    made = task(copy)
    path = sorted(scans(copy)[0].glob("IM*.dcm"))[20]
    path.write_bytes(path.read_bytes()[:-4000])
    part, tensors = prepare_patient(made)
    assert (part.quality, tensors) == (("pre:pixel_decode_failed",), None)


def test_an_error_of_our_own_is_a_code_and_no_more(hospital: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError(PATIENT)

    monkeypatch.setattr("fedescc.client.intake.patient.check_scan", fail)
    part, tensors = prepare_patient(task(hospital))
    assert (part.quality, tensors) == (("pre:unexpected_ZeroDivisionError", "post:unexpected_ZeroDivisionError"), None)
    monkeypatch.setattr("fedescc.client.intake.patient.choose", fail)
    part, tensors = prepare_patient(task(hospital))
    assert (part, tensors) == (Part(quality=("unexpected_ZeroDivisionError",)), None)


def test_a_reader_that_died_is_a_code() -> None:
    assert died() == (Part(quality=("reader_died",)), None)


def test_nodes_join_the_roi_of_both_cts_without_moving_the_grid(
    hospital: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node 12 mm beside the tumour, drawn on the first CT, appears in both; the images stay as they were."""
    rules = imaging(roi__nodal_name_pattern="(?i)node.*")
    plain = prepare_patient(task(hospital, rules))[1]

    def read_nodes(self: MaskFolder, patient_id: str, series: Series) -> Mask:
        tumour = self.read(patient_id, "pre", series).voxels
        node = np.zeros_like(tumour)
        z, y, x = (round(float(v)) for v in np.mean(np.nonzero(tumour), axis=1))
        node[z - 1 : z + 2, y - 2 : y + 3, x + 10 : x + 14] = True
        return node & ~tumour

    monkeypatch.setattr(MaskFolder, "read_nodes", read_nodes)
    part, tensors = prepare_patient(task(hospital, rules))
    assert plain is not None
    assert tensors is not None
    assert part.propagated is False, "the bed itself was drawn"
    np.testing.assert_array_equal(tensors.images, plain.images)
    for with_nodes, alone in zip(tensors.rois, plain.rois, strict=True):
        assert (with_nodes >= alone).all()
        assert with_nodes.sum() > alone.sum()
