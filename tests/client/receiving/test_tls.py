"""Certificates that can be used, and those that cannot."""

import ssl

import pytest
from pacs import make_certificates

from fedescc.client.receiving.options import TlsFiles
from fedescc.client.receiving.tls import server_context
from fedescc.common.errors import Refusal


def test_senders_show_certificates_only_where_an_authority_is_named(tmp_path):
    files = make_certificates(tmp_path)
    alone = server_context(TlsFiles(files["cert"], files["key"]))
    assert (alone.verify_mode, alone.minimum_version) == (ssl.CERT_NONE, ssl.TLSVersion.TLSv1_2)
    mutual = server_context(TlsFiles(files["cert"], files["key"], files["ca"]))
    assert mutual.verify_mode == ssl.CERT_REQUIRED


def test_the_key_of_another_certificate_is_refused(tmp_path):
    files, other = make_certificates(tmp_path / "a"), make_certificates(tmp_path / "b")
    with pytest.raises(Refusal, match="tls-files-unusable"):
        server_context(TlsFiles(files["cert"], other["key"]))


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(tmp_path):
    files = make_certificates(tmp_path, password=b"secret")
    with pytest.raises(Refusal, match="no password"):
        server_context(TlsFiles(files["cert"], files["key"]))


@pytest.mark.parametrize("name", ["cert", "key", "ca"])
@pytest.mark.parametrize("content", [None, b"", b"no PEM"])
def test_files_that_are_absent_or_no_pem(tmp_path, name, content):
    files = make_certificates(tmp_path)
    files[name].unlink()
    if content is not None:
        files[name].write_bytes(content)
    with pytest.raises(Refusal, match="tls-files-unusable"):
        server_context(TlsFiles(files["cert"], files["key"], files["ca"]))
