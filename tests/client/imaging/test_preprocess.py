"""The model's input, recomputed without SimpleITK."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from fedescc.client.imaging.geometry import Geometry
from fedescc.client.imaging.index import index_folder
from fedescc.client.imaging.preprocess import GridSpec, grid_spec, model_grid, preprocess, roi_centre
from fedescc.client.imaging.series import group_series
from fedescc.client.imaging.volume import MemoryVolume, open_volume
from fedescc.common.errors import Refusal
from fedescc.common.study import Grid

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
TURNED = (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
FLIPPED = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
OBLIQUE = tuple(np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1]]).ravel())
WINDOW = (-160.0, 240.0)
RNG = np.random.default_rng(5)
HU = RNG.integers(-300, 400, (24, 40, 44)).astype(np.int16)
ROI = np.zeros(HU.shape, bool)
ROI[9:14, 15:25, 20:26] = True


def volume(spacing: tuple[float, float, float], direction: tuple[float, ...] = IDENTITY) -> MemoryVolume:
    return MemoryVolume(HU, Geometry(HU.shape, spacing, (-31.0, 12.0, 700.0), direction))


def recomputed(source: MemoryVolume, grid: Geometry, sigma: tuple[float, ...] = (0, 0, 0)) -> np.ndarray:
    """Smoothing of the whole volume, then trilinear interpolation at each grid point, then the window."""
    hu = gaussian_filter(source.hu.astype(np.float64), sigma, mode="nearest", truncate=4) if any(sigma) else source.hu
    z, y, x = np.meshgrid(*[np.arange(n) for n in grid.shape_zyx], indexing="ij")
    index = source.geometry.physical_to_index(grid.index_to_physical(np.stack([x, y, z], axis=-1)))[..., ::-1]
    last = np.asarray(source.hu.shape) - 1
    values = map_coordinates(hu.astype(np.float64), np.moveaxis(np.clip(index, 0, last), -1, 0), order=1)
    outside = ((index < -0.5) | (index > last + 0.5)).any(axis=-1)
    return np.clip((np.where(outside, -1024, values) - WINDOW[0]) / (WINDOW[1] - WINDOW[0]), 0, 1)


@pytest.mark.parametrize("direction", [IDENTITY, TURNED, FLIPPED, OBLIQUE])
def test_image_equals_trilinear_interpolation(direction: tuple[float, ...]) -> None:
    source = volume((2.0, 1.0, 0.9), direction)
    spec = GridSpec((12, 14, 16), (2.1, 1.0, 1.0), WINDOW)
    result = preprocess(source, ROI, spec)
    expected = recomputed(source, model_grid(spec, roi_centre(ROI, source.geometry)))
    assert result.image.dtype == np.float32
    assert result.image.shape == (12, 14, 16)
    np.testing.assert_allclose(result.image, expected, atol=1e-3)
    assert 0.2 < result.image.std() < 0.5


def test_prefilter_widens_the_point_spread_to_the_grids() -> None:
    source = volume((2.0, 0.7, 0.8))
    spec = GridSpec((10, 12, 14), (2.0, 1.4, 1.2), WINDOW)
    result = preprocess(source, ROI, spec)
    fwhm = 2 * np.sqrt(2 * np.log(2))
    sigma = (0.0, np.sqrt(1.4**2 - 0.7**2) / fwhm / 0.7, np.sqrt(1.2**2 - 0.8**2) / fwhm / 0.8)
    grid = model_grid(spec, roi_centre(ROI, source.geometry))
    np.testing.assert_allclose(result.image, recomputed(source, grid, sigma), atol=1e-3)
    assert np.abs(result.image - recomputed(source, grid)).max() > 0.1


def test_grid_up_to_a_fifth_coarser_is_not_smoothed() -> None:
    source = volume((2.0, 1.0, 1.0))
    for spacing, smoothed in ((1.19, False), (1.21, True)):
        spec = GridSpec((8, 8, 8), (2.0, spacing, spacing), WINDOW)
        plain = recomputed(source, model_grid(spec, roi_centre(ROI, source.geometry)))
        assert (np.abs(preprocess(source, ROI, spec).image - plain).max() > 2e-3) == smoothed


def test_prefilter_follows_a_turned_scan() -> None:
    source = volume((2.0, 0.5, 1.0), TURNED)
    spec = GridSpec((8, 8, 8), (2.0, 1.0, 1.0), WINDOW)
    fwhm = 2 * np.sqrt(2 * np.log(2))
    grid = model_grid(spec, roi_centre(ROI, source.geometry))
    expected = recomputed(source, grid, (0.0, np.sqrt(3) / fwhm, 0.0))
    np.testing.assert_allclose(preprocess(source, ROI, spec).image, expected, atol=1e-3)


def test_grid_at_the_rim_of_the_scan_is_filled_with_air() -> None:
    source = volume((2.0, 1.0, 1.0))
    spec = GridSpec((16, 16, 16), (2.0, 1.0, 1.0), (-1024.0, 1024.0))
    corner = np.zeros_like(ROI)
    corner[0, 0, 0] = True
    image = preprocess(source, corner, spec).image
    assert (image[:7] == 0).all()
    assert (image[:, :7] == 0).all()
    assert (image[:, :, :7] == 0).all()
    assert (image[8:, 8:, 8:] > 0.3).all()


def test_roi_is_nearest_neighbour_and_centred() -> None:
    source = volume((2.0, 1.0, 1.0))
    result = preprocess(source, ROI, GridSpec((10, 20, 20), (2.0, 1.0, 1.0), WINDOW))
    assert result.roi.dtype == np.uint8
    assert set(np.unique(result.roi)) == {0, 1}
    assert result.roi.sum() == ROI.sum()
    z, y, x = (np.flatnonzero(result.roi.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    assert ((y[0], y[-1]), (x[0], x[-1])) == ((5, 14), (7, 12))
    assert len(z) == 5


def test_centre_is_the_middle_of_the_bounding_box_to_a_hundredth_of_a_mm() -> None:
    geometry = Geometry(HU.shape, (2.0, 0.9766, 0.9766), (-31.0, 12.0, 700.0), IDENTITY)
    assert roi_centre(ROI, geometry) == (-9.03, 31.04, 722.0)
    stray = ROI.copy()
    stray[20, 15, 20] = True
    assert roi_centre(stray, geometry)[2] == 700 + 2 * (9 + 20) / 2


def test_files_and_memory_give_the_same_bits(tmp_path: Path, ct_series: Callable[..., list[Path]]) -> None:
    ct_series(tmp_path, (HU.astype(np.int32) + 1024).astype(np.uint16), origin=(-31.0, 12.0, 700.0), gap=1.5)
    (series,) = group_series(index_folder(tmp_path).rows)
    files = open_volume(series)
    memory = MemoryVolume(HU, files.geometry)
    for spacing in (0.8, 1.0, 3.0):
        spec = GridSpec((12, 12, 12), (spacing,) * 3, WINDOW)
        one, other = preprocess(files, ROI, spec), preprocess(memory, ROI, spec)
        assert one.image.tobytes() == other.image.tobytes()
        assert one.roi.tobytes() == other.roi.tobytes()


def test_only_slices_near_the_grid_are_read(tmp_path: Path, ct_series: Callable[..., list[Path]]) -> None:
    paths = ct_series(tmp_path, (HU.astype(np.int32) + 1024).astype(np.uint16), gap=1.0)
    (series,) = group_series(index_folder(tmp_path).rows)
    for path in (*paths[:5], *paths[18:]):
        path.unlink()
    spec = GridSpec((6, 12, 12), (1.0, 0.8, 0.7), WINDOW)
    assert preprocess(open_volume(series), ROI, spec).image.std() > 0.1


def test_result_does_not_depend_on_itks_thread_count() -> None:
    import SimpleITK as sitk

    spec = GridSpec((12, 14, 16), (1.7, 0.9, 1.1), WINDOW)
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    results = []
    try:
        for threads in (1, 2, 5):
            sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
            results.append(preprocess(volume((2.0, 0.7, 0.8)), ROI, spec).image.tobytes())
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
    assert len(set(results)) == 1


def test_what_cannot_be_centred_is_refused() -> None:
    source = volume((2.0, 1.0, 1.0))
    spec = GridSpec((4, 4, 4), (1.0, 1.0, 1.0), WINDOW)
    for mask, centre, code in (
        (ROI[1:], None, "shape_mismatch"),
        (np.zeros_like(ROI), None, "empty_roi"),
        (ROI, (900.0, 0.0, 0.0), "grid_outside_scan"),
    ):
        with pytest.raises(Refusal) as caught:
            preprocess(source, mask, spec, centre_xyz_mm=centre)
        assert caught.value.code == code


@pytest.mark.parametrize(("size", "share"), [((10, 20, 20), 1.0), ((3, 20, 20), 0.6), ((10, 8, 3), 0.8 * 0.5)])
def test_the_share_of_the_roi_in_the_grid(size: tuple[int, int, int], share: float) -> None:
    """The ROI is 5 x 10 x 6 voxels of the grid's own size."""
    source, spec = volume((2.0, 1.0, 1.0)), GridSpec(size, (2.0, 1.0, 1.0), WINDOW)
    result = preprocess(source, ROI, spec, min_share_in_grid=share)
    assert result.share_in_grid == pytest.approx(share)
    if share < 1:
        with pytest.raises(Refusal, match="roi_exceeds_grid"):
            preprocess(source, ROI, spec, min_share_in_grid=share + 0.01)


def test_an_roi_that_vanishes_on_a_coarse_grid_is_refused() -> None:
    speck = np.zeros_like(ROI)
    speck[9:11, 15:17, 20:22] = True
    with pytest.raises(Refusal, match="empty_roi"):
        preprocess(volume((1.0, 1.0, 1.0)), speck, GridSpec((8, 8, 8), (4.0, 4.0, 4.0), WINDOW))


def test_grid_of_a_study() -> None:
    grid = Grid(size_zyx=(64, 96, 80), spacing_zyx_mm=(2.0, 1.0, 1.5), window_hu=WINDOW)
    assert grid_spec(grid) == GridSpec((64, 96, 80), (2.0, 1.0, 1.5), WINDOW)


def test_model_grid_lies_around_its_centre_in_patient_axes() -> None:
    grid = model_grid(GridSpec((3, 4, 5), (2.0, 1.0, 1.5), WINDOW), (10.0, 20.0, 30.0))
    assert grid.origin_xyz_mm == (10 - 2 * 1.5, 20 - 1.5 * 1.0, 30 - 1 * 2.0)
    assert grid.direction == IDENTITY
    assert grid.shape_zyx == (3, 4, 5)
