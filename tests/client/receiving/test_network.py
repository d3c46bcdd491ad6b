"""The receiver on a real socket: good senders, bad senders, and what stays behind."""

import logging
import socket
import ssl
import struct
import sys
import threading
import time
from contextlib import contextmanager, suppress
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pacs import NAME, PATIENT_ID, make_certificates, make_ct, make_site, running, wait_for
from pydicom import Dataset, dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit, MRImageStorage
from pynetdicom import AE, evt
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import Verification
from pynetdicom.transport import AssociationSocket

from fedescc.client.receiving import session as session_module
from fedescc.client.receiving.options import Limits, Options, Peer, TlsFiles
from fedescc.client.receiving.receive import receiver
from fedescc.common.errors import Refusal


@pytest.fixture(autouse=True)
def _callers_close_their_sockets(monkeypatch):
    """pynetdicom's caller forgets to close a socket whose other side is gone already; Python then warns much later."""

    def shutdown(link: AssociationSocket) -> None:
        if link.socket is not None:
            with suppress(OSError):
                link.socket.shutdown(socket.SHUT_RDWR)
            link.socket.close()

    monkeypatch.setattr(AssociationSocket, "_shutdown_socket", shutdown)


@contextmanager
def association(
    pacs, *, title="PACS", called="FEDESCC", contexts=((CTImageStorage, [ExplicitVRLittleEndian]),), **more
):
    entity = AE(title)
    entity.add_requested_context(Verification)
    for abstract, syntaxes in contexts:
        entity.add_requested_context(abstract, syntaxes)
    link = entity.associate("127.0.0.1", pacs.port, ae_title=called, **more)
    try:
        yield link
    finally:
        if link.is_established:
            link.release()


def fragments(link, dataset: Dataset, *, size: int = 1024, content: bytes | None = None) -> list:
    """A C-STORE request as the P-DATA that carry it, ``size`` bytes each."""
    [context] = [one for one in link.accepted_contexts if one.abstract_syntax == CTImageStorage]
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    request.DataSet = BytesIO(encode(dataset, False, True) if content is None else content)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    return list(message.encode_msg(context.context_id, size))


def answer(link) -> C_STORE:
    link.dimse_timeout = 10
    return link.dimse.get_msg(block=True)[1]


@contextmanager
def paused(link):
    """The sender's own reactor held still, so that answers can be read by hand."""
    link._reactor_checkpoint.clear()
    wait_for(lambda: link._is_paused)
    yield
    link._reactor_checkpoint.set()


def rejection(pacs, **how) -> tuple[int, ...]:
    """Result, source and reason of the A-ASSOCIATE-RJ that a caller gets (PS3.8 9.3.4)."""
    # From the wire: pynetdicom's caller now and then takes a quick answer for a failed connection.
    seen: list[bytes] = []
    with association(pacs, evt_handlers=[(evt.EVT_DATA_RECV, lambda event: seen.append(event.data))], **how) as link:
        assert not link.is_established
    [answer] = seen
    assert answer[:7] == bytes([3, 0, 0, 0, 0, 4, 0])
    return tuple(answer[7:])


def last_line(pacs) -> str:
    wait_for(lambda: len(pacs.lines) > 1)
    return pacs.lines[-1]


def test_echo(tmp_path):
    with running(tmp_path) as pacs:
        with association(pacs) as link:
            assert link.send_c_echo().Status == 0
        assert "PACS@127.0.0.1: 0 received, 0 duplicates, 0 refused, 1 echoes" in last_line(pacs)
    assert pacs.receiver.totals.echoes == 1


def test_store_duplicate_and_conflict(tmp_path):
    with running(tmp_path) as pacs:
        with association(pacs) as link:
            assert link.send_c_store(make_ct()).Status == 0x0000
            assert link.send_c_store(make_ct()).Status == 0x0000
            conflict = link.send_c_store(make_ct(RescaleIntercept=0))
            assert (conflict.Status, conflict.ErrorComment) == (0xC000, "conflict")
        [path] = pacs.files()
        assert dcmread(path).RescaleIntercept == -1024
        assert "1 received, 1 duplicates, 1 refused (conflict 1)" in last_line(pacs)
    assert not pacs.spooled()


def test_what_a_cut_object_is_answered(tmp_path):
    with running(tmp_path) as pacs:
        with association(pacs) as link, paused(link):
            content = encode(make_ct(), False, True)
            for part in fragments(link, make_ct(), content=content[:-100]):
                link.dul.send_pdu(part)
            refused = answer(link)
        assert (refused.Status, refused.ErrorComment) == (0xC000, "truncated")
        assert not pacs.files()
    assert pacs.receiver.totals.refused == {"truncated": 1}


def test_a_full_disk_is_answered_and_the_association_lives_on(tmp_path, monkeypatch):
    from fedescc.client.receiving import spool as module

    free = iter([0, 1 << 40])
    with running(tmp_path) as pacs:
        monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": next(free)}))
        with association(pacs) as link:
            full = link.send_c_store(make_ct())
            assert (full.Status, full.ErrorComment) == (0xA700, "disk_full")
            assert link.send_c_store(make_ct()).Status == 0
        assert len(pacs.files()) == 1


def test_too_large_an_object_is_answered(tmp_path):
    with running(tmp_path, limits=Limits(object_bytes=5000)) as pacs, association(pacs) as link:
        large = link.send_c_store(make_ct(side=64))
        assert (large.Status, large.ErrorComment) == (0xA700, "too_large")
        assert link.send_c_store(make_ct()).Status == 0
        assert len(pacs.files()) == 1
        assert not pacs.spooled()


def test_an_error_of_our_own_is_a_failure_to_the_sender_and_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(session_module.Session, "store", fail)
    with running(tmp_path) as pacs:
        with association(pacs) as link:
            assert link.send_c_store(make_ct()).Status == 0xC211
        last_line(pacs)
        assert not pacs.files() + pacs.spooled()


def test_other_kinds_of_objects_are_not_accepted(tmp_path):
    contexts = ((MRImageStorage, [ExplicitVRLittleEndian]), (CTImageStorage, ["1.2.840.10008.1.2.4.100"]))
    with running(tmp_path) as pacs, association(pacs, contexts=contexts) as link:
        assert [one.abstract_syntax for one in link.accepted_contexts] == [Verification]
        # 3: abstract syntax not supported; 4: transfer syntaxes not supported (PS3.8 table 9-18)
        assert {one.abstract_syntax: one.result for one in link.rejected_contexts} == {
            MRImageStorage: 3,
            CTImageStorage: 4,
        }


def test_an_object_of_another_class_than_the_context_s_is_refused(tmp_path):
    with running(tmp_path) as pacs:
        with association(pacs) as link, paused(link):
            for part in fragments(link, make_ct(SOPClassUID=MRImageStorage)):
                link.dul.send_pdu(part)
            refused = answer(link)
            assert (refused.Status, refused.ErrorComment) == (0xA900, "sop_class_mismatch")
        assert not pacs.files()


def test_where_a_sender_offers_a_choice_nothing_is_lost(tmp_path):
    offered = [JPEGBaseline8Bit, ImplicitVRLittleEndian, ExplicitVRLittleEndian]
    with running(tmp_path) as pacs, association(pacs, contexts=((CTImageStorage, offered),)) as link:
        [context] = [one for one in link.accepted_contexts if one.abstract_syntax == CTImageStorage]
        assert context.transfer_syntax == [ExplicitVRLittleEndian]


@pytest.mark.parametrize(
    ("allow", "title", "called", "answer", "why"),
    [
        ((), "PACS", "OTHER", (1, 1, 7), "called_ae_mismatch"),
        ((Peer("PACS"),), "OTHER", "FEDESCC", (1, 1, 3), "calling_ae_not_allowed"),
        ((Peer("PACS", frozenset({"192.0.2.7"})), Peer("TPS")), "PACS", "FEDESCC", (1, 1, 3), "calling_ae_not_allowed"),
    ],
)
def test_wrong_titles_are_rejected(tmp_path, allow, title, called, answer, why):
    with running(tmp_path, allow=allow) as pacs:
        assert rejection(pacs, title=title, called=called) == answer
        assert last_line(pacs).endswith(f"rejected: {why}")
        assert last_line(pacs).startswith(f"receive: {title}@127.0.0.1: 0 received")


def test_listed_senders_are_let_in(tmp_path):
    allow = (Peer("PACS", frozenset({"127.0.0.1"})), Peer("TPS"))
    with running(tmp_path, allow=allow) as pacs:
        for title in ("PACS", "TPS"):
            with association(pacs, title=title) as link:
                assert link.is_established


def test_an_address_from_which_nobody_may_send_is_cut_off(tmp_path):
    with running(tmp_path, allow=(Peer("PACS", frozenset({"192.0.2.7"})),)) as pacs:
        with socket.create_connection(("127.0.0.1", pacs.port), timeout=10) as link:
            assert link.recv(1) == b""
        assert last_line(pacs) == "receive: nobody@127.0.0.1: turned away, address not allowed"


def test_an_admission_that_fails_admits_nobody(tmp_path, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(session_module.Session, "admit", fail)
    with running(tmp_path, allow=(Peer("PACS"),)) as pacs:
        with association(pacs) as link:
            if link.is_established:
                assert link.send_c_echo().Status == 0x0124
                assert link.send_c_store(make_ct()).Status == 0x0124
        assert not pacs.files()


def test_one_more_sender_than_the_limit_is_told_to_come_back(tmp_path):
    with running(tmp_path, limits=Limits(associations=1)) as pacs:
        with association(pacs) as first:
            assert first.is_established
            assert rejection(pacs) == (2, 3, 2)  # transient, local limit exceeded
            assert last_line(pacs).endswith("rejected: too_many_associations")
        wait_for(lambda: len(pacs.lines) == 3)
        with association(pacs) as third:
            assert third.is_established


def test_connections_are_bounded_before_they_say_anything(tmp_path):
    with running(tmp_path, limits=Limits(associations=1)) as pacs:
        silent = [socket.create_connection(("127.0.0.1", pacs.port), timeout=10) for _ in range(3)]
        assert silent[2].recv(1) == b""
        assert last_line(pacs).endswith("turned away, too many connections")
        for one in silent:
            one.close()
        wait_for(lambda: len(pacs.lines) == 4)
        with association(pacs) as link:
            assert link.is_established


def test_a_sender_who_gives_up_halfway_leaves_nothing(tmp_path):
    with running(tmp_path) as pacs:
        with association(pacs) as link:
            assert link.send_c_store(make_ct(1)).Status == 0
            parts = fragments(link, make_ct(2, side=64))
            for part in parts[: len(parts) // 2]:
                link.dul.send_pdu(part)
            wait_for(pacs.spooled)
            link.abort()
        assert last_line(pacs).endswith("aborted")
        assert len(pacs.files()) == 1
        assert not pacs.spooled()


def test_a_line_that_breaks_halfway_leaves_nothing(tmp_path):
    with running(tmp_path) as pacs:
        with association(pacs) as link:
            for part in fragments(link, make_ct(side=64))[:4]:
                link.dul.send_pdu(part)
            wait_for(pacs.spooled)
            link.dul.socket.close()
        last_line(pacs)
        assert not pacs.files() + pacs.spooled()


def test_a_silent_sender_is_cut_off(tmp_path):
    with running(tmp_path, limits=Limits(idle_seconds=0.3)) as pacs:
        with association(pacs) as link:
            for part in fragments(link, make_ct(side=64))[:4]:
                link.dul.send_pdu(part)
            wait_for(pacs.spooled)
            wait_for(lambda: not link.is_established)
        last_line(pacs)
        assert not pacs.files() + pacs.spooled()


ASSOCIATE, DATA, RELEASE, ABORT = 1, 4, 5, 7


def pdu(kind: int, body: bytes, length: int | None = None) -> bytes:
    return struct.pack(">BBL", kind, 0, len(body) if length is None else length) + body


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\x01",
        b"GET / HTTP/1.0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS client
        pdu(ASSOCIATE, b"", 0xFFFFFFFF),
        pdu(ASSOCIATE, b"\0\0\0\0"),
        pdu(ASSOCIATE, b"\0\1\0\0" + b"FEDESCC".ljust(16) + b"\xff" * 16 + bytes(32)),
        pdu(ASSOCIATE, b"\0\1\0\0" + b"FEDESCC".ljust(16) + b"PACS".ljust(16) + bytes(32)),
        pdu(DATA, b"\0\0\0\0"),
        pdu(RELEASE, b"\0\0\0\0"),
        pdu(ABORT, b"\0\0\0\0"),
        pdu(99, b""),
        bytes(range(256)) * 20,
    ],
)
def test_noise_neither_breaks_the_receiver_nor_keeps_a_place(tmp_path, sent, capfd):
    with running(tmp_path, limits=Limits(associations=1)) as pacs:
        for _ in range(3):  # one more than there are places
            # The receiver may have hung up before we are done.
            with suppress(OSError), socket.create_connection(("127.0.0.1", pacs.port), timeout=10) as link:
                link.sendall(sent)
                link.shutdown(socket.SHUT_WR)
                while link.recv(4096):
                    pass
        wait_for(lambda: len(pacs.lines) >= 4)
        with association(pacs) as link:
            assert link.is_established
    assert capfd.readouterr() == ("", "")


def test_half_a_pdu_holds_nobody_for_long(tmp_path):
    with running(tmp_path, limits=Limits(associations=1, idle_seconds=0.5)) as pacs:
        with socket.create_connection(("127.0.0.1", pacs.port), timeout=10) as link:
            link.sendall(pdu(ASSOCIATE, b"\0\1", 200))
            assert link.recv(1) in {b"", b"\x07"}
        last_line(pacs)
        with association(pacs) as good:
            assert good.is_established


def test_a_pdu_that_drips_in_is_cut_off(tmp_path):
    limits, drips = Limits(idle_seconds=0.5), 0
    with running(tmp_path, limits=limits) as pacs, socket.create_connection(("127.0.0.1", pacs.port), 10) as link:
        link.sendall(pdu(ASSOCIATE, b"", 200))
        with suppress(OSError):
            for drips in range(100):  # noqa: B007  5 s at this pace
                link.sendall(b"\0")
                time.sleep(0.05)
    assert drips < 50


def test_an_endless_command_is_cut_off(tmp_path):
    with running(tmp_path) as pacs:
        with association(pacs) as link:
            [context] = [one for one in link.accepted_contexts if one.abstract_syntax == CTImageStorage]
            value = bytes([context.context_id, 0x01]) + bytes(16000)  # a command fragment, not the last
            fragment = pdu(DATA, struct.pack(">L", len(value)) + value)
            for _ in range(8):
                link.dul.socket.send(fragment)
            wait_for(lambda: not link.is_established)
        assert last_line(pacs).split(", ")[-1] in {"aborted", "connection lost"}


@given(command=st.binary(max_size=200))
@settings(max_examples=15, deadline=None)
def test_a_malformed_command_ends_the_association_and_nothing_else(tmp_path_factory, command):
    with running(tmp_path_factory.mktemp("site")) as pacs, association(pacs) as link:
        value = bytes([link.accepted_contexts[0].context_id, 0x03]) + command  # the last fragment
        link.dul.socket.send(pdu(DATA, struct.pack(">L", len(value)) + value))
        wait_for(lambda: not link.is_established)


@pytest.mark.parametrize("kept", ["CommandField", "CommandDataSetType", "AffectedSOPInstanceUID", "MessageID"])
def test_a_command_that_lacks_an_element_stores_nothing(tmp_path, kept):
    with running(tmp_path) as pacs:
        with association(pacs) as link:
            [context] = [one for one in link.accepted_contexts if one.abstract_syntax == CTImageStorage]
            request = C_STORE()
            request.MessageID, request.Priority = 1, 2
            request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CTImageStorage, "1.2.3"
            request.DataSet = BytesIO(encode(make_ct(), False, True))
            message = C_STORE_RQ()
            message.primitive_to_message(request)
            del message.command_set[kept]
            for part in message.encode_msg(context.context_id, 4096):
                link.dul.send_pdu(part)
        last_line(pacs)
        assert not pacs.files() + pacs.spooled()


def test_what_runs_when_the_receiver_stops_is_finished_and_what_comes_later_is_not(tmp_path):
    with running(tmp_path) as pacs, association(pacs) as link, paused(link):
        first, second = fragments(link, make_ct(1, side=64)), fragments(link, make_ct(2, side=64))
        for part in first[:-1]:
            link.dul.send_pdu(part)
        wait_for(pacs.spooled)
        stop = threading.Thread(target=pacs.receiver.stop)
        stop.start()
        with pytest.raises(AssertionError):
            wait_for(lambda: not stop.is_alive(), 0.3)
        link.dul.send_pdu(first[-1])
        assert answer(link).Status == 0
        for part in second:
            link.dul.send_pdu(part)
        stop.join(10)
        assert not stop.is_alive()
        assert len(pacs.files()) == 1
        assert not pacs.spooled()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", pacs.port), timeout=5)
        pacs.receiver.stop = lambda: None


def test_nobody_holds_up_the_end_for_ever(tmp_path):
    with running(tmp_path, limits=Limits(grace_seconds=0.3)) as pacs:
        with association(pacs) as link:
            for part in fragments(link, make_ct(side=64))[:4]:
                link.dul.send_pdu(part)
            wait_for(pacs.spooled)
            silent = socket.create_connection(("127.0.0.1", pacs.port), timeout=10)
            started = time.monotonic()
            pacs.receiver.stop()
            assert time.monotonic() - started < 5
            silent.close()
        assert not pacs.files() + pacs.spooled()
        pacs.receiver.stop = lambda: None


def test_nothing_of_a_patient_is_logged(tmp_path, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    with running(tmp_path) as pacs:
        with association(pacs) as link:
            link.send_c_store(make_ct())
            link.send_c_store(make_ct(RescaleIntercept=0))
            link.send_c_store(make_ct(2, PatientName=NAME * 20))
        last_line(pacs)
    text = "\n".join([*pacs.lines, *capfd.readouterr(), caplog.text])
    for secret in (*NAME.split("^"), PATIENT_ID, "1.2.3"):
        assert secret not in text
    assert len(pacs.lines) == 2


def test_the_sender_library_is_as_loud_as_before_once_the_receiver_is_gone(tmp_path):
    from pynetdicom import _config

    logger = logging.getLogger("pynetdicom")
    before = logger.level, _config.LOG_HANDLER_LEVEL
    with running(tmp_path):
        assert not logger.isEnabledFor(logging.CRITICAL)
    assert (logger.level, _config.LOG_HANDLER_LEVEL) == before


def test_a_port_that_is_taken_is_refused(tmp_path):
    (tmp_path / "b").mkdir()
    with running(tmp_path) as pacs:
        other = receiver(make_site(tmp_path / "b"), Options(port=pacs.port), print)
        with pytest.raises(Refusal, match="cannot-listen"), other:
            pass


def test_without_pynetdicom_the_next_step_is_named(tmp_path, monkeypatch):
    for name in ("network", "transport"):
        monkeypatch.delitem(sys.modules, f"fedescc.client.receiving.{name}")
        monkeypatch.delattr(f"fedescc.client.receiving.{name}")
    monkeypatch.setitem(sys.modules, "pynetdicom", None)
    with pytest.raises(Refusal, match="pacs-extra-missing") as caught, receiver(make_site(tmp_path), Options()):
        pass
    assert "pip install 'fedescc[pacs]'" in str(caught.value)


def client_context(files, *, certificate: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=files["ca"])
    if certificate:
        context.load_cert_chain(files["cert"], files["key"])
    return context


@pytest.fixture
def certificates(tmp_path):
    return make_certificates(tmp_path / "tls")


def mutual(files) -> TlsFiles:
    return TlsFiles(files["cert"], files["key"], files["ca"])


def test_tls_with_certificates_on_both_sides(tmp_path, certificates):
    with running(tmp_path, tls=mutual(certificates)) as pacs:
        assert "with TLS, senders show certificates" in pacs.lines[0]
        tls = (client_context(certificates, certificate=True), "127.0.0.1")
        with association(pacs, tls_args=tls) as link:
            assert link.send_c_store(make_ct(side=256)).Status == 0
        assert len(pacs.files()) == 1


@pytest.mark.parametrize("kind", ["no certificate", "another authority's", "no TLS", "silence"])
def test_whoever_shows_no_certificate_gets_no_association_and_holds_up_nobody(tmp_path, certificates, kind):
    strangers = make_certificates(tmp_path / "other")
    with running(tmp_path, tls=mutual(certificates), limits=Limits(idle_seconds=2)) as pacs:
        with socket.create_connection(("127.0.0.1", pacs.port), timeout=10) as raw:
            if kind == "no TLS":
                raw.sendall(pdu(ASSOCIATE, bytes(68)))
            elif kind != "silence":
                context = client_context(certificates, certificate=False)
                if kind.startswith("another"):
                    context.load_cert_chain(strangers["cert"], strangers["key"])
                with pytest.raises(OSError), context.wrap_socket(raw, server_hostname="127.0.0.1") as link:  # noqa: PT011, PT012
                    link.sendall(pdu(ASSOCIATE, bytes(68)))
                    if link.recv(1) == b"":
                        raise OSError
            good = (client_context(certificates, certificate=True), "127.0.0.1")
            with association(pacs, tls_args=good) as link:
                assert link.send_c_echo().Status == 0
            wait_for(lambda: len(pacs.lines) == 3)
        assert "receive: nobody@127.0.0.1: turned away, no TLS handshake" in pacs.lines
