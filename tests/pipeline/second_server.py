"""A second S3 server beside moto: s3rver, a program of its own that somebody else wrote.

`.ci/run` installs it with npm; where it is missing its tests are skipped, and say so.
"""

import contextlib
import datetime
import ipaddress
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

# The only account that the server knows.
ACCOUNT = "S3RVER"


@contextlib.contextmanager
def second_server(folder: Path, *, is_tls: bool = False) -> Iterator[str]:
    """Runs the server on a free port of loopback; skips the test where it is not installed.

    Yields:
        Its endpoint. Over TLS its certificate is `folder / "server.crt"`.
    """
    program = os.environ.get("S3RVER") or shutil.which("s3rver")
    if program is None:
        pytest.skip("s3rver is not installed: npm install s3rver, and its path in S3RVER")
    command = [program, "-d", str(folder / "data"), "-a", "127.0.0.1", "-p", "0"]
    # A proxy before it changes the host, which is signed.
    command += ["--no-vhost-buckets", "--allow-mismatched-signatures"]
    if is_tls:
        write_certificate(folder)
        command += ["--key", str(folder / "server.key"), "--cert", str(folder / "server.crt")]
    # Its continuation tokens use a cipher that node 17 and newer keep under this name.
    environment = os.environ | {"NODE_OPTIONS": "--openssl-legacy-provider"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            port = _port(process)
            yield f"{'https' if is_tls else 'http'}://127.0.0.1:{port}"
        finally:
            process.terminate()


def _port(process: subprocess.Popen[str]) -> str:
    """The port that the server tells, once it listens."""
    assert process.stdout is not None
    for line in process.stdout:
        found = re.search(r"listening on .*:(\d+)", line)
        if found:
            return found[1]
    raise AssertionError("s3rver ended before it listened")


def write_certificate(folder: Path) -> None:
    """Writes a key and a self-signed certificate of 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "server.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "server.key").write_bytes(private)
