"""TLS for DICOM (PS3.15 B.12: BCP 195, so TLS 1.2 or later)."""

import ssl

from fedescc.client.receiving.options import TlsFiles
from fedescc.common.errors import Refusal


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """The receiver's side of TLS; with ``authorities`` a sender must show a certificate that one of them signed.

    Raises:
        Refusal: tls-files-unusable.

    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # A password, even an empty one, keeps OpenSSL from asking for one on the terminal.
        context.load_cert_chain(files.certificate, files.key, password="")
        if files.authorities is not None:
            context.load_verify_locations(files.authorities)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ValueError) as error:  # SSLError is an OSError
        raise Refusal(
            "tls-files-unusable",
            f"cannot use {files.certificate}, {files.key} or their authorities: {type(error).__name__}",
            "give PEM files; the key must belong to the certificate and have no password",
        ) from error
    return context
