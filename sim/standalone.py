"""Make a folder of vectors into a cocotb test that runs by itself."""

import shutil
from pathlib import Path

from rtl_gen.engine.config import EngineConfig

from .accelerator import bench_files
from .network import BUILD_ARGS, VISIBLE

__all__ = ["write"]


def write(folder: Path, config: EngineConfig) -> list[Path]:
    """Add bench, runner and Verilator's arguments to what `sim.network.write_vectors` wrote.

    A machine that streams its weights also gets the SDRAM chip around it.

    Returns every file that the test needs; logs and results are not among them.
    """
    here = Path(__file__).parent
    shutil.copyfile(here / "bench.py", folder / "bench.py")
    shutil.copyfile(here / "rerun.py", folder / "run.py")
    (folder / "verilator.txt").write_text("\n".join(BUILD_ARGS) + "\n")
    (folder / "visible.vlt").write_text(VISIBLE)
    names = ("bench.py", "run.py", "verilator.txt", "visible.vlt", "run.json", "vectors.npz",
             "memories")
    files = [folder / name for name in names]
    if config.streams:
        files += [*bench_files(config, folder), folder / "sdram.hex"]
    return files
