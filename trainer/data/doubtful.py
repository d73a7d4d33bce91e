"""Folders that are taken for classes and may be none: those of a camera, of a date, or that hold folders alone."""

import re
from collections.abc import Iterable

_YEAR, _MONTH, _DAY, _MARK = r"(19|20)\d\d", r"(0[1-9]|1[0-2])", r"(0[1-9]|[12]\d|3[01])", r"[-_. ]?"
_DATES = (
    rf"{_YEAR}({_MARK}{_MONTH}({_MARK}{_DAY})?)?",  # 2024, 2024-01, 20240103
    rf"{_DAY}[-_. ]{_MONTH}[-_. ]{_YEAR}",
    rf"{_MONTH}[-_. ]{_DAY}[-_. ]{_YEAR}",
)
_DATE = re.compile(rf"({'|'.join(_DATES)})([-_ ,].*)?")  # and what people write behind it
_CAMERA = re.compile(r"dcim|[1-9]\d\d(?=\w*[A-Z_])[A-Z0-9_]{5}", re.IGNORECASE)
"""As cameras call their folders: DCIM, and in it a number from 100 and five characters, such as 100CANON."""


def looks_like_no_class(name: str) -> bool:
    """Whether a folder is called as a camera or somebody who files by date would call it.

    Args:
        name: of the folder.

    """
    return bool(_DATE.fullmatch(name) or _CAMERA.fullmatch(name))


def doubt(images: Iterable[tuple[str, str]]) -> str:
    """Say that folders may be no classes, in one sentence; nothing where nobody would doubt it.

    Args:
        images: the folder that each image's class is called after, and the image's path from there.

    """
    direct = dict[str, bool]()
    for folder, path in images:
        direct[folder] = direct.get(folder, False) or "/" not in path
    strange = [folder for folder in direct if looks_like_no_class(folder)]
    if not strange and not any(direct.values()):
        strange = list(direct)
    if not strange:
        return ""
    return f"folders such as {strange[0]} are taken as classes; if they are not, name the classes: --classes cat,dog"
