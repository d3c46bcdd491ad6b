"""A store gives back what was put in, or nothing; it is never believed when it should not be."""

import math
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedescc.client.imaging.headers import store as store_module
from fedescc.client.imaging.headers.batch import Entry, decode, encode
from fedescc.client.imaging.headers.fields import own_fields, shared_fields
from fedescc.client.imaging.headers.found import Found, MaskFile, Reference, RejectedFile
from fedescc.client.imaging.headers.header import DicomRow
from fedescc.client.imaging.headers.store import Store

ROOT = "/export"
EMPTY = DicomRow._make((ROOT, "", 0, None, *own_fields({}), *shared_fields({}, "", little=True, has_pixels=True)))
text = st.text(max_size=20) | st.just("\udcd5\udcc5")  # the second: bytes of a name that are no UTF-8
whole = st.none() | st.integers(-(2**40), 2**40)
number = st.none() | st.floats(allow_nan=False)
signatures = st.none() | st.tuples(*[st.integers(1, 2**63)] * 4)


@st.composite
def rows(draw: st.DrawFn, name: str, frame: int) -> DicomRow:
    return EMPTY._replace(
        name=name,
        frame=frame,
        pixel_offset=draw(whole),
        acquisition_time=draw(text),
        phase_percent=draw(number),
        images_in_acquisition=draw(whole),
        sop_uid=draw(text),
        instance_number=draw(whole),
        position=draw(st.none() | st.tuples(*[st.floats(allow_nan=False)] * 3)),
        image_type=draw(st.tuples(text, text)),
        patient_id=draw(text),
        kvp=draw(number),
        orientation=draw(st.none() | st.tuples(*[st.floats(allow_nan=False)] * 6)),
        pixel_padding=draw(whole),
        signed=draw(st.booleans()),
    )


@st.composite
def entries(draw: st.DrawFn) -> list[Entry]:
    made: list[Entry] = []
    for name in draw(st.lists(text, max_size=6, unique=True)):
        found: tuple[Found, ...] = draw(
            st.one_of(
                rows(name, 0).map(lambda row: (row,)),
                st.tuples(rows(name, 1), rows(name, 2)),
                st.just((MaskFile(ROOT, name, "seg"),)),
                st.tuples(st.builds(RejectedFile, text, text, text, text)),
                st.tuples(st.just(RejectedFile(name, "dicomdir")), st.builds(Reference, text, text, text, text)),
            )
        )
        made.append((name, draw(signatures), found))
    return made


@given(entries())
def test_a_batch_comes_back_as_it_went(made: list[Entry]) -> None:
    names, signed, found = decode(encode(made), ROOT, {})
    assert list(zip(names, signed, found, strict=True)) == made
    for got, (_, _, put) in zip(found, made, strict=True):
        assert [type(one) for one in got] == [type(one) for one in put]


def test_no_number_survives_a_batch() -> None:
    """Infinity and NaN are refused by the geometry; they must get there."""
    row = EMPTY._replace(name="a", position=(math.inf, -math.inf, math.nan), slope=math.nan)
    ((back,),) = decode(encode([("a", None, (row,))]), ROOT, {}).found
    assert isinstance(back, DicomRow)
    assert back.position is not None
    assert (back.position[0], back.position[1]) == (math.inf, -math.inf)
    assert math.isnan(back.position[2])
    assert back.slope is not None
    assert math.isnan(back.slope)


def test_rows_from_several_batches_share_what_is_the_same() -> None:
    kept: Any = {}
    contents = [encode([(name, None, (EMPTY._replace(name=name, image_type=("A", "B")),))]) for name in "ab"]
    ((one,),), ((other,),) = (decode(content, ROOT, kept).found for content in contents)
    assert isinstance(one, DicomRow)
    assert isinstance(other, DicomRow)
    assert one.image_type is other.image_type


SIGNED = (10, 20, 30, 40)


def entry(name: str, series: str = "1.2", signature: Any = SIGNED) -> Entry:
    return name, signature, (EMPTY._replace(root="export", name=name, series_uid=series),)


def fill(path: Path, *batches: list[Entry], folder: Path = Path("export")) -> None:
    with Store(path, folder) as store:
        for batch in batches:
            store.append(encode(batch))


def known(path: Path, *names: str, folder: Path = Path("export"), signature: Any = SIGNED) -> list[bool]:
    with Store(path, folder) as store:
        return [one is not None for one in store.match([(name, signature) for name in names])]


def stored(path: Path) -> bytes:
    return path.read_bytes()


def test_what_was_kept_is_matched_by_name_and_signature(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    fill(path, [entry("a"), entry("b")], [entry("c")])
    with Store(path, Path("export")) as store:
        matched = store.match([("a", SIGNED), ("b", SIGNED), ("c", SIGNED)])
    assert matched == [entry(name)[2] for name in "abc"]


@pytest.mark.parametrize("place", range(4))
def test_any_part_of_the_signature_counts(tmp_path: Path, place: int) -> None:
    path = tmp_path / "index.sqlite"
    fill(path, [entry("a")])
    changed = [*SIGNED]
    changed[place] += 1
    assert known(path, "a", signature=tuple(changed)) == [False]


def test_an_entry_without_signature_is_never_matched(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    fill(path, [entry("a", signature=None), entry("b")])
    assert known(path, "a", "b") == [False, True]
    fill(path, [entry("a", signature=None)])
    for reason in ("unreadable", "not_regular_file"):
        assert known(path, "a", signature=reason) == [False]


def test_what_left_the_folder_leaves_the_store(tmp_path: Path) -> None:
    """A withdrawn patient's identifiers are overwritten, not only forgotten."""
    path = tmp_path / "index.sqlite"
    fill(path, [entry("a", "1.2.WITHDRAWN"), entry("b", "1.2.STAYS")], [entry("c", "1.2.GONE-TOO")])
    assert b"1.2.WITHDRAWN" in stored(path)
    assert b"1.2.GONE-TOO" in stored(path)
    assert known(path, "b") == [True]
    assert b"1.2.STAYS" in stored(path)
    assert b"1.2.WITHDRAWN" not in stored(path)
    assert b"1.2.GONE-TOO" not in stored(path)
    assert known(path, "b") == [True]


def test_a_changed_file_replaces_its_entry(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    fill(path, [entry("a", "1.2.OLD"), entry("b")])
    with Store(path, Path("export")) as store:
        assert store.match([("a", (1, 1, 1, 1)), ("b", SIGNED)])[0] is None
        store.append(encode([entry("a", "1.2.NEW", (1, 1, 1, 1))]))
    assert b"1.2.OLD" not in stored(path)
    with Store(path, Path("export")) as store:
        matched = store.match([("a", (1, 1, 1, 1)), ("b", SIGNED)])
    assert [one[0].series_uid for one in matched if one and isinstance(one[0], DicomRow)] == ["1.2.NEW", "1.2"]


def test_two_processes_that_kept_the_same_file_leave_the_later_entry(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    fill(path, [entry("a", "1.2.FIRST")], [entry("a", "1.2.SECOND")])
    assert known(path, "a") == [True]
    assert b"1.2.FIRST" not in stored(path)
    assert b"1.2.SECOND" in stored(path)


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "index.sqlite"
    before = os.umask(0)
    try:
        fill(path, [entry("a")])
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o644)
    assert known(path, "a") == [True]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def foreign_database(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE patients (name TEXT)")
    connection.close()


def foreign_rows(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO batch (digest, content) VALUES ('text', 17)")
    connection.close()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"PatientID,Name\n1,Smith\n" * 100),
        lambda path: path.write_bytes(path.read_bytes()[:5000]),
        lambda path: path.write_bytes(b"SQLite format 3\0" + bytes(8000)),
        lambda path: path.write_bytes(path.read_bytes().replace(b'"1.2"', b'"1.3"')),
        lambda path: (path.unlink(), foreign_database(path)),
    ],
    ids=["empty", "text", "cut", "zeros", "altered", "another database"],
)
def test_what_is_damaged_or_foreign_is_built_anew(tmp_path: Path, spoil: Any) -> None:
    path = tmp_path / "index.sqlite"
    fill(path, [entry("a")])
    spoil(path)
    assert known(path, "a") == [False]
    fill(path, [entry("a")])
    assert known(path, "a") == [True]


def test_a_row_that_is_no_batch_is_dropped_alone(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    fill(path, [entry("a")])
    foreign_rows(path)
    assert known(path, "a") == [True]
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM batch").fetchone() == (1,)
    connection.close()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_a_flipped_byte_never_changes_what_comes_back(tmp_path: Path, seed: int) -> None:
    path = tmp_path / f"{seed}.sqlite"
    fill(path, [entry("a", "1.2.3"), entry("b", "1.2.4")])
    content = bytearray(path.read_bytes())
    at = seed % len(content)
    content[at] ^= 1 + seed % 255
    path.write_bytes(content)
    with Store(path, Path("export")) as store:
        for name, one in zip("ab", store.match([("a", SIGNED), ("b", SIGNED)]), strict=True):
            assert one in {None, entry(name, "1.2.3" if name == "a" else "1.2.4")[2]}
    path.unlink(missing_ok=True)


@pytest.mark.parametrize("change", ["format", "version", "folder"])
def test_another_format_version_or_folder_is_built_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    path = tmp_path / "index.sqlite"
    fill(path, [entry("a")])
    if change == "format":
        monkeypatch.setattr(store_module, "_FORMAT", -1)
    if change == "version":
        monkeypatch.setattr(store_module, "_VERSION", "0.0.1")
    assert known(path, "a", folder=Path("other" if change == "folder" else "export")) == [False]
    assert b'"1.2"' not in stored(path)


def test_a_journal_left_by_a_foreign_file_is_not_played_back(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    for suffix in ("-journal", "-wal", "-shm"):
        Path(f"{path}{suffix}").write_bytes(b"left over" * 200)
    path.write_bytes(b"no database" * 100)
    fill(path, [entry("a")])
    assert known(path, "a") == [True]


def test_where_nothing_can_be_written_the_index_does_without(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "index.sqlite"
    fill(path, [entry("a")])
    assert known(path, "a") == [False]


def test_a_full_disk_costs_the_store_only(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    with Store(path, Path("export")) as store:
        assert store._connection
        store._connection.execute("PRAGMA max_page_count = 4")
        store.append(encode([entry(f"{k:04}") for k in range(1000)]))
        store.append(encode([entry("a")]))
    assert known(path, "a") == [False]


def test_a_locked_store_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "index.sqlite"
    fill(path, [entry("a")])
    monkeypatch.setattr(store_module, "_WAIT_SECONDS", 0)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    assert known(path, "a") == [False]
    holder.execute("ROLLBACK")
    holder.close()
    assert known(path, "a") == [True]


WRITER = """
import sys
from pathlib import Path
from fedescc.client.imaging.headers.batch import encode
from fedescc.client.imaging.headers.found import RejectedFile
from fedescc.client.imaging.headers.store import Store
print("up", flush=True)
for k in range(10**6):
    with Store(Path(sys.argv[1]), Path("export")) as store:
        files = [(f"{n:04}", (k // 10, 1, 1, 1)) for n in range(200)]
        if store.match(files)[0] is None:
            store.append(encode([(name, signed, (RejectedFile(name, str(signed[0])),)) for name, signed in files]))
"""


@pytest.mark.parametrize("after", [0.01, 0.05, 0.11, 0.2])
def test_a_killed_writer_leaves_a_sound_store(tmp_path: Path, after: float) -> None:
    path = tmp_path / "index.sqlite"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout
        writer.stdout.readline()
        time.sleep(after)
        writer.send_signal(signal.SIGKILL)
    with Store(path, Path("export")) as store:
        for name, one in store._known.items():
            assert one[1] == (RejectedFile(name, str(one[0][0] if one[0] else None)),)
        store.append(encode([entry("a")]))
    assert known(path, "a") == [True]
