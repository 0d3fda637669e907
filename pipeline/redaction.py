"""Removes credentials from texts before they leave the process: rows, logs, error lines.

Rows are kept for years and logs are sent around; URIs and error texts can carry passwords,
signatures and tokens.
"""

import hashlib
import os
import re

# Only texts with one of these can carry what is looked for; most URIs of a catalog pass here.
SUSPICIOUS = "@?#;=:"
_SUSPICIOUS = re.compile(f"[{re.escape(SUSPICIOUS)}]")
_ENVIRONMENT = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_MIN_SECRET = 8
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/*[^\s\"'<>`|]+")
_WEB = re.compile(r"(?i)https?:")
_USER = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?!\*\*\*@)[^\s/?#]*@")
# A host followed by a colon and no port number is a user, whose password may hold a slash.
_ODD_USER = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*:/+)[^\s/?#:@\[\]]*:(?!\d*(?:[/?#\s]|$))[^\s@]*@"
)
_NAME = (
    r"(?:x-(?:amz|goog)-[\w-]+|signature|awsaccesskeyid|googleaccessid|sig|"
    r"(?:\w+_)?token|api_?key|(?:\w+_)?secret\w*|password|passwd|pwd|credentials?|authorization)"
)
_PARAMETER = re.compile(rf"(?i)[?&;#]{_NAME}(?:=|%3D)")
_ASSIGNMENT = re.compile(rf"(?i)(?P<name>(?:^|[\s,;&?#\"'(]){_NAME}=[\"']?)[^\s&;,#\"'<>)]+")
_CUT = re.compile(r"\?blake2b=[0-9a-f]{16}")


def redact(text: str) -> str:
    """Returns a text without the credentials in it; a second call changes nothing.

    Args:
        text: an error, a log line, a product's id: anything that may quote a URI.

    Example:
        >>> redact("cannot read s3://KEY:SECRET@shop/a.jpg")
        'cannot read s3://***@shop/a.jpg'
    """
    for secret in known_secrets():
        text = text.replace(secret, "***")
    if not _SUSPICIOUS.search(text):
        return text
    text = _URI.sub(lambda match: redact_uri(match[0]), _without_users(text))
    return _ASSIGNMENT.sub(lambda match: f"{match['name']}***", text)


def known_secrets() -> list[str]:
    """Returns the environment's secrets, which `redact` finds wherever they are."""
    values = [os.environ.get(name, "") for name in _ENVIRONMENT]
    return [value for value in values if len(value) >= _MIN_SECRET]


def redact_uri(uri: str) -> str:
    """Returns a URI without user, signature or token; different ones stay different.

    A digest takes the place of a web address's query, and of any other URI's from the first
    secret's name on, so that rows of different images keep different URIs.

    Args:
        uri: the whole of it; or a plain path, which passes unless it looks presigned.

    Example:
        >>> redact_uri("https://shop/a.jpg?sig=planted")
        'https://shop/a.jpg?blake2b=ac2159b02d3fdd9e'
    """
    if not _SUSPICIOUS.search(uri):
        return uri
    uri = _without_users(uri)
    starts = []
    if _WEB.match(uri):
        starts = [at for at in (uri.find("?"), uri.find("#")) if at >= 0]
    secret = _PARAMETER.search(uri)
    if secret is not None:
        query = uri.find("?", 0, secret.start() + 1)
        starts.append(secret.start() if query < 0 else query)
    if not starts or _CUT.fullmatch(uri, min(starts)):
        return uri
    return f"{uri[: min(starts)]}?blake2b={_digest(uri[min(starts) :])}"


def _without_users(text: str) -> str:
    """Without users and passwords; `***@` keeps the place of one, unless it is a web address."""
    return _ODD_USER.sub(_mark, _USER.sub(_mark, text))


def _mark(match: re.Match[str]) -> str:
    scheme = match["scheme"]
    return scheme if _WEB.match(scheme) else f"{scheme}***@"


def _digest(secret: str) -> str:
    """16 hexadecimal digits; of a query without its question mark, as in earlier runs' rows."""
    data = secret.removeprefix("?").encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=8).hexdigest()
