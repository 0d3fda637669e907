"""The network and everything about single pictures. Does not know Beam."""
