"""Exact cycles of the image memory: when rows are at hand, given when they are released."""

__all__ = ["ImageTimes"]


class ImageTimes:
    """Rows of images that arrive back to back, a pixel a cycle where the memory takes one.

    Rows count on over images: image*height + y. Cycle 0 is the first one out of reset.

    Parameters
    ----------
    height, width : int
        Of an image, in pixels.
    rows : int
        Rows kept, all banks together.
    known : int
        First cycle in which a pixel can be accepted.

    Between rows a cycle passes.
    """

    def __init__(self, height: int, width: int, rows: int, known: int):
        self._height, self._width, self._rows = height, width, rows
        self._accept = known  # the next row's first pixel, if there is room
        self._at_hand: list[int] = []
        self._released: list[tuple[int, int]] = []  # rows in all, first cycle they are gone in

    def ready(self, row: int) -> int:
        """First cycle in which ``row`` shows as complete.

        Raises
        ------
        ValueError
            It waits for a release that was not told.
        """
        while len(self._at_hand) <= row:
            new = len(self._at_hand)
            y = new % self._height
            gone = new if y == 0 else max(new - y, new - self._rows + 1)
            start = max(self._accept, self._free(gone) + 1)
            self._at_hand.append(start + self._width)
            self._accept = start + self._width + 1
        return self._at_hand[row]

    def release(self, rows: int, at: int) -> None:
        """``rows`` rows in all are no longer needed from the step that ends in cycle ``at`` on."""
        self._released.append((rows, at + 1))

    def _free(self, rows: int) -> int:
        if rows == 0:
            return 0
        for total, cycle in self._released:
            if total >= rows:
                return cycle
        raise ValueError(f"a row of the image waits for the release of {rows} rows")
