"""Sends a run's outcome as JSON to a web address; a failure is a warning and costs seconds."""

import base64
import functools
import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from pipeline import text
from pipeline.redaction import redact
from pipeline.runs.layout import Layout
from pipeline.signals.outcome import Outcome

_ATTEMPT_S = 10.0
# Refusals that pass by themselves; others would only be repeated.
_WORTH_RETRY = {408, 425, 429, *range(500, 600)}


def shown(url: str) -> str:
    """Returns what a log may show of an address: user, path and query can be secrets.

    Example:
        >>> shown("https://me:planted@hooks.shop.com/services/T0/B0?key=1")
        'https://hooks.shop.com/***'
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}/***"


def content(outcome: Outcome) -> dict[str, Any]:
    """Returns the JSON of a notification; None where a run that did not finish has no value."""
    settings, summary = outcome.settings, outcome.summary or {}
    layout = Layout.of(settings)
    has_report = bool(summary) and settings.report == "yes"
    return {
        "text": _line(outcome),
        "outcome": outcome.name,
        "exit_status": outcome.exit_status,
        "run_id": settings.run_id,
        "input": settings.input,
        "output": settings.output,
        "started_at": outcome.started_at.isoformat(),
        "finished_at": outcome.finished_at.isoformat(),
        "wall_seconds": round(outcome.wall_s, 3),
        "error": None if outcome.error is None else redact(outcome.error),
        "uris": summary.get("uris"),
        "by_status": summary.get("by_status"),
        "by_reason": summary.get("by_reason"),
        "failure_rate": summary.get("failure_rate"),
        "summary": layout.summary if summary else None,
        "report": layout.report if has_report else None,
    }


def _line(outcome: Outcome) -> str:
    """The outcome in one line, which chat services show."""
    line = f"catalog-magnifier {outcome.settings.run_id}: {outcome.name.replace('_', ' ')}"
    if outcome.summary is not None:
        counts = outcome.summary["by_status"].items()
        named = ", ".join(f"{count:,} {status}" for status, count in counts if count)
        line += f", {text.count(outcome.summary['uris'], 'image')}: {named}"
    if outcome.error is not None:
        line += f": {text.clean(outcome.error)}"
    return line


def post(url: str, outcome: Outcome, *, deadline_s: float, pause_s: float = 1.0) -> str | None:
    """Sends a notification, with retries until a deadline; never raises.

    Redirects are not followed: they could take the content elsewhere.

    Args:
        url: http or https; a user and password become basic authentication.
        outcome: of the run.
        deadline_s: the call returns then, whatever the server does.
        pause_s: before the second attempt; doubles with each.

    Returns:
        None if the server took it; else why not, in one line without the address.
    """
    data = json.dumps(content(outcome)).encode()
    found: list[str | None] = []
    ends_at = time.monotonic() + deadline_s
    send = functools.partial(_post_until, _request(url, data), ends_at, pause_s, found.append)
    # A server may answer byte by byte: no timeout of a socket ends that.
    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    thread.join(deadline_s)
    return found[0] if found else f"no answer within {deadline_s:g} s"


def _request(url: str, data: bytes) -> urllib.request.Request:
    parts = urlsplit(url)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="")
    headers = {"Content-Type": "application/json", "User-Agent": "catalog-magnifier"}
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
    return urllib.request.Request(urlunsplit(bare), data, headers, method="POST")


def _post_until(
    request: urllib.request.Request,
    ends_at: float,
    pause_s: float,
    end: Callable[[str | None], None],
) -> None:
    """Attempts until one succeeds, a refusal is final, or time is over; calls `end` once."""
    while True:
        left_s = max(0.1, ends_at - time.monotonic())
        problem, is_worth_retry = _attempt(request, min(_ATTEMPT_S, left_s))
        if problem is None or not is_worth_retry or time.monotonic() + pause_s >= ends_at:
            end(problem)
            return
        time.sleep(pause_s)
        pause_s *= 2


def _attempt(request: urllib.request.Request, timeout_s: float) -> tuple[str | None, bool]:
    """The problem of one attempt, None without one, and whether another one may help."""
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=timeout_s):
            return None, False
    except urllib.error.HTTPError as error:
        error.close()
        return f"the server answered {error.code}", error.code in _WORTH_RETRY
    except urllib.error.URLError as error:
        return f"no connection: {_reason(error.reason)}", True
    except (ValueError, http.client.InvalidURL):  # their texts repeat the address
        return "the address is malformed", False
    except (OSError, http.client.HTTPException) as error:
        return f"no answer: {_reason(error)}", True


def _reason(error: object) -> str:
    """What the system says of an error; its whole text may repeat the address."""
    return getattr(error, "strerror", None) or type(error).__name__


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Makes redirects errors."""

    def redirect_request(self, *_: Any) -> None:
        """See `urllib.request.HTTPRedirectHandler`."""
