"""Tells others how a run ended: a notification by HTTP, a file of Prometheus metrics."""
