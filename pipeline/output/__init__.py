"""Room 3, rows to files: the schema, staged shards and their publication."""
