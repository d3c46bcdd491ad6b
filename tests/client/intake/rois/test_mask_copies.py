"""The same mask file found twice."""

from pathlib import Path

import pytest

from fedescc.client.imaging.headers.index import MaskFile
from fedescc.client.imaging.masks.roiset import RoiSet
from fedescc.client.intake.rois.mask_copies import without_copies, without_same_files
from fedescc.client.intake.rois.roi_files import Drawing

PATIENT = ("P", "")
META = b"\0" * 128 + b"DICM\x02\x00\x00\x00UL\x04\x00"


def drawing(path: Path, content: bytes, uid: str = "1.2", patient: tuple[str, str] = PATIENT) -> Drawing:
    path.write_bytes(content)
    file = MaskFile(str(path.parent), path.name, "rtstruct")
    return Drawing(file, patient, RoiSet((), {}), uid, names_images=False)


def part10(meta: bytes, data: bytes) -> bytes:
    return META + len(meta).to_bytes(4, "little") + meta + data


def test_other_files_stay_in_their_order(tmp_path: Path) -> None:
    files = [MaskFile(str(tmp_path), name, "nifti") for name in ("b", "a/b", "a")]
    assert without_same_files(files) == files
    assert without_same_files([*files, files[1]]) == files
    assert without_same_files([]) == []


def test_of_two_folders_the_inner_one_s_name_for_a_file_is_kept(tmp_path: Path) -> None:
    outer = MaskFile(str(tmp_path), "masks/P/pre.nii.gz", "nifti")
    inner = MaskFile(str(tmp_path / "masks"), "P/pre.nii.gz", "nifti")
    assert without_same_files([outer, inner]) == without_same_files([inner, outer]) == [inner]


def test_a_link_is_the_file_that_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    files = [MaskFile(str(tmp_path), name, "nifti") for name in ("a", "b")]
    assert without_same_files(files) == files[:1]


@pytest.mark.parametrize("meta", [b"sent by A", b"sent by the other"])
def test_a_copy_has_the_same_data_set_whoever_sent_it(tmp_path: Path, meta: bytes) -> None:
    one = drawing(tmp_path / "one", part10(b"sent by A", b"data set"))
    assert without_copies([one, drawing(tmp_path / "two", part10(meta, b"data set"))]) == [one]


def test_a_copy_may_have_no_file_meta_information(tmp_path: Path) -> None:
    one = drawing(tmp_path / "one", b"\x08\x00 plain data set")
    assert without_copies([one, drawing(tmp_path / "two", b"\x08\x00 plain data set")]) == [one]


def test_what_differs_in_anything_is_no_copy(tmp_path: Path) -> None:
    content = part10(b"meta", b"data set")
    kept = [
        drawing(tmp_path / "one", content),
        drawing(tmp_path / "data", part10(b"meta", b"data sel")),
        drawing(tmp_path / "shorter", content[:-1]),
        drawing(tmp_path / "uid", content, uid="1.3"),
        drawing(tmp_path / "patient", content, patient=("", "Q")),
        drawing(tmp_path / "no uid", content, uid=""),
        drawing(tmp_path / "no uid either", content, uid=""),
    ]
    assert without_copies(kept) == kept


def test_files_that_vanished_are_no_copies(tmp_path: Path) -> None:
    gone = [drawing(tmp_path / name, b"same") for name in ("one", "two")]
    for one in gone:
        one.file.path.unlink()
    assert without_copies(gone) == gone
