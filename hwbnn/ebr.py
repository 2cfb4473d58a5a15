"""How many ECP5 block RAMs a memory takes."""

# Words x bits of one DP16KD, as a write port of any width and a read port of any width.
PORT_SHAPES = ((16384, 1), (8192, 2), (4096, 4), (2048, 9), (1024, 18), (512, 36))


def ebr_blocks(width: int, depth: int) -> int:
    """Blocks of a ``width`` x ``depth`` memory (bits, words) in its best port shape.

    An upper bound: yosys may save a block by folding several words into one wide row, and pay
    for it with a multiplexer of LUTs (40 x 1536 takes 4 blocks and 83 LUTs instead of 5 blocks).
    """
    if width < 1 or depth < 1:
        raise ValueError(f"A memory has at least one bit and one word, not {width} x {depth}")
    return min(-(-width // bits) * -(-depth // words) for words, bits in PORT_SHAPES)
