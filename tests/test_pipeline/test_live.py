"""Label Studio as a front end: what is said there is in the record at once, once, and after whatever happens between.

The server is one in memory; ``test_live_real.py`` does the same with a real one.
"""

import time

import pytest
from handoff_cases import said
from label_studio_fake import TOKEN, FakeLabelStudio, serving
from live_cases import ANNA, BEA, CLASSES, begun, eventually, heard, linked
from session_cases import make, opened

from pipeline.errors import PipelineError
from pipeline.handoff.plain_xml import parse_xml
from pipeline.live import link as link_module
from pipeline.live.link import AHEAD
from pipeline.live.studio import Studio
from pipeline.run.rundir import read_events
from pipeline.session.outside import QUEUE


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    monkeypatch.setattr(link_module, "POLL", 0.1)
    monkeypatch.setattr(link_module, "POLL_PUSHED", 30.0)  # what is heard sooner was pushed


@pytest.fixture
def run(tmp_path):
    return begun(tmp_path)


def test_an_answer_there_is_heard_at_once_and_the_next_task_lies_ready(run):
    fake = FakeLabelStudio()
    with serving(fake) as url:
        news = []
        with linked(run, fake, url, news=news):
            ready = fake.open_tasks()
            assert len(ready) == AHEAD
            assert news == [
                f"label in Label Studio at {url}/projects/1/data (Label All Tasks), or on the page of the run itself"
            ]
            number = fake.annotate(ready[0], 1, "dark")
            sample = fake.sample(ready[0])
            eventually(heard(run, sample, ANNA, 0))
            eventually(lambda: len(fake.open_tasks()) == AHEAD)
            skipped = fake.annotate(ready[1], 2)
            eventually(heard(run, fake.sample(ready[1]), BEA, None))
            fake.relabel(number, "bright")
            eventually(heard(run, sample, ANNA, 1))
            fake.relabel(skipped, "dark")  # thought better of it
            eventually(heard(run, fake.sample(ready[1]), BEA, 0))
            fake.change(number, was_cancelled=True, result=[])
            eventually(heard(run, sample, ANNA, None))
            fake.delete(number)
            eventually(heard(run, sample, ANNA, "nothing"))
            eventually(lambda: ready[0] in fake.open_tasks())
        assert not fake.backends
        assert not fake.hooks
    [event, *_] = [event for event in read_events(run) if event["event"] == "label"]
    assert (event["seconds"], event["time"]) == ([1.5], ["2026-01-01T00:00:04+00:00"])
    [project] = fake.projects.values()
    assert (project["sampling"], project["skip_queue"]) == ("Sequential sampling", "IGNORE_SKIPPED")
    assert not project["show_collab_predictions"]


def test_what_happened_while_nobody_listened_is_caught_up_with_once(run):
    fake = FakeLabelStudio()
    with serving(fake) as url:
        with linked(run, fake, url):
            first, second, third, _ = fake.open_tasks()
            number = fake.annotate(first, 1, "dark")
            eventually(heard(run, fake.sample(first), ANNA, 0))
        tasks = set(fake.tasks)
        fake.relabel(number, "bright")
        fake.annotate(second, 2)
        late = fake.annotate(third, 1, "dark")
        with linked(run, fake, url):
            expected = {(fake.sample(first), ANNA): 1, (fake.sample(second), BEA): None, (fake.sample(third), ANNA): 0}
            assert said(run) == expected
        before = read_events(run)
        with linked(run, fake, url):
            pass
        assert read_events(run) == before  # nothing twice, and what lay ready still does
        fake.delete(late)
        with linked(run, fake, url):
            assert heard(run, fake.sample(third), ANNA, "nothing")()
    samples = [fake.sample(task) for task in fake.tasks]
    assert len(samples) == len(set(samples))
    assert len(fake.projects) == 1
    assert tasks <= set(fake.tasks)


def test_people_who_differ_are_asked_once_more(run):
    fake = FakeLabelStudio()
    with serving(fake) as url, linked(run, fake, url) as session:
        first = fake.open_tasks()[0]
        sample = fake.sample(first)
        fake.annotate(first, 1, "dark")
        eventually(heard(run, sample, ANNA, 0))
        fake.annotate(first, 2, "bright")
        eventually(lambda: sample in session.clerk.pool.disputed)
        for task in fake.open_tasks():  # it takes its turn after what lies ready
            if fake.sample(task) != sample:
                fake.annotate(task, 1, "dark")
        eventually(lambda: sample in [fake.sample(task) for task in fake.open_tasks()])
        [again] = [task for task in fake.open_tasks() if fake.sample(task) == sample]
        word = fake.annotate(again, 2, "bright")  # nobody gives way, and nobody is asked for ever
        for task in fake.open_tasks():
            if fake.sample(task) != sample:
                fake.annotate(task, 1, "dark")
                eventually(heard(run, fake.sample(task), ANNA, 0))
        eventually(lambda: len(fake.open_tasks()) >= AHEAD)
        assert sample in session.clerk.pool.disputed
        assert sample not in [fake.sample(task) for task in fake.open_tasks()]
        fake.relabel(word, "dark")  # the later word of the same person counts
        eventually(lambda: session.clerk.pool.current.get(sample) == 0)
        assert said(run)[sample, BEA] == 0


def test_the_page_and_the_other_tool_do_not_ask_about_the_same_image(run):
    fake = FakeLabelStudio()
    with serving(fake) as url, linked(run, fake, url) as session:
        ready = {fake.sample(task) for task in fake.open_tasks()}
        question = session.question("cem")
        assert question["sample"] not in ready
        session.answer("cem", question["sample"], "dark", None)
        assert session.clerk.turns.of(QUEUE).grid
        assert said(run)[question["sample"], "cem"] == 0
        session.add_class("grey")
        fake.annotate(fake.open_tasks()[0], 1, "dark")
        [project] = fake.projects.values()
        eventually(lambda: '<Choice value="grey"/>' in project["label_config"])
        top = parse_xml(project["label_config"], "x")
        assert [each.attributes["value"] for each in top.all("Choices")[0].children] == ["dark", "bright", "grey"]


def test_images_that_are_served_from_elsewhere_now(run, tmp_path):
    fake = FakeLabelStudio()
    with serving(fake) as url:
        fake.serves = "storage alone"
        with pytest.raises(PipelineError, match="it shows no pictures"), linked(run, fake, url):
            pass
        assert not fake.tasks  # nobody is shown an empty frame
        fake.serves = True
        with linked(run, fake, url):
            before = {task["data"]["image"] for task in fake.tasks.values()}
        with linked(run, fake, url, image_root=tmp_path):
            after = {task["data"]["image"] for task in fake.tasks.values()}
            assert {image.partition("?d=")[2].partition("/")[0] for image in before} == {"images"}
            assert {image.partition("?d=")[2].partition("/")[0] for image in after} == {"photos"}
            assert len(fake.tasks) == AHEAD


def test_a_class_that_is_added_there(run):
    fake, warnings = FakeLabelStudio(), []
    with serving(fake) as url, linked(run, fake, url, warnings) as session:
        first, second, *_ = fake.open_tasks()
        fake.annotate(first, 1, "grey")
        eventually(heard(run, fake.sample(first), ANNA, 2))
        assert session.clerk.classes == (*CLASSES, "grey")
        fake.annotate(second, 1, "Dark")
        eventually(lambda: any("'dark' and 'Dark' differ in spelling alone" in line for line in warnings))


def test_what_cannot_be_an_answer_is_said_and_left(run):
    fake, warnings = FakeLabelStudio(), []
    with serving(fake) as url, linked(run, fake, url, warnings):
        first, second, third, fourth = fake.open_tasks()
        two = [{"type": "choices", "from_name": "label", "value": {"choices": ["dark", "bright"]}}]
        fake.annotate(first, 1, "x", result=two)
        fake.annotate(second, 1, "dark", completed_by=[3])
        fake.annotate(third, 1, "dark", completed_by="a\nb")
        fake.annotate(fourth, 1, "dark", prediction={"result": two}, lead_time=float("nan"))
        eventually(heard(run, fake.sample(fourth), ANNA, 0))
        for words in ("expected one choice", "expected a number or an object", "printable characters"):
            eventually(lambda words=words: any(words in line for line in warnings))
        foreign = {"data": {"sample_id": 3, "run_id": "another", "image": "x"}}
        fake.post_projects(1, None, None, [foreign])
        eventually(lambda: any("is not one of this run" in line for line in warnings))
        never = {"data": fake.tasks[first]["data"] | {"sample_id": 15}}
        if not any(15 in event.get("ids", ()) for event in read_events(run)):
            _, reply = fake.post_projects(1, None, None, [never])
            fake.annotate(reply["task_ids"][0], 1, "dark")
            eventually(lambda: any("sample 15 was never asked about" in line for line in warnings))
    assert len(said(run)) == 1
    assert len(warnings) == len(set(warnings))


@pytest.mark.parametrize("blocks", ["backends", "webhooks"])
def test_without_pushes_answers_are_fetched(run, blocks):
    fake, news = FakeLabelStudio(blocks), []
    with serving(fake) as url, linked(run, fake, url, news=news):
        assert "Label Studio does not push answers" in news[0]
        assert "ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false; both are needed" in news[0]
        task = fake.open_tasks()[0]
        fake.annotate(task, 1, "dark")
        eventually(heard(run, fake.sample(task), ANNA, 0))


def test_an_action_that_touches_no_task_is_noticed(run, monkeypatch):
    monkeypatch.setattr(link_module, "POLL_PUSHED", 0.1)
    fake = FakeLabelStudio("backends")
    with serving(fake) as url, linked(run, fake, url):
        task, later, *_ = fake.open_tasks()
        number = fake.annotate(task, 1, "dark")
        fake.annotate(later, 2, "dark")
        eventually(heard(run, fake.sample(task), ANNA, 0))
        eventually(heard(run, fake.sample(later), BEA, 0))
        fake.delete(number, touch=False)
        eventually(heard(run, fake.sample(task), ANNA, "nothing"))
        fake.annotate(task, 1, "dark")
        eventually(heard(run, fake.sample(task), ANNA, 0))
        fake.tasks.pop(task)  # a task that is gone takes no label with it
        other = fake.open_tasks()[0]
        fake.annotate(other, 1, "dark")
        eventually(heard(run, fake.sample(other), ANNA, 0))
        assert heard(run, fake.sample(other), ANNA, 0)()
    assert len(said(run)) == 3


def test_a_server_that_is_gone_for_a_while(run):
    fake, warnings, news = FakeLabelStudio("backends"), [], []
    with serving(fake) as url, linked(run, fake, url, warnings, news) as session:
        task = fake.open_tasks()[0]
        fake.down = True
        eventually(lambda: any("Label Studio does not answer" in line for line in warnings))
        question = session.question("cem")  # the page goes on
        assert question["kind"] == "question"
        fake.annotate(task, 1, "dark")
        fake.down = False
        eventually(heard(run, fake.sample(task), ANNA, 0))
        eventually(lambda: "Label Studio answers again" in news)
    assert len([line for line in warnings if "does not answer" in line]) == 1


def test_pictures_that_are_gone_keep_nothing_waiting(run, tmp_path):
    fake, warnings = FakeLabelStudio(), []
    with serving(fake) as url, opened(run, warnings) as session:
        kept = [session.clerk.context.data.sample_path("train", n) for n in range(16)]
        for name in kept[:8]:
            (tmp_path / "photos" / name).unlink()
        with Studio(url, TOKEN, None, False).linked(session, warnings.append, print):
            for _ in range(8):
                eventually(lambda: fake.open_tasks())
                task = fake.open_tasks()[0]
                assert fake.sample(task) >= 8
                fake.annotate(task, 1, "dark")
                eventually(heard(run, fake.sample(task), ANNA, 0))
    assert any("is gone since the data was loaded" in line for line in warnings)


def test_tasks_end_with_the_budget(run, tmp_path):
    path = make(
        tmp_path / "other",
        **{"data__name": f"folder:{tmp_path / 'photos'}", "data__classes": list(CLASSES)},
        data__test_fraction=0.0,
        annotator__budget=2,
    )
    fake = FakeLabelStudio()
    with serving(fake) as url, linked(path, fake, url):
        assert len(fake.open_tasks()) == 2
        for task in fake.open_tasks():
            fake.annotate(task, 1, "dark")
            eventually(heard(path, fake.sample(task), ANNA, 0))
        time.sleep(0.3)
        assert not fake.open_tasks()


def test_predictions_are_shown_on_request_alone(run, monkeypatch):
    monkeypatch.setattr(
        "pipeline.session.networks.Networks.predictions",
        lambda self, samples: {sample: {"label": "bright", "probability": 0.9} for sample in samples},
    )
    for predictions in (False, True):
        fake = FakeLabelStudio()
        with serving(fake) as url, linked(run, fake, url, predictions=predictions):
            ready = [fake.tasks[task] for task in fake.open_tasks()]
            assert [("predictions" in task) for task in ready] == [predictions] * AHEAD
            [backend] = fake.backends.values()
            asked = fake._call(f"{backend['url']}/predict", {"tasks": [*ready, {"data": {"sample_id": "x"}}]})
            given = [each["result"] for each in asked["results"]]
            chosen = [[each["value"]["choices"] for each in result] for result in given]
            assert chosen == [[["bright"]] if predictions else []] * AHEAD + [[]]
        [project] = fake.projects.values()
        assert project["show_collab_predictions"] is predictions
        (run / "label_studio/project.json").unlink()


# --- who may call, and what is said ------------------------------------------------------------------------------
