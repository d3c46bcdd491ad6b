"""A data set on its way in: on disk bit by bit, whole or gone."""

import errno
import os
import stat
from collections import namedtuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedescc.client.receiving import spool as module
from fedescc.client.receiving.options import Limits
from fedescc.client.receiving.spool import Spool, os_fault
from fedescc.common.errors import Refusal

Usage = namedtuple("Usage", "total used free")


def head() -> bytes:
    return b"HEAD"


def make(folder, **limits):
    return Spool(folder, head, Limits(**({"free_bytes": 0} | limits)))


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=20))
def test_the_file_is_the_head_and_all_fragments(tmp_path_factory, fragments):
    spool = make(tmp_path_factory.mktemp("spool"))
    assert [spool.write(fragment) for fragment in fragments] == [len(fragment) for fragment in fragments]
    assert spool.finish().read_bytes() == b"HEAD" + b"".join(fragments)
    assert spool.size == sum(map(len, fragments))


def test_bytes_go_to_disk_and_not_to_memory(tmp_path):
    spool = make(tmp_path)
    spool.write(b"x" * 100_000)
    assert spool.getvalue() == b""
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) >= 100_000
    spool.discard()


def test_nobody_else_can_read_it(tmp_path):
    spool = make(tmp_path)
    spool.write(b"x")
    assert stat.S_IMODE(spool.finish().stat().st_mode) == 0o600


def test_no_file_before_the_first_fragment_and_none_after_discard(tmp_path):
    spool = make(tmp_path)
    assert not list(tmp_path.iterdir())
    spool.write(b"x")
    assert len(list(tmp_path.iterdir())) == 1
    spool.discard()
    spool.discard()
    assert not list(tmp_path.iterdir())


def test_a_file_that_moved_on_stays(tmp_path):
    spool = make(tmp_path)
    spool.write(b"x")
    spool.finish().rename(tmp_path / "kept")
    spool.discard()
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def refused(spool) -> str:
    with pytest.raises(Refusal) as caught:
        spool.finish()
    return caught.value.code


def test_an_object_without_data_set_is_refused(tmp_path):
    assert refused(make(tmp_path)) == "empty_data_set"


def test_too_large_is_refused_at_the_first_byte_too_many_and_frees_its_space(tmp_path):
    spool = make(tmp_path, object_bytes=10)
    spool.write(b"x" * 10)
    assert list(tmp_path.iterdir())
    spool.write(b"x")
    assert not list(tmp_path.iterdir())
    spool.write(b"x")
    assert refused(spool) == "too_large"
    fits = make(tmp_path, object_bytes=10)
    fits.write(b"x" * 10)
    assert fits.finish().stat().st_size == 14


def test_space_that_must_stay_free_stays_free(tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: Usage(100, 51, 49))
    low = make(tmp_path, free_bytes=50)
    low.write(b"x")
    assert refused(low) == "disk_full"
    assert not list(tmp_path.iterdir())
    enough = make(tmp_path, free_bytes=49)
    enough.write(b"x")
    assert enough.finish().exists()


def test_space_is_looked_at_again_while_a_large_object_arrives(tmp_path, monkeypatch):
    free = iter([10, 0])
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: Usage(10, 0, next(free)))
    monkeypatch.setattr(module, "_DISK_CHECK_BYTES", 8)
    spool = make(tmp_path, free_bytes=5)
    for _ in range(3):
        spool.write(b"1234")
    assert list(tmp_path.iterdir())
    spool.write(b"5678")
    assert refused(spool) == "disk_full"
    assert not list(tmp_path.iterdir())


@pytest.fixture
def full_disk(monkeypatch):
    """The kernel's own full disk under every new file."""
    monkeypatch.setattr(module.os, "open", lambda *_, real=os.open: real("/dev/full", os.O_WRONLY))


def test_a_disk_that_fills_up_while_bytes_arrive_is_a_reason_and_no_exception(tmp_path, full_disk):
    spool = make(tmp_path)
    assert spool.write(b"x" * 100_000) == 100_000
    assert refused(spool) == "disk_full"


def test_a_disk_that_fills_up_with_the_last_bytes_is_known_before_the_object_counts_as_whole(tmp_path, full_disk):
    spool = make(tmp_path)
    spool.write(b"x")  # stays in a buffer
    with pytest.raises(OSError, match="No space") as caught:
        spool.finish()
    assert os_fault(caught.value) == "disk_full"
    spool.discard()


def test_a_folder_that_vanished_is_a_reason(tmp_path):
    spool = make(tmp_path / "gone")
    spool.write(b"x")
    assert refused(spool) == "write_failed"


def test_a_head_that_cannot_be_made_is_a_reason(tmp_path):
    def fail() -> bytes:
        raise Refusal("invalid_uid", "x", "y")

    spool = Spool(tmp_path, fail, Limits(free_bytes=0))
    spool.write(b"x")
    assert refused(spool) == "invalid_uid"
    assert not list(tmp_path.iterdir())


def test_a_fault_from_the_start_writes_nothing(tmp_path):
    spool = Spool(tmp_path, head, Limits(free_bytes=0), "stopping")
    assert spool.write(b"xyz") == 3
    assert refused(spool) == "stopping"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "disk_full"),
        (errno.EDQUOT, "disk_full"),
        (errno.EACCES, "write_failed"),
        (errno.EIO, "write_failed"),
    ],
)
def test_reasons_of_the_operating_system(number, code):
    assert os_fault(OSError(number, "x")) == code
