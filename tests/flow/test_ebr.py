"""The block RAM formula and ``hwbnn_ram`` against what yosys makes of it."""

import json

import pytest

from hwbnn import tools
from hwbnn.ebr import ebr_blocks, port_shape
from hwbnn.emit import VERILOG

SHAPES = [
    (8, 512), (8, 2048), (8, 3000), (9, 2048), (9, 4096), (10, 2048), (18, 1024), (18, 2048),
    (36, 512), (36, 1024), (64, 512), (64, 2048), (160, 256), (288, 512), (5, 4096), (2, 8192),
    (1, 300), (12, 5000), (48, 700), (33, 40), (40, 1536), (20, 1100), (1, 40000), (160, 513),
]  # fmt: skip


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    """Cells of each memory after ``synth_ecp5``, by (width, depth)."""
    folder = tmp_path_factory.mktemp("ebr")
    lines = []
    for width, depth in SHAPES:
        name, bits = f"m{width}x{depth}", (depth - 1).bit_length()
        rows, column = port_shape(width, depth)
        for number in range(-(-width // column)):
            for row in range(-(-depth // rows)):
                text = "".join(f"{n % 2:x}\n" for n in range(min(rows, depth - row * rows)))
                (folder / f"{name}.{number:03}.{row:03}.hex").write_text(text)
        lines.append(
            f"module {name}(input clk, we, re, input [{bits - 1}:0] wa, ra, "
            f"input [{width - 1}:0] wd, output [{width - 1}:0] rd);\n"
            f'hwbnn_ram #(.WIDTH({width}), .DEPTH({depth}), .NAME("{name}"), .COLUMN({column}), '
            f".ROWS({rows}), .REGISTERED({width % 2})) m "
            "(clk, we, wa, wd, re, ra, rd);\nendmodule"
        )
    tops = "".join(f"(* keep *) m{w}x{d} i{w}x{d} ();\n" for w, d in SHAPES)
    (folder / "all.v").write_text("\n".join(lines) + f"\nmodule top();\n{tops}endmodule\n")
    (folder / "hwbnn_ram.v").write_bytes((VERILOG / "hwbnn_ram.v").read_bytes())
    script = "read_verilog -defer hwbnn_ram.v; read_verilog all.v; hierarchy -top top; "
    script += "setattr -mod -set keep_hierarchy 1 m*; synth_ecp5 -top top; "
    script += "tee -q -o stat.json stat -json"
    tools.run(tools.find("yosys"), ["-q", "-p", script], cwd=folder, log=folder / "log")
    modules = json.loads((folder / "stat.json").read_text())["modules"]
    return {(w, d): modules[f"\\m{w}x{d}"]["num_cells_by_type"] for w, d in SHAPES}


@pytest.mark.parametrize(("width", "depth"), SHAPES)
def test_yosys_takes_as_many_blocks_as_the_formula_says(counts, width, depth):
    assert counts[width, depth]["DP16KD"] == ebr_blocks(width, depth)


@pytest.mark.parametrize(
    ("width", "depth"), [(w, d) for w, d in SHAPES if d <= port_shape(w, d)[0]]
)
def test_no_logic_stands_around_a_block_of_one_row(counts, width, depth):
    assert set(counts[width, depth]) - {"$scopeinfo"} == {"DP16KD"}


@pytest.mark.parametrize(("width", "depth"), [(0, 4), (4, 0)])
def test_an_empty_memory_is_refused(width, depth):
    with pytest.raises(ValueError, match="at least one bit and one word"):
        ebr_blocks(width, depth)
