"""Options of the command line, each declared once, as fields of dataclasses."""
