// MULT18X18D: a product with input, pipeline and output registers as parameters say, each on
// one of four clocks and enables or absent. Shift chains, C input and resets other than tied low
// are not modelled.
`timescale 1ps / 1ps
module MULT18X18D #(
    parameter REG_INPUTA_CLK = "NONE",
    parameter REG_INPUTA_CE = "CE0",
    parameter REG_INPUTA_RST = "RST0",
    parameter REG_INPUTB_CLK = "NONE",
    parameter REG_INPUTB_CE = "CE0",
    parameter REG_INPUTB_RST = "RST0",
    parameter REG_INPUTC_CLK = "NONE",
    parameter REG_PIPELINE_CLK = "NONE",
    parameter REG_PIPELINE_CE = "CE0",
    parameter REG_PIPELINE_RST = "RST0",
    parameter REG_OUTPUT_CLK = "NONE",
    parameter REG_OUTPUT_CE = "CE0",
    parameter REG_OUTPUT_RST = "RST0",
    parameter CLK0_DIV = "ENABLED",
    parameter CLK1_DIV = "ENABLED",
    parameter CLK2_DIV = "ENABLED",
    parameter CLK3_DIV = "ENABLED",
    parameter GSR = "ENABLED",
    parameter SOURCEB_MODE = "B_SHIFT",
    parameter RESETMODE = "SYNC"
) (
    input A17, A16, A15, A14, A13, A12, A11, A10, A9,
    input A8, A7, A6, A5, A4, A3, A2, A1, A0,
    input B17, B16, B15, B14, B13, B12, B11, B10, B9,
    input B8, B7, B6, B5, B4, B3, B2, B1, B0,
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
    input CLK0, CLK1, CLK2, CLK3, CE0, CE1, CE2, CE3, RST0, RST1, RST2, RST3,
    output P35, P34, P33, P32, P31, P30, P29, P28, P27,
    output P26, P25, P24, P23, P22, P21, P20, P19, P18,
    output P17, P16, P15, P14, P13, P12, P11, P10, P9,
    output P8, P7, P6, P5, P4, P3, P2, P1, P0
);

    wire [17:0] a = {
        A17, A16, A15, A14, A13, A12, A11, A10, A9,
        A8, A7, A6, A5, A4, A3, A2, A1, A0
    };
    wire [17:0] b = {
        B17, B16, B15, B14, B13, B12, B11, B10, B9,
        B8, B7, B6, B5, B4, B3, B2, B1, B0
    };

    function pick(input [8*4-1:0] name, input [3:0] lines);
        pick = lines[name[1:0]];  // the digit at the end of CLK0, CE0: 0 to 3
    endfunction

    wire [3:0] clk = {CLK3, CLK2, CLK1, CLK0};
    wire [3:0] ce = {CE3, CE2, CE1, CE0};

    reg signed [18:0] a_q, b_q;
    reg signed [37:0] product_q, result_q;
    wire signed [18:0] a_in = {SIGNEDA & a[17], a};
    wire signed [18:0] b_in = {SIGNEDB & b[17], b};
    wire signed [18:0] a_now = REG_INPUTA_CLK == "NONE" ? a_in : a_q;
    wire signed [18:0] b_now = REG_INPUTB_CLK == "NONE" ? b_in : b_q;
    wire signed [37:0] product = a_now * b_now;
    wire signed [37:0] product_now = REG_PIPELINE_CLK == "NONE" ? product : product_q;
    wire signed [37:0] result = REG_OUTPUT_CLK == "NONE" ? product_now : result_q;
    assign {
        P35, P34, P33, P32, P31, P30, P29, P28, P27,
        P26, P25, P24, P23, P22, P21, P20, P19, P18,
        P17, P16, P15, P14, P13, P12, P11, P10, P9,
        P8, P7, P6, P5, P4, P3, P2, P1, P0
    } = result[35:0];

    wire clk_a = pick(REG_INPUTA_CLK, clk);
    wire clk_b = pick(REG_INPUTB_CLK, clk);
    wire clk_pipeline = pick(REG_PIPELINE_CLK, clk);
    wire clk_output = pick(REG_OUTPUT_CLK, clk);

    initial begin
        {a_q, b_q, product_q, result_q} = 0;
        if (SOURCEB_MODE == "C_SHIFT" || REG_INPUTC_CLK != "NONE")
            $fatal(1, "%m: a mode of MULT18X18D that the model does not have");
    end
    always @(posedge clk_a) if (pick({8'b0, REG_INPUTA_CE}, ce)) a_q <= a_in;
    always @(posedge clk_b) if (pick({8'b0, REG_INPUTB_CE}, ce)) b_q <= b_in;
    always @(posedge clk_pipeline) if (pick({8'b0, REG_PIPELINE_CE}, ce)) product_q <= product;
    always @(posedge clk_output) if (pick({8'b0, REG_OUTPUT_CE}, ce)) result_q <= product_now;
    always @(RST0 or RST1 or RST2 or RST3 or SOURCEA or SOURCEB)
        if (RST0 | RST1 | RST2 | RST3 | SOURCEA | SOURCEB)
            $fatal(1, "%m: resets and shifted sources are not modelled");

endmodule
