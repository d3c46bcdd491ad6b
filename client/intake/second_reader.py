"""Where two readers drew the same ROI of a site's patients, and how far they agree."""

from collections.abc import Iterable
from typing import NamedTuple

from fedescc.client.imaging.quiet import quiet_pydicom
from fedescc.client.imaging.volumes.series import Series
from fedescc.client.intake.keys import patient_keys, read_salt
from fedescc.client.intake.rois.mask_folder import MaskFolder
from fedescc.client.intake.rois.readers import Agreement, compare_readers
from fedescc.client.intake.scans import read_export
from fedescc.client.intake.table.clinical import read_clinical
from fedescc.client.site import SiteFile
from fedescc.common import console
from fedescc.common.errors import Refusal
from fedescc.common.imaging import TimePoint
from fedescc.common.study import Study

# Why readings of a day's scan do not fit one of its series says least, as they may fit another.
_LEAST_TELLING = ("no_mask", "other_geometry")


class Pair(NamedTuple):
    """A time point's two readings: their agreement, or the code why they cannot be compared. Stays local."""

    patient_id: str
    time_point: TimePoint
    agreement: Agreement | None
    code: str = ""


def reader_pairs(site: SiteFile, study: Study, progress: console.OpenProgress = console.progress) -> tuple[Pair, ...]:
    """What a second reader drew, in the order of the clinical table: one pair a patient and time point.

    Reconstructions of one scan share its label maps, or each have readings of their own. Either way they are one
    patient seen once: counted as several, they would make the limits of agreement too narrow. Of a time point's series
    the first is taken on which both readings can be compared, by series number and then UID; where there is none, the
    pair says why.

    Args:
        site: the site file.
        study: names the ROIs of both readers.
        progress: called with a description and a number of steps.

    Raises:
        Refusal: no-images, or a file or folder that cannot be used as a whole.

    """
    if study.imaging is None or site.settings.images is None:
        raise Refusal("no-images", f"study {study.name} or the site file has no CTs", "use a study with images")
    clinical = read_clinical(site, study)
    keys = patient_keys((row.patient_id for row in clinical.rows), read_salt(site.work))
    patients = dict(zip(keys, clinical.rows, strict=True))
    with quiet_pydicom():
        export = read_export(site, study, patients, progress)
        with progress("comparing readers", len(patients)) as advance:
            pairs: list[Pair] = []
            for key, row in patients.items():
                for time_point, found in export.candidates[key].items():
                    masks = export.masks.of(row.patient_id, found.series)
                    pair = _pair(masks, row.patient_id, time_point, found.series)
                    pairs += [] if pair is None else [pair]
                advance()
    return tuple(pairs)


def _pair(masks: MaskFolder, patient: str, time_point: TimePoint, series: Iterable[Series]) -> Pair | None:
    """The pair of the first series on which it can be compared; else why not; None without a second reading."""
    codes: list[str] = []
    for one in sorted(series, key=_order):
        try:
            agreement = _compare(masks, patient, time_point, one)
        except Refusal as refusal:
            codes.append(refusal.code)
        else:
            if agreement is not None:
                return Pair(patient, time_point, agreement)
    if not codes:
        return None
    rank = {code: place for place, code in enumerate(_LEAST_TELLING, start=1)}
    return Pair(patient, time_point, None, min(codes, key=lambda code: rank.get(code, 0)))


def _order(series: Series) -> tuple[bool, int, str]:
    number = series.rows[0].series_number
    return number is None, number or 0, series.uid


def _compare(masks: MaskFolder, patient: str, time_point: TimePoint, series: Series) -> Agreement | None:
    """Agreement on one series; None where the second reader drew nothing on it."""
    assert series.geometry is not None
    other = masks.read_second(patient, time_point, series)
    if other is None:
        return None
    return compare_readers(masks.read(patient, time_point, series).voxels, other, series.geometry)
