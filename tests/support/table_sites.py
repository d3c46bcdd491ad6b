"""Hospitals of the toy study as folders: a table and a site file each."""

from pathlib import Path

import numpy as np

SITE = """
site: {name}
clinical: {{path: clinical.csv}}
policy: {{min_class_count: 3, score_histogram: plain}}
"""


def write_site(folder: Path, name: str, patients: int, event: float = 0.5) -> None:
    rng = np.random.default_rng([3, *name.encode()])
    lines = ["patient_id,age,marker,sex,outcome"]
    for number in range(patients):
        age = rng.uniform(30, 80)
        outcome = int(rng.random() < event * 2 / (1 + np.exp(-(age - 55) / 6)))
        marker = "" if rng.random() < 0.1 else f"{rng.uniform(0, 900):.1f}"
        lines.append(f"P{number},{age:.1f},{marker},{rng.choice(['female', 'male'])},{outcome}")
    site = folder / name
    site.mkdir(parents=True)
    (site / "clinical.csv").write_text("\n".join(lines) + "\n")
    (site / "site.yaml").write_text(SITE.format(name=name))
