"""The report of a run, `report.html`: `python -m pipeline.report OUT`.

Reads rows by ranged requests. Loads a network only to show results that were not published.
"""
