"""How many ECP5 block RAMs a memory takes, and in which shape."""

# Words x bits of one DP16KD, as a write port of any width and a read port of any width.
PORT_SHAPES = ((16384, 1), (8192, 2), (4096, 4), (2048, 9), (1024, 18), (512, 36))


def port_shape(width: int, depth: int) -> tuple[int, int]:
    """Words x bits of the blocks that make a ``width`` x ``depth`` memory (bits, words).

    The shape with the fewest blocks, and among those with the fewest rows of blocks, since every
    further row costs a multiplexer.
    """
    if width < 1 or depth < 1:
        raise ValueError(f"A memory has at least one bit and one word, not {width} x {depth}")
    return min(
        PORT_SHAPES,
        key=lambda shape: (-(-width // shape[1]) * -(-depth // shape[0]), -(-depth // shape[0])),
    )


def ebr_blocks(width: int, depth: int) -> int:
    """Blocks of a ``width`` x ``depth`` memory (bits, words) in its best port shape."""
    words, bits = port_shape(width, depth)
    return -(-width // bits) * -(-depth // words)
