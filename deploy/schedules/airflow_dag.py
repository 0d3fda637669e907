"""The nightly job as an Airflow DAG (Airflow 3.2 or newer): copy it into the DAGs folder.

The run id is made of the night that the DAG run is for, from 01:00 to 01:00 UTC, so that a
retry, and a cleared task, go on where the last try ended. A finished run is left as it is.
"""

import datetime
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

COMMAND = (
    ".venv/bin/python run_pipeline.py"
    " --input s3://shop/images/"
    " --output s3://shop/upscaled"
    " --run_id night-{{ (dag_run.run_after - macros.timedelta(hours=1)).strftime('%Y%m%d') }}"
)
# 2: wrong usage. 3: the night is done, with more failures than allowed. Neither gets better by
# itself.
NO_RETRY = (2, 3)


class NightOperator(BashOperator):
    """Fails at once, without the retries that are left, where another try cannot help."""

    def __init__(self, **options: Any) -> None:
        super().__init__(skip_on_exit_code=NO_RETRY, **options)

    def execute(self, context: Any) -> Any:
        """See `BashOperator.execute`."""
        try:
            return super().execute(context)
        except AirflowSkipException as error:  # which would be no failure
            raise AirflowFailException("exit status 2 or 3: the log says why") from error


with DAG(
    dag_id="catalog_magnifier",
    schedule="30 1 * * *",
    start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": datetime.timedelta(minutes=10)},
) as dag:
    NightOperator(
        task_id="upscale",
        bash_command=COMMAND,
        cwd="/opt/catalog-magnifier",
        execution_timeout=datetime.timedelta(hours=20),
    )
