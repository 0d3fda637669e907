"""Room 4, a run's life on disk: reuse, resume, lock, summary, estimate."""
