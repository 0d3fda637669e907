"""Start-up of the commands, log lines, progress, Beam's runners and its worker processes.

Any room of `pipeline` may import it. It imports `model.startup`, the redaction of secrets, and in
the modules for Beam also Beam.
"""
