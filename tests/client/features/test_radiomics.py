"""Our use of mirp: spacing, resegmentation and discretisation reach it, and nothing of it reaches the outside.

The values against IBSI's references are in tests/real_data/test_real_radiomics.py.
"""

import logging
import math
import socket
from pathlib import Path

import numpy as np
import pytest
from bed_scans import GRID, ball_scene
from hypothesis import given, settings
from hypothesis import strategies as st

from fedescc.client.features import radiomics
from fedescc.client.features.radiomics import BIN_HU, Tissue, cut_tissue, mirp_version, radiomic_values
from fedescc.common.errors import Refusal
from fedescc.common.imaging import Grid
from fedescc.common.tabular.features import RADIOMIC_MEASURES


def values(tissue: Tissue | None) -> dict[str, float]:
    return dict(zip(RADIOMIC_MEASURES, radiomic_values(tissue), strict=True))


def random_tissue(shape=(6, 7, 8), spacing=(3.0, 1.0, 2.0), seed=0, span=(-150, 330)) -> Tissue:
    rng = np.random.default_rng(seed)
    hu = rng.integers(*span, shape).astype(np.float32)
    return Tissue(hu, rng.random(shape) < 0.8, spacing, (-159.0, 339.0))


def test_statistics_are_those_of_the_voxels() -> None:
    tissue = random_tissue()
    inside, found = tissue.hu[tissue.mask].astype(float), values(tissue)
    assert found["stat_mean"] == pytest.approx(inside.mean())
    assert found["stat_var"] == pytest.approx(inside.var())
    assert found["stat_median"] == pytest.approx(np.median(inside))
    assert found["stat_rms"] == pytest.approx(math.sqrt((inside**2).mean()))
    assert found["stat_energy"] == pytest.approx((inside**2).sum())


def test_voxels_at_the_windows_ends_are_out_of_the_intensities_and_in_the_shape() -> None:
    scene = ball_scene(10, tumour_hu=80)
    plain = values(cut_tissue(scene.image, scene.roi, GRID))
    scene.hu[20, 20, 18:22] = 1500
    clipped = values(cut_tissue(scene.image, scene.roi, GRID))
    assert clipped["stat_p90"] == plain["stat_p90"] == 80
    assert clipped["stat_mean"] == pytest.approx(80)
    assert clipped["stat_energy"] == pytest.approx(plain["stat_energy"] - 4 * 80**2)
    assert clipped["morph_volume"] == plain["morph_volume"]


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 1.0, 2.0)])
def test_the_shape_is_in_millimetres(spacing: tuple[float, float, float]) -> None:
    """mirp's workflow takes the voxels of an array for cubes of 1 mm."""
    mask = np.zeros((12, 12, 12), bool)
    mask[2:10, 3:9, 1:11] = True
    found = values(Tissue(np.full(mask.shape, 50, np.float32), mask, spacing, (-159.0, 339.0)))
    sides = [n * mm for n, mm in zip((8, 6, 10), spacing, strict=True)]
    assert found["morph_volume"] == pytest.approx(math.prod(sides), rel=0.08)
    # The farthest corners of the mesh, which lies half a voxel out and cuts them off a little.
    assert found["morph_diam"] == pytest.approx(math.hypot(*sides), rel=0.08)


def test_the_co_occurrence_matrix_is_counted_over_thirteen_directions() -> None:
    """Recomputed by brute force: bins of 25 HU from the range's start, pairs both ways, all directions in one."""
    tissue = random_tissue(shape=(4, 5, 5), seed=3)
    level = np.floor((tissue.hu - tissue.range_hu[0]) / BIN_HU).astype(int) + 1
    steps = [(dz, dy, dx) for dz in (-1, 0, 1) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dz, dy, dx) > (0, 0, 0)]
    pairs = [
        (level[at], level[to])
        for at in np.ndindex(*level.shape)
        for step in steps
        if all(0 <= (to := tuple(np.add(at, step)))[k] < level.shape[k] for k in range(3))
        and tissue.mask[at]
        and tissue.mask[to]
    ]
    assert len(steps) == 13
    i, j = np.array(pairs + [pair[::-1] for pair in pairs]).T
    found = values(tissue)
    assert found["cm_contrast"] == pytest.approx(((i - j) ** 2).mean())
    assert found["cm_dissimilarity"] == pytest.approx(abs(i - j).mean())
    assert found["cm_auto_corr"] == pytest.approx((i * j).mean())
    assert found["cm_corr"] == pytest.approx(np.corrcoef(i, j)[0, 1])
    _, counts = np.unique(i * 1000 + j, return_counts=True)
    p = counts / counts.sum()
    assert found["cm_joint_max"] == pytest.approx(p.max())
    assert found["cm_joint_entr"] == pytest.approx(-(p * np.log2(p)).sum())


def test_hu_are_whole_numbers_and_the_box_is_close() -> None:
    scene = ball_scene(10)
    tissue = cut_tissue(scene.image, scene.roi, GRID)
    assert tissue is not None
    assert np.array_equal(tissue.hu, np.rint(tissue.hu))
    assert all(
        side.any() for axis in range(3) for side in (np.take(tissue.mask, 0, axis), np.take(tissue.mask, -1, axis))
    )
    assert tissue.range_hu == (-159, 339)
    assert tissue.spacing_zyx_mm == (1.5, 1.5, 1.5)


@pytest.mark.parametrize("window", [(-160.5, 339.5), (-160, 340)])
def test_the_open_window_has_no_clipped_voxel(window: tuple[float, float]) -> None:
    grid = GRID.model_copy(update={"window_hu": window})
    scene = ball_scene(10, grid=grid)
    tissue = cut_tissue(scene.image, scene.roi, grid)
    low, high = tissue.range_hu
    assert window[0] < low < window[0] + 2
    assert window[1] - 2 < high < window[1]


@pytest.mark.parametrize("radius", [0.0, 2.0])
def test_too_little_tissue_has_no_radiomics(radius: float) -> None:
    scene = ball_scene(radius)
    assert cut_tissue(scene.image, scene.roi, GRID) is None
    assert np.isnan(radiomic_values(None)).all()


def test_an_unusable_scan_has_no_radiomics() -> None:
    scene = ball_scene(10)
    for image in (np.zeros_like(scene.image), np.full_like(scene.image, np.nan), np.full_like(scene.image, np.inf)):
        assert cut_tissue(image, scene.roi, GRID) is None
    assert cut_tissue(scene.image, np.zeros_like(scene.roi), GRID) is None


def test_a_slab_of_one_slice_has_no_texture_in_space() -> None:
    scene = ball_scene(12)
    scene.roi[:20] = scene.roi[21:] = 0
    assert cut_tissue(scene.image, scene.roi, GRID) is None


def test_one_grey_level_gives_what_is_defined() -> None:
    scene = ball_scene(10)
    found = values(cut_tissue(scene.image, scene.roi, GRID))
    assert found["stat_var"] == 0
    assert found["cm_contrast"] == 0
    assert found["cm_joint_max"] == 1
    assert math.isfinite(found["morph_sphericity"])


def test_tissue_all_beyond_the_window_has_no_radiomics() -> None:
    scene = ball_scene(10, tumour_hu=900)
    assert cut_tissue(scene.image, scene.roi, GRID) is not None
    assert np.isnan(radiomic_values(cut_tissue(scene.image, scene.roi, GRID))).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_flipped_scan_has_the_same_radiomics(axis: int) -> None:
    tissue = random_tissue()
    flipped = tissue._replace(hu=np.flip(tissue.hu, axis), mask=np.flip(tissue.mask, axis))
    np.testing.assert_allclose(radiomic_values(flipped), radiomic_values(tissue), rtol=1e-6)


def test_nothing_is_kept_from_one_scan_to_the_next() -> None:
    first, second = random_tissue(seed=1), random_tissue(seed=2)
    alone = radiomic_values(second)
    radiomic_values(first)
    np.testing.assert_array_equal(radiomic_values(second), alone)


def test_mirp_writes_nothing_and_asks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("network")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    handlers = list(logging.getLogger().handlers)
    radiomic_values(random_tissue())
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger().handlers == handlers


def test_without_the_extra_the_refusal_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise radiomics.PackageNotFoundError(name)

    monkeypatch.setattr(radiomics, "version", absent)
    with pytest.raises(Refusal, match=r"fedescc\[radiomics\]") as refused:
        mirp_version()
    assert refused.value.code == "missing-extra"


@settings(max_examples=8, deadline=None)
@given(
    size=st.tuples(*[st.integers(8, 11)] * 3),
    spacing=st.tuples(*[st.sampled_from([0.7, 1.5, 6.0])] * 3),
    window=st.sampled_from([(-160.0, 340.0), (0.0, 80.0), (-20.5, -19.0)]),
    marked=st.sampled_from([0.1, 0.5, 1.0]),
    levels=st.sampled_from([1, 2, 500]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_scan_gives_finite_values_or_nothing(size, spacing, window, marked, levels, seed) -> None:
    rng = np.random.default_rng(seed)
    grid = Grid(size_zyx=size, spacing_zyx_mm=spacing, window_hu=window)
    image = (rng.integers(0, levels + 1, size) / levels).astype(np.float16)
    found = radiomic_values(cut_tissue(image, (rng.random(size) < marked).astype(np.uint8), grid))
    assert found.shape == (len(RADIOMIC_MEASURES),)
    assert not np.isinf(found).any()
