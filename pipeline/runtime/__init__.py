"""Logs, progress, start-up and Beam's workers."""
