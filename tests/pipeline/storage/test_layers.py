import subprocess
import sys

CODE = """
import sys
from pipeline.storage.base import StorageConfig
from pipeline.storage.routing import open_storage
files = open_storage(StorageConfig())
files.write(sys.argv[1], b"x")
assert files.read(sys.argv[1]) == b"x"
loaded = {"boto3", "botocore", "tensorflow", "apache_beam"} & sys.modules.keys()
assert not loaded, loaded
"""


def test_local_files_need_neither_boto3_nor_a_framework(tmp_path):
    subprocess.run([sys.executable, "-c", CODE, str(tmp_path / "a")], check=True)
