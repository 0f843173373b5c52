"""A mapping: which knob, pad, bend wheel or foreign OSC address moves which parameter, as a YAML file.

Read, checked and unrolled here; `live.py` puts it to work.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr

from instrument import yamlfile
from instrument.mapping import profile
from instrument.mapping.binding import Binding, Bound, unroll
from instrument.mapping.profile import Profile
from instrument.parameters.params import suggest
from instrument.yamlfile import Document, FileError, Strict

_MOST_BOUND = 5000


class MappingError(FileError):
    """A mapping cannot be used; the text names file, line and remedy."""


def _page_names(value: Any) -> Any:
    """3, or names -> names; a page has to be one that `page:` can mean."""
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 64:
        return tuple(str(number) for number in range(1, value + 1))
    names = value if isinstance(value, list) else []
    if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise ValueError("write how many pages there are, or a list of different names")
    if {"next", "previous"} & set(names):
        raise ValueError("no page can be called next or previous; 'go' means something else by them")
    return tuple(names)


class MappingFile(Strict):
    """The file. `device` is part of the name of a MIDI port (* allowed), by default the profile's; empty for any.
    `over` names a mapping that plays too, but for the controls that are bound here."""

    version: Literal[1] = 1
    device: str = ""
    profile: str = ""
    over: str = ""
    description: str = ""
    pages: Annotated[tuple[str, ...], BeforeValidator(_page_names)] = ()
    bindings: list[Binding] = Field(default_factory=list)

    _document: Document | None = PrivateAttr(None)
    _profile: Profile | None = PrivateAttr(None)
    _bound: list[Bound] = PrivateAttr(default_factory=list)
    _files: list[Path] = PrivateAttr(default_factory=list)

    @property
    def controller(self) -> Profile | None:
        """The device profile, if the mapping names one."""
        return self._profile

    @property
    def bound(self) -> list[Bound]:
        """The lines unrolled: rows, pages and control names resolved."""
        return self._bound

    @property
    def files(self) -> list[Path]:
        """What it was read from, where that can be watched."""
        return self._files

    @property
    def port(self) -> str:
        """The pattern of its MIDI ports."""
        return self.device or (self._profile.device if self._profile else "")

    def where(self, index: int) -> str:
        """`file:line` of a binding."""
        if self._document is None:
            return f"mapping: binding {index + 1}"
        return f"{self._document.file}:{self.line(index)}"

    def line(self, index: int) -> int:
        """The line of a binding, from 1; 0 where there is no file."""
        return self._document.line(("bindings", index)) if self._document else 0


def load(which: str | Path, folder: Path | None = None) -> MappingFile:
    """Read a mapping: a Path is a file; a str is a name in `folder`, else among the mappings that ship.

    Raises MappingError, or ProfileError for its device profile, with file, line and remedy.
    """
    file = yamlfile.find(which, folder, "mappings")
    if file is None:
        advice = suggest(str(which), available(folder))
        raise MappingError(str(which), 0, f"no such mapping{f' in {folder}' if folder else ''}; {advice}")
    beside = file.parent if isinstance(which, Path) else folder
    made = loads(yamlfile.read_text(file, MappingError), str(file), beside)
    if isinstance(file, Path):
        made._files.append(file)
    return made


def loads(text: str, file: str = "mapping", folder: Path | None = None) -> MappingFile:
    """YAML text -> MappingFile; `file` is what errors call it; profiles are looked for in `folder`/devices first.

    Raises MappingError, ProfileError.
    """
    document = yamlfile.parse(text, file, MappingError)
    made = yamlfile.check(MappingFile, document, MappingError)
    made._document = document
    if made.profile:
        if made.profile not in profile.available(folder):
            advice = suggest(made.profile, profile.available(folder))
            line = document.line(("profile",))
            raise MappingError(file, line, f"no device profile '{made.profile}'; {advice}")
        made._profile, watched = profile.load(made.profile, folder)
        made._files += [watched] if watched else []
    if made.over:
        _look_under(made, document, folder)
    for index, binding in enumerate(made.bindings):
        try:
            made._bound += unroll(index, binding, made._profile, made.pages)
            if len(made._bound) > _MOST_BOUND:
                raise ValueError(f"the rows and pages up to here make more than {_MOST_BOUND} bindings")
        except ValueError as problem:
            raise MappingError(file, document.line(("bindings", index)), str(problem)) from None
    return made


def _look_under(made: MappingFile, document: Document, folder: Path | None) -> None:
    """Raises MappingError unless the mapping under this one is there and is a last one."""
    file = yamlfile.find(made.over, folder, "mappings")
    if file is None:
        line, advice = document.line(("over",)), suggest(made.over, available(folder))
        raise MappingError(document.file, line, f"over: there is no mapping '{made.over}'; {advice}")
    under = yamlfile.parse(yamlfile.read_text(file, MappingError), str(file), MappingError)
    if yamlfile.check(MappingFile, under, MappingError).over:
        line = document.line(("over",))
        raise MappingError(document.file, line, f"over: '{made.over}' lies over another itself; name one that does not")


def available(folder: Path | None = None) -> list[str]:
    """Names that `load` finds."""
    return [name for name in yamlfile.names(folder, "mappings") if not name.startswith(f"{profile.FOLDER}/")]
