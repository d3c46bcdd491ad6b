"""Where two readers drew the same ROI of a site's patients, and how far they agree."""

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
from fedescc.common.study import Study, TimePoint


class Pair(NamedTuple):
    """One CT with two readings: their agreement, or the code why they cannot be compared. Stays local."""

    patient_id: str
    time_point: TimePoint
    agreement: Agreement | None
    code: str = ""


def reader_pairs(site: SiteFile, study: Study, progress: console.OpenProgress = console.progress) -> tuple[Pair, ...]:
    """Every CT of the site that a second reader drew on, in the order of the clinical table.

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
                    compared = (_compare(masks, row.patient_id, time_point, one) for one in found.series)
                    pairs += [pair for pair in compared if pair is not None]
                advance()
    return tuple(pairs)


def _compare(masks: MaskFolder, patient: str, time_point: TimePoint, series: Series) -> Pair | None:
    assert series.geometry is not None
    try:
        other = masks.read_second(patient, time_point, series)
        if other is None:
            return None
        one = masks.read(patient, time_point, series).voxels
        return Pair(patient, time_point, compare_readers(one, other, series.geometry))
    except Refusal as refusal:
        # A second reader's map of another of the day's series is that one's.
        return None if refusal.code == "other_geometry" else Pair(patient, time_point, None, refusal.code)
