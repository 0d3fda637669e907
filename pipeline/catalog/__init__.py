"""Room 1, what is there: manifests, prefixes, ETags and the size filter. Imports `storage`."""
