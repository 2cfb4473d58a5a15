"""Every failure a user can cause or meet, as one line: what failed, where, and what to do."""


class HwbnnError(Exception):
    """A failure with a cause and a remedy.

    Parameters
    ----------
    what : str
        What is wrong, in one clause.
    where : str
        Checkpoint key, node, file or step that it concerns; may be empty.
    hint : str
        What to do; may be empty.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", hint: str = ""):
        self.what, self.where, self.hint = what, where, hint
        super().__init__(str(self))

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}; {self.hint}" if self.hint else text


class UserError(HwbnnError):
    """Bad option, file or folder."""

    exit_code = 2


class CheckpointError(HwbnnError):
    """The checkpoint cannot be read, or is not a network that can be compiled."""

    exit_code = 3


class UnsupportedError(HwbnnError):
    """The network is understood, but a layer has no hardware."""

    exit_code = 4


class DoesNotFit(HwbnnError):
    """The network exceeds the board's budget."""

    exit_code = 5


class SdramTooSmall(DoesNotFit):
    """Weights and maps exceed the board's SDRAM; everything else of the machine fits."""


class ToolError(HwbnnError):
    """An external tool is missing or failed."""

    exit_code = 6


class Mismatch(HwbnnError):
    """Hardware and integer network disagree."""

    exit_code = 7


class StaleError(HwbnnError):
    """A build folder holds files that do not belong together."""

    exit_code = 8
