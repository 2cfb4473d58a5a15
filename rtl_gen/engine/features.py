"""The feature memories in the engine: who reads and writes them, and when."""

from amaranth.hdl import *

from .common import DelayLine, Ram

__all__ = ["FEATURE_LATENCY", "join_features"]

FEATURE_LATENCY = 3  # of a read: the registered port and the memory's own two cycles


def join_features(m, config, steps, reads, writer, stored, xmap, result, unit, levels=None,
                  moves=None):
    """Put the feature memory, or one for each half of a frame, behind registered ports.

    ``steps`` are the fields of the step that issues, of the one in the lanes, and of the one whose
    results are stored. ``reads`` are (enable, address) of a step's residuals, ``writer`` walks over
    the addresses of ``stored``; ``unit`` is the threshold unit, ``levels`` the LevelsUnit, where
    there is one, ``moves`` the MoveUnit. Returns the word that a step read FEATURE_LATENCY ago.
    """
    step, early, late = steps
    read_en, read_addr = reads
    write_en, write_addr, write_data = writer.valid & late.f_store, writer.addr, stored
    if config.shared_x:
        # a step reads either residuals or dense inputs, and stores either maps or pooled ones
        from_map = step.from_x
        if config.run_time is not None:
            from_map = step.from_x & ~step.x_vector
        read_en = Mux(from_map, xmap.i_read, read_en)
        read_addr = Mux(from_map, xmap.i_read_addr, read_addr)
        write_en = Mux(late.f_store, write_en, xmap.o_w_en)
        write_addr = Mux(late.f_store, write_addr, xmap.o_w_addr)
        write_data = Mux(late.f_store, stored.as_value(), xmap.o_w_data)
    ports = {
        "r_en": Mux(result.o_busy, result.o_read, read_en),
        "r_addr": Mux(result.o_busy, result.o_addr, read_addr),
        "w_en": write_en,
        "w_addr": write_addr,
        "w_data": write_data,
    }
    if levels is not None:
        ports = _with_levels(ports, levels, ~step.x_vector)
    if moves is not None:
        ports = _with_moves(ports, moves, ~step.move_branch)
    if not config.beside:
        word = _memory(m, config, "features", ports)
    else:
        # dense inputs are read before the step's fields have reached the lanes
        bank_read = Mux(from_map & ~result.o_busy, step.f_from, early.f_from)
        word = _two_memories(m, config, ports, bank_read, late, unit)
    if config.shared_x:
        m.d.comb += xmap.i_word.eq(word)
    m.d.comb += result.i_word.eq(word)
    return word


def _with_levels(ports, levels, maps):
    """The accesses of a LevelsUnit, which are of this memory where ``maps``, and a step's."""
    busy = levels.o_busy
    return {
        "r_en": ports["r_en"] | (levels.o_read & maps),
        "r_addr": Mux(busy, levels.o_addr, ports["r_addr"]),
        "w_en": ports["w_en"] | (levels.o_write & maps),
        "w_addr": Mux(busy, levels.o_w_addr, ports["w_addr"]),
        "w_data": Mux(busy, levels.o_w_word, Value.cast(ports["w_data"])),
    }


def _with_moves(ports, moves, here):
    """The same of a MoveUnit, which are of this memory where ``here``."""
    busy = moves.o_busy & here
    return {
        "r_en": Mux(busy, moves.o_read, ports["r_en"]),
        "r_addr": Mux(busy, moves.o_addr, ports["r_addr"]),
        "w_en": Mux(busy, moves.o_store, ports["w_en"]),
        "w_addr": Mux(busy, moves.o_addr, ports["w_addr"]),
        "w_data": Mux(busy, moves.o_word, Value.cast(ports["w_data"])),
    }


def _of_parity(parity, ports):
    """The same of the memory of even or of odd words; the unit reads both."""
    def mine(address):
        return address[0] == parity

    return ports | {
        "r_en": ports["r_en"] & mine(ports["r_addr"]),
        "r_addr": ports["r_addr"] >> 1,
        "w_en": ports["w_en"] & mine(ports["w_addr"]),
        "w_addr": ports["w_addr"] >> 1,
        "unit_w_en": ports["unit_w_en"] & mine(ports["unit_w_addr"]),
        "unit_w_addr": ports["unit_w_addr"] >> 1,
    }


def _joined(ports):
    """The unit's accesses before the step's."""
    reads, writes = ports["unit_r_en"], ports["unit_w_en"]
    return {
        "r_en": ports["r_en"] | reads,
        "r_addr": Mux(reads, ports["unit_r_addr"], ports["r_addr"]),
        "w_en": ports["w_en"] | writes,
        "w_addr": Mux(writes, ports["unit_w_addr"], ports["w_addr"]),
        "w_data": Mux(writes, ports["unit_w_data"], ports["w_data"]),
    }


def _memory(m, config, name, ports):
    """A memory with registers before its ports; returns what it reads."""
    if config.beside:
        ports = _joined(ports)
    width, depth = config.memories()[name]
    m.submodules[name] = ram = Ram(name=name, width=width, depth=depth, registered=True)
    for port, value in ports.items():
        register = Signal.like(getattr(ram, port), name=f"{name}_{port}", reset_less=True)
        m.d.sync += register.eq(value)
        m.d.comb += getattr(ram, port).eq(register)
    return ram.r_data


def _two_memories(m, config, ports, bank_read, late, unit):
    """A memory for each half of a frame: the step uses one, the threshold unit the other."""
    pairs = config.pass_words == 2
    odd = DelayLine(m, ports["r_addr"][0], "read_odd")[FEATURE_LATENCY] if pairs else Const(0)
    of_step, of_unit = [], []
    for bank in range(2):
        mine = _of_bank(bank, ports, bank_read, late, unit)
        name = f"features{bank or ''}"
        if not pairs:
            words = [_memory(m, config, name, mine)]
        else:
            words = [_memory(m, config, name + "_odd" * parity, _of_parity(parity, mine))
                     for parity in range(2)]
        of_step.append(Mux(odd, words[-1], words[0]))
        of_unit.append(_side_by_side(words, config))
    m.d.sync += unit.i_x.eq(Mux(unit.o_entry.bank, of_unit[1], of_unit[0]))
    came_from = DelayLine(m, bank_read, "bank_read")[FEATURE_LATENCY]
    return Mux(came_from, of_step[1], of_step[0])


def _side_by_side(words, config):
    """Words p*T + t of neighbouring groups of pixels as one word, p*(T*len(words)) + t."""
    size = config.pixels * config.feature_bits
    return Cat(word[lane * size : (lane + 1) * size]
               for lane in range(config.lanes) for word in words)


def _of_bank(bank, ports, bank_read, late, unit):
    """What the step and the threshold unit do with this memory."""
    mine = unit.o_entry.bank == bank
    return ports | {
        "r_en": ports["r_en"] & (bank_read == bank),
        "w_en": ports["w_en"] & (late.f_to == bank),
        "unit_r_en": unit.o_read & mine,
        "unit_r_addr": unit.o_addr,
        "unit_w_en": unit.o_store & mine,
        "unit_w_addr": unit.o_store_addr,
        "unit_w_data": unit.o_store_word.as_value(),
    }
