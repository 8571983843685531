"""Heads that the paper uses and mm lacks. Each module needs mmdet or mmseg, and is imported when its head is used."""
