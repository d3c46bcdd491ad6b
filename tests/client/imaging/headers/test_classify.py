"""What operating systems leave in a folder is neither image nor mask nor damage."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fedescc.client.imaging.headers.classify import classify
from fedescc.client.imaging.headers.found import MaskFile, RejectedFile
from fedescc.client.imaging.headers.header import DicomRow
from fedescc.client.imaging.headers.index import index_folder
from fedescc.client.imaging.volumes.series import group_series

APPLE_DOUBLE = b"\0\x05\x16\x07\0\x02\0\0Mac OS X        "


def reason(root: Path, name: str) -> str:
    (one,) = classify(str(root), name)
    assert isinstance(one, RejectedFile)
    return one.reason


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (".DS_Store", b"\0\0\0\1Bud1"),
        ("Thumbs.db", b"\xd0\xcf\x11\xe0"),
        ("thumbs.db", b""),
        ("Desktop.ini", b"[.ShellClassInfo]"),
        ("._IM0001.dcm", APPLE_DOUBLE),
        ("._roi.nii.gz", APPLE_DOUBLE),
        ("deep/er/._IM0001", APPLE_DOUBLE),
    ],
)
def test_files_of_the_system_have_a_code_of_their_own(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    assert reason(tmp_path, name) == "system_file"


def test_a_name_that_only_begins_so_is_judged_by_its_content(
    tmp_path: Path, ct_series: Callable[..., list[Path]]
) -> None:
    (path,) = ct_series(tmp_path, np.zeros((1, 4, 5), np.uint16), names=["._image"])
    (row,) = classify(str(tmp_path), path.name)
    assert isinstance(row, DicomRow)
    (tmp_path / "._roi.nii").write_bytes(b"x" * 400)
    (mask,) = classify(str(tmp_path), "._roi.nii")
    assert isinstance(mask, MaskFile)
    (tmp_path / "._empty").touch()
    assert reason(tmp_path, "._empty") == "empty_file"
    (tmp_path / "my.DS_Store").write_bytes(b"hello world")
    assert reason(tmp_path, "my.DS_Store") == "not_dicom"


def test_a_copy_made_on_a_mac_is_no_damaged_series(tmp_path: Path, ct_series: Callable[..., list[Path]]) -> None:
    """Each image has a companion of the same ending, which before looked like a slice that is no DICOM any more."""
    stored = np.random.default_rng(0).integers(0, 2000, (4, 6, 7)).astype(np.uint16)
    for path in ct_series(tmp_path, stored, names=[f"IM{k}.dcm" for k in range(4)]):
        path.with_name(f"._{path.name}").write_bytes(APPLE_DOUBLE + bytes(4000))
    index = index_folder(tmp_path)
    assert {one.reason for one in index.rejected} == {"system_file"}
    (series,) = group_series(index.rows, index.rejected)
    assert (series.reasons, series.warnings) == ((), ())
