"""A folder is listed in one order, whatever the file system's, with what tells a changed file."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedescc.client.imaging.headers.walk import list_files, walk

NAMES = st.text("abAB.- é0", min_size=1, max_size=4).filter(lambda name: name.strip(".") != "")


@settings(max_examples=40)
@given(paths=st.sets(st.lists(NAMES, min_size=1, max_size=4).map("/".join), min_size=1, max_size=12))
def test_files_come_in_the_order_of_their_paths(paths: set[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check_order(Path(folder), paths)


def check_order(root: Path, paths: set[str]) -> None:
    made = set()
    for path in sorted(paths):
        if not (root / path).is_dir() and not any(parent.is_file() for parent in (root / path).parents):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).touch()
            made.add(root / path)
    assert walk(root).files == tuple(sorted(made))
    assert [name for name, _ in list_files(root).files] == [str(path.relative_to(root)) for path in sorted(made)]


def test_the_signature_is_size_times_and_inode(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    os.utime(tmp_path / "file", ns=(1, 1_700_000_000_123_456_789))
    state = (tmp_path / "file").stat()
    ((name, signature),) = list_files(tmp_path).files
    assert (name, signature) == ("file", (5, 1_700_000_000_123_456_789, state.st_ctime_ns, state.st_ino))


def test_a_link_has_the_signature_of_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (_, one), (_, other) = list_files(tmp_path).files
    assert one == other


@pytest.mark.parametrize(
    ("make", "reason"), [(os.mkfifo, "not_regular_file"), (lambda path: path.symlink_to("no"), "unreadable")]
)
def test_what_is_no_file_has_a_reason_instead(tmp_path: Path, make: object, reason: str) -> None:
    assert callable(make)
    make(tmp_path / "odd")
    assert list_files(tmp_path).files == [("odd", reason)]
