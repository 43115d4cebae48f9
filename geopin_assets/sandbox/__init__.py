"""A loopback stand-in of the imagery APIs over one invented, deterministic world."""
