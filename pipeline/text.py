"""Formats counts, sizes, durations and texts of rows for people."""

from pipeline.redaction import redact

# Longer texts of a row are cut.
_MAX_CHARS = 300


def count(number: int, noun: str) -> str:
    """A number with its noun, `1 image` or `1,200 images`: `count(1200, "image")`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def size(size_bytes: float) -> str:
    """Bytes in powers of 1000: `size(4_350_000)` is `4.3 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "bytes" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"


def duration(seconds: float) -> str:
    """Seconds in the units that people use: `duration(4000)` is `67 min`."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 600:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"


def option(value: object) -> str:
    """An option's value, without credentials: `option(None)` is `not given`."""
    return "not given" if value is None else redact(str(value))


def clean(text: str | None, max_chars: int = _MAX_CHARS) -> str:
    """Removes credentials and control characters from a row's text and limits its length.

    Args:
        text: from a row or a summary; None counts as empty.
        max_chars: longer texts are cut and end in `…`.

    Returns:
        Text that a terminal or, once escaped, a report can show.
    """
    redacted = redact(text or "")
    cleaned = "".join(letter if letter.isprintable() else "�" for letter in redacted)
    return cleaned if len(cleaned) <= max_chars else f"{cleaned[:max_chars]}…"
