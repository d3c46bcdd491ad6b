"""Real CTs whose truth was read from the pictures: contrast, coverage, scale and noise."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from fedescc.client.imaging.headers.index import index_folder
from fedescc.client.imaging.quality.contrast import by_tags, judge_contrast
from fedescc.client.imaging.quality.enhancement import measure_enhancement
from fedescc.client.imaging.quality.findings import check_scan
from fedescc.client.imaging.quality.hu_scale import measure_scale
from fedescc.client.imaging.quality.kernels import kernel_class
from fedescc.client.imaging.quality.tissue import sample_scan
from fedescc.client.imaging.volumes.series import Series, group_series
from fedescc.client.imaging.volumes.volume import MemoryVolume, open_volume
from fedescc.common.imaging import Quality

pytestmark = pytest.mark.real_data

ABDOMEN = "ts_contrast_body_j2k_overlap"  # upper abdomen, portal venous phase: aorta 150 HU, an arm cut by the field
LUNG = "ibsi1_lung_ct/image"  # right half of a chest with a tumour, cropped; heart and aorta 140 to 160 HU
LEGS = "sts_019_ct_rtstruct/CT/image"  # calves and feet without contrast medium, cropped
BASES = "ge_ct_seg/ct"  # three slices through liver and lung bases, aorta 45 HU; the back is cut by the field


def series_of(real_data: Path, name: str) -> Series:
    (series,) = group_series(index_folder(real_data / name).rows)
    return series


def loaded(real_data: Path, name: str) -> MemoryVolume:
    files = open_volume(series_of(real_data, name))
    return MemoryVolume(files.slices(0, files.geometry.shape_zyx[0]), files.geometry)


@pytest.mark.parametrize(("name", "low", "high"), [(ABDOMEN, 140, 165), (LUNG, 125, 165)])
def test_contrast_medium_is_seen(real_data: Path, name: str, low: float, high: float) -> None:
    found = measure_enhancement(open_volume(series_of(real_data, name)))
    assert found.verdict == "enhanced"
    assert found.blood_hu is not None
    assert low < found.blood_hu < high


@pytest.mark.parametrize("name", [LEGS, BASES])
def test_where_there_are_no_vessels_nothing_is_claimed(real_data: Path, name: str) -> None:
    assert measure_enhancement(open_volume(series_of(real_data, name))) == ("unknown", None)


def test_aorta_measured_by_hand_agrees(real_data: Path) -> None:
    """The abdominal aorta lies about 256 mm from the left and 289 mm from the top of the picture."""
    volume = loaded(real_data, ABDOMEN)
    row, column = (round(mm / 0.9765625) for mm in (292, 258))
    by_hand = np.median(volume.hu[5:15, row - 3 : row + 4, column - 3 : column + 4])
    assert measure_enhancement(volume).blood_hu == pytest.approx(by_hand, abs=12)


def test_tags_agree_or_are_silent(real_data: Path) -> None:
    for name, stated in ((ABDOMEN, "enhanced"), (LUNG, "unknown"), (LEGS, "unknown"), (BASES, "unknown")):
        series = series_of(real_data, name)
        assert by_tags(series.rows) == stated
        assert judge_contrast(measure_enhancement(open_volume(series)), series.rows).warnings == ()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (ABDOMEN, {"body_truncated"}),
        (LUNG, {"body_truncated"}),
        (LEGS, {"body_truncated", "enhancement_unknown"}),
        (BASES, {"body_truncated", "enhancement_unknown"}),
    ],
)
def test_findings(real_data: Path, name: str, expected: set[str]) -> None:
    series = series_of(real_data, name)
    found = check_scan(open_volume(series), series.rows, None, Quality())
    assert set(found.codes) == expected


@pytest.mark.parametrize(("name", "noise"), [(ABDOMEN, (8, 16)), (LUNG, (15, 26)), (LEGS, (3, 9)), (BASES, (26, 40))])
def test_noise_is_that_of_a_region_drawn_in_soft_tissue(real_data: Path, name: str, noise: tuple[int, int]) -> None:
    found = check_scan(open_volume(series_of(real_data, name)), (), None, Quality())
    assert found.noise_hu is not None
    assert noise[0] < found.noise_hu < noise[1]


def test_noise_in_the_liver_by_hand(real_data: Path) -> None:
    volume = loaded(real_data, ABDOMEN)
    liver = volume.hu[5:15, 250:262, 160:172].astype(float)
    by_hand = liver.std(axis=(1, 2)).mean()
    found = check_scan(volume, (), None, Quality())
    assert found.noise_hu == pytest.approx(by_hand, rel=0.35)


@pytest.mark.parametrize("name", [ABDOMEN, LUNG, LEGS, BASES])
def test_scale_is_right_and_wrong_ones_are_found(real_data: Path, name: str) -> None:
    volume = loaded(real_data, name)
    assert measure_scale(sample_scan(volume)).faults == ()
    for slope, shift in ((1, 1024), (1, -1024), (2, 0), (0.5, 0), (-1, 0)):
        wrong = np.clip(volume.hu * float(slope) + shift, -32768, 32767).astype(np.int16)
        assert measure_scale(sample_scan(MemoryVolume(wrong, volume.geometry))).faults, (slope, shift)


@pytest.mark.parametrize("name", [ABDOMEN, LUNG])
def test_small_fields_of_view_cause_no_false_alarm(real_data: Path, name: str) -> None:
    volume = loaded(real_data, name)
    depth, height, width = volume.hu.shape
    rng, judged = np.random.default_rng(0), 0
    for _ in range(25):
        side = int(rng.integers(height // 3, height))
        y, x = rng.integers(0, height - side + 1), rng.integers(0, max(1, width - side + 1))
        z = rng.integers(0, depth // 2)
        part = np.ascontiguousarray(volume.hu[z : z + depth // 2, y : y + side, x : x + side])
        if (part > -300).mean() < 0.2:
            continue  # hardly any of the patient
        cut = MemoryVolume(part, replace(volume.geometry, shape_zyx=part.shape))
        found = check_scan(cut, (), None, Quality())
        assert not {"hu_implausible", "not_enhanced"} & set(found.codes), (z, y, x, side, found)
        judged += 1
    assert judged > 10


def test_kernels_of_real_headers(real_data: Path) -> None:
    classes = {
        row.kernel: kernel_class(row.kernel, row.manufacturer)
        for name in (ABDOMEN, LEGS, BASES)
        for row in series_of(real_data, name).rows
    }
    assert classes == {"Br38f\\3": "soft", "SOFT": "soft", "STANDARD": "soft"}


def test_tags_of_pydicoms_own_files() -> None:
    rows = index_folder(Path(pydicom.__file__).parent / "data" / "test_files").rows
    by_file = {row.path.name: by_tags([row]) for row in rows if row.modality == "CT"}
    assert by_file["693_J2KI.dcm"] == "plain"
    assert by_file["CT_small.dcm"] == "enhanced"
