"""The receiver on the network: whom it lets in, what it answers, how it stops."""

import logging
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pydicom import Dataset
from pynetdicom import AE, _config, build_context, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import A_ASSOCIATE, A_P_ABORT
from pynetdicom.presentation import PresentationContext

from fedescc.client.receiving.capabilities import SOP_CLASSES, TRANSFER_SYNTAXES, VERIFICATION
from fedescc.client.receiving.inbox import Inbox
from fedescc.client.receiving.options import Options, plain_address
from fedescc.client.receiving.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from fedescc.client.receiving.session import NOT_AUTHORISED, SUCCESS, Session, Totals
from fedescc.client.receiving.spool import Spool
from fedescc.client.receiving.transport import Server
from fedescc.common.errors import Refusal

_PREFERRED_PDU_BYTES = 128 << 10
_LISTEN_POLL_SECONDS = 0.1
_STOP_POLL_SECONDS = 0.02
_CLOSE_SECONDS = 2.0  # for a sender to close its side after we ended the association
_REJECTIONS = {(1, 3): "calling_ae_not_allowed", (1, 7): "called_ae_mismatch", (3, 2): "too_many_associations"}

Say = Callable[[str], None]


class Receiver:
    """A listening receiver.

    Attributes:
        address: IP address and port that it listens on.
        totals: what it took and refused, over all associations that have ended.

    Raises:
        Refusal: cannot-listen or tls-files-unusable.

    """

    def __init__(self, inbox: Inbox, options: Options, say: Say) -> None:
        self.totals = Totals()
        self._inbox = inbox
        self._options = options
        self._say = say
        self._lock = threading.Lock()
        self._sessions: dict[Session, Association] = {}
        self._stopping = threading.Event()
        try:
            self._server = Server(self, _application_entity(options), _contexts(), options)
        except OSError as error:
            raise Refusal(
                "cannot-listen",
                f"cannot listen on {options.host} port {options.port}: {error.strerror}",
                "choose another --port or --host, or stop what uses it",
            ) from error
        self.address: tuple[str, int] = self._server.server_address[:2]
        self._listener = threading.Thread(target=self._server.serve_forever, args=(_LISTEN_POLL_SECONDS,), daemon=True)
        self._listener.start()

    @property
    def listens(self) -> bool:
        """Whether it still takes connections."""
        return self._listener.is_alive()

    def stop(self) -> None:
        """Take no more associations, let running stores finish, then cut off those who are still there."""
        self._stopping.set()
        socketserver.BaseServer.shutdown(self._server)
        self._server.server_close()
        deadline = time.monotonic() + self._options.limits.grace_seconds
        while sessions := self._open_sessions():
            now = time.monotonic()
            for session, association in sessions:
                if session.late or not session.busy or now > deadline:
                    association.abort(block=False)
                # One that has not asked yet, or that does not hear.
                if association.dul.socket and (not session.ae_title or now > deadline + _CLOSE_SECONDS):
                    association.dul.socket.close()
            time.sleep(_STOP_POLL_SECONDS)

    def knows(self, address: str) -> bool:
        """Whether anyone who may send may do so from this address."""
        allow = self._options.allow
        return not allow or any(peer.reaches(address) for peer in allow)

    def turn_away(self, address: str, why: str) -> None:
        """Log a connection that ended before it was an association."""
        self._say(f"nobody@{plain_address(address)}: turned away, {why}")

    def session(self, address: str) -> Session:
        """A new sender's session."""
        return Session(plain_address(address), self._inbox, self._options, self._stopping.is_set)

    def attend(self, session: Session, association: Association) -> None:
        """Run an association to its end, and log it."""
        association.bind(evt.EVT_CONN_CLOSE, _wake)
        association.bind(evt.EVT_REQUESTED, _admit, [session])
        association.bind(evt.EVT_C_ECHO, _echo, [session])
        association.bind(evt.EVT_C_STORE, _store, [session])
        with self._lock:
            self._sessions[session] = association
        association.start()
        association.join()
        association.dul.kill_dul()  # has ended, unless an error broke the association's thread
        association.dul.join()
        line = session.close(_outcome(association))
        with self._lock:
            del self._sessions[session]
            self.totals.add(session.totals)
        self._say(line)

    def _open_sessions(self) -> list[tuple[Session, Association]]:
        with self._lock:
            return list(self._sessions.items())


@contextmanager
def quiet_pynetdicom(say: Say) -> Iterator[None]:
    """Silence pynetdicom, whose messages and tracebacks may quote what senders send; a session's line says enough."""
    logger, handlers, hook = logging.getLogger("pynetdicom"), _config.LOG_HANDLER_LEVEL, threading.excepthook
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    _config.LOG_HANDLER_LEVEL = "none"
    threading.excepthook = lambda thrown: say(f"internal error {thrown.exc_type.__name__}")
    try:
        yield
    finally:
        threading.excepthook = hook
        _config.LOG_HANDLER_LEVEL = handlers
        logger.setLevel(level)


def _application_entity(options: Options) -> AE:
    entity = AE(options.ae_title)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    entity.require_called_aet = True
    entity.maximum_associations = options.limits.associations
    entity.maximum_pdu_size = _PREFERRED_PDU_BYTES
    entity.network_timeout = entity.acse_timeout = options.limits.idle_seconds
    return entity


def _contexts() -> list[PresentationContext]:
    storage = [build_context(uid, list(TRANSFER_SYNTAXES)) for uid in SOP_CLASSES]
    return [*storage, build_context(VERIFICATION)]


def _wake(event: evt.Event) -> None:
    """End an association whose connection closed before it was asked for; it would keep its place until a time-out."""
    if event.assoc.requestor.primitive is None:
        event.assoc.dul.to_user_queue.put(A_P_ABORT())


def _admit(event: evt.Event, session: Session) -> None:
    """Reject a caller who is not listed. Should this fail, the session stays unadmitted and stores nothing."""
    association, request = event.assoc, event.assoc.requestor.primitive
    if not isinstance(request, A_ASSOCIATE):
        association.is_aborted = True
        association.kill()
    elif not session.admit(str(request.calling_ae_title)):
        association.acse.send_reject(0x01, 0x01, 0x03)  # permanent, calling AE title not recognised (PS3.8 table 9-21)
        association.kill()


def _echo(_event: evt.Event, session: Session) -> int:
    if not session.admitted:
        return NOT_AUTHORISED
    session.totals.echoes += 1
    return SUCCESS


def _store(event: evt.Event, session: Session) -> Dataset:
    request = event.request
    assert isinstance(request, C_STORE)
    assert isinstance(request.DataSet, Spool)
    status, reason = session.store(
        request.DataSet, str(request.AffectedSOPClassUID), str(request.AffectedSOPInstanceUID)
    )
    answer = Dataset()
    answer.Status = status
    if reason:
        answer.ErrorComment = reason
    return answer


def _outcome(association: Association) -> str:
    answer = association.acceptor.primitive
    if association.is_rejected and isinstance(answer, A_ASSOCIATE):
        source, diagnostic = answer.result_source or 0, answer.diagnostic or 0
        return f"rejected: {_REJECTIONS.get((source, diagnostic), 'no reason')}"
    if association.is_released:
        return "released" if association.accepted_contexts else "released: offered nothing that is taken"
    return "aborted" if association.is_aborted else "connection lost"
