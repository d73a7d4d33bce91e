"""The server around the page: where it listens, and how it ends."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import httpx
import pytest
from page_cases import FakeDesk, served

from pipeline.errors import PipelineError
from pipeline.page.serve import PageServer, serve

AT_ONCE = 1.5  # seconds: well below what requests under way are given


@contextmanager
def opened(server):
    """A client that opened the server's link."""
    base, token = server.access.link().split("/#token=")
    with httpx.Client(base_url=base, headers={"origin": base}, trust_env=False) as client:
        assert client.post("/session", json={"token": token}).status_code == 200
        yield client


def test_it_listens_on_the_loopback_alone_and_says_nothing(capfd, caplog):
    caplog.set_level("DEBUG", "uvicorn")
    with served(FakeDesk()) as server, opened(server) as client:
        assert client.get("/state").json()["labelled"] == 0
        assert server._socket.getsockname() == ("127.0.0.1", server.port)
        assert "server" not in client.get("/").headers
        with socket.create_connection(("127.0.0.1", server.port)) as rubbish:
            rubbish.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
            assert rubbish.recv(100).startswith(b"HTTP/1.1 400")
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []


def test_it_ends_at_once_while_connections_are_open():
    with served(FakeDesk()) as server, opened(server) as client:
        client.get("/state")  # kept alive
        half = socket.create_connection(("127.0.0.1", server.port))
        half.sendall(b"POST /answer HTTP/1.1\r\nHost: 127.0.0.1")  # never goes on
        time.sleep(0.05)
        started = time.monotonic()
        server.stop()
        assert time.monotonic() - started < AT_ONCE
        assert not server._thread.is_alive()
        half.close()
        server.stop()  # again: no harm


def test_an_answer_under_way_is_acknowledged_before_the_end():
    desk, begun = FakeDesk(), threading.Event()

    def slowly():
        begun.set()
        time.sleep(0.5)

    desk.after = slowly
    with served(desk) as server, opened(server) as client:
        got = []
        body = {"annotator": "", "sample": 0, "label": "cat", "seconds": None}
        asking = threading.Thread(target=lambda: got.append(client.post("/answer", json=body)))
        asking.start()
        assert begun.wait(10)
        server.stop()
        asking.join(10)
    assert got[0].status_code == 200


def test_an_answer_under_way_when_ctrl_c_comes_is_acknowledged():
    desk = FakeDesk()

    def interrupted():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.7)

    desk.after = interrupted
    with served(desk) as server, opened(server) as client:
        got = []
        body = {"annotator": "", "sample": 0, "label": "cat", "seconds": None}
        asking = threading.Thread(target=lambda: got.append(client.post("/answer", json=body)))
        asking.start()
        with pytest.raises(KeyboardInterrupt):
            server.wait()
        server.stop()
        assert not server._thread.is_alive()
        asking.join(10)
    assert got[0].status_code == 200


def test_a_call_that_never_ends_does_not_hold_the_server_up():
    desk, begun, end = FakeDesk(), threading.Event(), threading.Event()

    def stuck():
        begun.set()
        end.wait(60)

    desk.after = stuck
    with served(desk) as server, opened(server) as client:
        got = []
        body = {"annotator": "", "sample": 0, "label": "cat", "seconds": None}
        asking = threading.Thread(target=lambda: got.append(client.post("/answer", json=body)))
        asking.start()
        assert begun.wait(10)
        server.stop()
        assert not server._thread.is_alive()
        end.set()
        asking.join(10)
    assert (got[0].status_code, got[0].text) == (500, "Internal Server Error")  # no JSON: the page sends it again


def test_the_port_is_free_again_and_another_server_knows_no_old_cookie():
    with served(FakeDesk()) as first, opened(first) as client:
        assert client.get("/state").status_code == 200
        first.stop()
        with served(FakeDesk(), first.port):
            assert client.get("/state").status_code == 401


def test_ports_that_cannot_be_had_are_one_line():
    with served(FakeDesk()) as server:
        with pytest.raises(PipelineError, match=f"port {server.port} .* choose another"):
            PageServer(FakeDesk(), server.port)
        assert server.port >= 1024
    for port in (-1, 80, 65536):
        with pytest.raises(PipelineError, match="expected a port"):
            PageServer(FakeDesk(), port)


def test_serve_gives_a_link_that_works_and_an_interrupt_comes_through():
    links = []

    def ready(url):
        links.append(url)
        base, token = url.split("/#token=")
        headers = {"origin": base}
        with httpx.Client(trust_env=False) as client:
            assert client.post(f"{base}/session", json={"token": token}, headers=headers).status_code == 200
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        serve(FakeDesk(), 0, ready)
    port = int(links[0].split(":")[2].split("/")[0])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_wait_returns_when_another_thread_stops_the_server():
    with served(FakeDesk()) as server:
        threading.Timer(0.1, server.stop).start()
        server.wait()
    assert not server._thread.is_alive()


@pytest.mark.parametrize("package", ["uvicorn", "starlette"])
def test_a_missing_package_is_one_line_that_says_how_to_get_it(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "pipeline.page.app", raising=False)
    for name in [name for name in sys.modules if name.startswith(f"{package}.")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(PipelineError, match=r'cannot be imported .*pip install -c constraints.txt "\.\[label\]"'):
        PageServer(FakeDesk())


def test_nothing_of_the_web_is_loaded_before_a_page_is_served():
    code = (
        "import sys, pipeline.page.serve, pipeline.page.security, pipeline.session.desk;"
        "sys.exit(bool({'starlette', 'uvicorn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
