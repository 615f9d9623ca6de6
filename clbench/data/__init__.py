"""Data: sources and their integrity, pools on the device, and what is done to a batch."""
