// What SdramPads is made of before synthesis, which turns it into TRELLIS_IO and TRELLIS_FF.
`timescale 1ps / 1ps
module OB (
    input I,
    output O
);
    assign O = I;
endmodule

module BB (
    input I, T,
    output O,
    inout B
);
    assign B = T ? 1'bz : I;
    assign O = B;
endmodule

module OFS1P3DX (
    input D, SP, SCLK, CD,
    output reg Q
);
    initial Q = 0;
    always @(posedge SCLK or posedge CD)
        if (CD) Q <= 0;
        else if (SP) Q <= D;
endmodule

module OFS1P3BX (
    input D, SP, SCLK, PD,
    output reg Q
);
    initial Q = 1;
    always @(posedge SCLK or posedge PD)
        if (PD) Q <= 1;
        else if (SP) Q <= D;
endmodule

module IFS1P3DX (
    input D, SP, SCLK, CD,
    output reg Q
);
    initial Q = 0;
    always @(posedge SCLK or posedge CD)
        if (CD) Q <= 0;
        else if (SP) Q <= D;
endmodule
