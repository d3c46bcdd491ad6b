"""Who may send, and what a wrong command line is told."""

from pathlib import Path

import pytest

from fedescc.client.receiving.options import Peer, plain_address, read_options
from fedescc.common.errors import Refusal


def test_by_default_only_this_machine_can_send_and_all_of_it():
    options = read_options()
    assert (options.host, options.port, options.ae_title) == ("127.0.0.1", 11112, "FEDESCC")
    assert (options.allow, options.tls) == ((), None)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "::"])
def test_a_port_that_others_reach_names_who_may_send(host):
    with pytest.raises(Refusal, match="nobody-allowed"):
        read_options(host=host)
    assert read_options(host=host, allow=["PACS"]).allow == (Peer("PACS"),)


@pytest.mark.parametrize(
    ("title", "address", "admitted"),
    [
        ("PACS", "192.0.2.7", True),
        ("  PACS ", "192.0.2.7", True),  # padding is not significant (PS3.5 6.2)
        ("PACS", "::ffff:192.0.2.7", True),
        ("PACS", "192.0.2.8", False),
        ("pacs", "192.0.2.7", False),
        ("PACS2", "192.0.2.7", False),
    ],
)
def test_a_peer_is_its_title_and_its_address(title, address, admitted):
    [peer] = read_options(allow=["PACS@192.0.2.7"]).allow
    assert peer.admits(title, address) is admitted


def test_a_peer_without_address_may_come_from_anywhere():
    [peer] = read_options(allow=["PACS"]).allow
    assert peer.admits("PACS", "2001:db8::1")
    assert not peer.admits("OTHER", "2001:db8::1")


def test_a_host_name_stands_for_all_its_addresses():
    [peer] = read_options(allow=["PACS@localhost"]).allow
    assert peer.admits("PACS", "127.0.0.1")
    assert not peer.admits("PACS", "192.0.2.7")


def test_an_address_has_one_form():
    assert plain_address("::ffff:10.0.0.1") == "10.0.0.1"
    assert plain_address("fe80::1%eth0") == "fe80::1"
    assert plain_address("2001:DB8:0::1") == "2001:db8::1"


@pytest.mark.parametrize("title", ["", "   ", "SEVENTEEN_LETTERS", "A\\B", "A\nB", "ÄE"])
def test_titles_that_are_none(title):
    with pytest.raises(Refusal, match="invalid-ae-title"):
        read_options(ae_title=title)
    with pytest.raises(Refusal, match="invalid-ae-title"):
        read_options(allow=[f"{title}@127.0.0.1"])


@pytest.mark.parametrize("host", ["", "no such host", "a" * 300, "host.invalid"])
def test_hosts_that_have_no_address(host):
    with pytest.raises(Refusal, match="unknown-host"):
        read_options(allow=[f"PACS@{host}"])
    with pytest.raises(Refusal, match="unknown-host"):
        read_options(host=host)


@pytest.mark.parametrize(
    "given", [{"tls_cert"}, {"tls_key"}, {"tls_ca"}, {"tls_cert", "tls_ca"}, {"tls_key", "tls_ca"}]
)
def test_half_a_tls_setup_is_refused(given):
    with pytest.raises(Refusal, match="tls-incomplete"):
        read_options(**{name: Path("x.pem") for name in given})


def test_tls_files():
    tls = read_options(tls_cert=Path("c"), tls_key=Path("k"), tls_ca=Path("a")).tls
    assert tls is not None
    assert (tls.certificate, tls.key, tls.authorities) == (Path("c"), Path("k"), Path("a"))
