"""The report of a run, `report.html`, and its gallery: `python -m pipeline.report OUT`.

Reads rows by ranged requests. Loads a network only to show results that were not published.
"""
