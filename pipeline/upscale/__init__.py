"""Room 2, one image, in this order: probe, decode, upscaling, quality_gate, publish. No Beam.

`image_worker` takes a job through them; `steps` has the values that pass between them,
`source` and `job_rows` serve URIs of equal content, `processes` spreads upscaling over cores.
"""
