"""CTs and masks of all patients: find, match, judge by their headers, and have the eligible ones prepared."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fedescc.client.imaging.headers.index import FolderIndex, MaskFile, RejectedFile, index_folder
from fedescc.client.imaging.quiet import quiet_pydicom
from fedescc.client.imaging.volumes.series import Series, group_series
from fedescc.client.imaging.volumes.volume import may_kill_its_reader
from fedescc.client.intake.disk.parts import Part, PartStore, part_digest
from fedescc.client.intake.disk.record import PatientRecord, patient_record
from fedescc.client.intake.disk.tensors import assemble
from fedescc.client.intake.eligibility import Scans, decide
from fedescc.client.intake.patient import Task, died, prepare_patient
from fedescc.client.intake.rois.mask_folder import MaskFolder, read_mask_folder
from fedescc.client.intake.table.clinical import PatientRow
from fedescc.client.intake.table.overrides import Overrides, read_overrides
from fedescc.client.intake.timepoints import Candidates, find_candidates, match_series
from fedescc.client.pool import run_all
from fedescc.client.site import SiteFile
from fedescc.common.console import OpenProgress, counting
from fedescc.common.errors import Refusal
from fedescc.common.imaging import TimePoint
from fedescc.common.study import Study

ByTimePoint = Mapping[TimePoint, Candidates]


@dataclass(frozen=True)
class Export:
    """A site's CTs and masks by patient, as far as headers tell.

    Attributes:
        series: salted key -> the patient's series.
        candidates: salted key -> time point -> which series it may be.
        scans: salted key -> the same in eligibility's terms.
        masks: every mask of the site.
        overrides: a person's decisions by patient identifier.
        remarks: on the export, without identifiers.

    """

    series: Mapping[str, list[Series]]
    candidates: Mapping[str, ByTimePoint]
    scans: Mapping[str, Scans]
    masks: MaskFolder
    overrides: Overrides
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class PreparedImages:
    """What is known of each patient's CTs by now, the local records, and remarks without identifiers.

    ``codes`` are those of `Part`, by salted key. ``final``: whether another intake of the same files would find the
    same.
    """

    scans: Mapping[str, Scans]
    records: Mapping[str, PatientRecord]
    codes: Mapping[str, Mapping[str, str]]
    remarks: tuple[str, ...]
    final: bool


def read_export(site: SiteFile, study: Study, patients: Mapping[str, PatientRow], progress: OpenProgress) -> Export:
    """Index the site's folders and link what they hold to patients.

    Args:
        site: where CTs, masks and overrides lie.
        study: time points, tilt and ROI names.
        patients: salted key -> row of the table.
        progress: called with a description and a number of steps.

    Raises:
        Refusal: a folder is missing or empty, or the file of overrides cannot be used.

    """
    assert study.imaging is not None
    assert site.settings.images is not None
    images = site.settings.images
    overrides = read_overrides(site.path(images.overrides)) if images.overrides else {}
    export, masks, lost = _read_folders(site, study, progress)
    volumes = group_series(export.rows, export.rejected, tilt=study.imaging.tilt)
    matched = match_series(volumes, patients, images)
    candidates = {
        key: find_candidates(
            study,
            row.values,
            matched.by_key.get(key, ()),
            overrides.get(row.patient_id, ()),
            partial(masks.drawn, row.patient_id, "pre"),
        )
        for key, row in patients.items()
    }
    scans = {key: _scans(found, key in matched.contested) for key, found in candidates.items()}
    known = {row.patient_id for row in patients.values()}
    remarks = _remarks([*export.rejected, *lost], matched.unclaimed, len(overrides.keys() - known))
    remarks += _mask_remarks(masks, known)
    return Export(matched.by_key, candidates, scans, masks, overrides, remarks)


def prepare_images(
    site: SiteFile,
    study: Study,
    patients: Mapping[str, PatientRow],
    draft: Path,
    progress: OpenProgress,
) -> PreparedImages:
    """Write images and ROIs of every patient who passes all rules, in the order of ``patients``.

    Only patients whom no other rule excludes are read; one whose CT or mask fails is left out and says why. What was
    prepared before, also by an intake that was killed, is taken from the site's parts.

    Args:
        site: where CTs and masks lie.
        study: time points, ROI and grid.
        patients: salted key -> row of the table.
        draft: folder to write to.
        progress: called with a description and a number of steps.

    Raises:
        Refusal: as `read_export`, or no space.

    """
    assert study.imaging is not None
    # Threads share filters and log levels: set once around them all, no thread can restore another's.
    with quiet_pydicom():
        export = read_export(site, study, patients, progress)
        tasks = {
            key: _task(row, key, export, study)
            for key, row in patients.items()
            if not decide(study, row.values, row.faults, export.scans[key]).codes
        }
        store = PartStore(site.work, study.name)
        digests = {key: _digest(key, task) for key, task in tasks.items()}
        parts = _make_parts(tasks, digests, store, study, progress)
        usable = [digests[key] for key, part in parts.items() if part.usable]
        assemble(draft, map(store.tensors, usable), len(usable))
        store.prune(digests.values())
    scans = {key: parts[key].of(known) if key in parts else known for key, known in export.scans.items()}
    records = {
        key: patient_record(
            export.series.get(key, ()), export.candidates[key], parts.get(key), export.overrides.get(row.patient_id, ())
        )
        for key, row in patients.items()
    }
    final = not any(part.passing for part in parts.values())
    codes = {key: part.codes for key, part in parts.items()}
    return PreparedImages(scans, records, codes, export.remarks + _part_remarks(parts.values()), final)


def _task(row: PatientRow, key: str, export: Export, study: Study) -> Task:
    assert study.imaging is not None
    found = export.candidates[key]
    series = {time_point: one.series for time_point, one in found.items()}
    dates = [one.study_date for one in found.values()]
    days = (dates[1] - dates[0]).days if len(dates) == 2 and dates[0] and dates[1] else None
    mine = export.masks.of(row.patient_id, [one for candidates in series.values() for one in candidates])
    return Task(row.patient_id, series, mine, study.imaging, export.overrides.get(row.patient_id, ()), days)


def _digest(key: str, task: Task) -> str:
    rows = {
        point: [[(row.name, row.frame) for row in one.rows] for one in series]
        for point, series in task.candidates.items()
    }
    files = [row.path for series in task.candidates.values() for one in series for row in one.rows]
    files += [mask.path for mask in task.masks.files]
    decisions = [list(one) for one in task.overrides]
    return part_digest(task.imaging, (key, decisions, task.days, rows, task.masks.fingerprint()), files)


def _make_parts(
    tasks: Mapping[str, Task], digests: Mapping[str, str], store: PartStore, study: Study, progress: OpenProgress
) -> dict[str, Part]:
    """Every patient's part; those that are missing are made. Tensors stay on disk."""
    assert study.imaging is not None
    parts = {key: part for key in tasks if (part := store.read(digests[key])) is not None}
    missing = {key: task for key, task in tasks.items() if key not in parts}
    store.prepare(len(missing), len(tasks), study.imaging)
    series = [one for task in missing.values() for found in task.candidates.values() for one in found]
    apart = any(map(may_kill_its_reader, series))
    with progress("preparing CTs", len(missing)) as advance:
        for key, (part, tensors) in run_all(prepare_patient, missing, died, apart=apart):
            if not part.passing:
                store.write(digests[key], part, tensors)
            parts[key] = part
            advance()
    return {key: parts[key] for key in tasks}


def _read_folders(
    site: SiteFile, study: Study, progress: OpenProgress
) -> tuple[FolderIndex, MaskFolder, list[RejectedFile]]:
    """The CT export, all masks, and the folders of masks that could not be listed."""
    assert study.imaging is not None
    assert site.settings.images is not None
    images = site.settings.images
    stores = site.work / "index"  # holds what the headers say, names and dates included, apart from the cache
    export = _index(site.path(images.dicom), stores / "dicom.sqlite", "reading CT headers", progress)
    files, lost = list(export.masks), list[RejectedFile]()
    if images.masks is not None:
        files_apart, lost = _read_masks(site.path(images.masks), stores / "masks.sqlite", progress)
        files += files_apart
    return export, read_mask_folder(files, study.imaging.roi, export.rows), lost


def _read_masks(folder: Path, store: Path, progress: OpenProgress) -> tuple[list[MaskFile], list[RejectedFile]]:
    """Masks of the folder kept apart, which is empty until the first reader saves one."""
    try:
        apart = _index(folder, store, "reading masks", progress)
    except Refusal as refusal:
        if refusal.code != "empty-folder":
            raise
        return [], []
    return list(apart.masks), [one for one in apart.rejected if one.reason == "unreadable_folder"]


def _index(folder: Path, store: Path, description: str, progress: OpenProgress) -> FolderIndex:
    with counting(description, progress) as advance:
        return index_folder(folder, advance, store=store)


def _scans(candidates: ByTimePoint, contested: bool) -> Scans:
    quality: list[str] = []
    details: list[str] = []
    for time_point, found in candidates.items():
        quality += found.refusals
        details += [f"{time_point}:{code}" for code in found.refusals]
    return Scans(
        found={name: "ambiguous" if contested else found.finding for name, found in candidates.items()},
        dates={name: found.study_date for name, found in candidates.items() if found.study_date},
        quality=tuple(quality) or None,
        details=tuple(details),
    )


def _remarks(rejected: Iterable[RejectedFile], unclaimed: int, strangers: int) -> tuple[str, ...]:
    reasons = Counter(one.reason for one in rejected)
    unreadable = reasons.pop("unreadable_folder", 0)
    remarks = [f"{count} files of the CT export were rejected: {reason}" for reason, count in sorted(reasons.items())]
    if unreadable:
        remarks.append(f"{unreadable} folders could not be listed: unreadable_folder")
    if unclaimed:
        remarks.append(f"{unclaimed} series belong to no patient of the table")
    if strangers:
        remarks.append(f"overrides of {strangers} patients are ignored: the table has no such patient")
    return tuple(remarks)


def _mask_remarks(masks: MaskFolder, patient_ids: Collection[str]) -> tuple[str, ...]:
    """Masks that nobody gets: somebody drew them, and may believe that they are used."""
    counts = {
        "mask files could not be used": masks.unusable,
        "structure sets hold no ROI that the study looks for": masks.nameless,
        "structure sets or SEGs are of patients without a CT in the export": masks.unclaimed_drawings,
        "structure sets or SEGs were drawn on images that the export lacks": masks.absent_drawings,
        "label maps are named like no ROI of the study": masks.unknown_maps,
        "label maps lie in no folder named like a patient of the table": masks.unclaimed_maps(patient_ids),
    }
    return tuple(f"{count} {what}" for what, count in counts.items() if count)


def _part_remarks(parts: Iterable[Part]) -> tuple[str, ...]:
    parts = list(parts)
    remarks = []
    if without := sum(not part.roi for part in parts):
        remarks.append(
            f"{without} patients were excluded for want of a usable ROI; if those are the ones with nothing left to "
            "draw, draw their tumour bed, or the cohort is biased"
        )
    if cut := sum(part.cut for part in parts):
        remarks.append(f"{cut} patients have an ROI that reaches beyond the model's grid")
    return tuple(remarks)
