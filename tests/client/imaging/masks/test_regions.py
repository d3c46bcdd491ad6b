"""A region on a series, with what the series' images say of themselves."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fedescc.client.imaging.headers.index import index_folder
from fedescc.client.imaging.masks.regions import place_on
from fedescc.client.imaging.masks.structures import Contour, Roi
from fedescc.client.imaging.volumes.series import Series, group_series
from fedescc.common.errors import Refusal

UIDS = [f"1.9.{k}" for k in (3, 1, 2, 0)]  # in no order of the slices
SQUARE = np.array([[-10 + 0.7 * x, -20 + 0.8 * y, 32.0] for x, y in ((1.5, 0.5), (4.5, 0.5), (4.5, 2.5), (1.5, 2.5))])


@pytest.fixture
def series(tmp_path: Path, ct_series: Callable[..., list[Path]]) -> Series:
    """Four slices, 2 mm apart; files in descending order. The square lies on the second from below."""
    names = ["d", "c", "b", "a"]
    stored = np.zeros((4, 6, 7), np.uint16)
    ct_series(tmp_path, stored, names=names, per_slice=lambda k: {"SOPInstanceUID": UIDS[k]})
    (one,) = group_series(index_folder(tmp_path).rows)
    return one


def drawn_on(*uids: str, frame: str = "1.2.3.5") -> Roi:
    return Roi("GTV", frame, (Contour(SQUARE, sop_uids=frozenset(uids)),))


def test_images_are_numbered_as_the_slices_ascend(series: Series) -> None:
    assert place_on(drawn_on(UIDS[1]), series).voxels.sum(axis=(1, 2)).tolist() == [0, 6, 0, 0]
    for uid in (UIDS[0], UIDS[2], UIDS[3]):
        with pytest.raises(Refusal, match="contour_off_slice"):
            place_on(drawn_on(uid), series)


def test_the_frame_of_reference_is_the_series(series: Series) -> None:
    with pytest.raises(Refusal, match="wrong_frame_of_reference"):
        place_on(drawn_on(frame="9.9"), series)


def test_a_multi_frame_object_s_uid_names_no_slice(series: Series) -> None:
    rows = tuple(row._replace(sop_uid="1.9", frame=k) for k, row in enumerate(series.rows, start=1))
    frames = Series(series.uid, rows, series.geometry, (), ())
    assert place_on(drawn_on("1.9"), frames).voxels.sum() == 6
