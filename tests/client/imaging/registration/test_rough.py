"""The start of the finer fit: the right level of the patient, even where a wrong one correlates better."""

import numpy as np
import pytest
from two_cts import Pair, rendered_pair

from fedescc.client.imaging.registration.reduced import read_reduced
from fedescc.client.imaging.registration.rough import PART_MM, _around, rough_fit


def error_mm(pair: Pair) -> float:
    first, second = (read_reduced(volume, 4.0) for volume in (pair.pre, pair.post))
    before, after = (
        volume.geometry.index_to_physical(np.argwhere(mask).mean(axis=0)[::-1])
        for volume, mask in ((pair.pre, pair.roi), (pair.post, pair.bed))
    )
    found = rough_fit(first, before, second)
    return float(np.linalg.norm(np.asarray(found.TransformPoint(before.tolist())) - after))


@pytest.mark.parametrize(("site", "index", "other"), [(0, 1, 2), (2, 0, 2), (3, 1, 4), (1, 2, 0)])
def test_the_bed_is_found_to_within_what_the_finer_fit_can_mend(site: int, index: int, other: int) -> None:
    """Phantoms hardly differ along z: (2, 0, 2) and (3, 1, 4) once landed 60 mm off, where they hardly overlap."""
    assert error_mm(rendered_pair(5, site, index, other)) < 15


def test_part_is_the_surroundings_of_the_centre() -> None:
    image = read_reduced(rendered_pair(5, 0, 1, 2).pre, 4.0)
    spacing, size = np.asarray(image.GetSpacing()), np.asarray(image.GetSize())
    middle = np.asarray(image.TransformContinuousIndexToPhysicalPoint(((size - 1) / 2).tolist()))
    part = _around(image, middle)
    reach = (np.asarray(part.GetSize()) - 1) * spacing / 2
    limit = np.minimum(PART_MM, (size - 1) * spacing / 2)
    assert (np.abs(reach - limit) <= spacing).all()
    corner = _around(image, np.asarray(image.GetOrigin()))
    assert corner.GetOrigin() == image.GetOrigin()
    assert (np.asarray(corner.GetSize()) <= np.asarray(PART_MM) / spacing + 2).all()


def test_scans_that_hardly_overlap_have_no_start() -> None:
    first = read_reduced(rendered_pair(5, 0, 1, 2).pre, 4.0)
    with pytest.raises(RuntimeError, match="overlap"):
        rough_fit(first, np.asarray(first.TransformIndexToPhysicalPoint([15, 15, 10])), first[:, :, :2])
