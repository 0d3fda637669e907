"""The network and everything about single images. Does not know Beam."""
