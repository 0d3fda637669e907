"""Bodies of S3's answers: read within a deadline, cut to the range that was asked for."""

import time
from typing import Any

from pipeline.records import Reason
from pipeline.storage.base import MIN_BYTES_PER_S, StorageError

# A body may take this long, and longer by its size at the least rate that is of any use.
_DEADLINE_S = 120.0
_RECEIVED_BYTES = 64 << 10


def read(answer: dict[str, Any], start: int, stop: int | None) -> bytes:
    """Reads the body of a `get_object`.

    Args:
        answer: of the client.
        start, stop: the range that was asked for; stop is None for the rest.

    Raises:
        StorageError: with `timeout` if it trickles.
    """
    length = int(answer.get("ContentLength", 0))
    body = answer["Body"]
    # botocore has no such limit of its own.
    body._raw_stream = _Hurried(body._raw_stream, length)  # noqa: SLF001
    data: bytes = body.read()
    is_ranged = bool(start) or stop is not None
    if is_ranged and not answer.get("ContentRange"):
        return data[start:stop]  # the server sent the whole object
    return data


class _Hurried:
    """A response of urllib3 that is given up when it takes too long as a whole.

    The time limit of a socket starts anew with each byte.
    """

    def __init__(self, raw: Any, length: int) -> None:
        self._raw = raw
        self._length = length
        self._limit_s = _DEADLINE_S + length / MIN_BYTES_PER_S

    def read(self, _amount: int | None = None) -> bytes:
        """Returns the whole body, as botocore asks for it; checksums are its business."""
        deadline, parts, received = time.monotonic() + self._limit_s, [], 0
        while part := self._raw.read1(_RECEIVED_BYTES):
            parts.append(part)
            received += len(part)
            if time.monotonic() > deadline:
                self._raw.close()
                raise StorageError(
                    Reason.TIMEOUT,
                    f"the answer is too slow: {received} of {self._length} bytes in "
                    f"{self._limit_s:.0f} s",
                )
        return b"".join(parts)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)
