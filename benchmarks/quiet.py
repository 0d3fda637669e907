"""Imported first, for its effect: starts a benchmark as `run_pipeline.py` starts the job.

NumPy and TensorFlow must not be imported before.
"""

from model.startup import import_tensorflow
from pipeline.runtime import startup

startup.prepare()
import_tensorflow()
