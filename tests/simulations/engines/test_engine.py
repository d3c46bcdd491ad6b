"""Engines: chosen by name, refused with a reason, and every site opened once."""

from functools import partial

import pytest
from toy_federation import STUDY, open_toy_site

from fedescc.common.errors import Refusal
from fedescc.server.app import make_server_app
from fedescc.server.results import read_results
from fedescc.simulations.engines import engine as engines
from fedescc.simulations.engines.engine import require_engine, run_engine


def test_an_unknown_engine_is_refused_with_the_known_ones():
    with pytest.raises(Refusal, match="unknown-engine") as refusal:
        run_engine("flower", make_server_app(), {}, {})
    assert "local, ray" in refusal.value.todo


def test_ray_without_its_extra_is_refused_by_the_extras_name(monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(Refusal, match="extra-missing") as refusal:
        require_engine("ray")
    assert "fedescc[ray]" in refusal.value.todo
    require_engine("local")


def test_the_local_engine_opens_every_site_once_and_asks_again_who_refused(tmp_path):
    diary, out = tmp_path / "diary", tmp_path / "out"
    faults = {"site-c": "empty-site"}
    sites = {n: partial(open_toy_site, n, diary, faults.get(n)) for n in ("site-a", "site-b", "site-c")}
    run_engine("local", make_server_app(), sites, {"study": STUDY, "federation": "rounds: 2", "out": str(out)})
    opened = [line.split()[0] for line in diary.read_text().splitlines()]
    assert opened.count("site-a") == opened.count("site-b") == 1
    assert opened.count("site-c") > 1
    assert read_results(out)["refused_before_training"] == {"unnamed-102": "empty-site"}
