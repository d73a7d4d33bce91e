"""A run on a folder of images that people label, as its products are tested with it."""

from folder_cases import put

from pipeline.annotators import Answer, Skip
from pipeline.config import load_config
from pipeline.progress import silent
from pipeline.run.context import open_context
from pipeline.run.loop import ActiveLearningLoop
from pipeline.run.rundir import RunDirectory, create_run

CLASSES = ("cat", "dog", "=cow")
SETTINGS = {
    "data.classes": list(CLASSES),
    "data.image_size": 8,
    "model.name": "mlp",
    "model.options": {"width": 16},
    "query.strategy": "margin-influence-greedy",
    "query.n_init": 12,
    "query.size": 6,
    "query.subset": 30,
    "annotator.name": "files",
    "cycles": 2,
    "train.epochs": 8,
    "device": "cpu",
}


class People:
    """Anna labels everything but skips every fifth; ben labels every second, and differs on every fourth."""

    def ask(self, question):
        if not question.disputed:
            yield [said for item in question.items for said in self.say(item.sample)]

    def say(self, sample):
        if sample % 5 == 0:
            yield Skip(sample, "anna", "too dark")
            return
        yield Answer(sample, truth(sample), "anna", 2.0, f"2026-01-01T00:00:{sample:02d}Z")
        if sample % 2 == 0:
            other = (truth(sample) + 1) % len(CLASSES)
            yield Answer(sample, other if sample % 4 == 0 else truth(sample), "=ben", 3.5)


class Mute:
    """The reporter of a run."""

    stage = staticmethod(lambda cycle, name: silent)
    row = warn = staticmethod(lambda _: None)


def truth(sample):
    return sample % 3 % len(CLASSES)


def make_folder(root, count=40, tests=6, mode="L"):
    """Unlabelled images with names that spreadsheets would run, and a labelled test half."""
    for i in range(count):
        put(root, f"train/loose/{'=-@+ x'[i % 6]}{i:02d}.png", mode=mode, seed=i)
    for i in range(tests):
        put(root, f"test/{CLASSES[i % 3]}/{i}.png", mode=mode, seed=100 + i)
    return root


def begin(path, folder, **options):
    settings = {"data.name": f"folder:{folder}", **SETTINGS, **{k.replace("__", "."): v for k, v in options.items()}}
    create_run(path, load_config(options=settings))
    return path


def go_on(path, annotator=None, stop=None):
    """Run to the end, or until ``stop(event)`` of what would be logged next."""
    with RunDirectory(path, lambda _: None) as run:
        loop = ActiveLearningLoop(run, open_context(run.config), Mute(), annotator or People())
        if stop is not None:
            append = run.append

            def stopping(event, **fields):
                if stop(event):
                    raise KeyboardInterrupt
                return append(event, **fields)

            run.append = stopping
        loop()
    return path
