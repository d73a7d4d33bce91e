"""A run of a folder of images, and its session linked to a Label Studio in memory."""

import time
from contextlib import contextmanager

from folder_cases import put
from handoff_cases import said
from label_studio_fake import TOKEN
from session_cases import make, opened

from pipeline.handoff.label_studio import USER
from pipeline.live.studio import Studio

ANNA, BEA = USER.format(1), USER.format(2)
CLASSES = ("dark", "bright")


def begun(tmp_path):
    """Make a run of a folder of images whose first network is far away."""
    for number in range(16):
        put(tmp_path, f"photos/{number}.png")
    options = {
        "data__name": f"folder:{tmp_path / 'photos'}",
        "data__classes": list(CLASSES),
        "data__test_fraction": 0.0,
    }
    return make(tmp_path / "run", **options, query__n_init=14)


@contextmanager
def linked(run, fake, url, warnings=None, news=None, **options):
    """Open a run's session and label in the server; yields the session."""
    warnings, news = [] if warnings is None else warnings, [] if news is None else news
    studio = Studio(url, TOKEN, options.pop("image_root", None), options.pop("predictions", False))
    with opened(run, warnings) as session, studio.linked(session, warnings.append, news.append):
        yield session


def eventually(condition, seconds=20):
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def heard(run, sample, who, label):
    """Whether somebody's label, or skip (None), is in force; "nothing" where they say nothing."""
    return lambda: said(run).get((sample, who), "nothing") == label
