"""S3 and local files behind one small interface; sorts whose fault an error is."""
