"""HU, exactly, from every encoding."""

import hashlib
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from enhanced_ct import Groups, write_enhanced_ct
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openjpeg.utils import encode_array
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from fedescc.client.imaging.headers.header import read_header
from fedescc.client.imaging.headers.index import index_folder
from fedescc.client.imaging.volumes.geometry import Geometry
from fedescc.client.imaging.volumes.series import group_series
from fedescc.client.imaging.volumes.volume import (
    DicomVolume,
    MemoryVolume,
    hu_sha256,
    hu_summary,
    open_volume,
    read_slice,
)
from fedescc.common.errors import Refusal

Factory = Callable[..., list[Path]]
PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
STORED = np.random.default_rng(0).integers(0, 4096, (40, 6, 7)).astype(np.uint16)
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def volume_in(folder: Path) -> DicomVolume:
    (series,) = group_series(index_folder(folder).rows)
    return open_volume(series)


def test_hu_hash_is_that_of_the_array(tmp_path: Path, ct_series: Factory) -> None:
    ct_series(tmp_path, STORED)
    hu = STORED.astype("<i2") - 1024
    volume = volume_in(tmp_path)
    assert hu_sha256(volume) == hashlib.sha256(hu.tobytes()).hexdigest()
    assert hu_summary(volume)["min"] == hu.min()
    assert hu_summary(volume)["max"] == hu.max()
    assert hu_summary(volume)["mean"] == pytest.approx(hu.mean(), rel=1e-12)


def test_only_the_slices_asked_for_are_read(tmp_path: Path, ct_series: Factory) -> None:
    paths = ct_series(tmp_path, STORED[:6])
    volume = volume_in(tmp_path)
    for path in (*paths[:2], *paths[4:]):
        path.unlink()
    np.testing.assert_array_equal(volume.slices(2, 4), STORED[2:4].astype(np.int16) - 1024)
    assert volume.slices(2, 4).dtype == np.int16


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_native_syntaxes_and_signs(tmp_path: Path, ct_series: Factory, dtype: type, syntax: str) -> None:
    stored = (STORED[:3].astype(int) - (2048 if dtype == np.int16 else 0)).astype(dtype)
    ct_series(tmp_path, stored, syntax=syntax)
    np.testing.assert_array_equal(volume_in(tmp_path).slices(0, 3), stored.astype(int) - 1024)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_compressed_syntaxes(
    tmp_path: Path, ct_slice: Callable[..., pydicom.Dataset], dtype: type, syntax: str
) -> None:
    rng = np.random.default_rng(1)
    stored = (rng.integers(0, 4096, (32, 40)) - (2048 if dtype == np.int16 else 0)).astype(dtype)
    dataset = ct_slice(stored)
    if syntax == JPEG2000Lossless:
        dataset.PixelData = encapsulate([bytes(encode_array(stored, photometric_interpretation=2))])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = syntax
    else:
        dataset.compress(syntax)
    dataset.save_as(tmp_path / "slice", enforce_file_format=True)
    np.testing.assert_array_equal(read_slice(read_header(str(tmp_path), "slice")), stored.astype(int) - 1024)


def test_rescale_is_taken_slice_by_slice_and_rounded_to_nearest(tmp_path: Path, ct_series: Factory) -> None:
    slopes = [1, 0.7, 1.25]
    stored = STORED[:3]
    ct_series(tmp_path, stored, per_slice=lambda k: {"RescaleSlope": slopes[k], "RescaleIntercept": -100.5 * k})
    volume = volume_in(tmp_path)
    exact = stored * np.asarray(slopes)[:, None, None] + (-100.5 * np.arange(3))[:, None, None]
    assert np.abs(volume.slices(0, 3) - exact).max() <= 0.5
    np.testing.assert_array_equal(volume.slices(0, 3), np.rint(exact))


def test_padding_keeps_its_stored_value(tmp_path: Path, ct_series: Factory) -> None:
    stored = np.full((2, 4, 5), -2000, dtype=np.int16)
    ct_series(tmp_path, stored, PixelPaddingValue=None)
    assert (volume_in(tmp_path).slices(0, 2) == -3024).all()


def test_the_sign_of_the_stated_bits_is_extended(tmp_path: Path, ct_series: Factory) -> None:
    """0xFFF in 12 bits is 4095 or -1; with bits above them set, neither."""
    stored = np.array([[[0x0001, 0x0FFF, 0x0001]]] * 2, dtype=np.uint16)
    bits = {"BitsStored": 12, "HighBit": 11, "RescaleIntercept": 0}
    ct_series(tmp_path / "unsigned", stored, **bits)
    ct_series(tmp_path / "signed", stored.view(np.int16), **bits)
    ct_series(tmp_path / "beyond", stored | 0x8000, **bits)
    np.testing.assert_array_equal(volume_in(tmp_path / "unsigned").slices(0, 1), [[[1, 0xFFF, 1]]])
    np.testing.assert_array_equal(volume_in(tmp_path / "signed").slices(0, 1), [[[1, -1, 1]]])
    with pytest.raises(Refusal, match="bits_contradicted"):
        volume_in(tmp_path / "beyond").slices(0, 1)


@pytest.mark.parametrize("tags", [{"RescaleIntercept": 1}, {"RescaleSlope": 1.0001}, {"RescaleIntercept": -65536}])
def test_hu_beyond_int16_are_refused(tmp_path: Path, ct_series: Factory, tags: dict[str, Any]) -> None:
    ct_series(tmp_path, np.full((2, 4, 5), 32767, dtype=np.uint16), **({"RescaleIntercept": 0} | tags))
    with pytest.raises(Refusal) as caught:
        volume_in(tmp_path).slices(0, 1)
    assert caught.value.code == "hu_out_of_range"


@pytest.mark.parametrize(("intercept", "hu"), [(0, 32767), (-65535, -32768)])
def test_extremes_of_int16_are_kept(tmp_path: Path, ct_series: Factory, intercept: int, hu: int) -> None:
    ct_series(tmp_path, np.full((2, 4, 5), 32767, dtype=np.uint16), RescaleIntercept=intercept)
    assert (volume_in(tmp_path).slices(0, 1) == hu).all()


def test_file_that_changed_after_indexing_is_refused(tmp_path: Path, ct_series: Factory) -> None:
    paths = ct_series(tmp_path, STORED[:3])
    volume = volume_in(tmp_path)
    paths[1].write_bytes(paths[1].read_bytes()[:-8])
    with pytest.raises(Refusal, match="pixel_decode_failed"):
        volume.slices(0, 3)


def test_refused_series_has_no_volume(tmp_path: Path, ct_series: Factory) -> None:
    ct_series(tmp_path, STORED[:1])
    with pytest.raises(Refusal, match="too_few_slices"):
        volume_in(tmp_path)


def test_missing_rescale_is_refused_by_the_slice_too(tmp_path: Path, ct_slice: Callable[..., pydicom.Dataset]) -> None:
    ct_slice(STORED[0], RescaleSlope=None).save_as(tmp_path / "slice", enforce_file_format=True)
    with pytest.raises(Refusal, match="missing_rescale"):
        read_slice(read_header(str(tmp_path), "slice"))


def test_memory_volume_is_its_array() -> None:
    hu = STORED.astype(np.int16)
    volume = MemoryVolume(hu, Geometry(hu.shape, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), IDENTITY))
    np.testing.assert_array_equal(volume.slices(3, 9), hu[3:9])
    assert hu_sha256(volume) == hashlib.sha256(hu.tobytes()).hexdigest()


def test_memory_volume_refuses_what_is_not_hu_on_its_grid() -> None:
    geometry = Geometry((2, 3, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), IDENTITY)
    with pytest.raises(Refusal, match="shape_mismatch"):
        MemoryVolume(np.zeros((2, 4, 3), np.int16), geometry)
    with pytest.raises(Refusal, match="not_int16"):
        MemoryVolume(np.zeros((2, 3, 4), np.float32), geometry)


@given(names=st.permutations(["a", "b.dcm", "C", "0001", "z z"]), numbers=st.permutations(range(5)))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_hash_does_not_depend_on_file_names_or_slice_order(
    tmp_path_factory: pytest.TempPathFactory, ct_series: Factory, names: list[str], numbers: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("permuted")
    ct_series(folder, STORED[:5], names=names, per_slice=lambda k: {"InstanceNumber": numbers[k]})
    assert hu_sha256(volume_in(folder)) == hashlib.sha256((STORED[:5].astype("<i2") - 1024).tobytes()).hexdigest()


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_every_ct_file_of_pydicom_reads_as_pydicom_reads_it() -> None:
    compared = 0
    for row in index_folder(PYDICOM_FILES).rows:
        if row.modality != "CT" or not row.has_pixels or row.slope is None or row.intercept is None:
            continue
        hu = read_slice(row)
        expected = np.rint(pydicom.dcmread(row.path).pixel_array * row.slope + row.intercept)
        np.testing.assert_array_equal(hu, expected, err_msg=row.file)
        compared += 1
    assert compared >= 10


def test_multi_frame_object_is_the_volume_of_its_frames(tmp_path: Path) -> None:
    """Frames stored from top to bottom, each with its own rescale; only those asked for are read."""
    stored = STORED[:6]
    slopes = 1 + np.arange(6) % 2

    def groups(k: int) -> Groups:
        return {
            "PlanePositionSequence": {"ImagePositionPatient": [0, 0, -2.0 * k]},
            "PixelValueTransformationSequence": {"RescaleSlope": int(slopes[k]), "RescaleIntercept": -10 * k},
        }

    write_enhanced_ct(tmp_path / "e", stored, per_frame=groups)
    (series,) = group_series(index_folder(tmp_path).rows)
    assert (series.verdict, series.warnings, series.files) == ("accepted", ("rescale_varies",), 1)
    expected = stored.astype(int) * slopes[:, None, None] - 10 * np.arange(6)[:, None, None]
    volume = open_volume(series)
    np.testing.assert_array_equal(volume.slices(0, 6), expected[::-1])
    np.testing.assert_array_equal(volume.slices(2, 4), expected[::-1][2:4])


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path: Path) -> None:
    """One slice of a file of 8 MB takes about a slice."""
    stored = np.zeros((64, 256, 256), np.uint16)
    write_enhanced_ct(tmp_path / "e", stored)
    (series,) = group_series(index_folder(tmp_path).rows)
    volume = open_volume(series)
    volume.slices(0, 1)
    tracemalloc.start()
    volume.slices(40, 41)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * stored[0].nbytes
