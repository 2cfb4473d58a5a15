"""ReActNet-A: binary MobileNet with a 3x3 and a 1x1 binary convolution in each block."""
