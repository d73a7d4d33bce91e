"""What a sample's picture is called in another tool, and which sample is meant by what comes back."""

from collections import Counter
from functools import cached_property
from pathlib import PurePosixPath
from unicodedata import normalize

from pipeline.errors import PipelineError
from trainer.data import DataSet


def picture_name(data: DataSet, sample: int) -> str:
    """Return the name of a sample's picture: its file's path, or its id where samples are no files.

    Args:
        data: the run's.
        sample: id.

    """
    return data.sample_path("train", sample) if data.paths is not None else f"{sample}.png"


def plain(path: str) -> str:
    """Return a path as any system may write it: composed letters, forward slashes; ``./`` is how one that a spreadsheet
    would take for a formula begins.

    Args:
        path: as it came.

    """
    return normalize("NFC", path).replace("\\", "/").removeprefix("./")


def without_ending(name: str) -> str:
    """Return a picture's name without the ending, as FiftyOne calls it.

    Args:
        name: of the file, with its folders.

    """
    return str(PurePosixPath(name).with_suffix("")) if name else name


class Names:
    """Which sample a name means.

    A name without folders is taken for the one picture of the data that is called so, for some tools leave folders out.

    Args:
        data: the run's.

    """

    def __init__(self, data: DataSet) -> None:
        self._data = data

    @cached_property
    def _all(self) -> dict[int, str]:
        return {sample: plain(picture_name(self._data, sample)) for sample in range(len(self._data.train))}

    @cached_property
    def _by_picture(self) -> dict[str, list[int]]:
        return _found(self._all)

    @cached_property
    def _by_stem(self) -> dict[str, list[int]]:
        return _found({sample: without_ending(name) for sample, name in self._all.items()})

    def of_picture(self, name: str) -> int:
        """Return the sample of a picture.

        Args:
            name: of its file.

        Raises:
            PipelineError: there is none of that name, or more than one.

        """
        return _only(self._by_picture, plain(name), "picture")

    def of_stem(self, name: str) -> int:
        """Return the sample of a picture.

        Args:
            name: of its file, without the ending.

        Raises:
            PipelineError: there is none of that name, or more than one.

        """
        return _only(self._by_stem, plain(name), "picture (without its ending)")


def require_unlike(names: dict[int, str]) -> None:
    """Refuse pictures that a tool could not tell apart.

    Args:
        names: by sample, as the tool sees them.

    Raises:
        PipelineError: two are alike.

    """
    [(name, count)] = Counter(names.values()).most_common(1) or [("", 0)]
    if count > 1:
        one, other = [sample for sample, known in names.items() if known == name][:2]
        raise PipelineError(
            f"expected pictures that differ in more than their ending, but samples {one} and {other} are both called "
            f"{name!r} there: choose another --format"
        )


def _found(names: dict[int, str]) -> dict[str, list[int]]:
    """Samples by name and, as far as no name is the same, by its last part."""
    whole, last = dict[str, list[int]](), dict[str, list[int]]()
    for sample, name in names.items():
        whole.setdefault(name, []).append(sample)
        last.setdefault(name.rpartition("/")[2], []).append(sample)
    return last | whole


def _only(known: dict[str, list[int]], name: str, what: str) -> int:
    samples = known.get(name) or known.get(name.strip(), [])  # somebody's hand may have set blanks around it
    if len(samples) > 1:
        raise PipelineError(f"{what}: {len(samples)} samples are called {name!r}: give their paths")
    if not samples:
        raise PipelineError(f"{what}: the run has none called {name!r}")
    return samples[0]
