"""Receive CTs from a PACS until told to stop: ``fedescc-client receive``."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fedescc.client.imaging.quiet import quiet_pydicom
from fedescc.client.receiving.inbox import open_inbox
from fedescc.client.receiving.options import Options
from fedescc.client.receiving.session import Totals
from fedescc.client.site import SiteFile
from fedescc.common import console
from fedescc.common.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from fedescc.client.receiving.network import Receiver

_STOP = (signal.SIGINT, signal.SIGTERM)
_LOOK_SECONDS = 1.0


def receive(site: SiteFile, options: Options) -> Totals:
    """Receive until SIGINT or SIGTERM; stores that are running then are finished. A second signal ends at once.

    Call it from the main thread. Logs one line an association, with counts and no identifier of a patient.

    Args:
        site: whose ``images.dicom`` is written to.
        options: see `Options`.

    Raises:
        Refusal: as `receiver`.

    """
    # Blocked before any thread starts, signals wait for sigtimedwait and interrupt nothing half done.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
    try:
        with receiver(site, options) as running:
            while signal.sigtimedwait(_STOP, _LOOK_SECONDS) is None:
                if not running.listens:
                    msg = "the receiver no longer listens"
                    raise RuntimeError(msg)
            console.log("receive: stopping; stores that are running finish")
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    console.log(f"receive: stopped; {running.totals}")
    return running.totals


@contextmanager
def receiver(site: SiteFile, options: Options, say: "Callable[[str], None]" = console.log) -> Iterator["Receiver"]:
    """A receiver that listens while the context lasts, and ends gracefully.

    Args:
        site: whose ``images.dicom`` is written to.
        options: see `Options`.
        say: called with each log line.

    Raises:
        Refusal: pacs-extra-missing, cannot-listen, tls-files-unusable, or as `open_inbox`.

    """
    try:
        from fedescc.client.receiving import network
    except ModuleNotFoundError as error:
        if error.name != "pynetdicom":
            raise
        raise Refusal(
            "pacs-extra-missing", "pynetdicom is not installed", "run: pip install 'fedescc[pacs]'"
        ) from error

    def tell(line: str) -> None:
        say(f"receive: {line}")

    with quiet_pydicom(), network.quiet_pynetdicom(tell), open_inbox(site, options.limits) as inbox:
        running = network.Receiver(inbox, options, tell)
        try:
            host, port = running.address
            tell(f"{options.ae_title} listens on {host} port {port}{_how(options)}")
            yield running
        finally:
            running.stop()


def _how(options: Options) -> str:
    if options.tls is None:
        return ", without TLS"
    return ", with TLS" if options.tls.authorities is None else ", with TLS, senders show certificates"
