"""A patient's part on disk: whole or not at all, found by everything it was made from, and nothing of whom."""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml

from fedescc.client.intake.disk.parts import Part, PartStore, Tensors, part_bytes, part_digest
from fedescc.client.intake.eligibility import Scans
from fedescc.client.intake.table.overrides import Override
from fedescc.common.errors import Refusal
from fedescc.common.imaging import Imaging
from fedescc.common.study import read_study

STUDY = read_study("escc-pcr")
assert STUDY.imaging is not None
IMAGING: Imaging = STUDY.imaging
TENSORS = Tensors(np.full((2, 4, 4, 4), 0.25, np.float16), np.ones((2, 4, 4, 4), np.uint8))
GOOD = Part(
    notes=("pre:noisy",),
    cut=True,
    propagated=True,
    chosen={"pre": 0, "post": 1},
    lost=(("post", 0, "thicker_slices"),),
    measures={"post.similarity": 0.91},
    codes={"pre.vendor": "ge"},
)
BAD = Part(quality=("pre:thick_slices",), roi=False, details=("post:no_mask",))


@pytest.fixture
def store(tmp_path: Path) -> PartStore:
    made = PartStore(tmp_path, "escc-pcr")
    made.prepare(1, 1, IMAGING)
    return made


def file(tmp_path: Path, digest: str) -> Path:
    return tmp_path / "parts" / "escc-pcr" / f"{digest}.npz"


def test_round_trip(store: PartStore) -> None:
    store.write("a", GOOD, TENSORS)
    store.write("b", BAD, None)
    assert (store.read("a"), store.read("b"), store.read("c")) == (GOOD, BAD, None)
    for stored, expected in zip(store.tensors("a"), TENSORS, strict=True):
        assert stored.dtype == expected.dtype
        np.testing.assert_array_equal(stored, expected)


def test_a_part_without_codes_is_of_unknown_acquisition(store: PartStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an older version wrote it; its name would not be looked for, and if it were it is no failure."""
    dumps = json.dumps

    def older(value: dict[str, Any]) -> str:
        return dumps({name: item for name, item in value.items() if name != "codes"})

    monkeypatch.setattr("fedescc.client.intake.disk.parts.json.dumps", older)
    store.write("a", GOOD, TENSORS)
    read = store.read("a")
    assert read == dataclasses.replace(GOOD, codes={})


def test_a_part_packed_in_a_way_unknown_here_is_none(store: PartStore, tmp_path: Path) -> None:
    """Of a changed bit in its directory zipfile raises what is no damage to it."""
    store.write("a", GOOD, TENSORS)
    path = file(tmp_path, "a")
    whole = bytearray(path.read_bytes())
    directory = whole.index(b"PK\x01\x02")
    for offset, value in ((6, 210), (8, 1), (10, 99)):  # version needed, encrypted, method
        changed = whole.copy()
        changed[directory + offset] = value
        path.write_bytes(changed)
        assert store.read("a") is None, offset


def test_every_way_to_damage_a_part_makes_it_none(store: PartStore, tmp_path: Path) -> None:
    store.write("a", GOOD, TENSORS)
    path = file(tmp_path, "a")
    whole = path.read_bytes()
    for keep in range(0, len(whole), 97):
        path.write_bytes(whole[:keep])
        assert store.read("a") is None, keep
    changed = 0
    for place in range(0, len(whole), 41):
        content = bytearray(whole)
        content[place] ^= 0xFF
        path.write_bytes(content)
        # A byte of the archive's own unused fields changes nothing that is read.
        assert store.read("a") in (None, GOOD), place
        changed += store.read("a") is None
    assert changed > len(whole) // 41 // 2


def test_a_part_that_says_usable_and_lacks_tensors_is_none(store: PartStore) -> None:
    store.write("a", GOOD, None)
    store.write("b", BAD, TENSORS)
    assert (store.read("a"), store.read("b")) == (None, None)


def test_a_part_is_written_beside_and_renamed(
    store: PartStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write("a", GOOD, TENSORS)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        store.write("a", BAD, None)
    assert store.read("a") == GOOD


def test_prune_keeps_what_is_wanted_and_other_studies(store: PartStore, tmp_path: Path) -> None:
    other = PartStore(tmp_path, "other")
    other.prepare(0, 0, IMAGING)
    for where in (store, other):
        where.write("a", GOOD, TENSORS)
        where.write("b", BAD, None)
    store.prune(["b"])
    assert (store.read("a"), store.read("b"), other.read("a")) == (None, BAD, GOOD)


class Usage(NamedTuple):
    free: int


def test_a_disk_that_is_too_small_is_refused_beforehand(
    store: PartStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert part_bytes(IMAGING) == 3 * 2 * 48**3
    needed = (3 + 10) * part_bytes(IMAGING) + (200 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(needed))
    store.prepare(3, 10, IMAGING)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(needed - 1))
    with pytest.raises(Refusal, match="no-space") as caught:
        store.prepare(3, 10, IMAGING)
    assert str(tmp_path) not in str(caught.value)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "parts").write_text("a file")
    with pytest.raises(Refusal, match="cannot-prepare"):
        PartStore(tmp_path, "escc-pcr").prepare(1, 1, IMAGING)


def test_scans_learn_what_was_found() -> None:
    known = Scans(found={"pre": "found"}, details=("pre:remark",))
    after = BAD.of(known)
    assert (after.quality, after.roi) == (("pre:thick_slices",), False)
    assert after.details == ("pre:remark", "pre:thick_slices", "post:no_mask")
    assert after.found == known.found
    assert (GOOD.usable, BAD.usable, Part(roi=False).usable) == (True, False, False)


@pytest.mark.parametrize(
    ("part", "passing"),
    [
        (Part(quality=("reader_died",)), True),
        (Part(quality=("unexpected_MemoryError",)), True),
        (Part(roi=False, details=("post:unexpected_OSError",)), True),
        (BAD, False),
        (GOOD, False),
    ],
)
def test_what_another_try_may_mend_is_no_verdict(part: Part, passing: bool) -> None:
    assert part.passing == passing


def changed_imaging(**changes: Any) -> Imaging:
    return Imaging.model_validate({**yaml.safe_load(STUDY.to_yaml())["imaging"], **changes})


def test_the_digest_depends_on_every_input(tmp_path: Path) -> None:
    path = tmp_path / "1"
    path.write_text("ct")
    os.utime(path, ns=(5, 5))

    def digest(imaging: Imaging = IMAGING, patient: tuple[object, ...] = ("key", (), 70)) -> str:
        return part_digest(imaging, patient, [path])

    first = digest()
    assert digest() == first
    assert digest(changed_imaging(harmonisation="landmarks")) == first  # happens after the parts
    others = [
        digest(changed_imaging(tilt="correct")),
        digest(patient=("other", (), 70)),
        digest(patient=("key", (Override("pre", "accept", "noisy"),), 70)),
        digest(patient=("key", (), 71)),
    ]
    os.utime(path, ns=(6, 6))
    others.append(digest())
    path.write_text("longer")
    os.utime(path, ns=(6, 6))
    others.append(digest())
    path.unlink()
    others.append(digest())
    assert len({first, *others}) == 8
