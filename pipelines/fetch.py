"""Getting a model's files from the hub: only those that are missing, resumed where a download broke off, and none in
its place before its checksum is right.

The hub's own package speaks with the hub; it throws away what has come of a broken download, so the bytes are kept
here, beside where they belong and under a name that says whose they are. They go into a folder of models if one is
given, else into the cache that the hub's own tools keep, as these would have put them there. Asks nobody anything.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pipelines.checkpoint import LoadError
from pipelines.files import Need, locate, needs, places
from pipelines.recipes import Recipe

PORTION = 2**22  # bytes read at a time for a checksum
MARGIN = 2**26  # bytes that are to stay free on the disk


class FetchError(LoadError):
    """A file that could not be got; the message says why and what helps."""


class Item(NamedTuple):
    """A file of a repository: its size in bytes and its checksum, `sha256` of its bytes for large ones, else git's
    `sha1`."""

    repo: str
    path: str
    size: int
    digest: str

    @property
    def name(self) -> str:
        return f"{self.repo}/{self.path}"

    @property
    def kind(self) -> str:
        return "sha256" if len(self.digest) == 64 else "git sha1"


class Hub:
    """The hub, or what HF_ENDPOINT names instead, and where files from it go."""

    def __init__(self, models: Path | None = None) -> None:
        """`models`: a folder of models, created where it is missing; None for the hub's cache. Raises FetchError
        without the hub's package."""
        try:
            import huggingface_hub
            from huggingface_hub.errors import HfHubHTTPError
        except ImportError as error:
            raise FetchError("fetching needs the package huggingface_hub; install attentionbender[gpu]") from error
        self._hub = huggingface_hub
        self._endpoint = os.environ.get("HF_ENDPOINT") or None
        self._api = huggingface_hub.HfApi(endpoint=self._endpoint)
        # What its http library raises, of which there have been three.
        self._troubles = (*HfHubHTTPError.__bases__, OSError, LookupError, TypeError, ValueError)
        self._models, self._cache = models, places(models)[1]

    @property
    def folder(self) -> Path:
        """Where everything goes."""
        return self._models or self._cache

    def items(self, file: str) -> list[Item]:
        """What `owner/name/path` is on the hub: a file, or all files of a folder. Raises FetchError."""
        repo, path = _split(file)
        with self._told(repo, path):
            if file.endswith("/"):
                found = list(self._api.list_repo_tree(repo, path.rstrip("/"), recursive=True))
            else:
                found = self._api.get_paths_info(repo, [path])
        files = [entry for entry in found if hasattr(entry, "size")]
        if not files:
            raise FetchError(f"{repo} on the hub has no {path}; it may have been renamed: look at its page")
        items = [Item(repo, it.path, it.size, it.lfs.sha256 if it.lfs else it.blob_id) for it in files]
        if strange := [item.path for item in items if not _sound(item, path)]:
            raise FetchError(f"{repo}: the hub names a file '{strange[0]}' where {path} was asked for; not fetched")
        return items

    def get(self, item: Item) -> Path:
        """Fetch one file, or the rest of it; where it is then. Raises FetchError, also where its checksum is wrong;
        what is damaged is thrown away."""
        part = self._part(item)
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise FetchError(
                f"{part.parent} cannot be made ({problem.strerror}); choose another --models-dir"
            ) from None
        if part.is_file() and part.stat().st_size > item.size:
            part.unlink()
        with self._told(item.repo, item.path):
            self._transfer(item, part)
        if checksum(part, item) != item.digest:
            part.unlink()
            raise FetchError(
                f"{item.name} came damaged: its {item.kind} is not {item.digest[:12]}...; it has been thrown away, run "
                "the same command again"
            )
        return self._place(item, part)

    def begun(self, item: Item) -> int:
        """Bytes of it that have come already."""
        part = self._part(item)
        return part.stat().st_size if part.is_file() else 0

    def _transfer(self, item: Item, part: Path) -> None:
        from huggingface_hub.file_download import http_get

        url = self._hub.hf_hub_url(item.repo, item.path, endpoint=self._endpoint)
        headers = self._hub.utils.build_hf_headers()
        with part.open("ab") as file:
            http_get(
                url,
                file,
                resume_size=file.tell(),
                headers=headers,
                expected_size=item.size,
                displayed_filename=Path(item.path).name,
            )

    def _part(self, item: Item) -> Path:
        if self._models is not None:
            target = self._models / item.repo / item.path
            return target.with_name(f".{target.name}.{item.digest[:16]}.part")
        return self._blobs(item) / f"{item.digest}.bender.part"

    def _blobs(self, item: Item) -> Path:
        return self._cache / f"models--{item.repo.replace('/', '--')}" / "blobs"

    def _place(self, item: Item, part: Path) -> Path:
        if self._models is not None:
            return part.replace(self._models / item.repo / item.path)
        part.replace(self._blobs(item) / item.digest)
        for copy in (self._blobs(item).parent / "snapshots").glob(f"*/{item.path}"):
            if not copy.is_symlink():  # where there are no links, a damaged one would stay
                copy.unlink()
        with self._told(item.repo, item.path):  # it finds the bytes there and points at them
            return Path(self._hub.hf_hub_download(item.repo, item.path, cache_dir=self._cache, endpoint=self._endpoint))

    @contextmanager
    def _told(self, repo: str, path: str) -> Iterator[None]:
        """What goes wrong, as a FetchError in one line with its remedy."""
        try:
            yield
        except self._troubles as problem:
            raise FetchError(self._remedy(problem, repo, path)) from problem

    def _remedy(self, problem: Exception, repo: str, path: str) -> str:
        errors = self._hub.errors
        status = getattr(getattr(problem, "response", None), "status_code", None)
        login = "log in with `hf auth login`, or set HF_TOKEN"
        if isinstance(problem, errors.GatedRepoError):
            return f"{repo} is gated: accept its terms on its page on the hub, then {login}"
        if isinstance(problem, errors.EntryNotFoundError) and status:
            return f"{repo} on the hub has no {path}; it may have been renamed: look at its page"
        unknown = status == 401 and self._hub.get_token() is None  # said of what is not there, too
        if isinstance(problem, errors.RepositoryNotFoundError) or unknown:
            return f"{repo} is not on the hub, or not for everybody: if you have access to it, {login}"
        if status in (401, 403):
            return f"the hub refuses {repo} ({status}): your token is wrong or may not read it; {login}"
        if status:
            return f"the hub answers {status} for {repo}/{path}; try again later: what has come is kept"
        if isinstance(problem, OSError) and problem.filename:
            return f"{problem.filename} cannot be written ({problem.strerror}); choose another --models-dir"
        if isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"{self.folder} is full; make room and run the same command again: what has come is kept"
        reason = (str(problem).strip() or type(problem).__name__).splitlines()[0]
        where = self._endpoint or "the hub"
        return f"{repo}/{path} does not come from {where} ({reason}); what has come is kept, run the same command again"


def plan(recipe: Recipe, hub: Hub, models: Path | None = None, check: bool = False) -> list[Item]:
    """The files to fetch for a recipe: of each part that is missing, those of them that are not here.

    `check`: also those that are here, but of another size or checksum than the hub's. Raises FetchError.
    """
    wanted = []
    for need in needs(recipe):
        file = _here(need, models)
        if file is None:
            wanted += hub.items(need.fetched)
        elif check and need.on_hub(file):
            wanted += hub.items(file)
    return [item for item in wanted if not _good(item, models, check)]


def _here(need: Need, models: Path | None) -> str | None:
    return next((file for file in need.files if locate(file, models)), None)


def _good(item: Item, models: Path | None, check: bool) -> bool:
    place = locate(item.name, models)
    if place is None or place.stat().st_size != item.size:
        return False
    return not check or checksum(place, item) == item.digest


def make_room(items: Iterable[Item], hub: Hub) -> int:
    """Bytes still to come. Raises FetchError where the disk has no room for them."""
    coming = sum(item.size - hub.begun(item) for item in items)
    at = hub.folder.absolute()
    while not at.exists():
        at = at.parent
    free = shutil.disk_usage(at).free
    if coming + MARGIN > free:
        raise FetchError(
            f"{told_size(coming)} are to come, and {at} has {told_size(free)} free; make room, or choose another place "
            "with --models-dir (or HF_HOME for the hub's cache)"
        )
    return coming


def fetch(items: Iterable[Item], hub: Hub, tell: Callable[[str], None]) -> None:
    """Get all of them; `tell` hears of each that is in its place. Raises FetchError for the first that is not."""
    for item in items:
        place = hub.get(item)
        tell(f"{item.kind} is right: {place}")


def checksum(path: Path, item: Item) -> str:
    """Of a file, in the kind that the item has."""
    digest = hashlib.sha256() if item.kind == "sha256" else hashlib.sha1(usedforsecurity=False)
    if item.kind != "sha256":
        digest.update(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as file:
        while portion := file.read(PORTION):
            digest.update(portion)
    return digest.hexdigest()


def told_size(count: int) -> str:
    """Bytes as people say them, in powers of a thousand."""
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{max(1, round(count / 1000))} kB" if count else "0 kB"


def _sound(item: Item, asked: str) -> bool:
    """Whether it is what was asked for, or lies in it: what the hub says decides where bytes are written."""
    inside = item.path.startswith(asked) if asked.endswith("/") else item.path == asked
    steps = item.path.split("/")
    plain = all(step and step not in (".", "..") and "\\" not in step for step in steps)
    return inside and plain and item.size >= 0 and re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", item.digest) is not None


def _split(file: str) -> tuple[str, str]:
    owner, name, path = file.split("/", 2)
    return f"{owner}/{name}", path
