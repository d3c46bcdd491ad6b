"""What the system makes of a folder: every series, mask and rejected file, with reasons."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fedescc.client.imaging.headers.index import Progress, index_folder
from fedescc.client.imaging.masks.matching import MatchedMask, match_masks
from fedescc.client.imaging.quiet import quiet_pydicom
from fedescc.client.imaging.volumes.series import Series, group_series
from fedescc.client.imaging.volumes.volume import HuSummary, hu_summary, may_kill_its_reader, open_volume
from fedescc.client.pool import run_all
from fedescc.common.errors import Refusal

# Manufacturer (0008,0070) is free text and may name a hospital; only these names are passed on.
_VENDORS = {
    "ge medical": "GE",
    "ge healthcare": "GE",
    "siemens": "Siemens",
    "philips": "Philips",
    "picker": "Philips",
    "marconi": "Philips",
    "toshiba": "Toshiba",
    "canon": "Canon",
    "hitachi": "Hitachi",
    "fujifilm": "Fujifilm",
    "neusoft": "Neusoft",
    "united imaging": "United Imaging",
    "uih": "United Imaging",
    "shimadzu": "Shimadzu",
    "neurologica": "Samsung",
    "samsung": "Samsung",
    "minfound": "MinFound",
}


def inspect_folder(path: Path, progress: Progress | None = None) -> dict[str, list[dict[str, Any]]]:
    """Series, masks and rejected files below a folder, as ``fedescc-client inspect --json`` prints them.

    Reads every pixel of the series it accepts, because the hash covers the whole volume; a series whose pixels cannot
    be read is refused although its geometry is known. What cannot be known of a refused series is None.

    Args:
        path: the folder.
        progress: called with (files done, files in all) while headers are read.

    Raises:
        Refusal: missing-folder or empty-folder.

    """
    index = index_folder(path, progress)
    read = _read_all(group_series(index.rows, index.rejected))
    masks = match_masks(index.masks, [series for series, _ in read])
    return {
        "series": [_series_entry(series, hu) for series, hu in read],
        "masks": [_mask_entry(mask) for mask in masks],
        "rejected_files": [{"file": rejected.file, "reason": rejected.reason} for rejected in index.rejected],
    }


def vendor(manufacturer: str) -> str:
    """A scanner maker's usual name, or "other"."""
    lowered = manufacturer.lower()
    if lowered.strip() == "ge":
        return "GE"
    return next((name for part, name in _VENDORS.items() if part in lowered), "other")


def _read_all(volumes: Sequence[Series]) -> list[tuple[Series, HuSummary | None]]:
    """Each series with its final verdict, and a summary of its HU where it is accepted."""
    accepted = {str(place): one for place, one in enumerate(volumes) if not one.reasons}
    apart = any(map(may_kill_its_reader, accepted.values()))
    found = dict(run_all(_read_pixels, accepted, lambda: "reader_died", apart=apart))
    return [_with_pixels(one, found.get(str(place))) for place, one in enumerate(volumes)]


def _read_pixels(series: Series) -> HuSummary | str:
    """A summary of the HU, or the code why there is none."""
    try:
        with quiet_pydicom():
            return hu_summary(open_volume(series))
    except Refusal as refusal:
        return refusal.code


def _with_pixels(series: Series, found: HuSummary | str | None) -> tuple[Series, HuSummary | None]:
    if isinstance(found, str):
        return replace(series, reasons=(found,)), None
    return series, found


def _series_entry(series: Series, hu: HuSummary | None) -> dict[str, Any]:
    grid, first = series.geometry, series.rows[0]
    return {
        "series_uid": series.uid,
        "modality": first.modality,
        "manufacturer": vendor(first.manufacturer),
        "files": series.files,
        "verdict": series.verdict,
        "reasons": list(series.reasons),
        "warnings": list(series.warnings),
        "transfer_syntax": "\\".join(sorted({row.transfer_syntax for row in series.rows})),
        "shape_zyx": list(grid.shape_zyx) if grid else None,
        "spacing_zyx_mm": list(grid.spacing_zyx_mm) if grid else None,
        "origin_xyz_mm": list(grid.origin_xyz_mm) if grid else None,
        "direction": list(grid.direction) if grid else None,
        "hu": hu,
    }


def _mask_entry(mask: MatchedMask) -> dict[str, Any]:
    return {
        "source": mask.file.file,
        "roi": mask.roi,
        "series_uid": mask.series.uid if mask.series else None,
        "verdict": "refused" if mask.reasons else "accepted",
        "reasons": list(mask.reasons),
        "warnings": list(mask.warnings),
        "voxels": int(mask.voxels.sum()) if mask.voxels is not None else None,
        "mean_hu": _mean_hu(mask),
    }


def _mean_hu(mask: MatchedMask) -> float | None:
    if mask.voxels is None or mask.series is None:
        return None
    volume = open_volume(mask.series)
    planes = np.flatnonzero(mask.voxels.any(axis=(1, 2)))
    total = sum(int(volume.slices(k, k + 1)[0][mask.voxels[k]].sum(dtype=np.int64)) for k in planes.tolist())
    return total / int(mask.voxels.sum())
