"""As much of Label Studio 1.23's interface as a session talks to, in memory; a long test takes a real one."""

import datetime
import itertools
import json
import threading
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

TOKEN, RENEWABLE = "0123456789abcdef", "head.body.sign"


class FakeLabelStudio:
    """A server and the people who label there.

    Args:
        blocks: whether it calls no address of its own machine: "", "backends" or "webhooks".
        serves: whether it shows local files.

    """

    def __init__(self, blocks="", serves=True):
        self.blocks, self.serves = blocks, serves
        self.lock, self._numbers, self._clock = threading.RLock(), itertools.count(1), itertools.count()
        self.projects, self.tasks, self.backends, self.hooks, self.storages = {}, {}, {}, {}, {}
        self.calls, self.access, self.renewals = [], "", 0
        self.down = False

    # people

    def annotate(self, task, who, label=None, **more):
        """Label a task, or skip it where there is no label; return the annotation's number."""
        with self.lock:
            number = next(self._numbers)
            choice = {"type": "choices", "from_name": "label", "to_name": "image", "value": {"choices": [label]}}
            self.tasks[task]["annotations"].append(
                {
                    "id": number,
                    "completed_by": who,
                    "result": [] if label is None else [choice],
                    "was_cancelled": label is None,
                    "lead_time": 1.5,
                    "updated_at": self._touch(task),
                }
                | more
            )
        self._push("ANNOTATION_CREATED")
        return number

    def change(self, number, **changes):
        """Change an annotation."""
        task, each = self._annotation(number)
        each |= changes | {"updated_at": self._touch(task)}
        self._push("ANNOTATION_UPDATED")

    def relabel(self, number, label):
        """Choose another class."""
        result = [{"type": "choices", "from_name": "label", "to_name": "image", "value": {"choices": [label]}}]
        self.change(number, result=result, was_cancelled=False)

    def delete(self, number, touch=True):
        """Delete an annotation; some bulk actions leave its task's time alone."""
        task, each = self._annotation(number)
        self.tasks[task]["annotations"].remove(each)
        if touch:
            self._touch(task)
            self._push("ANNOTATIONS_DELETED")

    def open_tasks(self):
        """What lies ready, in order."""
        with self.lock:
            return [number for number, task in self.tasks.items() if not task["annotations"]]

    def sample(self, task):
        """The sample of a task."""
        return self.tasks[task]["data"]["sample_id"]

    def _annotation(self, number):
        return next((n, each) for n, task in self.tasks.items() for each in task["annotations"] if each["id"] == number)

    def _touch(self, task):
        now = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(seconds=next(self._clock))
        self.tasks[task]["updated_at"] = now.isoformat().replace("+00:00", ".000000Z")
        return self.tasks[task]["updated_at"]

    def _push(self, action):
        for hook in list(self.hooks.values()):
            self._call(hook["url"], {"action": action})

    @staticmethod
    def _call(url, value=None):
        body = None if value is None else json.dumps(value).encode()
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=5) as reply:
                return json.loads(reply.read())
        except OSError:
            return None

    # the interface: (status, value)

    def answer(self, method, path, query, sent, authorization):
        """Answer a request."""
        with self.lock:
            self.calls.append((method, path))
            if path == "/api/token/refresh/":
                if sent["refresh"] != RENEWABLE:
                    return 401, {"detail": "Token is invalid"}
                self.renewals += 1
                self.access = f"access {self.renewals}"
                return 200, {"access": self.access}
            if authorization not in (f"Token {TOKEN}", f"Bearer {self.access}"):
                return 401, {"detail": "Invalid token."}
            parts = path.strip("/").split("/")
            name = f"{method.lower()}_{parts[1] if parts[0] == 'api' else parts[0]}"
            number = next((int(part) for part in parts if part.isdigit()), None)
        return getattr(self, name)(number, parts, query, sent)

    def get_current_user(self, *_):
        return 200, {"id": 1}

    def get_projects(self, number, parts, query, sent):
        if number is not None:
            return 200, self.projects[number]
        found, page, size = [*self.projects.values()], int(query.get("page", 1)), int(query["page_size"])
        return 200, {
            "results": found[(page - 1) * size : page * size],
            "next": "x" if len(found) > page * size else None,
        }

    def post_projects(self, number, parts, query, sent):
        with self.lock:
            if number is None:
                if len(sent["title"]) < 3:
                    return 400, {"detail": "Validation error", "validation_errors": {"title": ["3 characters"]}}
                made = sent | {"id": next(self._numbers)}
                self.projects[made["id"]] = made
                return 201, made
            numbers = []
            for task in sent:
                numbers.append(next(self._numbers))
                self.tasks[numbers[-1]] = {"id": numbers[-1], "data": task["data"], "annotations": []} | (
                    {"predictions": task["predictions"]} if "predictions" in task else {}
                )
                self._touch(numbers[-1])
        self._push("TASKS_CREATED")
        return 201, {"task_ids": numbers}

    def patch_projects(self, number, parts, query, sent):
        self.projects[number] |= sent
        return 200, self.projects[number]

    def get_tasks(self, number, parts, query, sent):
        with self.lock:
            newest = sorted(self.tasks.values(), key=lambda task: task["updated_at"], reverse=True)
            page, size = int(query["page"]), int(query["page_size"])
            if page > 1 and (page - 1) * size >= len(newest):
                return 404, {"detail": "Invalid page."}
            counted = sum(not each["was_cancelled"] for task in newest for each in task["annotations"])
            shown = json.loads(json.dumps(newest[(page - 1) * size : page * size]))
            return 200, {"tasks": shown, "total": len(newest), "total_annotations": counted}

    def patch_tasks(self, number, parts, query, sent):
        self.tasks[number] |= sent
        self._touch(number)
        return 200, self.tasks[number]

    def get_storages(self, *_):
        return 200, [*self.storages.values()]

    def post_storages(self, number, parts, query, sent):
        if not self.serves:
            return 400, {"validation_errors": {"non_field_errors": ["LOCAL_FILES_SERVING_ENABLED is disabled"]}}
        self.storages[next(self._numbers)] = sent
        return 201, sent

    def get_data(self, *_):
        return (200, {}) if self.serves is True else (404, None)

    def get_ml(self, *_):
        return 200, [*self.backends.values()]

    def post_ml(self, number, parts, query, sent):
        if self.blocks == "backends":
            return 400, {"validation_errors": {"url": ["URL resolves to a reserved network address"]}}
        if (
            self._call(f"{sent['url']}/health") is None
            or self._call(f"{sent['url']}/setup", {"access_token": "x"}) is None
        ):
            return 400, {"validation_errors": {"url": ["health check failed"]}}
        made = sent | {"id": next(self._numbers)}
        self.backends[made["id"]] = made
        if self.blocks != "webhooks":
            hook = {"id": next(self._numbers), "url": f"{sent['url']}/webhook"}
            self.hooks[hook["id"]] = hook
        return 201, made

    def delete_ml(self, number, *_):
        del self.backends[number]
        return 204, None

    def get_webhooks(self, *_):
        return 200, [*self.hooks.values()]

    def delete_webhooks(self, number, *_):
        del self.hooks[number]
        return 204, None


def _handler(fake):
    class Handler(BaseHTTPRequestHandler):
        def _do(self):
            length = int(self.headers.get("Content-Length") or 0)
            sent = json.loads(self.rfile.read(length)) if length else None
            if fake.down:
                self.close_connection = True
                return
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            path = parts.path.replace("current-user", "current_user")
            status, value = fake.answer(self.command, path, query, sent, self.headers.get("Authorization"))
            body = b"" if value is None else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if status in (301, 302):
                self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = do_DELETE = _do

        def log_message(self, *_):
            pass

    return Handler


@contextmanager
def serving(fake):
    """Serve for the length of a block; yields the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(fake))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
