"""A config that a user has → the same config with another backbone, or a search."""
