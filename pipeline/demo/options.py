"""Options that the demo gives to the job. Imports no framework."""

BUCKET = "demo-shop"
RUN_ID = "demo"


def job_arguments(endpoint: str, options: list[str]) -> list[str]:
    """Returns the command line of the job for the sample catalog.

    Args:
        endpoint: URL of the S3 server.
        options: further options of `run_pipeline.py`, which win.
    """
    return [
        *("--input", f"s3://{BUCKET}/manifest.csv", "--output", f"s3://{BUCKET}/upscaled"),
        *("--s3_endpoint_url", endpoint, "--images", "both", "--run_id", RUN_ID),
        *("--max_failure_rate", "0.2", *options),
    ]
