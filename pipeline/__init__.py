"""The nightly job: everything about the catalog. Imports `model`, never the reverse."""
