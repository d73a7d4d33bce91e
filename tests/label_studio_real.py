"""A real Label Studio for a long test: its environment, built where it is missing, and the people who label there."""

import http.cookiejar
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path

ENVIRONMENT = "LABEL_STUDIO_ENV"
"""Environment variable: a folder in which Label Studio is installed, or will be."""
VERSION = "1.23.*"
PASSWORD = "correct-horse"
PEOPLE = ("anna@example.org", "bea@example.org")
LONGEST_START = 900


def installed():
    """Return the program; its environment is built where it is missing (about 1 GB and some minutes)."""
    named = os.environ.get(ENVIRONMENT)
    folder = Path(named) if named else Path.home() / ".cache" / "ntk-lookahead" / "label-studio"
    program = folder / "bin" / "label-studio"
    if not program.is_file():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        install = [str(folder / "bin" / "pip"), "install", "-q", f"label-studio=={VERSION}"]
        subprocess.run(install, check=True, timeout=1800)
    return program


@contextmanager
def real_server(folder, root, pushes=True):
    """Serve for the length of a block; yields what the people there can do."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "LABEL_STUDIO"))}
    env = keep | {
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder),
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(root),
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
    }
    env |= {"ML_BLOCK_LOCAL_IP": "false", "SSRF_PROTECTION_ENABLED": "false"} if pushes else {}
    listens = ["--port", str(port), "--internal-host", "127.0.0.1"]
    first = ["--username", PEOPLE[0], "--password", PASSWORD]
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [str(installed()), "start", "--no-browser", *listens, *first], env=env, stdout=log, stderr=log
        )
        try:
            yield RealLabelStudio(f"http://127.0.0.1:{port}", process)
        finally:
            process.terminate()
            process.wait(timeout=60)


class RealLabelStudio:
    """A server and the people who label there, with the methods of ``FakeLabelStudio``.

    Args:
        url: of it.
        process: its.

    """

    def __init__(self, url, process):
        self.url = url
        end = time.monotonic() + LONGEST_START
        while not self._answers():
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(1)
        self._people = [self._session(), self._session()]
        self._enter(0, "/user/login/")
        invitation = self.call("GET", "/api/invite")["invite_url"]
        self._enter(1, invitation)
        self.token = self.call("POST", "/api/token/", {})["token"]
        self.project = None

    def _answers(self):
        try:
            urllib.request.urlopen(f"{self.url}/health", timeout=5).close()
        except OSError:
            return False
        return True

    @staticmethod
    def _session():
        jar = http.cookiejar.CookieJar()
        return jar, urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))

    def _enter(self, who, path):
        _, opener = self._people[who]
        with opener.open(self.url + path) as page:
            token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.read().decode())[1]
        form = {"csrfmiddlewaretoken": token, "email": PEOPLE[who], "password": PASSWORD}
        body, headers = urllib.parse.urlencode(form).encode(), {"Referer": self.url + path}
        opener.open(urllib.request.Request(self.url + path, body, headers)).close()

    def bytes(self, method, path, value=None, who=0):
        """Return what an address replies to a person."""
        jar, opener = self._people[who]
        csrf = next(cookie.value for cookie in jar if cookie.name == "csrftoken")
        headers = {"Content-Type": "application/json", "X-CSRFToken": csrf, "Referer": f"{self.url}/"}
        body = None if value is None else json.dumps(value).encode()
        with opener.open(urllib.request.Request(self.url + path, body, headers, method=method), timeout=60) as reply:
            return reply.read()

    def call(self, method, path, value=None, who=0):
        """Return the plain value of a reply."""
        content = self.bytes(method, path, value, who)
        return json.loads(content) if content else None

    def export(self, kind):
        """Return an export, as people download it."""
        return self.bytes("GET", f"/api/projects/{self.project}/export?exportType={kind}&download_all_tasks=true")

    def tasks(self):
        """All tasks of the project with their annotations, in order."""
        return self.call("GET", f"/api/tasks?project={self.project}&fields=all&page_size=1000")["tasks"]

    def open_tasks(self):
        """What lies ready, in order."""
        return [task["id"] for task in self.tasks() if not task["annotations"]]

    def sample(self, task):
        """The sample of a task."""
        return self.call("GET", f"/api/tasks/{task}/")["data"]["sample_id"]

    def annotate(self, task, who, label=None):
        """Label a task, or skip it where there is no label; return the annotation's number."""
        sent = {"result": _result(label), "was_cancelled": label is None, "lead_time": 1.5}
        return self.call("POST", f"/api/tasks/{task}/annotations/", sent, who - 1)["id"]

    def relabel(self, number, label, who=1):
        """Choose another class."""
        self.call("PATCH", f"/api/annotations/{number}/", {"result": _result(label), "was_cancelled": False}, who - 1)

    def delete(self, number, who=1):
        """Delete an annotation."""
        self.call("DELETE", f"/api/annotations/{number}/", None, who - 1)


def _result(label):
    choice = {"type": "choices", "from_name": "label", "to_name": "image", "origin": "manual"}
    return [] if label is None else [choice | {"value": {"choices": [label]}}]
