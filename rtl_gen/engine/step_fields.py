"""Fields of a step that only some machines have, name to width (see EngineConfig.step_layout)."""

__all__ = ["BESIDE_FIELDS", "COORDINATE_BITS", "IMAGE_FIELDS", "PASS_FIELD", "POINTWISE_FIELDS",
           "POINT_WORDS", "ROW_BANKS", "SIGNED_FIELD", "VECTOR_FIELD", "centre_fields"]

ROW_BANKS = 3  # a 3x3 window reads three consecutive rows, one from each bank
COORDINATE_BITS = 9  # rows and columns of a map
# channel words of one pixel that a 1x1 convolution takes at once: two columns of each row bank
POINT_WORDS = 2 * ROW_BANKS
IMAGE_FIELDS = {
    **{f"offset{c}": 14 for c in range(3)},
    "image_slots": COORDINATE_BITS,  # rows that each row bank keeps of the image
    "image_need": COORDINATE_BITS + 1,  # rows that must be there, counted from the first one kept
    "image_release": COORDINATE_BITS + 1,  # rows that nobody reads after this step
}
PASS_FIELD = {"map_pass": 1}  # reads a stored map word by word; no array, no lane
VECTOR_FIELD = {"x_vector": 1}  # the dense input and what is left for it are vectors
BESIDE_FIELDS = {
    "f_from": 1,  # feature memory read
    "f_to": 1,  # feature memory written
    "awaits": 1,  # reads what the threshold unit makes next
    "sums": 1,  # channel sums go to the threshold unit
    "due": 1,  # with the step's end their map is complete
    "flows": 1,  # the next step begins while the last results are on their way
}
POINTWISE_FIELDS = {
    "point": 1,  # a 1x1 convolution of a map by channel groups
    "point_words": POINT_WORDS,  # those of the last input group that hold channels
    "bits_point": 1,  # bits are written by channel groups
    "bits_half": 1,  # first column that they go to
}
SIGNED_FIELD = {"signed_sums": 1}  # weights are ±1, sums are those of adders (and "dense" is set)


def centre_fields(groups: int) -> dict[str, int]:
    """Of machines whose channel words have so many groups of lanes."""
    return {
        "centre": 1,  # a 1x1 convolution: of its windows only the middle pixel counts
        "centre_from": max(1, (groups - 1).bit_length()),  # and of its groups those from this one
    }
