"""Notifications over HTTP: retried, bounded, and without the address in any text."""

import base64
import datetime

import pytest

from pipeline.signals import notification, outcome
from pipeline.signals.outcome import Outcome
from tests.pipeline.conftest import NOW, make_settings
from tests.pipeline.signals.server import receiver

FAILED = Outcome(
    make_settings(),
    outcome.FAILED,
    1,
    NOW,
    NOW + datetime.timedelta(seconds=90),
    error="cannot read s3://KEY:PLANTED@shop/m.csv",
)


@pytest.fixture
def server():
    with receiver() as received:
        yield received


def post(url, *, deadline_s=20.0):
    return notification.post(url, FAILED, deadline_s=deadline_s, pause_s=0.01)


def test_a_failed_run_is_told_with_its_error_and_no_secret(server):
    assert post(f"{server.url}/hook?key=planted") is None
    ((path, headers, content),) = server.requests
    assert path == "/hook?key=planted" and headers["Content-Type"] == "application/json"
    assert content["outcome"] == "failed" and content["exit_status"] == 1
    assert content["error"] == "cannot read s3://***@shop/m.csv"
    assert content["text"] == f"catalog-magnifier test: failed: {content['error']}"
    assert content["wall_seconds"] == 90
    assert content["summary"] is content["uris"] is content["report"] is None


def test_a_user_and_password_become_basic_authentication(server):
    url = server.url.replace("://", "://me:pl%40nted@")
    assert post(url) is None
    ((_, headers, _),) = server.requests
    assert headers["Authorization"] == f"Basic {base64.b64encode(b'me:pl@nted').decode()}"
    assert "@" not in headers["Host"]


@pytest.mark.parametrize("passing", [500, 503, 429, 408])
def test_what_passes_by_itself_is_tried_again(server, passing):
    server.answers += [passing, passing]
    assert post(server.url) is None
    assert len(server.requests) == 3


@pytest.mark.parametrize("final", [400, 401, 404, 410])
def test_a_refusal_is_not_repeated(server, final):
    server.answers += [final]
    found = post(server.url)
    assert found == f"the server answered {final}" and len(server.requests) == 1


@pytest.mark.parametrize("redirect", [301, 307])
def test_a_redirect_is_not_followed(server, redirect):
    server.answers += [redirect]
    assert post(server.url) == (f"the server answered {redirect}")
    assert [path for path, _, _ in server.requests] == ["/"]


def test_a_server_that_stays_broken_is_given_up(server):
    server.answers += [500] * 1000
    found = post(server.url, deadline_s=0.5)
    assert found == "the server answered 500" and 1 < len(server.requests) < 20


def test_a_server_that_never_answers_is_left_at_the_deadline(server):
    server.answers += [-30]
    assert post(server.url, deadline_s=0.5) is not None
    assert len(server.requests) == 1


def test_nobody_listens(server):
    with receiver() as gone:
        url = f"{gone.url}/services/PLANTED"
    found = post(url, deadline_s=0.5)
    assert found == "no connection: Connection refused"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/pl anted", "http://127.0.0.1:x/planted"])
def test_a_malformed_address_is_neither_tried_again_nor_repeated(url):
    assert post(url) == "the address is malformed"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://me:planted@shop.com:8443/a/planted?key=planted", "https://shop.com:8443/***"),
        ("http://[::1]:80/planted", "http://[::1]:80/***"),
        ("https://shop.com", "https://shop.com/***"),
    ],
)
def test_only_the_host_is_shown(url, expected):
    assert notification.shown(url) == expected
