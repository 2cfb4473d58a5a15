// Additions side by side on one carry chain: see rtl_gen/units/adders.py for the ports.
//
//   GUARDS  positions that give out the carry below them and inject ~(a ^ b) above them
//   HAS_C   sum positions with a second operand c; HAS_D: with c ^ d as second operand
//
// On ECP5 a position is half a CCU2C: propagate is any function of its four inputs, generate the
// one of A and B in INIT[3:0]. Unused inputs are tied to 1, which needs no routing. The first
// guard ignores its carry in, so the chain starts without a feed-in cell; s[0] is 0.
module hwbnn_adders #(
    parameter LENGTH = 3,
    parameter [LENGTH-1:0] GUARDS = 3'b101,
    parameter [LENGTH-1:0] HAS_C = 3'b010,
    parameter [LENGTH-1:0] HAS_D = 3'b000
) (
    input [LENGTH-1:0] a,
    input [LENGTH-1:0] b,
    input [LENGTH-1:0] c,
    input [LENGTH-1:0] d,
    output [LENGTH-1:0] s
);

`ifdef SYNTHESIS

    localparam PAIRS = (LENGTH + 1) / 2;
    // INIT by kind of position; its index is {D, C, B, A}.
    localparam [15:0] GUARD = 16'h0009;  // propagate never (C = D = 1), generate ~(A ^ B)
    localparam [15:0] ONE = 16'h9999;    // ~(A ^ B)
    localparam [15:0] TWO = 16'h6969;    // ~(A ^ B) ^ C
    localparam [15:0] THREE = 16'h9669;  // ~(A ^ B) ^ C ^ D

    function [15:0] init(input integer k);
        if (k >= LENGTH) init = ONE;
        else if (GUARDS[k]) init = GUARD;
        else if (HAS_D[k]) init = THREE;
        else if (HAS_C[k]) init = TWO;
        else init = ONE;
    endfunction

    wire [2*PAIRS-1:0] aa = a | {2*PAIRS{1'b0}};
    wire [2*PAIRS-1:0] bb, cc, dd, ss;
    wire [PAIRS-1:0] carry;
    genvar k;
    generate
        for (k = 0; k < 2 * PAIRS; k = k + 1) begin : tie
            if (k < LENGTH) begin
                assign bb[k] = b[k];
                assign cc[k] = HAS_C[k] ? c[k] : 1'b1;
                assign dd[k] = HAS_D[k] ? d[k] : 1'b1;
                assign s[k] = k ? ss[k] : 1'b0;
            end else begin
                assign bb[k] = 1'b1;
                assign cc[k] = 1'b1;
                assign dd[k] = 1'b1;
            end
        end
        for (k = 0; k < PAIRS; k = k + 1) begin : pair
            wire cout;
            if (k + 1 < PAIRS) assign carry[k+1] = cout;
            CCU2C #(
                .INIT0(init(2 * k)),
                .INIT1(init(2 * k + 1)),
                .INJECT1_0("NO"),
                .INJECT1_1("NO")
            ) half (
                .CIN(carry[k]),
                .A0(aa[2*k]), .B0(bb[2*k]), .C0(cc[2*k]), .D0(dd[2*k]),
                .A1(aa[2*k+1]), .B1(bb[2*k+1]), .C1(cc[2*k+1]), .D1(dd[2*k+1]),
                .S0(ss[2*k]), .S1(ss[2*k+1]),
                .COUT(cout)
            );
        end
    endgenerate
    assign carry[0] = 1'bx;

`else

    wire [LENGTH-1:0] x = ~(a ^ b);
    wire [LENGTH-1:0] y = ((c ^ (d & HAS_D)) & HAS_C) | (x & GUARDS);
    assign s = x + y;

`endif

endmodule
