"""Milliseconds of blocks on the machine at hand, as a table that searches and adaptations choose by."""
