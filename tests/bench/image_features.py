"""Milliseconds of one core a scan for named features and for each family of radiomics, on phantom patients.

Processor time, so that other work on the machine does not count; imports and the first scan, which loads libraries,
are left out.

Run: OMP_NUM_THREADS=1 python tests/bench/image_features.py
"""

import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from fedescc.client.features.measures import measure_scan
from fedescc.client.features.radiomics import cut_tissue, radiomic_values
from fedescc.common.study import read_study
from fedescc.common.tabular.features import NAMED_MEASURES, RADIOMIC_MEASURES
from fedescc.simulations.patients.tensor_path import phantom_set

PATIENTS = 12
FAMILIES = ("stat_", "morph_", "cm_", "rlm_", "szm_")


def main() -> None:
    """Prepare the patients, measure each scan, and print a table."""
    study = read_study("escc-pcr")
    imaging = study.imaging
    assert imaging is not None
    site = phantom_set(1, [(k % 5, k) for k in range(PATIENTS)], study, workers=1, advance=lambda: None).cohort
    assert site.images is not None
    assert site.rois is not None
    shape = (-1, *imaging.grid.size_zyx)
    scans = list(zip(site.images.reshape(shape), site.rois.reshape(shape), strict=True))
    tissue = [cut_tissue(image, roi, imaging.grid) for image, roi in scans]
    say(f"{'what':<24}{'measures':>10}{'ms a scan':>12}")
    row("named", len(NAMED_MEASURES), lambda scan: measure_scan(*scan, imaging.grid), scans)
    for family in FAMILIES:
        names = [name for name in RADIOMIC_MEASURES if name.startswith(family)]
        row(f"radiomic {family}*", len(names), lambda one, names=names: radiomic_values(one, names), tissue)
    row("radiomic, all", len(RADIOMIC_MEASURES), radiomic_values, tissue)


def row(what: str, measures: int, work: Callable[[Any], object], inputs: list[Any]) -> None:
    """One line of the table: the median over the scans."""
    work(inputs[0])
    spent = []
    for one in inputs:
        start = time.process_time()
        work(one)
        spent.append(time.process_time() - start)
    say(f"{what:<24}{measures:>10}{1000 * median(spent):>12.1f}")


def say(line: str) -> None:
    """A line of the table."""
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
