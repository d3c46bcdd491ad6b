"""Whether a volume is the whole of what was scanned, as far as headers tell."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from fedescc.client.imaging.headers.header import DicomRow
from fedescc.client.imaging.volumes.geometry import Geometry
from fedescc.client.imaging.volumes.mixing import halves_of_one
from fedescc.client.imaging.volumes.reasons import image_reasons

# How far a slice may lie off the next place of a stack and still continue it: rounding, as a part of the gap.
_OFF_GAP = 0.1
_PARALLEL = 1e-3  # direction cosines
_THICKNESS_RATIO = 1.1
# Rounding and the jitter of reconstructions are less; slices of two protocols are more.
_VARIES_RATIO = 1.5
# Where a stack is cut, a few slices may be lost as well.
_LOST_SLICES = 3


def wholeness_warnings(rows: Sequence[DicomRow]) -> tuple[str, ...]:
    """Codes of what speaks for lost images, from all images of one series, copies left out.

    Counts of an acquisition may include other reconstructions of it, and a part of a scan may be sent on purpose: these
    are no reasons.
    """
    single = [row for row in rows if not row.frame]  # counts are of files
    found = Counter(row.acquisition_number for row in single)
    numbers = [row.instance_number for row in rows if row.instance_number is not None]
    checks = {
        "fewer_images_than_stated": any(
            (row.images_in_acquisition or 0) > found[row.acquisition_number]
            or (row.images_in_series or 0) > len(single)
            for row in single
        ),
        "instance_numbers_start_late": len(numbers) > 1 and min(numbers) > 1,
    }
    return tuple(code for code, applies in checks.items() if applies)


def thickness_warnings(rows: Sequence[DicomRow]) -> tuple[str, ...]:
    """Code of a stack of slices of different thickness (0018,0050): even, but averaged over unlike distances."""
    known = [row.slice_thickness_mm for row in rows if row.slice_thickness_mm and row.slice_thickness_mm > 0]
    return ("thickness_varies",) if known and max(known) > _VARIES_RATIO * min(known) else ()


def are_halves(rows: Sequence[DicomRow], others: Sequence[DicomRow]) -> bool:
    """Whether two volumes that a tag parted may be every other slice of one; ``halves_of_one`` says when."""
    return _parallel(rows[0], others[0]) and halves_of_one([rows, others], of_one_kind=False)


def share_numbers(rows: Sequence[DicomRow], others: Sequence[DicomRow]) -> bool:
    """Whether an Instance Number (0020,0013) occurs in both, as it does in two scans, and not in parts of one."""
    numbers, more = ({row.instance_number for row in part} - {None} for part in (rows, others))
    return bool(numbers & more)


def is_cut(rows: Sequence[DicomRow], geometry: Geometry, others: Sequence[DicomRow]) -> bool:
    """Whether other images of the series are slices that a volume lacks.

    They go on where it ends: in line with it, parallel, of its thickness and one gap away, or as many as a few lost
    slices leave, and none lies within it. Or they are of its kind and matrix, and nothing is wrong with them but that
    their place is not stated.
    """
    if None in {row.position for row in others} or None in {row.orientation for row in others}:
        return all(_lacks_only_geometry(row, rows[0]) for row in others)
    if not all(_parallel(row, rows[0]) and _as_thick(row, rows[0]) for row in others):
        return False
    return _goes_on(geometry, np.array([row.position for row in others], dtype=np.float64))


def _goes_on(geometry: Geometry, positions: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> bool:
    """Whether positions (n, xyz), mm, all lie beyond one end of a stack, the nearest at one of its next places."""
    if not np.isfinite(positions).all():
        return False
    step = geometry.matrix[:, 2]
    normal = np.cross(geometry.matrix[:, 0], geometry.matrix[:, 1])
    offset = positions - np.asarray(geometry.origin_xyz_mm)
    places = offset @ normal / (step @ normal)  # in slices
    off_line = np.linalg.norm(offset - np.outer(places, step), axis=1)
    last = geometry.shape_zyx[0] - 1
    for beyond in (places - last, -places):
        nearest = int(np.argmin(beyond))
        gaps = round(float(beyond[nearest]))
        if 1 <= gaps <= 1 + _LOST_SLICES and abs(beyond[nearest] - gaps) <= _OFF_GAP:
            return bool(off_line[nearest] <= _OFF_GAP * np.linalg.norm(step))
    return False


def _parallel(row: DicomRow, other: DicomRow) -> bool:
    return bool(np.abs(np.subtract(row.orientation or 0.0, other.orientation or 0.0)).max() <= _PARALLEL)


def _as_thick(row: DicomRow, other: DicomRow) -> bool:
    one, two = row.slice_thickness_mm or 0.0, other.slice_thickness_mm or 0.0
    return min(one, two) <= 0 or max(one, two) <= _THICKNESS_RATIO * min(one, two)


def _lacks_only_geometry(row: DicomRow, other: DicomRow) -> bool:
    same = (row.sop_class, row.rows, row.columns) == (other.sop_class, other.rows, other.columns)
    return same and image_reasons(row) == ["missing_geometry"]
