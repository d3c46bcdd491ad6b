"""The pretext task: targets computed by hand, and a network that is the study's encoder and a head."""

import numpy as np
import pytest
import torch
from torch import Tensor

from fedescc.common.arrays import flatten_parameters
from fedescc.common.errors import Refusal
from fedescc.common.imaging import Grid
from fedescc.common.network.model import build_model
from fedescc.common.network.pretext import _CENTRE, _SPREAD, RIM_MM, TARGETS, build_pretext, scan_targets
from fedescc.common.network.rim import rim_of
from fedescc.common.study import read_study

GRID = Grid(size_zyx=(16, 16, 16), spacing_zyx_mm=(3.0, 2.0, 1.0), window_hu=(-160, 340))


def scans() -> tuple[Tensor, Tensor]:
    image = torch.rand(2, 16, 16, 16, generator=torch.Generator().manual_seed(1))
    roi = torch.zeros(2, 16, 16, 16)
    roi[0, 4:8, 6:12, 2:12] = 1  # whole cells of 2³ voxels
    roi[1, 8:10, 8:10, 8:10] = 1
    return image, roi


def raw_targets() -> list[dict[str, float]]:
    standard = scan_targets(*scans(), GRID)
    raw = standard * torch.tensor(_SPREAD) + torch.tensor(_CENTRE)
    return [dict(zip(TARGETS, row, strict=True)) for row in raw.tolist()]


@pytest.mark.parametrize("scan", [0, 1])
def test_intensity_and_texture_are_those_of_numpy(scan: int) -> None:
    image, roi = (part[scan].double().numpy() for part in scans())
    inside = image[roi > 0]
    cells = image.reshape(8, 2, 8, 2, 8, 2).transpose(0, 2, 4, 1, 3, 5).reshape(8, 8, 8, 8)
    chosen = cells[roi[::2, ::2, ::2] > 0]
    found = raw_targets()[scan]
    assert found["tumour_mean"] == pytest.approx(inside.mean(), abs=1e-4)
    assert found["tumour_sd"] == pytest.approx(np.sqrt(inside.var() + 1e-4), abs=1e-4)
    assert found["tumour_fine_texture"] == pytest.approx(chosen.std(axis=1).mean(), abs=1e-4)
    assert found["tumour_coarse_texture"] == pytest.approx(np.sqrt(chosen.mean(axis=1).var() + 1e-4), abs=1e-4)


def test_the_rim_is_what_lies_around_the_roi() -> None:
    image, roi = scans()
    rim = rim_of(roi, GRID.spacing_zyx_mm, RIM_MM)
    brighter = scan_targets(image + 0.06 * rim, roi, GRID) - scan_targets(image, roi, GRID)
    moved = dict(zip(TARGETS, brighter[0].tolist(), strict=True))
    assert moved["rim_mean"] == pytest.approx(1, abs=1e-3)
    assert moved["tumour_mean"] == moved["log_volume"] == 0


def test_size_is_volume_and_root_mean_square_radius() -> None:
    first, second = raw_targets()
    assert first["log_volume"] == pytest.approx(np.log(4 * 6 * 10 * 6 / 1000), abs=1e-5)
    # A box of length L has a root mean square radius of L / sqrt(12) along that axis.
    for axis, length in (("z", 12), ("y", 12), ("x", 10)):
        assert first[f"log_extent_{axis}"] == pytest.approx(np.log(length / 12**0.5), abs=1e-5)
    assert second["log_extent_x"] == pytest.approx(np.log(2 / 12**0.5), abs=1e-5)


def test_a_target_is_of_order_one_on_a_phantoms_scale() -> None:
    image, roi = torch.full((1, 48, 48, 48), 0.3), torch.zeros(1, 48, 48, 48)
    roi[:, 16:32, 18:30, 18:30] = 1
    image += 0.1 * roi + 0.05 * torch.randn(image.shape, generator=torch.Generator().manual_seed(2))
    grid = Grid(size_zyx=(48, 48, 48), spacing_zyx_mm=(1.5, 1.5, 1.5), window_hu=(-160, 340))
    assert scan_targets(image, roi, grid).abs().max() < 4


def test_the_head_is_linear_and_the_encoder_is_the_studys() -> None:
    study = read_study("escc-pcr")
    pretext, model = build_pretext(study, 3), build_model(study, 4, 3)
    names = {name for name, _ in pretext.named_parameters()}
    assert names - {"head.weight", "head.bias"} == {n for n, _ in model.named_parameters() if n.startswith("encoder.")}
    image, roi = torch.rand(2, 48, 48, 48), torch.ones(2, 48, 48, 48)
    with torch.inference_mode():
        assert torch.allclose(pretext(image, roi), pretext.head(pretext.encoder(image, roi)))
        assert pretext(image, roi).shape == (2, len(TARGETS)) == (2, 12)


def test_initialisation_depends_on_the_seed_alone_and_leaves_the_global_state() -> None:
    study, state = read_study("escc-pcr"), torch.get_rng_state()
    first = flatten_parameters(build_pretext(study, 3))
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(flatten_parameters(build_pretext(study, 3)), first)
    assert not np.array_equal(flatten_parameters(build_pretext(study, 4)), first)


def test_a_study_without_images_has_no_encoder_to_pretrain() -> None:
    with pytest.raises(Refusal, match="pretraining-without-images"):
        build_pretext(read_study("heart-disease"), 0)
