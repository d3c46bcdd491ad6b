"""What a receiver listens to, whom it trusts, and how much it takes."""

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fedescc.common.errors import Refusal

HOST, PORT, AE_TITLE = "127.0.0.1", 11112, "FEDESCC"
_LONGEST_AE_TITLE = 16  # PS3.5 table 6.2-1


@dataclass(frozen=True)
class Peer:
    """A sender that is let in: its AE title and, if given, the addresses that it must come from."""

    ae_title: str
    addresses: frozenset[str] | None = None

    def admits(self, ae_title: str, address: str) -> bool:
        """Whether a caller is this one."""
        return ae_title.strip() == self.ae_title and self.reaches(address)

    def reaches(self, address: str) -> bool:
        """Whether this one may come from an address."""
        return self.addresses is None or plain_address(address) in self.addresses


@dataclass(frozen=True)
class TlsFiles:
    """PEM files: own certificate chain, its private key, and whose certificates senders must show (None: nobody's)."""

    certificate: Path
    key: Path
    authorities: Path | None = None


@dataclass(frozen=True)
class Limits:
    """How much is taken before a sender is refused.

    Attributes:
        object_bytes: one data set; larger ones are refused whole.
        free_bytes: disk space that stays free.
        associations: senders at a time.
        idle_seconds: silence after which a sender is cut off; also the time for one PDU, or for a TLS handshake.
        grace_seconds: how long a store that is running may take to end when the receiver stops.

    """

    object_bytes: int = 2 << 30
    free_bytes: int = 1 << 30
    associations: int = 8
    idle_seconds: float = 60.0
    grace_seconds: float = 60.0


@dataclass(frozen=True)
class Options:
    """A receiver's settings; without ``allow`` every caller on this machine is let in."""

    host: str = HOST
    port: int = PORT
    ae_title: str = AE_TITLE
    allow: tuple[Peer, ...] = ()
    tls: TlsFiles | None = None
    limits: Limits = field(default_factory=Limits)


def read_options(
    host: str = HOST,
    port: int = PORT,
    ae_title: str = AE_TITLE,
    allow: Sequence[str] = (),
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    tls_ca: Path | None = None,
) -> Options:
    """Options from what the command line gives.

    Args:
        host: address to listen on, or its name; 0.0.0.0 is all of this machine's.
        port: TCP port; 0 takes a free one.
        ae_title: own AE title, which callers must name.
        allow: callers that are let in, each ``AE`` or ``AE@host``.
        tls_cert, tls_key, tls_ca: as in `TlsFiles`.

    Raises:
        Refusal: invalid-ae-title, unknown-host, nobody-allowed or tls-incomplete.

    """
    address = _addresses(host)[0]
    if not allow and not ipaddress.ip_address(address).is_loopback:
        # An AE title is no proof of identity, but a port that stores for anyone must not be opened by mistake.
        raise Refusal(
            "nobody-allowed",
            f"{host} can be reached from other machines, and nobody is named who may send",
            "add --allow AE@host for every sender",
        )
    if (tls_cert is None) != (tls_key is None) or (tls_ca is not None and tls_cert is None):
        raise Refusal(
            "tls-incomplete",
            "--tls-cert and --tls-key go together, --tls-ca only with them",
            "give certificate and key",
        )
    tls = TlsFiles(tls_cert, tls_key, tls_ca) if tls_cert is not None and tls_key is not None else None
    return Options(address, port, _ae_title(ae_title), tuple(map(_peer, allow)), tls)


def plain_address(address: str) -> str:
    """An IP address in its one form: no zone, and IPv4 as such where the system maps it into IPv6."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)


def _peer(text: str) -> Peer:
    title, at, host = text.partition("@")
    return Peer(_ae_title(title), frozenset(_addresses(host)) if at else None)


def _ae_title(text: str) -> str:
    title = text.strip()
    if not (0 < len(title) <= _LONGEST_AE_TITLE and title.isascii() and title.isprintable() and "\\" not in title):
        raise Refusal(
            "invalid-ae-title",
            f"{text!r} is no AE title",
            f"use 1 to {_LONGEST_AE_TITLE} printable ASCII characters without backslash",
        )
    return title


def _addresses(host: str) -> list[str]:
    """The addresses of a host, IPv4 before IPv6."""
    try:
        found = socket.getaddrinfo(host or None, None, type=socket.SOCK_STREAM) if host else []
    except (OSError, UnicodeError):
        found = []
    if not found:
        raise Refusal("unknown-host", f"{host!r} has no address", "give an IP address or a name that resolves")
    return [plain_address(str(entry[4][0])) for entry in sorted(found, key=lambda entry: entry[0] != socket.AF_INET)]
