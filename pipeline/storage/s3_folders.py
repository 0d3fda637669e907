"""Lists large prefixes of S3 folder by folder, several at a time, in the order of one listing.

A listing is a chain: each page names the next one. Where the first pages show folders of many
objects, their listings run side by side. They are asked for by `Prefix`, so that nothing depends
on the server's order: on servers that list in byte order, the order is that of one listing;
elsewhere folders come in byte order, and objects within them in the server's.
"""

import collections
import concurrent.futures
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping

from pipeline.records import Reason
from pipeline.storage.base import StorageError
from pipeline.storage.s3_listing import ListingPage, select

# Sends a ListObjectsV2 request with these arguments.
Ask = Callable[[dict[str, str]], ListingPage]

# So many pages come one after the other before it is worth while to look for folders.
_PAGES_ALONE = 4
# Each folder costs a request at least: smaller ones would cost many more than the pages do.
_MIN_KEYS_PER_FOLDER = 250
# Pages of a listing of folders; more than that are no folders worth listing one by one.
_MAX_FOLDER_PAGES = 20
# Reading 1,000 objects takes 50 ms of waiting and 8 ms of one core.
_THREADS = 8


@dataclasses.dataclass(frozen=True)
class _Task:
    """A piece of a listing: at most `_PAGES_ALONE` pages of a folder, or objects known already.

    Attributes:
        prefix: of the folder.
        token: where to go on in its listing; empty for its beginning.
        may_split: whether the folder may have folders worth listing by themselves.
        known: keys that were listed before.
        page: objects that need no request; None for all other pieces.
    """

    prefix: str
    token: str = ""
    may_split: bool = True
    known: frozenset[str] = frozenset()
    page: ListingPage | None = None


_Read = tuple[list[ListingPage], list[_Task]]
_Begun = concurrent.futures.Future[_Read]


def list_pages(ask: Ask, prefix: str, *, after: str = "") -> Iterator[ListingPage]:
    """Yields the pages of a listing.

    Args:
        ask: sends one request; called from several threads.
        prefix: key prefix.
        after: only keys behind this one; such a listing stays one chain.

    Raises:
        StorageError: of `ask`, or if the server's listing does not advance.
    """
    arguments = {"Prefix": prefix} | ({"StartAfter": after} if after else {})
    begun: list[ListingPage] = []
    for page in _chain(ask, arguments):
        yield page
        if after or len(begun) == _PAGES_ALONE:
            continue
        begun.append(page)
        if len(begun) == _PAGES_ALONE and page.is_truncated:
            tasks = _split(ask, _Task(prefix), begun)
            if tasks:
                yield from _side_by_side(ask, tasks)
                return


def _chain(ask: Ask, arguments: dict[str, str], token: str = "") -> Iterator[ListingPage]:
    """Pages of one listing, one after the other."""
    while True:
        page = ask(arguments | ({"ContinuationToken": token} if token else {}))
        yield page
        if not page.is_truncated:
            return
        if page.next_token in ("", token):
            raise StorageError(Reason.STORAGE_ERROR, "the server's listing does not advance")
        token = page.next_token


def _side_by_side(ask: Ask, tasks: list[_Task]) -> Iterator[ListingPage]:
    """Yields the pages of tasks in their order; the first few are under way at any time."""
    line: collections.deque[_Task | _Begun] = collections.deque(tasks)
    pages: list[ListingPage] = []
    threads = concurrent.futures.ThreadPoolExecutor(_THREADS, thread_name_prefix="list")

    def begin(task: _Task | _Begun) -> _Begun:
        return threads.submit(_read, ask, task) if isinstance(task, _Task) else task

    try:
        while line:
            for number in range(min(_THREADS, len(line))):
                line[number] = begin(line[number])
            yield from pages
            pages, rest = begin(line.popleft()).result()
            line.extendleft(reversed(rest))
        yield from pages
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def _read(ask: Ask, task: _Task) -> _Read:
    """The pages of a task, and the tasks for what comes after them."""
    if task.page is not None:
        return [task.page], []
    chain = _chain(ask, {"Prefix": task.prefix}, task.token)
    pages = list(itertools.islice(chain, _PAGES_ALONE))
    rest: list[_Task] = []
    if pages[-1].is_truncated:
        rest = _split(ask, task, pages) if task.may_split else []
        goes_on = dataclasses.replace(task, token=pages[-1].next_token, may_split=False)
        rest = rest or [goes_on]
    return [select(page, lambda key: key not in task.known) for page in pages], rest


def _split(ask: Ask, task: _Task, begun: list[ListingPage]) -> list[_Task]:
    """Tasks for all of a prefix, whose first pages are known; none if it stays one chain."""
    keys = [key for page in begun for key in page.keys]
    if not _has_large_folders(task.prefix, keys):
        return []
    pages: list[ListingPage] = []
    for page in _chain(ask, {"Prefix": task.prefix, "Delimiter": "/"}):
        pages.append(page)
        # Some servers know no delimiter, and would list all objects here.
        if not pages[0].prefixes or len(pages) > _MAX_FOLDER_PAGES:
            return []
    known: dict[str, set[str]] = collections.defaultdict(set)
    for key in (*keys, *task.known):
        name, slash, _ = key[len(task.prefix) :].partition("/")
        known[f"{task.prefix}{name}{slash}"].add(key)
    return [one for page in pages for one in _tasks_of(page, known)]


def _has_large_folders(prefix: str, keys: list[str]) -> bool:
    names = [key[len(prefix) :].partition("/") for key in keys]
    folders = [name for name, slash, _ in names if slash]
    return len(folders) * 2 >= len(keys) and (
        len(folders) >= _MIN_KEYS_PER_FOLDER * len(set(folders))
    )


def _tasks_of(page: ListingPage, known: Mapping[str, set[str]]) -> Iterator[_Task]:
    """Folders and objects of a page of a listing with a delimiter, in byte order.

    Args:
        page: of the listing.
        known: keys that were listed before, by folder; by themselves if they lie in none.
    """
    folders = set(page.prefixes)
    names = sorted([*page.keys, *page.prefixes], key=str.encode)
    for is_folder, group in itertools.groupby(names, folders.__contains__):
        if is_folder:
            yield from (_Task(name, known=frozenset(known.get(name, ()))) for name in group)
        else:
            wanted = {name for name in group if name not in known}
            yield _Task("", page=select(page, wanted.__contains__))
