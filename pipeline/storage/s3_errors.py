"""Whose fault an error of S3 is: the attempt's, the object's or the run's."""

import re
from collections.abc import Mapping
from typing import Any

import botocore.exceptions as boto_errors
from botocore.parsers import ResponseParserError

from pipeline import text
from pipeline.records import Reason, RunError
from pipeline.storage.base import StorageError
from pipeline.storage.retries import TransientError

BOTO_ERRORS = (boto_errors.BotoCoreError, boto_errors.ClientError)
# Of a number or a time in a header that is none; boto3 lets them pass, as that of broken XML.
_BROKEN_HEADER = (ValueError, OverflowError)
# Of a redirect to another region that no answer names: boto3 asks for it without end.
_ENDLESS = RecursionError
REQUEST_ERRORS = (*BOTO_ERRORS, ResponseParserError, *_BROKEN_HEADER, _ENDLESS)
_BROKEN_BODY = (
    boto_errors.IncompleteReadError,
    boto_errors.ResponseStreamingError,
    boto_errors.FlexibleChecksumError,
)
_NO_ANSWER = (boto_errors.ConnectionError, boto_errors.HTTPClientError)
_PASSING: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    (_BROKEN_BODY, "the answer broke off"),
    (_NO_ANSWER, "no answer from the S3 endpoint"),
    ((ResponseParserError,), "S3 answered with something that is no XML"),
)
_NO_CREDENTIALS = (
    boto_errors.NoCredentialsError,
    boto_errors.PartialCredentialsError,
    boto_errors.CredentialRetrievalError,
    boto_errors.TokenRetrievalError,
    boto_errors.SSOError,
    boto_errors.ProfileNotFound,
)
# What the user has to put right for any request to succeed; a server may yet answer so to one
# strange key, with which its signature and ours differ.
RUN_CODES = {
    "RequestTimeTooSkewed": "this machine's clock is wrong: set it, and start again",
    "ExpiredToken": "the AWS credentials have expired: renew them, and start again",
    "TokenRefreshRequired": "the AWS credentials have expired: renew them, and start again",
    "InvalidAccessKeyId": "the AWS credentials are refused",
    "SignatureDoesNotMatch": "the AWS credentials are refused",
    "InvalidToken": "the AWS credentials are refused",
}
# Answers to HEAD have no body and so no code: the status alone may stand for one of the above.
MUTE_CODES = {"400", "403"}
# Servers give them different codes, and answers to HEAD none: their statuses count, too.
_THROTTLED = {
    *("SlowDown", "Throttling", "ThrottlingException"),
    *("RequestLimitExceeded", "ServiceUnavailable"),
}
_TRANSIENT = {"InternalError", "RequestTimeout", "OperationAborted"}
_TIMED_OUT_STATUS = 408
_THROTTLED_STATUSES = {429, 503}
_REASON_OF_CODE = {
    "404": Reason.NOT_FOUND,
    "NoSuchKey": Reason.NOT_FOUND,
    "NoSuchBucket": Reason.NOT_FOUND,
    "NotFound": Reason.NOT_FOUND,
    "403": Reason.ACCESS_DENIED,
    "AccessDenied": Reason.ACCESS_DENIED,
    "AllAccessDisabled": Reason.ACCESS_DENIED,
    "412": Reason.CHANGED,
    "PreconditionFailed": Reason.CHANGED,
    "ConditionalRequestConflict": Reason.CHANGED,
    "416": Reason.CHANGED,
    "InvalidRange": Reason.CHANGED,
    "RequestTimeout": Reason.TIMEOUT,
}


# Of a bucket in another region. boto3 asks there itself where the answer names it and the
# endpoint is not that of one region.
_ELSEWHERE = {
    *("PermanentRedirect", "301"),
    *("AuthorizationHeaderMalformed", "IllegalLocationConstraintException"),
}
_ARCHIVED = "InvalidObjectState"
_OTHER_REGION = ": the bucket is in another region: set AWS_DEFAULT_REGION to it"
_REGION = re.compile(r"[A-Za-z0-9-]{1,40}")
_NOT_PERMITTED = {"AccessDenied", "403", "Forbidden"}
# What requests do, for messages; all others write.
_VERBS = {
    **{"list_objects_v2": "list", "head_object": "read", "get_object": "read"},
    "delete_object": "delete",
}
# What AWS's policies call the permission for a request.
_ACTIONS = {
    "ListObjectsV2": "s3:ListBucket",
    "HeadBucket": "s3:ListBucket",
    "HeadObject": "s3:GetObject",
    "GetObject": "s3:GetObject",
    "CopyObject": "s3:GetObject and s3:PutObject",
    "PutObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "DeleteObject": "s3:DeleteObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
}


def code_of(error: Exception) -> str:
    """Returns the S3 code of an answer, or its HTTP status; `""` if there was no answer."""
    if not isinstance(error, boto_errors.ClientError):
        return ""
    return str(error.response.get("Error", {}).get("Code", "unknown"))


def reason_of(code: str) -> Reason:
    """Returns the row's reason for a code of S3."""
    return _REASON_OF_CODE.get(code, Reason.STORAGE_ERROR)


def is_refusal(code: str) -> bool:
    """Returns whether a server does not know what was asked of it, such as a condition."""
    return code in ("NotImplemented", "501")


def purpose_of(operation: str, arguments: Mapping[str, Any]) -> str:
    """Returns what a request is for, for messages.

    Args:
        operation: of the client.
        arguments: of the request.

    Example:
        >>> purpose_of("head_object", {"Bucket": "shop", "Key": "a.jpg"})
        'read s3://shop/a.jpg'
    """
    key = arguments.get("Key", arguments.get("Prefix", ""))
    uri = text.clean(f"s3://{arguments['Bucket']}/{key}")
    return f"{_VERBS.get(operation, 'write')} {uri}"


def sort_error(error: Exception, purpose: str = "use S3") -> Exception:
    """Returns our error for one of boto's; texts carry codes and statuses, no headers, no URLs.

    Args:
        error: one of `REQUEST_ERRORS`.
        purpose: of the request, see `purpose_of`; names the URI that needs credentials.

    Returns:
        `TransientError` where another attempt may succeed, `RunError` for missing credentials
        or an untrusted certificate, else `StorageError`. Codes of `RUN_CODES` are left to the
        caller, who can ask about another key.
    """
    name = type(error).__name__
    if isinstance(error, boto_errors.ClientError):
        return _sort_answer(error)
    if isinstance(error, _NO_CREDENTIALS):
        return RunError(
            f"no usable AWS credentials to {purpose} ({_profile_of(error) or name}): set "
            "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine "
            "a role"
        )
    if isinstance(error, boto_errors.SSLError) and "certificate" in str(error).lower():
        return RunError(
            "the certificate of the S3 endpoint is not trusted: name its authority's file in "
            "AWS_CA_BUNDLE"
        )
    for kinds, problem in _PASSING:
        if isinstance(error, kinds):
            return TransientError(f"{problem} ({name})")
    if isinstance(error, boto_errors.ParamValidationError):
        return StorageError(Reason.BAD_URI, "no bucket can have this name, or no object this key")
    detail = name
    if isinstance(error, _BROKEN_HEADER):
        detail = f"S3 answered with a broken header ({name})"
    elif isinstance(error, _ENDLESS):
        detail = f"S3 answered with a redirect{_OTHER_REGION}"
    return StorageError(Reason.STORAGE_ERROR, detail)


def _sort_answer(error: boto_errors.ClientError) -> Exception:
    """The same for an error that the server has answered."""
    code = code_of(error)
    message = f"S3 answered {code} to {error.operation_name}"
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _THROTTLED or status in _THROTTLED_STATUSES:
        return TransientError(message, throttled=True)
    is_of_server = status >= 500 or status == _TIMED_OUT_STATUS
    if code in _TRANSIENT or (is_of_server and not is_refusal(code)):
        return TransientError(message)
    return StorageError(reason_of(code), message + _remedy_of_answer(error, code), code)


def _remedy_of_answer(error: boto_errors.ClientError, code: str) -> str:
    """What an answer means, and what to do about it; empty where its code says enough."""
    if code == "404":  # to HEAD, whose answer does not say more
        return ": there is no such object or bucket"
    if code in _NOT_PERMITTED and error.operation_name in _ACTIONS:
        return f": the credentials need {_ACTIONS[error.operation_name]} there"
    if code == _ARCHIVED:
        return ": the object is archived (S3 Glacier): restore it first"
    if code not in _ELSEWHERE:
        return ""
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    body = error.response.get("Error", {})
    region = str(headers.get("x-amz-bucket-region") or body.get("Region") or "")
    if not _REGION.fullmatch(region):
        return _OTHER_REGION
    return (
        f": the bucket is in the region {region}: set AWS_DEFAULT_REGION to it, and let "
        "--s3_endpoint_url, if you give it, be that region's"
    )


def failed(error: TransientError) -> StorageError:
    """Returns the row's error for a request whose attempts are used up."""
    is_answer = error.message.startswith("S3 answered")
    plural = "s" if error.attempts > 1 else ""
    detail = f"{error.message}, {error.attempts} attempt{plural}"
    return StorageError(Reason.STORAGE_ERROR if is_answer else Reason.TIMEOUT, detail)


def remedy(reason: Reason) -> str:
    """Returns what to do when a listing fails, and with it the run."""
    return {
        Reason.NOT_FOUND: ": is the bucket's name right?",
        Reason.TIMEOUT: ": is --s3_endpoint_url right, and can it be reached?",
    }.get(reason, "")


def _profile_of(error: Exception) -> str:
    """The text of a missing profile's error names it; others may quote what they should not."""
    return str(error) if isinstance(error, boto_errors.ProfileNotFound) else ""
