// One memory of the engine: one write port, one synchronous read port, one clock.
//
//   NAME             contents come from the file NAME.hex ($readmemh, one word a line)
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

    generate
        if (ALLOW_COLLISION) begin : g
            (* ram_style = "block" *)
            reg [WIDTH-1:0] mem [0:DEPTH-1];
            initial $readmemh({NAME, ".hex"}, mem);
            always @(posedge clk) begin
                if (w_en) mem[w_addr] <= w_data;
                if (r_en) r_data <= mem[r_addr];
            end
        end else begin : g
            (* ram_style = "block", no_rw_check *)
            reg [WIDTH-1:0] mem [0:DEPTH-1];
            initial $readmemh({NAME, ".hex"}, mem);
            always @(posedge clk) begin
                if (w_en) mem[w_addr] <= w_data;
                if (r_en) r_data <= mem[r_addr];
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
            if ({1'b0, w_addr} >= DEPTH) $fatal(1, "%m (%s): write to word %0d of %0d", NAME, w_addr, DEPTH);
            mem[w_addr] <= w_data;
        end
        // Past the end a block RAM returns whatever lies there: return something that shows.
        if (r_en) r_data <= {1'b0, r_addr} >= DEPTH ? {WIDTH{1'b1}} : mem[r_addr];
        if (!ALLOW_COLLISION && w_en && r_en && w_addr == r_addr)
            $fatal(1, "%m (%s): word %0d read and written in one cycle", NAME, r_addr);
    end

`endif

endmodule
