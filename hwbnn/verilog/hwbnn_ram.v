// One memory of the engine: one write port, one synchronous read port, one clock.
//
//   NAME             simulation reads contents from NAME.hex ($readmemh, one word a line),
//                    synthesis from NAME.000.hex and so on, one file for each column
//   COLUMN           bits of a block RAM in its best port shape for this memory
//   ALLOW_COLLISION  0: reading and writing one address in one cycle is an error, which simulation
//                    reports and synthesis relies on; 1: such a read returns the old word
//
// Latency: r_data holds mem[r_addr] one cycle after r_en, and keeps it until the next r_en.
// Simulation reads its contents at time 0 from the folder of the plusarg +IMAGES=dir; a memory
// without a file there starts as zeros, as a block RAM without contents does.
module hwbnn_ram #(
    parameter WIDTH = 8,
    parameter DEPTH = 512,
    parameter NAME = "",
    parameter COLUMN = 36,
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

    // One array for each column of blocks. Given the whole word, yosys may put several words side
    // by side into one row of blocks; writing one word while its neighbour is read would then
    // meet in one row, which the device does not define.
    genvar c;
    generate
        for (c = 0; c * COLUMN < WIDTH; c = c + 1) begin : col
            localparam LOW = c * COLUMN;
            localparam BITS = WIDTH - LOW < COLUMN ? WIDTH - LOW : COLUMN;
            localparam [7:0] HUNDREDS = "0" + c / 100;
            localparam [7:0] TENS = "0" + c / 10 % 10;
            localparam [7:0] ONES = "0" + c % 10;
            if (ALLOW_COLLISION) begin : g
                (* ram_style = "block" *)
                reg [BITS-1:0] mem [0:DEPTH-1];
                initial $readmemh({NAME, ".", HUNDREDS, TENS, ONES, ".hex"}, mem);
                always @(posedge clk) begin
                    if (w_en) mem[w_addr] <= w_data[LOW+:BITS];
                    if (r_en) r_data[LOW+:BITS] <= mem[r_addr];
                end
            end else begin : g
                (* ram_style = "block", no_rw_check *)
                reg [BITS-1:0] mem [0:DEPTH-1];
                initial $readmemh({NAME, ".", HUNDREDS, TENS, ONES, ".hex"}, mem);
                always @(posedge clk) begin
                    if (w_en) mem[w_addr] <= w_data[LOW+:BITS];
                    if (r_en) r_data[LOW+:BITS] <= mem[r_addr];
                end
            end
        end
    endgenerate

`else

    reg [WIDTH-1:0] mem [0:DEPTH-1] /*verilator public_flat_rw*/;

    string folder, file;
    integer fd, k;

    initial begin
        r_data = 0;
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
        if (r_en) r_data <= {1'b0, r_addr} >= DEPTH ? {WIDTH{1'b1}} : mem[r_addr];
        if (!ALLOW_COLLISION && w_en && r_en && w_addr == r_addr)
            $fatal(1, "%m (%s): word %0d read and written in one cycle", NAME, r_addr);
    end

`endif

endmodule
