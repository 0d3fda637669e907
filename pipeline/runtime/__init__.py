"""Start-up of the commands, log lines, progress, and Beam's worker processes.

Imported by all rooms of `pipeline`; imports only `model.startup`, and Beam in the worker programs.
"""
