import pytest

from pipeline.redaction import redact, redact_uri

SECRET = "planted-5tQ/x"


@pytest.mark.parametrize(
    "uri",
    [
        f"s3://KEY:{SECRET}@bucket/a.jpg",
        f"ftp://user:{SECRET}@host/a.jpg",
        "gs://planted@bucket/a.jpg",
        f"http://user:{SECRET}@127.0.0.1:9000",
        f"https://user:{SECRET}@host/a.jpg",
        f"https://host/a.jpg#access_token={SECRET}",
        f"https://host/a.jpg?anything={SECRET}",
        f"https://host/a.jpg;sig={SECRET}",
        f"s3://bucket/a.jpg?X-Amz-Signature={SECRET}",
        f"s3://bucket/a.jpg;sig={SECRET}",
        f"file:///a.jpg?token={SECRET}",
        f"a.jpg?AWSAccessKeyId={SECRET}",
        f"gs://bucket/a.jpg?X-Goog-Signature={SECRET}",
    ],
)
def test_no_secret_passes_and_twice_is_once(uri):
    for told in (redact_uri(uri), redact(uri), redact(f"cannot read {uri}: no such file")):
        assert "planted" not in told and "5tQ" not in told
        assert redact(told) == told
    assert redact_uri(redact_uri(uri)) == redact_uri(uri)
    assert redact(f"cannot read {uri}: no such file").startswith("cannot read ")


@pytest.mark.parametrize(
    "uri",
    [
        *(
            "s3://shop/a@2x.jpg",
            "s3://shop/a:b@2x.jpg",
            "s3://shop/what?.jpg",
            "s3://shop/a#b;c=d",
        ),
        *(
            "file:///data/a@2x.jpg",
            "/data/a@2x.jpg",
            "images/a=b.jpg",
            "http://host:9000/a@2x.jpg",
        ),
        *("s3://shop/token.jpg", "s3://shop/a?b&c", "no uri at all", "C:/Users/x@y.jpg"),
    ],
)
def test_what_is_no_secret_stays(uri):
    assert redact_uri(uri) == uri and redact(uri) == uri


def test_different_images_keep_different_uris():
    one, two = (redact_uri(f"https://host/a.jpg?id={i}") for i in (1, 2))
    assert one != two
    # A row that is refused does not take the place of the one that is not.
    assert redact_uri("s3://KEY:SECRET@shop/a.jpg") != "s3://shop/a.jpg"


def test_texts_about_requests(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted key of the environment")
    told = redact(
        "Authorization: AWS4-HMAC-SHA256 Credential=AKIA/1/s3, Signature=planted1; "
        'X-Amz-Security-Token=planted2 (password="planted3") planted key of the environment.'
    )
    assert "planted" not in told and told.startswith("Authorization: AWS4-HMAC-SHA256 Credential=")
