"""One sender's visit: statuses that a PACS understands, and a line that names no patient."""

import errno
from collections import Counter

import pytest
from pacs import NAME, PATIENT_ID

from fedescc.client.receiving.inbox import Inbox
from fedescc.client.receiving.options import Limits, Options, Peer
from fedescc.client.receiving.session import Session, Totals
from fedescc.common.errors import Refusal


class Fails(Inbox):
    """An inbox that always says the same."""

    def __init__(self, folder, answer):
        super().__init__(folder, folder, Limits(free_bytes=0))
        self.answer = answer

    def take(self, spool, sop_class, sop_uid):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def make(folder, answer="received", allow=(), stopping=False):
    session = Session("192.0.2.7", Fails(folder, answer), Options(allow=allow), lambda: stopping)
    session.admit("PACS")
    return session


def store(session, content=b"x" * 10):
    spool = session.begin(lambda: b"HEAD")
    spool.write(content)
    return session.store(spool, "1.2", "1.2.3")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("disk_full", 0xA700),  # out of resources
        ("write_failed", 0xA700),
        ("too_large", 0xA700),
        ("stopping", 0xA700),
        ("sop_class_mismatch", 0xA900),  # data set does not match SOP class
        ("uid_mismatch", 0xA900),
        ("not_admitted", 0x0124),  # not authorised
        ("truncated", 0xC000),  # cannot understand
        ("conflict", 0xC000),
        ("anything_else", 0xC000),
    ],
)
def test_every_reason_is_a_status_of_the_standard(tmp_path, code, status):
    session = make(tmp_path, Refusal(code, "x", "y"))
    assert store(session) == (status, code)
    assert session.totals.refused == {code: 1}
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "disk_full"), (errno.EIO, "write_failed")])
def test_a_disk_that_fails_is_a_status_too(tmp_path, number, code):
    assert store(make(tmp_path, OSError(number, "x"))) == (0xA700, code)


def test_counts(tmp_path):
    session = make(tmp_path)
    assert store(session) == (0, "")
    assert store(session) == (0, "")
    session._inbox.answer = "duplicate"
    assert store(session) == (0, "")
    assert session.totals == Totals(received=2, duplicates=1, bytes=20)
    assert not list(tmp_path.glob("*.part"))


def test_the_line_says_how_many_and_not_who(tmp_path):
    session = make(tmp_path, Refusal("truncated", f"{NAME} {PATIENT_ID}", "y"))
    store(session, f"{NAME} {PATIENT_ID}".encode())
    line = session.close("released")
    assert line.startswith("PACS@192.0.2.7: 0 received, 0 duplicates, 1 refused (truncated 1), 0.0 MB in ")
    assert line.endswith(" s, released")
    for secret in (*NAME.split("^"), PATIENT_ID, "1.2.3"):
        assert secret not in line


def test_totals_add_up_and_read_well():
    total = Totals()
    total.add(Totals(received=300, bytes=157_300_000, refused=Counter(truncated=1)))
    total.add(Totals(duplicates=2, echoes=1, refused=Counter(truncated=1, conflict=3)))
    assert total == Totals(300, 2, Counter(truncated=2, conflict=3), 1, 157_300_000)
    assert str(total) == "300 received, 2 duplicates, 5 refused (conflict 3, truncated 2), 1 echoes, 157.3 MB"


def test_what_is_half_written_goes_with_the_visit(tmp_path):
    session = make(tmp_path)
    for _ in range(2):
        session.begin(lambda: b"HEAD").write(b"half")
    assert len(list(tmp_path.glob("*.part"))) == 2
    session.close("aborted")
    assert not list(tmp_path.glob("*.part"))


def test_only_those_on_the_list_are_admitted(tmp_path):
    allow = (Peer("PACS", frozenset({"192.0.2.7"})), Peer("TPS"))
    assert make(tmp_path, allow=allow).admitted
    assert not make(tmp_path, allow=(Peer("PACS", frozenset({"192.0.2.8"})),)).admitted
    assert not make(tmp_path, allow=(Peer("TPS"),)).admitted
    assert make(tmp_path).admitted


def test_whoever_is_not_admitted_writes_nothing(tmp_path):
    session = Session("192.0.2.7", Inbox(tmp_path, tmp_path, Limits()), Options(), lambda: False)
    spool = session.begin(lambda: b"HEAD")
    spool.write(b"x")
    assert not list(tmp_path.iterdir())
    assert session.store(spool, "1.2", "1.2.3") == (0x0124, "not_admitted")


def test_what_begins_after_the_stop_is_refused(tmp_path):
    session = Session("192.0.2.7", Inbox(tmp_path, tmp_path, Limits()), Options(), lambda: True)
    session.admit("PACS")
    assert not session.late
    assert store(session) == (0xA700, "stopping")
    assert session.late


def test_a_title_cannot_forge_a_line_of_the_log(tmp_path):
    session = make(tmp_path)
    session.admit("X\nreceive: \x1b[31m")
    assert session.close("rejected").isprintable()
