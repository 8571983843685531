"""Heads of the paper's frameworks. Each module needs one of the mm packages, and is imported where that is there."""
