"""A real chest CT moved and bent by known amounts is found again; anything else is refused."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from two_cts import ellipsoid, real_volume, rendered_pair, warp

from fedescc.client.imaging.masks.contours import Mask
from fedescc.client.imaging.registration.propagation import carry
from fedescc.client.imaging.registration.register import register
from fedescc.client.imaging.volumes.volume import MemoryVolume
from fedescc.common.errors import Refusal
from fedescc.common.imaging import Roi

pytestmark = pytest.mark.real_data


@cache
def chest(real_data: Path) -> MemoryVolume:
    return real_volume(real_data / "ibsi1_lung_ct" / "image")


def roi(volume: MemoryVolume) -> Mask:
    """As large as an esophageal tumour, between airway, aorta and spine."""
    return ellipsoid(volume.geometry, (32, 140, 155), (30, 11, 11))


@pytest.mark.parametrize(
    ("options", "largest_mm"),
    [
        ({"bend_mm": 0.0}, 0.5),
        ({"bend_mm": 4.0}, 3.0),
        ({"bend_mm": 4.0, "spacing_zyx_mm": (5.0, 0.8, 0.8)}, 3.0),
        ({"bend_mm": 3.0, "spacing_zyx_mm": (1.5, 1.2, 1.2), "noise_hu": 40.0}, 3.0),
        ({"bend_mm": 3.0, "crop_top_mm": 30.0}, 3.0),
    ],
)
def test_the_bed_is_found_in_the_moved_and_bent_scan(real_data: Path, options: dict, largest_mm: float) -> None:
    volume = chest(real_data)
    post, truth = warp(volume, 1, **options)
    alignment = register(volume, roi(volume), post)
    points = volume.geometry.index_to_physical(np.argwhere(roi(volume))[:, ::-1])
    error = np.linalg.norm(alignment.motion.apply(points) - truth(points), axis=1).mean()
    assert error < largest_mm
    assert alignment.similarity > Roi().min_similarity
    bed = carry(alignment, roi(volume), post.geometry)
    volumes = [m.sum() * np.prod(v.geometry.spacing_zyx_mm) for m, v in ((roi(volume), volume), (bed, post))]
    assert volumes[1] == pytest.approx(volumes[0], rel=0.05)


def test_similarity_falls_as_the_scan_is_bent(real_data: Path) -> None:
    volume = chest(real_data)
    values = [register(volume, roi(volume), warp(volume, 2, bend_mm=bend).post).similarity for bend in (0.0, 3.0, 6.0)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.9
    assert values[0] - values[2] > 0.1


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mirrored_chest_is_refused(real_data: Path, axis: int) -> None:
    volume = chest(real_data)
    mirrored = MemoryVolume(np.ascontiguousarray(np.flip(volume.hu, axis)), volume.geometry)
    assert not accepted(volume, roi(volume), mirrored)


@pytest.mark.parametrize("name", ["ts_contrast_body_j2k_overlap", "sts_019_ct_rtstruct/CT/image"])
def test_another_part_of_another_body_is_refused_both_ways(real_data: Path, name: str) -> None:
    volume, other = chest(real_data), real_volume(real_data / name)
    middle = tuple(n / 2 for n in other.geometry.shape_zyx)
    assert not accepted(volume, roi(volume), other)
    assert not accepted(other, ellipsoid(other.geometry, middle, (12, 15, 15)), volume)


def test_a_phantom_is_not_a_patient(real_data: Path) -> None:
    volume, phantom = chest(real_data), rendered_pair(5, 0, 0, 0)
    assert not accepted(volume, roi(volume), phantom.pre)
    assert not accepted(phantom.pre, phantom.roi, volume)


def accepted(pre: MemoryVolume, mask: Mask, post: MemoryVolume) -> bool:
    try:
        return register(pre, mask, post).similarity >= Roi().min_similarity
    except Refusal as refusal:
        code = refusal.code
    assert code.startswith(("registration_", "propagated_"))
    return False
