"""The prepared cohort on disk: content key, round trip, and what is not in it."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedescc.client.cohort import SiteCohort
from fedescc.client.intake.disk.cache import Prepared, clear_drafts, content_key, draft_folder, publish, read_cache
from fedescc.client.site import Site, SiteFile
from fedescc.common.errors import Refusal
from fedescc.common.study import Study, read_study

STUDY = read_study("heart-disease")
SALT = b"s" * 32


def site(folder: Path, **changes: Any) -> SiteFile:
    settings = {"site": "a", "clinical": {"path": "clinical.csv"}, **changes}
    return SiteFile(settings=Site.model_validate(settings), folder=folder)


def prepared(n: int = 3) -> Prepared:
    cohort = SiteCohort(
        keys=tuple(f"{i:064x}" for i in range(n)),
        labels=np.arange(n, dtype=np.int8) % 2,
        numeric={"age": np.array([60.5, np.nan, 70.0][:n])},
        categorical={"sex": np.array([0, -1, 1][:n], dtype=np.int16)},
        split=np.array(["train", "validation", "test"][:n], dtype="<U10"),
        images=None,
        rois=None,
        flow={"included": n, "adult": 2},
        acquisition={
            "vendor": np.array([[0, 1], [-1, -1], [5, 0]][:n], np.int8),
            "noise_hu": np.array([[10.5, 11.0], [np.nan, np.nan], [9.0, 12.0]][:n]),
        },
    )
    return Prepared(cohort, {"f" * 64: ("adult", "pre:gantry_tilt")}, ("a remark",))


def store(root: Path, name: str, study: Study = STUDY, what: Prepared | None = None, images: bool = False) -> Prepared:
    with draft_folder(root) as draft:
        if images:
            np.save(draft / "images.npy", np.full((3, 2, 4, 4, 4), 0.5, np.float16))
            np.save(draft / "rois.npy", np.ones((3, 2, 4, 4, 4), np.uint8))
        return publish(draft, root / name, study, what or prepared())


def test_round_trip(tmp_path: Path) -> None:
    stored = store(tmp_path, "x", images=True)
    again = read_cache(tmp_path / "x")
    assert again is not None
    for result in (stored, again):
        expected = prepared()
        assert result.cohort.keys == expected.cohort.keys
        assert (result.codes, result.warnings) == (expected.codes, expected.warnings)
        assert result.cohort.flow == expected.cohort.flow
        np.testing.assert_array_equal(result.cohort.labels, expected.cohort.labels)
        np.testing.assert_array_equal(result.cohort.numeric["age"], expected.cohort.numeric["age"])
        np.testing.assert_array_equal(result.cohort.categorical["sex"], [0, -1, 1])
        assert [len(result.cohort.rows(name)) for name in ("train", "validation", "test")] == [1, 1, 1]
        assert isinstance(result.cohort.images, np.memmap)
        assert set(result.cohort.acquisition) == {"vendor", "noise_hu"}
        np.testing.assert_array_equal(result.cohort.acquisition["vendor"], [[0, 1], [-1, -1], [5, 0]])
        np.testing.assert_array_equal(result.cohort.acquisition["noise_hu"], expected.cohort.acquisition["noise_hu"])
        assert (result.cohort.images.dtype, result.cohort.images.shape) == (np.float16, (3, 2, 4, 4, 4))
        assert isinstance(result.cohort.rois, np.memmap)
        assert not result.cohort.images.flags.writeable


def test_a_draft_leaves_nothing_behind_when_it_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), draft_folder(tmp_path):
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []
    store(tmp_path, "x")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_drafts_of_killed_processes_are_removed(tmp_path: Path) -> None:
    (tmp_path / "draft-killed" / "inside").mkdir(parents=True)
    (tmp_path / "cohort").mkdir()
    clear_drafts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["cohort"]
    clear_drafts(tmp_path / "absent")


def test_a_cache_that_is_removed_by_half_is_a_draft_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while it removes the cache of a patient who withdrew, the next intake still knows what to clear."""
    store(tmp_path, "old")
    removed: list[Path] = []
    monkeypatch.setattr("shutil.rmtree", lambda path, **_: removed.append(path))
    store(tmp_path, "new")
    assert tmp_path / "draft-old" in removed
    assert not (tmp_path / "old").exists()
    monkeypatch.undo()
    clear_drafts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


@pytest.mark.parametrize("error", [PermissionError, NotADirectoryError])
def test_a_work_folder_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Path, "mkdir", fail)
    with pytest.raises(Refusal, match=rf"{error.__name__} \[cannot-prepare\]"), draft_folder(tmp_path):
        pass


def test_a_cache_that_cannot_be_read_back_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedescc.client.intake.disk.cache.read_cache", lambda _: None)
    with draft_folder(tmp_path) as draft, pytest.raises(Refusal, match="cannot be read back"):
        publish(draft, tmp_path / "x", STUDY, prepared())


@pytest.mark.parametrize("text", ["null", "[]", "3", '{"keys": []}'])
def test_a_summary_that_is_none_counts_as_no_cache(tmp_path: Path, text: str) -> None:
    store(tmp_path, "x")
    (tmp_path / "x" / "cohort.json").write_text(text)
    assert read_cache(tmp_path / "x") is None
    assert store(tmp_path, "y").cohort.keys == prepared().cohort.keys


@pytest.mark.parametrize("name", ["tables.npz", "images.npy", "rois.npy"])
def test_one_changed_bit_of_an_array_counts_as_damage(tmp_path: Path, name: str) -> None:
    store(tmp_path, "x", images=True)
    path = tmp_path / "x" / name
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    assert read_cache(tmp_path / "x") is None


def test_files_reach_the_disk_before_the_folder_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr("fedescc.client.intake.disk.cache.flush_to_disk", lambda path: done.append(path.name))
    rename = Path.rename
    monkeypatch.setattr(Path, "rename", lambda self, to: (done.append("renamed"), rename(self, to))[1])
    store(tmp_path, "x", images=True)
    assert set(done[:4]) == {"cohort.json", "images.npy", "rois.npy", "tables.npz"}
    assert done[4].startswith("draft-")
    assert done[5:] == ["renamed", tmp_path.name]


def test_a_cohort_that_is_there_already_is_replaced(tmp_path: Path) -> None:
    with draft_folder(tmp_path) as one, draft_folder(tmp_path) as other:
        publish(one, tmp_path / "x", STUDY, prepared())
        second = publish(other, tmp_path / "x", STUDY, prepared())
    assert second.cohort.keys == prepared().cohort.keys
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_full_disk_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="cannot-prepare"), draft_folder(tmp_path):
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("name", ["cohort.json", "tables.npz", "images.npy", "rois.npy"])
@pytest.mark.parametrize("damage", ["remove", "truncate", "garble"])
def test_a_damaged_cache_counts_as_none_and_is_replaced(tmp_path: Path, name: str, damage: str) -> None:
    store(tmp_path, "x", images=True)
    path = tmp_path / "x" / name
    if damage == "remove":
        path.unlink()
    elif damage == "truncate":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        path.write_bytes(b"\x80garbage" * 40)
    assert read_cache(tmp_path / "x") is None
    assert store(tmp_path, "x", images=True).cohort.images is not None


def test_a_cohort_kept_without_acquisition_is_of_unknown_acquisition(tmp_path: Path) -> None:
    """What an older version wrote is made anew, because its key is another; read it is no failure."""
    older = prepared()
    older = dataclasses.replace(older, cohort=dataclasses.replace(older.cohort, acquisition={}))
    assert store(tmp_path, "x", what=older).cohort.acquisition == {}


def test_pickles_are_not_read(tmp_path: Path) -> None:
    store(tmp_path, "x", images=True)
    np.save(tmp_path / "x" / "images.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert read_cache(tmp_path / "x") is None


def test_older_caches_of_the_study_are_removed_and_others_kept(tmp_path: Path) -> None:
    store(tmp_path, "old")
    store(tmp_path, "other", read_study("escc-pcr"))
    store(tmp_path, "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "other"]


def test_the_key_depends_on_every_input_and_on_nothing_else(tmp_path: Path) -> None:
    table, folder = tmp_path / "clinical.csv", tmp_path / "dicom"
    table.write_text("a")
    (folder / "p").mkdir(parents=True)
    (folder / "p" / "1").write_text("ct")

    def key(where: SiteFile | None = None, study: Study = STUDY, salt: bytes = SALT) -> str:
        return content_key(where or site(tmp_path), study, salt, [table, folder])

    first = key()
    assert key() == first
    assert key(site(tmp_path, work="elsewhere", policy={"min_class_count": 9})) == first
    others = [
        key(site(tmp_path, clinical={"path": "clinical.csv", "delimiter": ";"})),
        key(study=read_study("escc-pcr")),
        key(salt=b"t" * 32),
    ]
    os.utime(folder / "p" / "1", ns=(1, 1))
    others.append(key())
    (folder / "p" / "other").write_text("tc")
    os.utime(folder / "p" / "other", ns=(1, 1))
    (folder / "p" / "other").replace(folder / "p" / "1")
    others.append(key())  # another file of the same name, size and date
    (folder / "p" / "2").write_text("ct")
    others.append(key())
    (folder / "p" / "2").rename(folder / "p" / "3")
    others.append(key())
    table.write_text("a")
    os.utime(table, ns=(1, 1))
    assert key() == others[-1], "a table written again with the same contents is the same table"
    table.write_text("ab")
    others.append(key())
    assert len({first, *others}) == 9


def test_the_key_knows_what_it_cannot_read(tmp_path: Path) -> None:
    """So that intake runs again when it can."""
    folder = tmp_path / "dicom"
    folder.mkdir()
    (folder / "1").symlink_to(tmp_path / "target")
    before = content_key(site(tmp_path), STUDY, SALT, [folder])
    (tmp_path / "target").write_text("ct")
    assert content_key(site(tmp_path), STUDY, SALT, [folder]) != before


def test_links_are_followed_once_and_absent_inputs_refused(tmp_path: Path) -> None:
    folder, other = tmp_path / "dicom", tmp_path / "pacs"
    folder.mkdir()
    other.mkdir()
    (other / "1").write_text("ct")
    (folder / "linked").symlink_to(other)
    (other / "loop").symlink_to(folder)
    before = content_key(site(tmp_path), STUDY, SALT, [folder])
    os.utime(other / "1", ns=(1, 1))
    assert content_key(site(tmp_path), STUDY, SALT, [folder]) != before
    with pytest.raises(Refusal, match="missing-input"):
        content_key(site(tmp_path), STUDY, SALT, [tmp_path / "absent"])
