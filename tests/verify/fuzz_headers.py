"""10,000 series of damaged CT files through the index, the series and the reader, written to docs/verification.

Goal: no crash, no hang, no cut file unnoticed, no accepted volume that lies elsewhere than pydicom says of its files.
Resumable: a block of cases whose results lie in ``out/verify`` already is not run again, unless the code has changed.
Run: make verify
"""

import hashlib
import json
import sys
import tempfile
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests" / "support"))

import header_fuzz  # noqa: E402  found through the line above
from pydicom import __version__ as pydicom_version  # noqa: E402

from fedescc.common.files import write_atomically  # noqa: E402

CASES, BLOCK = 10_000, 500
COUNTS = ("series", "damaged files", "volumes accepted", "volumes refused", "damaged files rejected", "faults")


def main(out: Path, document: Path) -> int:
    """Run what is missing, write the table, return 1 if there is a fault."""
    out.mkdir(parents=True, exist_ok=True)
    code = _code()
    blocks = [_block(out / f"{first:06}.json", first, code) for first in range(0, CASES, BLOCK)]
    counts = sum((Counter(block["counts"]) for block in blocks), Counter())
    kinds = sum((Counter(block["kinds"]) for block in blocks), Counter())
    faults = [fault for block in blocks for fault in block["faults"]]
    document.parent.mkdir(parents=True, exist_ok=True)
    document.write_text(_markdown(counts, kinds, faults), encoding="utf-8")
    sys.stdout.write(_markdown(counts, kinds, faults))
    return 1 if faults else 0


def _code() -> str:
    """Hash of what is tested and of the test: older results say nothing of them."""
    digest = hashlib.sha256(pydicom_version.encode())
    for path in (*sorted((REPOSITORY / "client" / "imaging").glob("*.py")), Path(header_fuzz.__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _block(path: Path, first: int, code: str) -> dict[str, Any]:
    try:
        done: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if done["code"] == code:
            return done
    except (OSError, ValueError, KeyError):
        pass
    done = {"code": code, **_run(first)}
    write_atomically(path, json.dumps(done, indent=1).encode())
    sys.stderr.write(f"cases {first} to {first + BLOCK - 1}: {len(done['faults'])} faults\n")
    return done


def _run(first: int) -> dict[str, Any]:
    counts, kinds, faults = Counter[str](), Counter[str](), []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + BLOCK):
            case = header_fuzz.make_case(seed)
            found = header_fuzz.run_case(Path(folder), case)
            values = (1, len(case.damage), found.accepted, found.refused, found.rejected, len(found.faults))
            counts.update(dict(zip(COUNTS, values, strict=True)))
            kinds.update(kind for one in case.damage.values() for kind in one)
            faults += [f"case {seed}: {fault}" for fault in found.faults]
    return {"counts": counts, "kinds": kinds, "faults": faults}


def _markdown(counts: Counter[str], kinds: Counter[str], faults: list[str]) -> str:
    what = f"{counts['series']:,} series of {header_fuzz.SLICES} slices (explicit, implicit and big endian, RLE)"
    lines = [
        "# Damaged CT headers",
        "",
        f"{date.today().isoformat()}: {what},",
        f"of each one to all files damaged, at most {header_fuzz.SECONDS_PER_CASE} s a series.",
        f"pydicom {pydicom_version} reads the geometry of every accepted slice again.",
        "",
        "| " + " | ".join(COUNTS) + " | goal |",
        "|" + "---|" * (len(COUNTS) + 1),
        "| " + " | ".join(f"{counts[name]:,}" for name in COUNTS) + f" | {'MISSED' if faults else 'reached'} |",
        "",
        "Damage: " + ", ".join(f"{kind.replace('_', ' ')} {count:,}" for kind, count in sorted(kinds.items())) + ".",
        *(["", *(f"- {fault}" for fault in faults)] if faults else []),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(Path("out/verify/fuzz-headers"), Path("docs/verification/damaged-headers.md")))
