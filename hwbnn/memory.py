"""Peak memory of a stretch of this process."""

import sys
from pathlib import Path

__all__ = ["PeakMemory"]

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


class PeakMemory:
    """Context manager; afterwards ``peak_bytes`` is the peak resident memory in between.

    Where the system cannot reset the peak (not Linux), it is the process's peak so far.
    """

    peak_bytes = 0

    def __enter__(self) -> "PeakMemory":
        try:
            _CLEAR.write_text("5")  # resets VmHWM
        except OSError:
            pass
        return self

    def __exit__(self, *_exception) -> None:
        self.peak_bytes = _high_water()


def _high_water() -> int:
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
