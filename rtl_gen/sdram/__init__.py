"""External memory: an SDR SDRAM controller that streams one range, and its exact cycle model."""
