"""Place and route the accelerator of an ImageNet network out of context: area and clock, no pins.

    python benchmarks/networks/route.py CHECKPOINT [--feature-bits N] [--seed N] [--out DIR]

The machine is the one that ``hwbnn compile`` plans for the 85F, with its SDRAM controller. Writes
route.json beside this file. Frames per second are the routed clock over the schedule's cycles,
which simulation confirms (run.py).
"""

import argparse
import datetime
import json
import time
from pathlib import Path

import boards
from hwbnn.cache import Cache, default_folder
from hwbnn.emit import emit
from hwbnn.pack import pack
from hwbnn.passes import Numeric, lower_to_integers
from hwbnn.place import cap_mhz, place_and_route
from hwbnn.plan import plan
from hwbnn.schedule import schedule
from hwbnn.synth import synthesise
from models.api import load_network
from rtl_gen.engine.accelerator import Accelerator
from rtl_gen.sdram.timing import SDRAM_32MB

HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--feature-bits", type=int, default=11)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--freq", type=float, default=100.0)
    parser.add_argument("--out", type=Path, default=HERE / "work" / "route")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    board, start = boards.get_board("ulx3s-85f"), time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - start:7.1f} s  {line}", flush=True)

    network = load_network(given.checkpoint)
    _folded, graph = lower_to_integers(
        network.graph(), None, Numeric(feature_bits=given.feature_bits)
    )
    chosen = plan(graph, board, progress=say)
    cache = Cache(default_folder())
    emitted = emit(Accelerator(chosen.config, SDRAM_32MB), "accelerator")
    netlist = synthesise(emitted, pack(chosen.program), given.out, cache=cache, progress=say)
    routed = place_and_route(netlist, board, given.out, cache=cache, seed=given.seed,
                             freq_mhz=given.freq, out_of_context=True, progress=say)
    fmax = min(clock.achieved_mhz for clock in routed.clocks)
    cap, what = cap_mhz(board, routed.used)
    predicted = schedule(chosen.program)
    result = {
        "date": datetime.date.today().isoformat(),
        "checkpoint": given.checkpoint.name,
        "plan": chosen.to_json(),
        "seed": given.seed,
        "fmax_mhz_post_route": round(min(fmax, cap), 2),
        "limited_by": what if cap < fmax else "routing",
        "used_post_route": routed.used,
        "interval_predicted": predicted.interval,
        "latency_predicted": predicted.latency,
        "frames_per_second": round(min(fmax, cap) * 1e6 / predicted.interval, 2),
        "seconds": {s.name: round(s.seconds, 1) for s in (*netlist.stages, *routed.stages)},
        "peak_mib": {s.name: s.peak_bytes >> 20 for s in (*netlist.stages, *routed.stages)},
    }
    (HERE / "route.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
