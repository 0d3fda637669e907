"""Room 2, one image: probe, fetch, decode, upscale, score, gate, encode. Knows no Beam."""
