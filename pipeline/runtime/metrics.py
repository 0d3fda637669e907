"""Beam's metrics of a finished job, ready for JSON."""

from typing import Any

from apache_beam.metrics.metric import MetricResults, MetricsFilter

NAMESPACES = ("rows", "reasons", "stages")


def plain_metrics(results: MetricResults) -> dict[str, Any]:
    """The job's counters and distributions, over all steps, ready for JSON."""
    counters: dict[str, dict[str, int]] = {}
    distributions: dict[str, dict[str, dict[str, float]]] = {}
    found = results.query(MetricsFilter().with_namespaces(NAMESPACES))
    for metric in sorted(found["counters"], key=lambda one: str(one.key)):
        names = counters.setdefault(metric.key.metric.namespace, {})
        names[metric.key.metric.name] = names.get(metric.key.metric.name, 0) + metric.result
    for metric in sorted(found["distributions"], key=lambda one: str(one.key)):
        value = metric.result
        distributions.setdefault(metric.key.metric.namespace, {})[metric.key.metric.name] = {
            "count": value.count,
            "sum": value.sum,
            "min": value.min,
            "max": value.max,
            "mean": round(value.mean, 3),
        }
    return {"counters": counters, "distributions": distributions}
