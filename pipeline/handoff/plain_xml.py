"""XML that somebody hands over: no entities, no document types, and no more of it than a labelling tool writes."""

from xml.parsers import expat

from common.reading import why
from pipeline.errors import PipelineError

DEEPEST = 50
MOST, LONGEST = 500_000, 1000
"""Elements of the largest document that is read, and letters of an element's text that are kept."""


class Element:
    """An element: its name, its attributes, the elements in it and the text that stands before them.

    Args:
        tag: its name.
        attributes: of it.

    """

    __slots__ = ("attributes", "children", "tag", "text")

    def __init__(self, tag: str, attributes: dict[str, str]) -> None:
        self.tag, self.attributes, self.text = tag, attributes, ""
        self.children: list[Element] = []

    def all(self, tag: str) -> "list[Element]":
        """Return the elements of one name that stand in this one itself."""
        return [child for child in self.children if child.tag == tag]


def parse_xml(content: bytes | str, where: str) -> Element:
    """Return the outermost element of a document.

    Args:
        content: the document.
        where: what it is called in a message.

    Raises:
        PipelineError: it is no XML, declares a document type or entities, or nests or holds too much.

    """
    parser = expat.ParserCreate()
    top = Element("", {})
    open_ = [top]
    count = 0

    def refuse(*_: object) -> None:
        raise PipelineError(f"{where}: expected XML without a document type or entities (<!DOCTYPE, <!ENTITY)")

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        if len(open_) > DEEPEST or count > MOST:
            raise PipelineError(f"{where}: expected at most {DEEPEST} levels and {MOST:,} elements, and it has more")
        element = Element(tag, attributes)
        open_[-1].children.append(element)
        open_.append(element)

    def end(tag: str) -> None:
        open_.pop()

    def text(letters: str) -> None:
        if len(open_[-1].text) < LONGEST:
            open_[-1].text += letters[:LONGEST]

    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    parser.buffer_text = True
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        if isinstance(error, PipelineError):
            raise
        raise PipelineError(f"{where}: expected XML, but it cannot be read ({why(error)})") from error
    return top.children[0]
