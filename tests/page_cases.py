"""A desk in memory for tests of the page: two hundred tiny images, answers at once, and every call is written down."""

import io
import threading
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from pipeline.page.serve import PageServer
from pipeline.session.desk import DeskError

HOSTILE = "<img src=x onerror=alert(1)>"


class FakeDesk:
    """The contract of ``Desk``, with as little behind it as it takes."""

    def __init__(self, images=200, classes=("cat", "dog", "bird"), texts=(), budget=None, run="runs/photos"):
        self.lock = threading.RLock()
        self.run, self.budget = run, budget
        self.images = images
        self.classes = list(classes)
        self.texts = dict(texts)  # samples without an image
        self.names = {sample: f"photos/IMG {sample:04d}.png" for sample in range(images)}
        self.order = list(range(images))
        self.said = {}  # (annotator, sample) -> label or None
        self.calls = []  # of what changes something
        self.version = 0
        self.more = {}  # of the state
        self.asks = {}  # of every question
        self.extra = {}  # of one sample's question
        self.copies = {}  # sample -> its near-copies
        self.again = {}  # annotator -> what was withdrawn
        self.together = []  # what was labelled at once as near-copies
        self.doubtful = []  # samples whose labels look wrong
        self.done = None
        self.folder = Path("/home/anna/runs/photos/products")
        self.fail = None  # raised by the next call that changes something
        self.after = None  # called when an answer was taken in, before it is acknowledged

    def state(self, annotator):
        with self.lock:
            keys = "1234567890abcdefi"
            counts = [sum(label == name for label in self.said.values()) for name in self.classes]
            named = [
                {"name": name, "key": keys[at] if at < len(keys) else None, "count": count}
                for at, (name, count) in enumerate(zip(self.classes, counts, strict=True))
            ]
            labelled = len({sample for (_, sample), label in self.said.items() if label is not None})
            return {
                "run": self.run,
                "classes": named,
                "annotator": annotator or "anna",
                "said": any(who == (annotator or "anna") for who, _ in self.said),
                "labelled": labelled,
                "skipped": sum(label is None for label in self.said.values()),
                "disputed": 0,
                "images": self.images,
                "budget": self.budget,
                "network": None,
                "training": None,
                "accuracy": None,
                "held_out": 0,
                "how_to_measure": "To have it measured, hold some out.",
                "first": 20,
                "curve": [],
                "agreement": None,
                "notes": [],
                "warnings": [],
                "finished": self.done,
                "version": self.version,
                **self.more,
            }

    def question(self, annotator):
        annotator = annotator or "anna"
        with self.lock:
            if self.done:
                return {"kind": "done", "reason": "finished", "text": "Labelling is finished."}
            spoken = {sample for _, sample in self.said}
            open_ = [sample for sample in self.order if sample not in spoken]
            if annotator in self.again and self.again[annotator] in open_:
                return {**self._ask(self.again[annotator], open_), "why": "undo"}
            if self.budget and len(spoken) >= self.budget:
                return {"kind": "done", "reason": "budget", "text": "The budget is used up."}
            if not open_:
                return {"kind": "done", "reason": "pool", "text": "Every image has its answer."}
            return self._ask(open_[0], open_)

    def _ask(self, sample, open_):
        return {
            "kind": "question",
            "sample": sample,
            "name": self.names[sample],
            "text": self.texts.get(sample),
            "image": sample not in self.texts,
            "asked_by": None,
            "why": "random",
            "said": [],
            "milliseconds": None,
            "prediction": None,
            "next": [other for other in open_ if other != sample][:2],
            "copies": len(self.copies.get(sample, ())),
            **self.asks,
            **self.extra.get(sample, {}),
        }

    def answer(self, annotator, sample, label, seconds):
        return self._say("answer", annotator, sample, label, seconds)

    def skip(self, annotator, sample, reason, seconds):
        return self._say("skip", annotator, sample, None, seconds)

    def _say(self, what, annotator, sample, label, seconds):
        annotator = annotator or "anna"
        with self.lock:
            self._called(what, annotator, sample, label, seconds)
            self._known(sample)
            if label is not None:
                self._class(label)
            if self.said.get((annotator, sample), label) != label:
                raise DeskError(f"{self.names[sample]} was answered already: withdraw that first")
            if (annotator, sample) not in self.said:
                self.version += 1
                self.said[annotator, sample] = label
        if self.after:
            self.after()
        return self.question(annotator)

    def undo(self, annotator, sample):
        annotator = annotator or "anna"
        with self.lock:
            self._called("undo", annotator, sample)
            mine = [found for who, found in self.said if who == annotator]
            sample = (mine or [None])[-1] if sample is None else sample
            if sample not in mine:
                raise DeskError("there is nothing to take back")
            del self.said[annotator, sample]
            self.again[annotator] = sample
            self.version += 1
            return self.question(annotator)

    def add_class(self, name):
        with self.lock:
            self._called("class", name)
            if name in self.classes:
                raise DeskError(f"there is a class {name} already")
            self.classes.append(name)
            self.version += 1
            return self.state("")

    def grid(self, annotator, label, size):
        with self.lock:
            self._called("grid", annotator, label, size)
            self._class(label)
            spoken = {sample for _, sample in self.said}
            likeliest = [sample for sample in reversed(self.order) if sample not in spoken][:size]
            items = [
                {"sample": sample, "name": self.names[sample], "probability": 0.9, "image": True, "text": None}
                for sample in likeliest
            ]
            return {"label": label, "items": items, "asked_by": 1}

    def confirm(self, annotator, label, right, wrong, seconds):
        with self.lock:
            self._called("confirm", annotator, label, right, wrong, seconds)
            self._class(label)
            for sample in right:
                self._known(sample)
                self.said[annotator or "anna", sample] = label
            self.version += 1
            return self.question(annotator)

    def near_copies(self, annotator, sample):
        with self.lock:
            self._called("near_copies", annotator, sample)
            items = [
                {"sample": one, "name": self.names[one], "probability": None, "image": True, "text": None}
                for one in (sample, *self.copies[sample])
            ]
            return {"sample": sample, "items": items}

    def label_copies(self, annotator, sample, label, right, wrong, seconds):
        with self.lock:
            self._called("label_copies", annotator, sample, label, right, wrong, seconds)
            self._class(label)
            self.said |= {(annotator or "anna", one): label for one in (sample, *right)}
            self.together = [sample, *right]
            self.version += 1
            return self.question(annotator)

    def undo_copies(self, annotator, sample):
        with self.lock:
            self._called("undo_copies", annotator, sample)
            for one in self.together:
                del self.said[annotator or "anna", one]
            self.again[annotator or "anna"] = self.together[0]
            self.version += 1
            return self.question(annotator)

    def history(self, annotator, limit):
        with self.lock:
            annotator = annotator or "anna"
            items = [
                {
                    "sample": sample,
                    "name": self.names[sample],
                    "said": label,
                    "annotator": who,
                    "final": False,
                    "copies": len(self.together) - 1 if sample in self.together else 0,
                }
                for (who, sample), label in reversed(self.said.items())
                if who == annotator
            ]
            return {"items": items[:limit]}

    def doubts(self, annotator):
        with self.lock:
            items = [
                {"sample": s, "name": self.names[s], "image": True, "text": None, "said": label, "annotator": who}
                | {"mine": who == (annotator or "anna"), "suggested": "bird", "final": True}
                for (who, s), label in self.said.items()
                if s in self.doubtful
            ]
            return {"items": items, "basis": "the network's last layer"}

    def keep(self, annotator, sample):
        with self.lock:
            self._called("keep", annotator or "anna", sample)
            self._known(sample)
            self.doubtful.remove(sample)
            self.version += 1
            return self.state("")

    def picture(self, sample, side):
        self._known(sample)
        if sample in self.texts:
            raise DeskError("there is no image", 404)
        content = io.BytesIO()
        pixels = Image.new("RGB", (32, 32), (sample * 37 % 256, sample * 91 % 256, sample * 151 % 256))
        pixels.paste((255, 255, 255), (8, 8, 14, 24))
        pixels.save(content, "PNG")
        return content.getvalue(), "image/png"

    def finish(self):
        with self.lock:
            self._called("finish")
            products = ["README.md", "labels.csv", "predictions.csv", "model/model.json", "model/weights.safetensors"]
            steps = [{"what": "to go on labelling", "command": f"pipeline label {self.run}"}]
            self.done = {"going_on": False, "products": products, "folder": str(self.folder), "next": steps}
            self.version += 1
            return self.state("")

    def made(self, what):
        """The calls of one kind, without its name."""
        return [call[1:] for call in self.calls if call[0] == what]

    def _called(self, *call):
        self.calls.append(call)
        if self.fail:
            failure, self.fail = self.fail, None
            raise failure

    def _known(self, sample):
        if sample not in self.names:
            raise DeskError(f"there is no sample {sample}", 404)

    def _class(self, label):
        if label not in self.classes:
            raise DeskError(f"expected one of {', '.join(self.classes)} as a class, got {label}", 400)


@contextmanager
def served(desk, port=0):
    """A server for the length of a block."""
    with PageServer(desk, port) as server:
        yield server
