"""Start-up of the commands, log lines, progress, and Beam's worker processes.

Any room of `pipeline` may import it; it imports `model.startup`, the redaction of secrets, and Beam
in the modules for Beam.
"""
