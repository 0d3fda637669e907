"""The nightly job: everything about the catalog. Imports `model`, never the reverse."""

from pipeline import run_log

# What a process of a run warns of while it imports the rest is an event of that run, too.
run_log.join_run_of_parent()
