"""What every network has in common, for networks that only a test needs."""


class FakeNetwork:
    """The attributes of an `Upscaler` for x2 that is told nothing about its source."""

    scale = 2
    knows_sharpening = False
    believes_source = True
    one_at_a_time = True
