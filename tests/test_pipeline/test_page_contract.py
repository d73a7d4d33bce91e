"""What the page's addresses take, refuse and answer."""

import json
import warnings

import pytest
from page_cases import FakeDesk

from pipeline.page.app import LARGEST_BODY, build_app
from pipeline.page.security import Access
from pipeline.session.desk import DeskError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # newer versions of Starlette would rather have another client, and say so
    from starlette.testclient import TestClient

PORT = 8765
BASE = f"http://127.0.0.1:{PORT}"
POLICY = "default-src 'self'; img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
ANSWER = {"annotator": "anna", "sample": 0, "label": "cat", "seconds": 1.5}


@pytest.fixture
def desk():
    return FakeDesk()


@pytest.fixture
def access():
    return Access(PORT)


@pytest.fixture
def stranger(desk, access):
    """A client that has our Origin, but no cookie."""
    with TestClient(build_app(desk, access), base_url=BASE, headers={"origin": BASE}) as client:
        yield client


@pytest.fixture
def client(stranger, access):
    """A client that opened the link."""
    assert stranger.post("/session", json={"token": token(access)}).status_code == 200
    return stranger


def token(access):
    return access.link().split("#token=")[1]


def post(client, path, body):
    """As JSON of ASCII alone: what is no Unicode travels escaped."""
    return client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})


def refused(response, status, part=""):
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    line = response.json()["error"]
    assert line
    assert "\n" not in line
    assert "Traceback" not in line
    assert part in line


def test_an_answer_reaches_the_desk_as_it_was_sent_and_the_next_question_comes_back(client, desk):
    response = client.post("/answer", json=ANSWER)
    assert response.json() == desk.question("anna")
    assert response.json()["sample"] == 1
    assert desk.calls == [("answer", "anna", 0, "cat", 1.5)]


@pytest.mark.parametrize(
    ("path", "body", "call"),
    [
        ("/skip", {"annotator": "", "sample": 4, "reason": "", "seconds": None}, ("skip", "anna", 4, None, None)),
        ("/class", {"name": "fish, fried"}, ("class", "fish, fried")),
        ("/grid", {"annotator": "ben", "label": "dog", "size": 100}, ("grid", "ben", "dog", 100)),
        (
            "/grid/confirm",
            {"annotator": "ben", "label": "dog", "right": [3, 5], "wrong": [4], "seconds": 9},
            ("confirm", "ben", "dog", [3, 5], [4], 9.0),
        ),
        ("/copies", {"annotator": "ben", "sample": 2}, ("near_copies", "ben", 2)),
        (
            "/copies/label",
            {"annotator": "ben", "sample": 2, "label": "dog", "right": [5], "wrong": [4], "seconds": None},
            ("label_copies", "ben", 2, "dog", [5], [4], None),
        ),
        ("/finish", {}, ("finish",)),
    ],
)
def test_each_address_calls_its_method(client, desk, path, body, call):
    desk.copies = {2: [4, 5]}
    response = client.post(path, json=body)
    assert response.status_code == 200, response.text
    assert desk.calls == [call]


def test_undo_withdraws_one_sample_or_what_was_said_last(client, desk):
    for sample in (0, 1, 2):
        client.post("/answer", json={**ANSWER, "sample": sample})
    assert client.post("/undo", json={"annotator": "anna", "sample": 1}).json()["sample"] == 1
    assert client.post("/undo", json={"annotator": "anna", "sample": None}).json()["sample"] == 2
    assert list(desk.said) == [("anna", 0)]


def test_near_copies_are_taken_back_together(client, desk):
    body = {"annotator": "ben", "sample": 2, "label": "dog", "right": [5, 6], "wrong": [], "seconds": 4}
    assert client.post("/copies/label", json=body).status_code == 200
    assert client.post("/copies/undo", json={"annotator": "ben", "sample": 6}).json()["sample"] == 2
    assert desk.said == {}


def test_what_is_read_is_what_the_desk_says(client, desk):
    client.post("/answer", json=ANSWER)
    assert client.get("/state", params={"annotator": "ben"}).json() == desk.state("ben")
    assert client.get("/question", params={"annotator": ""}).json() == desk.question("")
    assert client.get("/history", params={"annotator": "anna", "limit": 5}).json() == desk.history("anna", 5)


def test_labels_that_look_wrong_come_and_are_kept(client, desk):
    client.post("/answer", json=ANSWER)
    desk.doubtful = [0]
    [item] = client.get("/doubts", params={"annotator": "anna"}).json()["items"]
    assert (item["sample"], item["said"], item["suggested"], item["mine"]) == (0, "cat", "bird", True)
    assert client.post("/keep", json={"annotator": "anna", "sample": 0}).json() == desk.state("")
    assert client.get("/doubts", params={"annotator": "anna"}).json()["items"] == []
    refused(client.post("/keep", json={"annotator": "anna", "sample": "0"}), 400)
    refused(client.post("/keep", json={"annotator": "anna"}), 400)
    image = client.get("/image/3", params={"side": 256})
    assert image.content == desk.picture(3, 256)[0]
    assert image.headers["content-type"] == "image/png"


def test_products_are_given_to_be_saved_and_nothing_else_is(client, desk, tmp_path):
    refused(client.get("/product/labels.csv"), 404, "labels.csv")  # before there are any
    desk.folder = tmp_path / "products"
    (desk.folder / "model").mkdir(parents=True)
    for name in ("labels.csv", "secret", "model/model.json"):
        (desk.folder / name).write_text(name)
    (tmp_path / "config.yaml").write_text("secret")
    desk.finish()
    got = client.get("/product/labels.csv")
    assert got.content == b"labels.csv"
    assert got.headers["content-disposition"] == 'attachment; filename="labels.csv"'
    refused(client.get("/product/predictions.csv"), 404, "cannot be read any more")
    for name in ("secret", "..%2Fconfig.yaml", "%2e%2e/config.yaml", "model/model.json", "model%2Fmodel.json"):
        assert client.get(f"/product/{name}").status_code == 404, name


def test_products_are_for_those_who_label(stranger, desk):
    desk.finish()
    refused(stranger.get("/product/labels.csv"), 401)


@pytest.mark.parametrize(
    "host", ["evil.example:8765", "127.0.0.1", "127.0.0.1:8766", "localhost:8765.evil.example", "LOCALHOST:8765", ""]
)
@pytest.mark.parametrize("path", ["/", "/static/page.js", "/state", "/session"])
def test_a_name_that_is_not_ours_gets_nothing(client, host, path):
    refused(client.get(path, headers={"host": host}), 421)


def test_both_names_of_the_loopback_work_but_not_mixed(client):
    local = f"http://localhost:{PORT}"
    cookie = {"cookie": "; ".join(f"{name}={value}" for name, value in client.cookies.items())}
    own = {"host": f"localhost:{PORT}", **cookie}
    assert client.post("/answer", json=ANSWER, headers={**own, "origin": local}).status_code == 200
    refused(client.post("/answer", json=ANSWER, headers={**own, "origin": BASE}), 403)


@pytest.mark.parametrize("path", ["/answer", "/session", "/link", "/finish", "/grid"])
@pytest.mark.parametrize(
    "origin", [None, "null", "https://evil.example", f"https://127.0.0.1:{PORT}", "http://127.0.0.1:1", f"{BASE}/"]
)
def test_a_change_that_another_origin_asks_for_is_refused(client, desk, path, origin):
    del client.headers["origin"]
    headers = {} if origin is None else {"origin": origin}
    refused(client.post(path, json={}, headers=headers), 403)
    assert desk.calls == []


def test_another_site_or_port_cannot_even_embed(client):
    for site in ("cross-site", "same-site"):
        refused(client.get("/image/3?side=256", headers={"sec-fetch-site": site}), 403)
    assert client.get("/", headers={"sec-fetch-site": "cross-site"}).status_code == 200  # a link to the page


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_body_that_a_form_could_send_is_refused(client, desk, kind):
    refused(client.post("/answer", content=json.dumps(ANSWER), headers={"content-type": kind}), 415)
    assert desk.calls == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/state"),
        ("GET", "/question"),
        ("GET", "/history?limit=5"),
        ("GET", "/image/0?side=256"),
        ("GET", "/nothing"),
        ("POST", "/answer"),
        ("POST", "/undo"),
        ("POST", "/link"),
        ("POST", "/finish"),
    ],
)
def test_without_a_cookie_there_is_only_the_static_page(stranger, desk, method, path):
    refused(stranger.request(method, path, json=ANSWER if method == "POST" else None), 401)
    refused(stranger.request(method, path, json={}, headers={"cookie": f"label_{PORT}=guessed"}), 401)
    assert desk.calls == []
    assert stranger.get("/").status_code == stranger.get("/static/page.css").status_code == 200


def test_a_link_works_once_and_the_cookie_is_strict(stranger, access):
    used = token(access)
    response = stranger.post("/session", json={"token": used})
    cookie = response.headers["set-cookie"]
    assert cookie.startswith(f"label_{PORT}=")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert used not in cookie
    assert len(used) >= 43  # 256 bits
    stranger.cookies.clear()
    refused(stranger.post("/session", json={"token": used}), 403, "link for another browser")
    refused(stranger.post("/session", json={"token": "guess"}), 403)
    refused(post(stranger, "/session", {"token": "ü\ud800"}), 403)


def test_a_used_link_is_no_harm_where_the_session_is(stranger, access):
    used = token(access)
    for _ in range(2):
        assert stranger.post("/session", json={"token": used}).status_code == 200
    assert stranger.get("/state").status_code == 200


def test_a_page_gives_links_for_other_browsers(client, access):
    url = client.post("/link", json={}).json()["url"]
    assert url.startswith(f"{BASE}/#token=")
    client.cookies.clear()
    assert client.post("/session", json={"token": url.split("#token=")[1]}).status_code == 200
    assert client.get("/state").status_code == 200


def test_forgotten_links_and_cookies_of_other_ports_open_nothing(stranger, access):
    first = token(access)
    for _ in range(20):
        access.link()
    refused(stranger.post("/session", json={"token": first}), 403)
    other = Access(PORT + 1)
    value = other.redeem(token(other))
    assert other.knows(f"a=b; label_{PORT + 1}={value}")
    assert not access.knows(f"label_{PORT}={value}; label_{PORT + 1}={value}")


@pytest.mark.parametrize("others", ['{"json": 1}; ', "foo[bar]=1; ", 'x="y; ', "=; ;; ", "\xe9=\xff; ", "label=1, 2; "])
def test_no_cookie_of_another_port_hides_ours(access, others):
    value = access.redeem(token(access))
    assert access.knows(f"{others}{access.cookie}={value}")
    assert not access.knows(f"{others}{access.cookie}={value}x")


@pytest.mark.parametrize("name", ["given", "simulated"])
def test_nobody_is_called_what_the_record_calls_others(client, desk, name):
    refused(post(client, "/answer", ANSWER | {"annotator": name}), 400, "another name")
    refused(client.get("/question", params={"annotator": name}), 400, "another name")
    assert desk.calls == []


def test_a_class_may_be_called_as_a_folder_may(client, desk):
    for name in ("x" * 255, " blanks around "):
        desk.classes.append(name)
        assert post(client, "/answer", ANSWER | {"label": name, "sample": len(desk.classes)}).status_code == 200, name


def test_every_answer_has_the_headers(client):
    for response in (
        client.get("/"),
        client.get("/state"),
        client.get("/nothing"),
        client.get("/state", headers={"host": "evil.example"}),
        client.post("/answer", json=[]),
        client.get("/image/0?side=256"),
    ):
        headers = response.headers
        assert headers["content-security-policy"] == POLICY
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == headers["cross-origin-opener-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers
        private = response.headers["content-type"] == "image/png"
        assert headers["cache-control"] == ("private, max-age=3600" if private else "no-store")


WRONG = {
    "sample": [True, "0", 0.0, -1, 2**53, None, [0]],
    "label": ["", "cat\n", "c" * 256, 7, None, "\u202ecat", "\ud800"],
    "annotator": ["a" * 65, "a\x00", 1, None, False],
    "seconds": [True, "1", -0.1, 1e6 + 1, 10**400, [1]],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in WRONG.items() for value in values])
def test_a_field_of_the_wrong_type_is_refused(client, desk, field, value):
    refused(post(client, "/answer", {**ANSWER, field: value}), 400, field)
    assert desk.calls == []


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b"{", b"\xff", b"[" * 60_000, json.dumps({**ANSWER, "more": 1}).encode(), b'{"sample": 0}',
     b'{"annotator": "", "sample": 0, "label": "cat", "seconds": NaN}', b'{"sample": ' + b"9" * 5000 + b"}"],
)  # fmt: skip
def test_what_is_not_the_object_that_is_expected_is_refused(client, desk, body):
    refused(client.post("/answer", content=body, headers={"content-type": "application/json"}), 400)
    assert desk.calls == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/grid", {"annotator": "", "label": "cat", "size": 0}),
        ("/grid", {"annotator": "", "label": "cat", "size": 101}),
        ("/grid", {"annotator": "", "label": "cat", "size": True}),
        ("/grid/confirm", {"annotator": "", "label": "cat", "right": [1, 1], "wrong": [], "seconds": None}),
        ("/grid/confirm", {"annotator": "", "label": "cat", "right": [True], "wrong": [], "seconds": None}),
        ("/grid/confirm", {"annotator": "", "label": "cat", "right": {}, "wrong": [], "seconds": None}),
        ("/grid/confirm", {"annotator": "", "label": "cat", "right": [], "wrong": list(range(101)), "seconds": 1}),
        ("/skip", {"annotator": "", "sample": 0, "reason": "x" * 501, "seconds": None}),
        ("/class", {"name": ""}),
        ("/session", {"token": 1}),
        ("/session", {"token": "x" * 257}),
        ("/finish", {"now": True}),
        ("/link", {"port": 1}),
    ],
)
def test_wrong_arguments_of_the_others_are_refused(client, desk, path, body):
    refused(client.post(path, json=body), 400)
    assert desk.calls == []


@pytest.mark.parametrize("sample", ["-1", "1.0", "0x1", "%2e%2e", "٣", "a.jpg", "9" * 17, "1%20"])
def test_images_have_no_other_name_than_their_number(client, sample):
    refused(client.get(f"/image/{sample}?side=256"), 400)


def test_images_that_are_not_there_or_of_another_size_are_refused(client):
    refused(client.get("/image/200?side=256"), 404)
    refused(client.get("/image/../../etc/passwd?side=256"), 404)
    refused(client.get("/image/..%2f..%2fetc%2fpasswd?side=256"), 404)
    for side in ("", "255", "100000", "-256", "256.0"):
        refused(client.get(f"/image/0?side={side}"), 400)


def test_an_image_that_could_run_scripts_is_not_sent(client, desk, capsys):
    desk.picture = lambda sample, side: (b"<svg/>", "image/svg+xml")
    refused(client.get("/image/0?side=256"), 500)
    assert "svg" in capsys.readouterr().err


@pytest.mark.parametrize("limit", ["", "0", "101", "-1", "x"])
def test_a_history_has_its_limits(client, limit):
    refused(client.get("/history", params={"limit": limit}), 400)


def test_a_body_may_have_64_kib_and_no_more(client):
    filled = {**ANSWER, "label": "x" * (LARGEST_BODY - 200)}
    refused(client.post("/answer", json=filled), 400)

    def endless():
        for _ in range(1000):
            yield b" " * 1024

    refused(client.post("/answer", content=endless(), headers={"content-type": "application/json"}), 413)


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/x", 404), ("GET", "/answer", 405), ("PUT", "/", 405)])
def test_unknown_addresses_are_one_line_too(client, method, path, status):
    refused(client.request(method, path, json={}), status)


def test_what_the_desk_refuses_and_what_it_fails_at(client, desk, capsys):
    desk.fail = DeskError("answered already")
    refused(client.post("/answer", json=ANSWER), 409, "answered already")
    desk.fail = OSError("disk full\nreally")
    refused(client.post("/answer", json=ANSWER), 500, "OSError: disk full really")
    assert capsys.readouterr().err == "POST /answer: OSError: disk full really\n"
    assert desk.said == {}


def test_a_tab_of_another_run_labels_nothing(client, desk, access):
    run = client.get("/state").headers["x-run"]
    assert client.post("/answer", json=ANSWER, headers={"x-run": run}).status_code == 200
    refused(client.post("/answer", json={**ANSWER, "sample": 1}, headers={"x-run": "0" * 16}), 409, "another run")
    assert len(desk.said) == 1
    same = TestClient(build_app(FakeDesk(), access), base_url=BASE, cookies=client.cookies)
    other = TestClient(build_app(FakeDesk(run="runs/others"), access), base_url=BASE, cookies=client.cookies)
    assert same.get("/state").headers["x-run"] == run != other.get("/state").headers["x-run"]
