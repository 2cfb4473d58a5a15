"""hwbnn: compile trained binary and sub-bit neural networks to verified FPGA accelerators."""

__version__ = "0.1.0"
