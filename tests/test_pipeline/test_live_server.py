"""Who may speak for Label Studio, and what is no Label Studio: said in one line before anything is made."""

import urllib.error
import urllib.request

import pytest
from click.testing import CliRunner
from folder_cases import put
from handoff_cases import said
from label_studio_fake import RENEWABLE, TOKEN, FakeLabelStudio, serving
from live_cases import begun, linked
from session_cases import opened

from pipeline.cli import cli
from pipeline.commands import label as command
from pipeline.errors import PipelineError
from pipeline.handoff.label_studio_tasks import labelling_config
from pipeline.handoff.plain_xml import parse_xml
from pipeline.live import link as link_module
from pipeline.live.server import LARGEST_REPLY, Server
from pipeline.live.studio import Studio


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(link_module, "POLL", 0.1)
    monkeypatch.setattr(link_module, "POLL_PUSHED", 30.0)  # what is heard sooner was pushed


@pytest.fixture
def run(tmp_path):
    return begun(tmp_path)


def calls(url, headers=None, body=b"{}", method=None):
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"} | (headers or {}), method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_only_who_knows_the_address_may_call(run):
    fake = FakeLabelStudio()
    with serving(fake) as url, linked(run, fake, url):
        [backend] = fake.backends.values()
        base = backend["url"]
        assert base.startswith("http://127.0.0.1:")
        assert len(base.rpartition("/")[2]) == 32
        other = base.replace(base.rpartition("/")[2], "x" * 32)
        for address, headers, status in (
            (f"{base}/webhook", {}, 200),
            (f"{other}/webhook", {}, 404),
            (f"{base.rpartition('/')[0]}/webhook", {}, 404),
            (f"{base}/webhook", {"Host": "evil.example"}, 421),
            (f"{base}/webhook", {"Origin": "http://evil.example"}, 403),
            (f"{base}/webhook", {"Sec-Fetch-Site": "cross-site"}, 403),
            (f"{base}/other", {}, 404),
        ):
            assert calls(address, headers) == status, (address, headers)
        assert calls(f"{base}/webhook", method="GET", body=None) == 405
        for body in (b"", b"[", b"[]", b'{"tasks": 3}', b"[" * 100_000):
            assert calls(f"{base}/predict", body=body) == 400
        assert calls(f"{base}/predict", body=b'{"tasks": [1, {"data": 3}, {"data": {"sample_id": true}}]}') == 200
        assert calls(f"{base}/webhook", body=b"x" * (2**24 + 1)) == 400
    assert said(run) == {}


def test_a_personal_access_token_is_renewed(monkeypatch):
    fake = FakeLabelStudio()
    with serving(fake) as url:
        server = Server(f"{url}/", RENEWABLE)
        for _ in range(3):
            server.get("/api/current-user/whoami")
        assert fake.renewals == 1
        fake.access = "another"  # it has expired
        server.get("/api/current-user/whoami")
        assert fake.renewals == 2
        with pytest.raises(PipelineError, match="refuses the token"):
            Server(url, "a.b.c").get("/api/current-user/whoami")
        assert TOKEN not in repr(Server(url, TOKEN))


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(6):
        put(tmp_path, f"photos/{number}.png", seed=number)
    monkeypatch.setattr(command, "_leave", lambda: None)

    def call(*arguments):
        fixed = ["label", "photos", "--no-browser", "--image-size", "8"]
        return CliRunner().invoke(cli, [*fixed, *map(str, arguments)])

    return call


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--label-studio", "http://127.0.0.1:9"], "--label-studio-token: expected an access token"),
        (["--label-studio", "http://127.0.0.1:9", "--label-studio-token", "a b"], "expected an access token"),
        (["--label-studio", "127.0.0.1:9", "--label-studio-token", "x"], "expected an address such as http://"),
        (["--label-studio", "file:///etc", "--label-studio-token", "x"], "expected an address such as http://"),
        (["--label-studio", "http://[x", "--label-studio-token", "x"], "expected an address such as http://"),
        (["--label-studio", "http://127.0.0.1:9", "--label-studio-token", "x"], "does not answer"),
        (["--predictions"], "--predictions: expected with --label-studio URL"),
        (["--image-root", "x"], "--image-root: expected with --label-studio URL"),
        (["--label-studio-token", "x"], "--label-studio-token: expected with --label-studio URL"),
    ],
)
def test_what_cannot_be_reached_is_one_line_before_anything_is_made(invoke, tmp_path, arguments, message):
    result = invoke("--classes", "a,b", *arguments)
    assert result.exit_code == 2, result.output
    [line] = [line for line in result.stderr.splitlines() if not line.startswith("note: ")]
    assert message in line
    assert not (tmp_path / "runs").exists()


def test_a_server_that_does_not_do_says_how_it_has_to_be_started(invoke, tmp_path, monkeypatch):
    fake = FakeLabelStudio()
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)
    with serving(fake) as url:
        for serves, classes, message in (
            (False, ("--classes", "a,b"), "LOCAL_FILES_SERVING_ENABLED is disabled); start Label Studio with"),
            ("storage alone", ("--classes", "a,b"), "it shows no pictures (HTTP 404): start Label Studio with"),
            (True, (), "expected names of classes"),
            (True, ("--classes", "a,b", "--overlap", "0.5"), "--overlap: Label Studio itself says how many"),
        ):
            fake.serves = serves
            result = invoke(*classes, "--label-studio", url)
            assert result.exit_code == 2, result.output
            assert message in result.stderr, result.stderr
            assert "Traceback" not in result.output
        result = invoke("--classes", "a,b", "--label-studio", url, "--label-studio-token", "wrong")
        assert "refuses the token (Invalid token.)" in result.stderr
        assert "wrong" not in result.output


@pytest.mark.parametrize("reply", [b"<html>", b"[]", b"{}", b'{"results": 3}', b""])
def test_an_address_of_something_else(run, reply):
    fake = FakeLabelStudio()
    with serving(fake) as url, opened(run) as session:
        studio = Studio(url, TOKEN, None, False)
        studio._server.content = lambda *_: reply
        with pytest.raises(PipelineError, match="is it"), studio.linked(session, print, print):
            pass


def test_a_redirection_is_not_followed_with_the_token():
    fake = FakeLabelStudio()
    fake.get_current_user = lambda *_: (302, None)
    with serving(fake) as url, pytest.raises(PipelineError, match="it leads elsewhere"):
        Server(url, TOKEN).get("/api/current-user/whoami")


def test_a_reply_without_end_is_not_read_to_it(monkeypatch):
    fake = FakeLabelStudio()
    fake.get_current_user = lambda *_: (200, "x" * 100)
    monkeypatch.setattr("pipeline.live.server.LARGEST_REPLY", 50)
    with serving(fake) as url, pytest.raises(PipelineError, match="too large"):
        Server(url, TOKEN).get("/api/current-user/whoami")
    assert LARGEST_REPLY > 50


def test_a_labelling_configuration_that_people_changed_is_added_to_and_not_replaced(run):
    fake = FakeLabelStudio()
    with serving(fake) as url:
        with linked(run, fake, url):
            pass
        [project] = fake.projects.values()
        theirs = labelling_config(("dark",)).replace("<View>", '<View><Header value="What is it?"/>')
        other = '<Choices name="quality" toName="image"><Choice value="blurred"/></Choices></View>'
        project["label_config"] = theirs.replace("</View>", other)
        with linked(run, fake, url):
            pass
        top = parse_xml(project["label_config"], "x")
        assert top.all("Header")
        assert [[c.attributes["value"] for c in each.children] for each in top.all("Choices")] == [
            ["dark", "bright"],
            ["blurred"],
        ]
        project["label_config"] = "<View></View>"
        with pytest.raises(PipelineError, match="expected <Choices name='label'>"), linked(run, fake, url):
            pass
        (run / "label_studio/project.json").write_text("{")
        with pytest.raises(PipelineError, match="is damaged: restore it, or remove it"), linked(run, fake, url):
            pass
