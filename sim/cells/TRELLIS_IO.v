// TRELLIS_IO: a pad. yosys's model compares T with z, which Verilator cannot do. An output is always
// driven, as nextpnr takes one whose T is not connected.
`timescale 1ps / 1ps
module TRELLIS_IO #(
    parameter DIR = "INPUT"
) (
    inout B,
    input I, T,
    output O
);
    generate
        if (DIR == "BIDIR") begin : both
            assign B = T ? 1'bz : I;
        end else if (DIR == "OUTPUT") begin : driven
            assign B = I;
        end
    endgenerate
    assign O = DIR == "OUTPUT" ? 1'b0 : B;
endmodule
