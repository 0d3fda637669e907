"""Imported first, for its effect: starts a test program as `run_pipeline.py` starts the job."""

from pipeline.runtime import startup

startup.join_parent()  # in a process of --workers, too; elsewhere there is no run to join
