"""The model's input, recomputed without SimpleITK."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, map_coordinates

from fedescc.client.imaging.headers.index import index_folder
from fedescc.client.imaging.preprocess import GridSpec, grid_spec, model_grid, preprocess, roi_centre
from fedescc.client.imaging.volumes.geometry import Geometry
from fedescc.client.imaging.volumes.series import group_series
from fedescc.client.imaging.volumes.volume import MemoryVolume, open_volume
from fedescc.common.errors import Refusal
from fedescc.common.imaging import Grid

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
TURNED = (0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
FLIPPED = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
OBLIQUE = tuple(np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1]]).ravel())
FWHM = 2 * np.sqrt(2 * np.log(2))  # of a Gaussian of SD 1
WINDOW = (-160.0, 240.0)
WIDE = (-1024.0, 1024.0)
RNG = np.random.default_rng(5)
HU = RNG.integers(-300, 400, (24, 40, 44)).astype(np.int16)
ROI = np.zeros(HU.shape, bool)
ROI[9:14, 15:25, 20:26] = True


def volume(spacing: tuple[float, float, float], direction: tuple[float, ...] = IDENTITY) -> MemoryVolume:
    return MemoryVolume(HU, Geometry(HU.shape, spacing, (-31.0, 12.0, 700.0), direction))


def recomputed(
    source: MemoryVolume,
    grid: Geometry,
    sigma: tuple[float, ...] = (0, 0, 0),
    window: tuple[float, float] = WINDOW,
) -> np.ndarray:
    """Smoothing of the whole volume, then trilinear interpolation at each grid point, then the window."""
    hu = gaussian_filter(source.hu.astype(np.float64), sigma, mode="nearest", truncate=4) if any(sigma) else source.hu
    z, y, x = np.meshgrid(*[np.arange(n) for n in grid.shape_zyx], indexing="ij")
    index = source.geometry.physical_to_index(grid.index_to_physical(np.stack([x, y, z], axis=-1)))[..., ::-1]
    last = np.asarray(source.hu.shape) - 1
    values = map_coordinates(hu.astype(np.float64), np.moveaxis(np.clip(index, 0, last), -1, 0), order=1)
    outside = ((index < -0.5) | (index > last + 0.5)).any(axis=-1)
    return np.clip((np.where(outside, -1024, values) - window[0]) / (window[1] - window[0]), 0, 1)


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


def test_the_grid_of_a_study_brings_its_margin() -> None:
    grid = Grid(size_zyx=(64, 96, 80), spacing_zyx_mm=(2.0, 1.0, 1.5), window_hu=WINDOW, margin_mm=7.5)
    assert grid_spec(grid).margin_mm == 7.5


@pytest.mark.parametrize(
    ("margin", "share"), [(0.0, 1.0), (5.0, 1.0), (5.6, 0.8), (7.0, 0.6 * 0.6), (7.6, 0.4 * 0.6 * 2 / 3), (10.5, 0.0)]
)
def test_what_lies_in_the_margin_counts_as_outside(margin: float, share: float) -> None:
    """The grid reaches 10 mm from its centre; of the ROI, voxel centres reach 4 (z), 4.5 (y) and 2.5 mm (x)."""
    source, spec = volume((2.0, 1.0, 1.0)), GridSpec((10, 20, 20), (2.0, 1.0, 1.0), WINDOW, margin)
    result = preprocess(source, ROI, spec)
    assert result.share_in_grid == pytest.approx(share)
    assert result.roi.sum() == ROI.sum()
    if share < 1:
        with pytest.raises(Refusal, match="roi_exceeds_grid"):
            preprocess(source, ROI, spec, min_share_in_grid=share + 0.01)


@settings(max_examples=40, deadline=None)
@given(
    direction=st.sampled_from([IDENTITY, TURNED, FLIPPED, OBLIQUE]),
    margin=st.floats(0, 12),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_share_is_that_of_voxel_centres_in_the_box_in_mm(
    direction: tuple[float, ...], margin: float, seed: int
) -> None:
    source = volume((2.0, 0.93, 0.87), direction)
    mask = np.random.default_rng(seed).random(HU.shape) < 0.01
    mask[12, 20, 22] = True  # a voxel near the centre, so that the ROI marks something of the grid
    spec = GridSpec((20, 28, 24), (2.03, 1.07, 1.11), WINDOW, margin)
    grid = model_grid(spec, roi_centre(mask, source.geometry))
    points = source.geometry.index_to_physical(np.argwhere(mask)[:, ::-1])
    spacing, size = np.asarray(spec.spacing_zyx_mm[::-1]), np.asarray(spec.size_zyx[::-1])
    lower = np.asarray(grid.origin_xyz_mm) - spacing / 2 + margin
    upper = np.asarray(grid.origin_xyz_mm) + (size - 0.5) * spacing - margin
    # What lies on the border belongs to the grid at its lower end, whatever rounding errors say.
    expected = ((points > lower - 1e-7) & (points < upper - 1e-7)).all(axis=1).mean()
    assert preprocess(source, mask, spec).share_in_grid == pytest.approx(expected)


def test_more_regions_join_the_roi_without_moving_the_grid() -> None:
    source, spec = volume((2.0, 1.0, 1.0)), GridSpec((14, 20, 20), (2.0, 1.0, 1.0), WINDOW)
    nodes = np.zeros_like(ROI)
    nodes[7:9, 12:14, 19:22] = nodes[9:11, 24:26, 22:24] = True  # the second reaches from the tumour outwards
    nodes[0:2, 0:3, 0:3] = True  # beyond the grid
    alone, both = preprocess(source, ROI, spec), preprocess(source, ROI, spec, more=nodes, min_share_in_grid=1.0)
    assert both.image.tobytes() == alone.image.tobytes()
    assert both.share_in_grid == alone.share_in_grid == 1
    assert both.roi.sum() == (ROI | nodes)[2:].sum() > alone.roi.sum() == ROI.sum()
    assert both.roi.dtype == np.uint8
    assert both.roi.max() == 1
    with pytest.raises(Refusal, match="shape_mismatch"):
        preprocess(source, ROI, spec, more=nodes[1:])


def test_more_regions_do_not_make_up_for_an_roi_outside_the_grid() -> None:
    source, spec = volume((2.0, 1.0, 1.0)), GridSpec((4, 8, 8), (2.0, 1.0, 1.0), WINDOW)
    nodes = np.zeros_like(ROI)
    nodes[2:5, 2:8, 2:8] = True
    centre = tuple(source.geometry.index_to_physical((5.0, 5.0, 3.5)))
    with pytest.raises(Refusal, match="empty_roi"):
        preprocess(source, ROI, spec, more=nodes, centre_xyz_mm=centre)


def circle(padding: int) -> MemoryVolume:
    """Tissue inside the reconstruction circle, padding outside."""
    y, x = np.ogrid[:40, :44]
    inside = (y - 19.5) ** 2 + (x - 21.5) ** 2 < 7**2
    hu = np.where(inside, HU, padding).astype(np.int16)
    return MemoryVolume(hu, Geometry(HU.shape, (2.0, 1.0, 1.0), (-31.0, 12.0, 700.0), IDENTITY))


@pytest.mark.parametrize("padding", [-1025, -2000, -3024, -32768])
@pytest.mark.parametrize("spacing", [0.83, 2.1])
def test_padding_does_not_bleed_into_tissue(padding: int, spacing: float) -> None:
    spec = GridSpec((6, 16, 16), (2.0, spacing, spacing), WIDE)
    clean, padded = (preprocess(circle(value), ROI, spec).image for value in (-1024, padding))
    assert padded.tobytes() == clean.tobytes()
    assert 0.1 < (clean > 0.3).mean() < 0.95


def test_padding_would_bleed_if_it_were_left() -> None:
    """The fault that the test above looks for exists: interpolation alone darkens the circle's border."""
    grid = model_grid(GridSpec((6, 16, 16), (2.0, 0.83, 0.83), WINDOW), roi_centre(ROI, circle(-2000).geometry))
    assert np.abs(recomputed(circle(-2000), grid) - recomputed(circle(-1024), grid)).max() > 0.3


def test_preprocessing_leaves_the_volume_in_memory_as_it_was() -> None:
    source = circle(-2000)
    before = source.hu.copy()
    preprocess(source, ROI, GridSpec((6, 16, 16), (2.0, 1.0, 1.0), WINDOW))
    np.testing.assert_array_equal(source.hu, before)


def tilted(degrees: float, gap: float = 2.0, *, planes: str = "upright") -> Geometry:
    """Sheared slices, ``gap`` apart along their normal: upright planes that step aside, or tilted ones in a column."""
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    column, step = ((0.0, 1.0, 0.0), (0.0, sine, cosine)) if planes == "upright" else ((0, cosine, sine), (0, 0, 1))
    direction = tuple(float(v) for v in np.stack([(1, 0, 0), column, step], axis=1).ravel())
    middle = np.array([21.5, 19.5, 11.5])
    at_zero = Geometry(HU.shape, (gap / cosine, 1.0, 1.0), (0.0, 0.0, 0.0), direction)
    x, y, z = (float(v) for v in (5.0, -40.0, 300.0) - at_zero.index_to_physical(middle))
    return Geometry(HU.shape, at_zero.spacing_zyx_mm, (x, y, z), direction)


def analytic(points: np.ndarray) -> np.ndarray:
    """HU as a smooth function of patient coordinates (..., xyz) in mm."""
    x, y, z = (np.asarray(points) - (5.0, -40.0, 300.0)).transpose(-1, *range(np.ndim(points) - 1))
    return 300 * np.sin(x / 11) + 250 * np.cos(y / 10 + 0.4) + 200 * np.sin(z / 14 - y / 25)


def points_of(geometry: Geometry) -> np.ndarray:
    z, y, x = np.meshgrid(*[np.arange(n) for n in geometry.shape_zyx], indexing="ij")
    return geometry.index_to_physical(np.stack([x, y, z], axis=-1))


@pytest.mark.parametrize("planes", ["upright", "tilted"])
@pytest.mark.parametrize("degrees", [-25.0, -4.0, 12.0, 25.0])
def test_sheared_slices_are_put_where_the_patient_is(degrees: float, planes: str) -> None:
    """Linear interpolation errs by an eighth of the squared step times the curvature, in all about 1 HU here."""
    geometry = tilted(degrees, planes=planes)
    hu = np.rint(analytic(points_of(geometry))).astype(np.int16)
    spec, centre = GridSpec((13, 20, 20), (1.9, 0.9, 1.1), WIDE), (5.0, -40.0, 300.0)
    image = preprocess(MemoryVolume(hu, geometry), np.ones(HU.shape, bool), spec, centre_xyz_mm=centre).image
    expected = (analytic(points_of(model_grid(spec, centre))) + 1024) / 2048
    np.testing.assert_allclose(image, expected, atol=1e-3)
    straight = Geometry(HU.shape, (2.0, 1.0, 1.0), geometry.origin_xyz_mm, IDENTITY)
    other = preprocess(MemoryVolume(hu, straight), np.ones(HU.shape, bool), spec, centre_xyz_mm=centre).image
    assert np.abs(other - expected).max() > 5e-3


@pytest.mark.parametrize("degrees", [-25.0, 25.0])
def test_the_roi_of_sheared_slices_is_put_where_the_patient_is(degrees: float) -> None:
    geometry, centre = tilted(degrees, gap=1.0), (5.0, -40.0, 300.0)
    ball = np.linalg.norm(points_of(geometry) - centre, axis=-1) < 9
    spec = GridSpec((22, 24, 24), (1.0, 1.0, 1.0), WINDOW)
    distance = np.linalg.norm(points_of(model_grid(spec, centre)) - centre, axis=-1)
    result = preprocess(MemoryVolume(HU, geometry), ball, spec)
    assert (result.roi[distance < 8.1] == 1).all()  # nearest neighbour is off by half a voxel's diagonal at most
    assert (result.roi[distance > 9.9] == 0).all()
    assert result.share_in_grid == 1


@pytest.mark.parametrize("degrees", [0.0, -25.0, 25.0])
def test_prefilter_of_sheared_slices_counts_their_distance_along_the_normal(degrees: float) -> None:
    """A wave along z is damped by exp(-2 pi^2 SD^2 / wavelength^2), SD from grid spacing and slice distance."""
    geometry, wavelength, centre = tilted(degrees, gap=1.0), 9.0, (5.0, -40.0, 300.5)
    wave = np.cos(2 * np.pi * (points_of(geometry)[..., 2] - 300.5) / wavelength)
    source = MemoryVolume(np.rint(1000 * wave).astype(np.int16), geometry)
    spec = GridSpec((4, 9, 9), (2.0, 1.0, 1.0), WIDE)  # every grid point lies on a slice
    image = preprocess(source, np.ones(HU.shape, bool), spec, centre_xyz_mm=centre).image
    damping = np.exp(-2 * np.pi**2 * (2.0**2 - 1.0**2) / FWHM**2 / wavelength**2)
    z = points_of(model_grid(spec, centre))[..., 2]
    expected = 1000 * damping * np.cos(2 * np.pi * (z - 300.5) / wavelength)
    np.testing.assert_allclose(image, (expected + 1024) / 2048, atol=1e-3)
    assert damping < 0.9


def test_a_long_tumour_is_whole_on_a_long_grid() -> None:
    shape = (110, 40, 40)
    source = MemoryVolume(np.zeros(shape, np.int16), Geometry(shape, (2.0, 1.0, 1.0), (0.0, 0.0, 0.0), IDENTITY))
    long = np.zeros(shape, bool)
    long[10:100, 12:28, 14:26] = True
    result = preprocess(source, long, GridSpec((96, 48, 48), (2.0, 1.0, 1.0), WINDOW), min_share_in_grid=1.0)
    assert result.image.shape == result.roi.shape == (96, 48, 48)
    assert result.share_in_grid == 1
    assert result.roi.sum() == long.sum()
    np.testing.assert_array_equal(result.roi[3:93, 16:32, 18:30], 1)
    cube = preprocess(source, long, GridSpec((48, 48, 48), (1.0, 1.0, 1.0), WINDOW))
    assert cube.share_in_grid == pytest.approx(24 / 90)


@settings(max_examples=60, deadline=None)
@given(
    direction=st.sampled_from([IDENTITY, TURNED, FLIPPED]),
    spacing=st.sampled_from([0.3, 0.7, 0.9766, 1.1, 1.7]),
    origin=st.tuples(*[st.integers(-30000, 30000)] * 3),
)
def test_rounding_errors_do_not_tear_an_roi_that_meets_the_grid_halfway(
    direction: tuple[float, ...], spacing: float, origin: tuple[int, int, int]
) -> None:
    """An odd ROI on an even grid of the scan's own spacing: every grid point is halfway between two voxels."""
    place = tuple(v / 100 for v in origin)
    geometry = Geometry(HU.shape, (spacing,) * 3, place, direction)
    block = np.zeros(HU.shape, bool)
    block[9:14, 15:24, 20:27] = True
    roi = preprocess(
        MemoryVolume(HU, geometry),
        block,
        GridSpec((16, 16, 16), (spacing,) * 3, WINDOW),
        centre_xyz_mm=tuple(geometry.index_to_physical((23.0, 19.0, 11.0))),
    ).roi
    z, y, x = (np.flatnonzero(roi.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    assert sorted((np.ptp(z) + 1, np.ptp(y) + 1, np.ptp(x) + 1)) == [5, 7, 9]
    assert roi.sum() == block.sum()


@pytest.mark.parametrize("geometry", [volume((2.0, 0.9, 1.1), OBLIQUE).geometry, tilted(18.0), tilted(-18.0)])
def test_the_roi_at_a_grid_point_is_that_of_the_nearest_voxel(geometry: Geometry) -> None:
    speckle = RNG.random(HU.shape) < 0.5
    spec = GridSpec((30, 40, 40), (1.97, 1.03, 1.07), WINDOW)
    grid = model_grid(spec, roi_centre(speckle, geometry))
    index = np.rint(geometry.physical_to_index(points_of(grid)))[..., ::-1].astype(int)
    inside = ((index >= 0) & (index < HU.shape)).all(axis=-1)
    expected = np.zeros(spec.size_zyx, np.uint8)
    expected[inside] = speckle[tuple(index[inside].T)]
    np.testing.assert_array_equal(preprocess(MemoryVolume(HU, geometry), speckle, spec).roi, expected)


class Watched:
    """A CT that notes which slices are read."""

    def __init__(self, source: MemoryVolume) -> None:
        self._source = source
        self.geometry = source.geometry
        self.read: list[int] = []

    def slices(self, lo: int, hi: int) -> np.ndarray:
        self.read += range(lo, hi)
        return self._source.slices(lo, hi)


@pytest.mark.parametrize(
    ("spacing_z", "size_z", "first", "last"),
    [
        (2.0, 5, 9, 13),  # on the slices themselves: no neighbour is needed
        (1.5, 4, 9, 13),  # 11 +- 1.125 slices
        (0.5, 2, 10, 12),
        (4.0, 3, 6, 16),  # 11 +- 2 slices and 4 SD of sqrt(3) / FWHM slices: 3
    ],
)
def test_no_slice_beyond_the_grid_and_its_filter_is_read(spacing_z: float, size_z: int, first: int, last: int) -> None:
    watched = Watched(volume((2.0, 1.0, 1.0)))
    preprocess(watched, ROI, GridSpec((size_z, 8, 8), (spacing_z, 1.0, 1.0), WINDOW))
    assert watched.read == list(range(first, last + 1))


@pytest.mark.parametrize("spacing", [0.9, 2.5])
@pytest.mark.parametrize("side", [0, -1])
def test_a_grid_that_leaves_the_scan_reads_what_there_is_and_has_air_beyond(spacing: float, side: int) -> None:
    source = volume((2.0, 1.0, 1.0))
    watched = Watched(source)
    end = np.zeros_like(ROI)
    end[side, 18:22, 20:24] = True
    spec = GridSpec((9, 12, 12), (2.0, spacing, spacing), WIDE)
    image = preprocess(watched, end, spec).image
    sd = np.sqrt(max(spacing**2 - 1, 0)) / FWHM
    expected = recomputed(source, model_grid(spec, roi_centre(end, source.geometry)), (0, sd, sd), WIDE)
    np.testing.assert_allclose(image, expected, atol=1e-3)
    assert watched.read == (list(range(5)) if side == 0 else list(range(19, 24)))
    assert ((image[:4] if side == 0 else image[5:]) == 0).all()
    assert (image[4] > 0.3).all()
