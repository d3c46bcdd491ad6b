"""CTs and masks of all patients: find, choose, judge, and have the eligible ones prepared."""

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from fedescc.client.imaging.index import FolderIndex, RejectedFile, index_folder
from fedescc.client.imaging.quiet import quiet_pydicom
from fedescc.client.imaging.series import DAMAGED_NEARBY, group_series
from fedescc.client.intake.clinical import PatientRow
from fedescc.client.intake.eligibility import Scans, decide
from fedescc.client.intake.rois import MaskFolder, read_mask_folder
from fedescc.client.intake.tensors import Task, write_tensors
from fedescc.client.intake.timepoints import Choice, choose_series, match_series
from fedescc.client.site import SiteFile
from fedescc.common.console import Advance, OpenProgress
from fedescc.common.study import Study, TimePoint

Choices = Mapping[TimePoint, Choice]


def prepare_images(
    site: SiteFile, study: Study, patients: Mapping[str, PatientRow], draft: Path, progress: OpenProgress
) -> tuple[dict[str, Scans], tuple[str, ...]]:
    """Write images and ROIs of every patient who passes all rules, in the order of ``patients``.

    Only patients whom no other rule excludes are read; one whose CT or mask fails is left out and says why.

    Args:
        site: where CTs and masks lie.
        study: time points, ROI and grid.
        patients: salted key -> row of the table.
        draft: folder to write to.
        progress: called with a description and a number of steps.

    Returns:
        What is known of each patient's CTs, and remarks on the export without identifiers.

    Raises:
        Refusal: a folder is missing or empty.

    """
    assert study.imaging is not None
    assert site.settings.images is not None
    # Threads share filters and log levels: set once around them all, no thread can restore another's.
    with quiet_pydicom():
        export, masks, lost = _read_folders(site, study, progress)
        matched = match_series(group_series(export.rows, export.rejected), patients, site.settings.images)
        choices: dict[str, Choices] = {
            key: choose_series(study, row.values, matched.by_key.get(key, ()), partial(masks.drawn, row.patient_id))
            for key, row in patients.items()
        }
        scans = {key: _scans(choice, key in matched.contested) for key, choice in choices.items()}
        tasks = {
            key: Task(row.patient_id, choices[key], masks, study.imaging)
            for key, row in patients.items()
            if not decide(study, row.values, row.faults, scans[key]).codes
        }
        with progress("preparing CTs", len(tasks)) as advance:
            failures, cut = write_tensors(draft, tasks, advance)
    scans |= {key: failure.of(scans[key]) for key, failure in failures.items()}
    return scans, _remarks([*export.rejected, *lost], masks, matched.unclaimed, scans.values(), cut)


def _read_folders(
    site: SiteFile, study: Study, progress: OpenProgress
) -> tuple[FolderIndex, MaskFolder, list[RejectedFile]]:
    """The CT export, all masks, and the folders of masks that could not be listed."""
    assert study.imaging is not None
    assert site.settings.images is not None
    images = site.settings.images
    export = _index(site.path(images.dicom), "reading CT headers", progress)
    files, lost = list(export.masks), list[RejectedFile]()
    if images.masks is not None:
        apart = _index(site.path(images.masks), "reading masks", progress)
        files += apart.masks
        lost = [one for one in apart.rejected if one.reason == "unreadable_folder"]
    return export, read_mask_folder(files, study.imaging.roi, export.rows), lost


def _index(folder: Path, description: str, progress: OpenProgress) -> FolderIndex:
    """Index a folder under a progress bar, which opens when the number of files is known."""
    with ExitStack() as stack:
        bars: list[Advance] = []

        def advance(_done: int, total: int) -> None:
            if not bars:
                bars.append(stack.enter_context(progress(description, total)))
            bars[0]()

        return index_folder(folder, advance)


def _scans(choices: Choices, contested: bool) -> Scans:
    quality, details = [], []
    for time_point, choice in choices.items():
        codes = list(choice.refusals)
        # The series may be one slice short and look whole.
        if choice.series and DAMAGED_NEARBY in choice.series.warnings:
            codes.append("corrupt_file")
        quality += codes
        details += [f"{time_point}:{code}" for code in codes]
    return Scans(
        found={name: "ambiguous" if contested else choice.finding for name, choice in choices.items()},
        dates={name: choice.study_date for name, choice in choices.items() if choice.study_date},
        quality=tuple(quality) or None,
        details=tuple(details),
    )


def _remarks(
    rejected: Iterable[RejectedFile], masks: MaskFolder, unclaimed: int, scans: Iterable[Scans], cut: int
) -> tuple[str, ...]:
    reasons = Counter(one.reason for one in rejected)
    unreadable = reasons.pop("unreadable_folder", 0)
    remarks = [f"{count} files of the CT export were rejected: {reason}" for reason, count in sorted(reasons.items())]
    if unreadable:
        remarks.append(f"{unreadable} folders could not be listed: unreadable_folder")
    if unclaimed:
        remarks.append(f"{unclaimed} series belong to no patient of the table")
    if masks.unusable:
        remarks.append(f"{masks.unusable} mask files could not be used")
    if masks.nameless:
        remarks.append(f"{masks.nameless} structure sets hold no ROI that the study looks for")
    if without := sum(one.roi is False for one in scans):
        remarks.append(
            f"{without} patients were excluded for want of a usable ROI; if those are the ones with nothing left to "
            "draw, draw their tumour bed, or the cohort is biased"
        )
    if cut:
        remarks.append(f"{cut} patients have an ROI that reaches beyond the model's grid")
    return tuple(remarks)
