"""Connections for pynetdicom's server, bounded in number, time and memory. Knows pynetdicom's inner parts."""

import socket
import ssl
import sys
import time
from collections.abc import Callable
from functools import partial
from io import BytesIO
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from fedescc.client.receiving.options import Options
from fedescc.client.receiving.part10 import file_head
from fedescc.client.receiving.session import Session
from fedescc.client.receiving.tls import server_context
from fedescc.common.errors import Refusal

if TYPE_CHECKING:
    from pynetdicom.dimse_primitives import DimsePrimitiveType

_LARGEST_PDU_BYTES = 1 << 20  # an association request with all its contexts is the longest that is sound
_LARGEST_COMMAND_BYTES = 64 << 10
_CONNECTIONS_PER_ASSOCIATION = 2  # those above the limit of associations are told so, those above this are cut off

Handlers = tuple[tuple[evt.EventType, Callable[..., Any]], ...]


class Host(Protocol):
    """Whom the connections are for."""

    def knows(self, address: str) -> bool:
        """Whether anyone who may send may do so from this address."""

    def turn_away(self, address: str, why: str) -> None:
        """Hear of a connection that ended before it was an association."""

    def session(self, address: str) -> Session:
        """A new sender's session."""

    def attend(self, session: Session, association: Association) -> None:
        """Run an association, which has not started, to its end."""


class Server(ThreadedAssociationServer):
    """Takes connections from known addresses; one thread each, in which also the TLS handshake runs.

    Raises:
        OSError: the address cannot be listened on.
        Refusal: tls-files-unusable.

    """

    daemon_threads = True

    def __init__(self, host: Host, entity: AE, contexts: list[PresentationContext], options: Options) -> None:
        self.host = host
        self._idle_seconds = options.limits.idle_seconds
        self._most_connections = _CONNECTIONS_PER_ASSOCIATION * options.limits.associations
        self._connections = 0
        self._counting = Lock()
        context = None if options.tls is None else server_context(options.tls)
        address = (options.host, options.port)
        super().__init__(entity, address, options.ae_title, contexts, context, request_handler=_Connection)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; no handshake yet."""
        assert self.socket is not None
        connection, address = self.socket.accept()
        # Without a time-out one silent peer would hold its thread for ever; in pynetdicom's own accept it would even
        # hold all others, because the handshake runs there.
        connection.settimeout(self._idle_seconds)
        if self.ssl_context is None:
            return connection, address
        try:
            return self.ssl_context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address
        except OSError:
            connection.close()
            raise

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002  socketserver's signature
        """Whether a connection may stay."""
        why = ""
        if not self.host.knows(client_address[0]):
            why = "address not allowed"
        elif self._connections >= self._most_connections:
            why = "too many connections"
        if why:
            self.host.turn_away(client_address[0], why)
        return not why

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection to its end, in its own thread."""
        self._count(1)
        try:
            if isinstance(request, ssl.SSLSocket):
                request.do_handshake()
            super().finish_request(request, client_address)
        finally:
            self._count(-1)
            self.shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  socketserver's signature
        """Name an error's type; its text may quote what was sent."""
        error = sys.exception()
        why = "no TLS handshake" if isinstance(error, OSError) else f"internal error {type(error).__name__}"
        self.host.turn_away(client_address[0], why)

    def _count(self, change: int) -> None:
        with self._counting:
            self._connections += change


class _Connection(RequestHandler):
    """One connection: an association whose parts are bounded, and whose data sets go to disk."""

    server: Server

    def handle(self) -> None:
        session = self.server.host.session(self.client_address[0])
        association = self._create_association()
        association.dimse = _SpoolingDimse(association, session)
        association.dul.event_queue.get_nowait()  # the plain socket announced itself; so does the one that follows
        association.dul.socket = _BoundedSocket(association, client_socket=self.request)
        self.server.host.attend(session, association)


class _BoundedSocket(AssociationSocket):
    """Reads no more than a sound PDU, and not for ever."""

    def recv(self, nr_bytes: int) -> bytearray:
        if nr_bytes > _LARGEST_PDU_BYTES:
            msg = "the PDU is too long"
            raise OSError(msg)
        assert self.socket is not None
        assert self.assoc.network_timeout is not None
        deadline = time.monotonic() + self.assoc.network_timeout
        data = bytearray(nr_bytes)
        view, done = memoryview(data), 0
        if sys.platform == "linux":
            # Senders write a command and its data apart and wait for our acknowledgement between: 40 ms an object.
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        while done < nr_bytes:
            count = self.socket.recv_into(view[done:])
            if not count:
                return data[:done]
            done += count
            if time.monotonic() > deadline:
                raise TimeoutError
        return data


class _SpoolingDimse(DIMSEServiceProvider):
    """Assembles messages with the data set on disk and the command bounded; both would be memory without end."""

    def __init__(self, association: Association, session: Session) -> None:
        super().__init__(association)
        self._session = session

    def receive_primitive(self, primitive: P_DATA) -> None:
        if self.message is None:
            self.message = DIMSEMessage()
            self.message.encoded_command_set = _BoundedBytes()
            self.message.data_set = self._session.begin(partial(_file_head, self.assoc, self.message))
        try:
            super().receive_primitive(primitive)
        except Exception:  # noqa: BLE001  whatever a malformed command makes pydicom raise would end the thread loudly
            self.dul.event_queue.put("Evt19")  # invalid PDU (PS3.8 table 9-10): the association is aborted

    def send_msg(self, primitive: "DimsePrimitiveType", context_id: int) -> None:
        super().send_msg(primitive, context_id)
        self._session.busy = False


class _BoundedBytes(BytesIO):
    def write(self, fragment: Any, /) -> int:
        if self.tell() + len(fragment) > _LARGEST_COMMAND_BYTES:
            msg = "the command is too long"
            raise ValueError(msg)
        return super().write(fragment)


def _file_head(association: Association, message: DIMSEMessage) -> bytes:
    """The head of the file that a C-STORE request's data set becomes; its class must be the context's (PS3.7 9.3.1)."""
    command = message.command_set
    sop_class, sop_uid = (str(command.get(f"AffectedSOP{part}UID", "")) for part in ("Class", "Instance"))
    for context in association.accepted_contexts:
        if context.context_id == message.context_id and context.abstract_syntax == sop_class:
            return file_head(sop_class, sop_uid, str(context.transfer_syntax[0]))
    raise Refusal("sop_class_mismatch", "sent in a presentation context of another class", "correct the sender")
