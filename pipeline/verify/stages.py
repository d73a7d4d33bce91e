"""Every stage of a run: its files against its manifest, its manifest against the log, its origin against the record."""

from collections.abc import Mapping
from pathlib import Path

from pipeline.run.former_names import existing, present_name
from pipeline.run.reading import cycle_path
from pipeline.run.rerun import LOGGED
from pipeline.run.stages.binding import Binding, answers_sha256, inputs_sha256
from pipeline.run.stages.store import Manifest, examined, read_manifest
from pipeline.verify.findings import Findings
from pipeline.verify.record import Record


def check_stages(record: Record, found: Findings) -> None:
    """Check every stage that the log knows, and what else lies in the cycles' folders.

    Args:
        record: of the run.
        found: takes in what is wrong.

    """
    done = record.log.done
    for cycle, stage in done:
        directory = existing(cycle_path(record.run, cycle), stage)
        found.count("stages")
        if not directory.is_dir():
            found.fault(
                directory, f"is missing although the log says that it was done: '{record.command}' does it again"
            )
            continue
        with found.reading(directory):
            _check(record, cycle, stage, directory, found)
    known = {existing(cycle_path(record.run, cycle), stage) for cycle, stage in done}
    for path in sorted(record.run.glob("cycles/*/*")):
        if path in known or not path.is_dir():
            continue
        if ".damaged-" in path.name:
            found.note(path, "was set aside as damaged; nothing reads it")
        elif ".tmp-" in path.name:
            found.note(path, f"is what a killed process left: '{record.command}' removes it")
        elif present_name(path.name) in LOGGED and read_manifest(path) is not None:
            found.note(path, f"is complete but not in the log, as a kill leaves it: '{record.command}' goes on from it")
        else:
            found.fault(path, "is no stage that the log knows: move it elsewhere")


def _check(record: Record, cycle: int, stage: str, directory: Path, found: Findings) -> None:
    manifest, faults = examined(directory)
    wrong = [f"{path}: {what}: '{record.command}' does the stage again" for path, what in faults]
    found.faults += wrong
    if wrong or manifest is None:
        return
    found.count("files", len(manifest.files) + 1)
    logged = record.log.done[cycle, stage]
    result = existing(directory, LOGGED[stage]).name
    if manifest.files.get(result) != logged["sha256"]:
        found.fault(directory / result, f"is not the one that the log says: '{record.command}' does the stage again")
    if "binding" not in logged:
        return  # a version that bound nothing wrote it
    if manifest.binding is None or manifest.binding.digest() != logged["binding"]:
        found.fault(directory, f"was made from something else than the log says: '{record.command}' does it again")
        return
    for name in _unlike(record, manifest.binding, cycle, stage):
        found.fault(directory, f"was not made from the {name} that the log has")
    _check_extra(directory, manifest, found)


def _check_extra(directory: Path, manifest: Manifest, found: Findings) -> None:
    there = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    for name in sorted(there - manifest.files.keys() - {"manifest.json"}):
        found.note(directory / name, "is in no manifest; nothing reads it")


def _unlike(record: Record, binding: Binding, cycle: int, stage: str) -> list[str]:
    """Return the names of what a stage says that it was made from and the log does not."""
    expected = {name: {digest} for name, digest in _labels(record, cycle).items()}
    if (binding.run, binding.cycle, present_name(binding.stage)) != (record.run_id, cycle, stage):
        return ["run, cycle and stage"]
    expected |= _results(record, cycle, stage, remembers="memory" in binding.made_from)
    if stage == "sequential":
        answers = answers_sha256(record.pool.queries.get(cycle, ()), record.pool.answers(cycle))
        expected["answers"] = {answers}
    made: Mapping[str, str] = binding.made_from
    names = sorted({*expected, *made})
    late = record.config.paged and "previous" not in made  # the network before it was not there yet
    return [
        name for name in names if made.get(name) not in expected.get(name, ()) and not (late and name == "previous")
    ]


def _labels(record: Record, cycle: int) -> dict[str, str]:
    return inputs_sha256(record.pool.labelled(cycle), {}, record.pool.classes_before(cycle))


def _results(record: Record, cycle: int, stage: str, remembers: bool) -> dict[str, set[str]]:
    """Return the results of other stages that a stage is made from, by name; any of those that the log has."""
    earlier = [c for c in range(cycle - 1, -1, -1) if (c, "train") in record.log.done]
    if stage == "train":  # on a page an earlier network may have been made later
        before = earlier if record.config.paged else earlier[:1]
        return {"previous": set().union(*(record.results(c, "train") for c in before))} if before else {}
    found = {"train": record.results(cycle, "train")}
    if stage != "migrate" and (cycle, "migrate") in record.log.done:
        found["migrate"] = record.results(cycle, "migrate")
    if stage != "migrate" and remembers:
        scored = [c for c in range(cycle) if (c, "score") in record.log.done]
        if scored:
            found["memory"] = record.results(scored[-1], "score")
    return found
