"""SNN: residual networks with sub-bit 3x3 kernels; ReActNet-18/34 are its plain binary case."""
