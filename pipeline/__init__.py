"""The nightly job: everything about the catalog. Imports `model`, never the reverse."""

from pipeline.runtime import logs

# What a process of a run warns of while it imports the rest is an event of that run, too.
logs.join_run_of_parent()
