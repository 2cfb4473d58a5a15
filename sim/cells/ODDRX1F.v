// ODDRX1F: D0 in the first half of the cycle after a rising edge of SCLK, D1 in the second. The
// device has one more cycle of latency, which constants (a forwarded clock) do not show.
`timescale 1ps / 1ps
module ODDRX1F #(
    parameter GSR = "ENABLED"
) (
    input SCLK, RST, D0, D1,
    output Q
);
    reg first, second;
    initial {first, second} = 0;
    always @(posedge SCLK) {first, second} <= RST ? 2'b00 : {D0, D1};
    assign Q = SCLK ? first : second;
endmodule
