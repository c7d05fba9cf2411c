"""What adapters share or keep apart from themselves; no module here is an adapter, and the folder scan passes by."""
