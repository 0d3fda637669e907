"""The nightly job as an Airflow DAG (Airflow 3): copy it into the DAGs folder.

The run id is made of the date that the DAG run is for, so that a retry, and a cleared task, go on
where the last try ended. A finished run is left as it is.
"""

import datetime

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

COMMAND = (
    ".venv/bin/python run_pipeline.py"
    " --input s3://shop/pictures/"
    " --output s3://shop/magnified"
    " --run_id night-{{ dag_run.run_after.strftime('%Y%m%d') }}"
)

with DAG(
    dag_id="catalog_magnifier",
    schedule="30 1 * * *",
    start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": datetime.timedelta(minutes=10)},
) as dag:
    BashOperator(
        task_id="magnify",
        bash_command=COMMAND,
        cwd="/opt/catalog-magnifier",
        execution_timeout=datetime.timedelta(hours=20),
    )
