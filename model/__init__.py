"""The network and everything about single images. Does not know Beam."""

import os

# TensorFlow's start-up chatter off, its errors on; it reads this when it is first imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
