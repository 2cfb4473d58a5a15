"""The host's end of the serial protocol (docs/host-protocol.md): bytes to values and back."""

import binascii
import dataclasses
import struct

from rtl_gen.host_link import MAGIC, REQUEST_MARK, RESPONSE_MARK, VERSION, Command, Status

from .errors import HwbnnError

HEADER_BYTES = 7  # mark, status or command, length, check
CRC_BYTES = 2


@dataclasses.dataclass(frozen=True)
class Identity:
    """What a device says it is: the build's digest (8 bytes) and the network's interface."""

    digest: bytes
    height: int
    width: int
    channels: int
    n_classes: int


@dataclasses.dataclass(frozen=True)
class Result:
    """One image: class, accelerator cycles, logits (signed 32 bit integers)."""

    label: int
    cycles: int
    logits: tuple[int, ...]


class LinkError(HwbnnError):
    """The device's answer is damaged, or says that the request failed."""

    exit_code = 6


def checksum(data: bytes) -> int:
    """CRC-16/IBM-3740: polynomial 0x1021, initially 0xFFFF, not reflected."""
    return binascii.crc_hqx(data, 0xFFFF)


def request(command: Command, payload: bytes = b"") -> bytes:
    """The bytes of one request."""
    return _frame(REQUEST_MARK, command.value, payload)


def response(status: Status, payload: bytes = b"") -> bytes:
    """The bytes of one response, as a device sends it."""
    return _frame(RESPONSE_MARK, status.value, payload)


def payload_length(header: bytes) -> int:
    """How many payload bytes follow a response's header of ``HEADER_BYTES``.

    Raises
    ------
    LinkError
        It is no header.
    """
    total = 0xFF
    for byte in header[2:]:
        total ^= byte
    if len(header) != HEADER_BYTES or header[:2] != RESPONSE_MARK or total:
        raise LinkError("not a response header", where=header.hex(" "))
    return int.from_bytes(header[3:6], "little")


def parse_response(frame: bytes) -> bytes:
    """The payload of one whole response.

    Raises
    ------
    LinkError
        The frame is damaged, or its status is not OK.
    """
    length = payload_length(frame[:HEADER_BYTES])
    if len(frame) != HEADER_BYTES + length + CRC_BYTES:
        raise LinkError(f"response of {len(frame)} bytes with a payload of {length}")
    if checksum(frame[2:-CRC_BYTES]) != int.from_bytes(frame[-CRC_BYTES:], "little"):
        raise LinkError("response with a wrong checksum")
    if frame[2] != Status.OK.value:
        raise LinkError(f"the device answers {Status(frame[2]).name}", hint="send it again")
    return frame[HEADER_BYTES:-CRC_BYTES]


def parse_identity(payload: bytes) -> Identity:
    """What the payload of an answer to IDENTIFY says."""
    magic, version, digest, *shape = struct.unpack("<4sB8sHHBH", payload)
    if magic != MAGIC or version != VERSION:
        raise LinkError(f"the device speaks {magic!r} version {version}, not {MAGIC!r} {VERSION}")
    return Identity(digest, *shape)


def parse_result(payload: bytes) -> Result:
    """What the payload of an answer to RUN says."""
    label, cycles = struct.unpack_from("<HI", payload)
    return Result(label, cycles, tuple(n for (n,) in struct.iter_unpack("<i", payload[6:])))


def _frame(mark: bytes, kind: int, payload: bytes) -> bytes:
    fields = bytes([kind]) + len(payload).to_bytes(3, "little")
    check = 0xFF
    for byte in fields:
        check ^= byte
    body = fields + bytes([check]) + payload
    return mark + body + checksum(body).to_bytes(CRC_BYTES, "little")
