// One memory of the engine: one write port, one synchronous read port, one clock.
//
//   NAME             simulation reads contents from NAME.hex ($readmemh, one word a line),
//                    synthesis from NAME.000.000.hex and so on, one file for each column and row
//   COLUMN, ROWS     bits and words of a block RAM in its best port shape for this memory
//   REGISTERED       1: r_data passes the block's output register, one cycle later
//   ALLOW_COLLISION  0: reading and writing one address in one cycle is an error, which simulation
//                    reports and synthesis relies on; 1: such a read returns the old word
//
// Latency: r_data holds mem[r_addr] one cycle after r_en, two if REGISTERED, and keeps it until the
// next r_en shows. Synthesis leaves the second register out of the logic: blocks below a scope
// named oreg are switched to their own output register in the netlist (hwbnn/netlist.py).
// Simulation reads its contents at time 0 from the folder of the plusarg +IMAGES=dir; a memory
// without a file there starts as zeros, as a block RAM without contents does.
module hwbnn_ram #(
    parameter WIDTH = 8,
    parameter DEPTH = 512,
    parameter NAME = "",
    parameter COLUMN = 36,
    parameter ROWS = 512,
    parameter REGISTERED = 0,
    parameter ALLOW_COLLISION = 0
) (
    input clk,
    input w_en,
    input [$clog2(DEPTH)-1:0] w_addr,
    input [WIDTH-1:0] w_data,
    input r_en,
    input [$clog2(DEPTH)-1:0] r_addr,
    output reg [WIDTH-1:0] r_data
);

`ifdef SYNTHESIS

    // One array for each block. Given the whole word, yosys may put several words side by side
    // into one row of blocks; writing one word while its neighbour is read would then meet in one
    // row, which the device does not define. Rows of blocks are chosen from after the output. Where
    // that is registered, so is the choice, decoded, for each column apart: a memory of many blocks
    // lies all over the device, and one select would have to reach all of it within a cycle.
    localparam NROWS = (DEPTH + ROWS - 1) / ROWS;
    localparam ABITS = $clog2(DEPTH);
    localparam RBITS = $clog2(ROWS) < ABITS ? $clog2(ROWS) : ABITS;
    wire [WIDTH-1:0] q [0:NROWS-1];
    reg [ABITS-1:0] chosen;
    wire [ABITS-1:0] selected = chosen >> RBITS;
    always @(posedge clk) if (r_en) chosen <= r_addr;

    genvar c, r;
    generate
        if (NROWS == 1) begin : whole
            always @* r_data = q[0];
        end else if (!REGISTERED) begin : direct
            always @* r_data = q[selected];
        end else for (c = 0; c * COLUMN < WIDTH; c = c + 1) begin : pick
            localparam LOW = c * COLUMN;
            localparam BITS = WIDTH - LOW < COLUMN ? WIDTH - LOW : COLUMN;
            wire [NROWS-1:0] hot;
            // cells, since yosys would make one of equal registers
            for (r = 0; r < NROWS; r = r + 1) begin : hot_row
                TRELLIS_FF #(
                    .GSR("DISABLED"), .CEMUX("1"), .CLKMUX("CLK"), .LSRMUX("LSR"), .REGSET("RESET")
                ) hot_ff (.CLK(clk), .LSR(1'b0), .CE(1'b1), .DI(selected == r), .Q(hot[r]));
            end
            integer i;
            always @* begin
                r_data[LOW+:BITS] = 0;
                for (i = 0; i < NROWS; i = i + 1)
                    r_data[LOW+:BITS] = r_data[LOW+:BITS] | q[i][LOW+:BITS] & {BITS{hot[i]}};
            end
        end
        for (r = 0; r < NROWS; r = r + 1) begin : row
            localparam WORDS = DEPTH - r * ROWS < ROWS ? DEPTH - r * ROWS : ROWS;
            wire here_w = w_en && (NROWS == 1 || (w_addr >> RBITS) == r);
            wire [RBITS-1:0] inner_w = w_addr[RBITS-1:0];
            wire [RBITS-1:0] inner_r = r_addr[RBITS-1:0];
            for (c = 0; c * COLUMN < WIDTH; c = c + 1) begin : col
                localparam LOW = c * COLUMN;
                localparam BITS = WIDTH - LOW < COLUMN ? WIDTH - LOW : COLUMN;
                localparam [7:0] HUNDREDS = "0" + c / 100;
                localparam [7:0] TENS = "0" + c / 10 % 10;
                localparam [7:0] ONES = "0" + c % 10;
                localparam [7:0] RHUNDREDS = "0" + r / 100;
                localparam [7:0] RTENS = "0" + r / 10 % 10;
                localparam [7:0] RONES = "0" + r % 10;
                reg [BITS-1:0] out;
                assign q[r][LOW+:BITS] = out;
                if (REGISTERED) begin : oreg
                    (* ram_style = "block", no_rw_check *)
                    reg [BITS-1:0] mem [0:WORDS-1];
                    initial $readmemh({NAME, ".", HUNDREDS, TENS, ONES, ".", RHUNDREDS, RTENS,
                                       RONES, ".hex"}, mem);
                    always @(posedge clk) begin
                        if (here_w) mem[inner_w] <= w_data[LOW+:BITS];
                        if (r_en) out <= mem[inner_r];
                    end
                end else if (ALLOW_COLLISION) begin : g
                    (* ram_style = "block" *)
                    reg [BITS-1:0] mem [0:WORDS-1];
                    initial $readmemh({NAME, ".", HUNDREDS, TENS, ONES, ".", RHUNDREDS, RTENS,
                                       RONES, ".hex"}, mem);
                    always @(posedge clk) begin
                        if (here_w) mem[inner_w] <= w_data[LOW+:BITS];
                        if (r_en) out <= mem[inner_r];
                    end
                end else begin : g
                    (* ram_style = "block", no_rw_check *)
                    reg [BITS-1:0] mem [0:WORDS-1];
                    initial $readmemh({NAME, ".", HUNDREDS, TENS, ONES, ".", RHUNDREDS, RTENS,
                                       RONES, ".hex"}, mem);
                    always @(posedge clk) begin
                        if (here_w) mem[inner_w] <= w_data[LOW+:BITS];
                        if (r_en) out <= mem[inner_r];
                    end
                end
            end
        end
    endgenerate

`else

    reg [WIDTH-1:0] mem [0:DEPTH-1] /*verilator public_flat_rw*/;

    string folder, file;
    integer fd, k;

    reg [WIDTH-1:0] latch;
    if (REGISTERED) begin : late
        always @(posedge clk) r_data <= latch;
    end else begin : direct
        always @* r_data = latch;
    end

    initial begin
        latch = 0;
        for (k = 0; k < DEPTH; k = k + 1) mem[k] = 0;
        if ($value$plusargs("IMAGES=%s", folder)) begin
            file = $sformatf("%s/%s.hex", folder, NAME);
            fd = $fopen(file, "r");
            if (fd != 0) begin
                $fclose(fd);
                $readmemh(file, mem);
            end
        end
    end

    always @(posedge clk) begin
        if (w_en) begin
            if ({1'b0, w_addr} >= DEPTH)
                $fatal(1, "%m (%s): write to word %0d of %0d", NAME, w_addr, DEPTH);
            mem[w_addr] <= w_data;
        end
        // Past the end a block RAM returns whatever lies there: return something that shows.
        if (r_en) latch <= {1'b0, r_addr} >= DEPTH ? {WIDTH{1'b1}} : mem[r_addr];
        if (!ALLOW_COLLISION && w_en && r_en && w_addr == r_addr)
            $fatal(1, "%m (%s): word %0d read and written in one cycle", NAME, r_addr);
    end

`endif

endmodule
