"""Measurements of speed: two things in one run, interleaved, with their ratio."""
