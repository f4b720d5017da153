"""What the instrument really is: calibration procedures, each checked on held-out data."""
