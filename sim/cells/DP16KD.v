// DP16KD: behaviour of the modes that yosys maps memories to. 1024 words of two 9-bit bytes.
//
//   pseudo dual port (either width 36): port A writes, port B reads
//   true dual port (1, 2, 4, 9, 18): both ports read and write
//
// Addresses count bits: the low bits select within a word and, in widths 18 and 36, are byte
// enables of a write. Narrow words (1, 2, 4) use the low 8 bits of each byte. A read of a word
// that the other port writes at the same clock edge is undefined in the device: here it returns
// the inverse of the old word, which shows. Other modes stop the simulation.
`timescale 1ps / 1ps
module DP16KD #(
    parameter DATA_WIDTH_A = 18,
    parameter DATA_WIDTH_B = 18,
    parameter REGMODE_A = "NOREG",
    parameter REGMODE_B = "NOREG",
    parameter RESETMODE = "SYNC",
    parameter ASYNC_RESET_RELEASE = "SYNC",
    parameter CSDECODE_A = "0b000",
    parameter CSDECODE_B = "0b000",
    parameter CLKAMUX = "CLKA",
    parameter CLKBMUX = "CLKB",
    parameter WRITEMODE_A = "NORMAL",
    parameter WRITEMODE_B = "NORMAL",
    parameter GSR = "AUTO",
    parameter [319:0] INITVAL_00 = 320'h0,
    parameter [319:0] INITVAL_01 = 320'h0,
    parameter [319:0] INITVAL_02 = 320'h0,
    parameter [319:0] INITVAL_03 = 320'h0,
    parameter [319:0] INITVAL_04 = 320'h0,
    parameter [319:0] INITVAL_05 = 320'h0,
    parameter [319:0] INITVAL_06 = 320'h0,
    parameter [319:0] INITVAL_07 = 320'h0,
    parameter [319:0] INITVAL_08 = 320'h0,
    parameter [319:0] INITVAL_09 = 320'h0,
    parameter [319:0] INITVAL_0A = 320'h0,
    parameter [319:0] INITVAL_0B = 320'h0,
    parameter [319:0] INITVAL_0C = 320'h0,
    parameter [319:0] INITVAL_0D = 320'h0,
    parameter [319:0] INITVAL_0E = 320'h0,
    parameter [319:0] INITVAL_0F = 320'h0,
    parameter [319:0] INITVAL_10 = 320'h0,
    parameter [319:0] INITVAL_11 = 320'h0,
    parameter [319:0] INITVAL_12 = 320'h0,
    parameter [319:0] INITVAL_13 = 320'h0,
    parameter [319:0] INITVAL_14 = 320'h0,
    parameter [319:0] INITVAL_15 = 320'h0,
    parameter [319:0] INITVAL_16 = 320'h0,
    parameter [319:0] INITVAL_17 = 320'h0,
    parameter [319:0] INITVAL_18 = 320'h0,
    parameter [319:0] INITVAL_19 = 320'h0,
    parameter [319:0] INITVAL_1A = 320'h0,
    parameter [319:0] INITVAL_1B = 320'h0,
    parameter [319:0] INITVAL_1C = 320'h0,
    parameter [319:0] INITVAL_1D = 320'h0,
    parameter [319:0] INITVAL_1E = 320'h0,
    parameter [319:0] INITVAL_1F = 320'h0,
    parameter [319:0] INITVAL_20 = 320'h0,
    parameter [319:0] INITVAL_21 = 320'h0,
    parameter [319:0] INITVAL_22 = 320'h0,
    parameter [319:0] INITVAL_23 = 320'h0,
    parameter [319:0] INITVAL_24 = 320'h0,
    parameter [319:0] INITVAL_25 = 320'h0,
    parameter [319:0] INITVAL_26 = 320'h0,
    parameter [319:0] INITVAL_27 = 320'h0,
    parameter [319:0] INITVAL_28 = 320'h0,
    parameter [319:0] INITVAL_29 = 320'h0,
    parameter [319:0] INITVAL_2A = 320'h0,
    parameter [319:0] INITVAL_2B = 320'h0,
    parameter [319:0] INITVAL_2C = 320'h0,
    parameter [319:0] INITVAL_2D = 320'h0,
    parameter [319:0] INITVAL_2E = 320'h0,
    parameter [319:0] INITVAL_2F = 320'h0,
    parameter [319:0] INITVAL_30 = 320'h0,
    parameter [319:0] INITVAL_31 = 320'h0,
    parameter [319:0] INITVAL_32 = 320'h0,
    parameter [319:0] INITVAL_33 = 320'h0,
    parameter [319:0] INITVAL_34 = 320'h0,
    parameter [319:0] INITVAL_35 = 320'h0,
    parameter [319:0] INITVAL_36 = 320'h0,
    parameter [319:0] INITVAL_37 = 320'h0,
    parameter [319:0] INITVAL_38 = 320'h0,
    parameter [319:0] INITVAL_39 = 320'h0,
    parameter [319:0] INITVAL_3A = 320'h0,
    parameter [319:0] INITVAL_3B = 320'h0,
    parameter [319:0] INITVAL_3C = 320'h0,
    parameter [319:0] INITVAL_3D = 320'h0,
    parameter [319:0] INITVAL_3E = 320'h0,
    parameter [319:0] INITVAL_3F = 320'h0,
    parameter INIT_DATA = "STATIC"
) (
    input DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9,
    input DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0,
    input ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5,
    input ADA4, ADA3, ADA2, ADA1, ADA0,
    input CEA, OCEA, CLKA, WEA, RSTA, CSA2, CSA1, CSA0,
    output DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9,
    output DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0,
    input DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9,
    input DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0,
    input ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5,
    input ADB4, ADB3, ADB2, ADB1, ADB0,
    input CEB, OCEB, CLKB, WEB, RSTB, CSB2, CSB1, CSB0,
    output DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9,
    output DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0
);

    localparam PSEUDO = DATA_WIDTH_A == 36 || DATA_WIDTH_B == 36;

    wire [17:0] dia = {
        DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9,
        DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0
    };
    wire [17:0] dib = {
        DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9,
        DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0
    };
    wire [13:0] ada = {
        ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5,
        ADA4, ADA3, ADA2, ADA1, ADA0
    };
    wire [13:0] adb = {
        ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5,
        ADB4, ADB3, ADB2, ADB1, ADB0
    };
    wire clka = CLKAMUX == "INV" ? ~CLKA : CLKA;
    wire clkb = CLKBMUX == "INV" ? ~CLKB : CLKB;
    wire cea = CEA & {CSA2, CSA1, CSA0} == 0;
    wire ceb = CEB & {CSB2, CSB1, CSB0} == 0;

    reg [17:0] mem [0:1023];
    reg [35:0] latch_a, latch_b, out_a, out_b;
    wire [35:0] qa = REGMODE_A == "OUTREG" ? out_a : latch_a;
    wire [35:0] qb = REGMODE_B == "OUTREG" ? out_b : latch_b;
    assign {
        DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9,
        DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0
    } = PSEUDO ? qb[17:0] : qa[17:0];
    // In pseudo dual port the low half of a 36-bit word leaves through port A.
    assign {
        DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9,
        DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0
    } = DATA_WIDTH_B == 36 ? qb[35:18] : qb[17:0];

    function [319:0] initval(input [5:0] row);
        case (row)
            6'h00: initval = INITVAL_00;
            6'h01: initval = INITVAL_01;
            6'h02: initval = INITVAL_02;
            6'h03: initval = INITVAL_03;
            6'h04: initval = INITVAL_04;
            6'h05: initval = INITVAL_05;
            6'h06: initval = INITVAL_06;
            6'h07: initval = INITVAL_07;
            6'h08: initval = INITVAL_08;
            6'h09: initval = INITVAL_09;
            6'h0A: initval = INITVAL_0A;
            6'h0B: initval = INITVAL_0B;
            6'h0C: initval = INITVAL_0C;
            6'h0D: initval = INITVAL_0D;
            6'h0E: initval = INITVAL_0E;
            6'h0F: initval = INITVAL_0F;
            6'h10: initval = INITVAL_10;
            6'h11: initval = INITVAL_11;
            6'h12: initval = INITVAL_12;
            6'h13: initval = INITVAL_13;
            6'h14: initval = INITVAL_14;
            6'h15: initval = INITVAL_15;
            6'h16: initval = INITVAL_16;
            6'h17: initval = INITVAL_17;
            6'h18: initval = INITVAL_18;
            6'h19: initval = INITVAL_19;
            6'h1A: initval = INITVAL_1A;
            6'h1B: initval = INITVAL_1B;
            6'h1C: initval = INITVAL_1C;
            6'h1D: initval = INITVAL_1D;
            6'h1E: initval = INITVAL_1E;
            6'h1F: initval = INITVAL_1F;
            6'h20: initval = INITVAL_20;
            6'h21: initval = INITVAL_21;
            6'h22: initval = INITVAL_22;
            6'h23: initval = INITVAL_23;
            6'h24: initval = INITVAL_24;
            6'h25: initval = INITVAL_25;
            6'h26: initval = INITVAL_26;
            6'h27: initval = INITVAL_27;
            6'h28: initval = INITVAL_28;
            6'h29: initval = INITVAL_29;
            6'h2A: initval = INITVAL_2A;
            6'h2B: initval = INITVAL_2B;
            6'h2C: initval = INITVAL_2C;
            6'h2D: initval = INITVAL_2D;
            6'h2E: initval = INITVAL_2E;
            6'h2F: initval = INITVAL_2F;
            6'h30: initval = INITVAL_30;
            6'h31: initval = INITVAL_31;
            6'h32: initval = INITVAL_32;
            6'h33: initval = INITVAL_33;
            6'h34: initval = INITVAL_34;
            6'h35: initval = INITVAL_35;
            6'h36: initval = INITVAL_36;
            6'h37: initval = INITVAL_37;
            6'h38: initval = INITVAL_38;
            6'h39: initval = INITVAL_39;
            6'h3A: initval = INITVAL_3A;
            6'h3B: initval = INITVAL_3B;
            6'h3C: initval = INITVAL_3C;
            6'h3D: initval = INITVAL_3D;
            6'h3E: initval = INITVAL_3E;
            6'h3F: initval = INITVAL_3F;
        endcase
    endfunction

    // The bits of a word, and where it begins within a word of 18.
    function [35:0] ones(input integer width);
        ones = ~(36'b0) >> (36 - width);
    endfunction

    function [4:0] start(input integer width, input [13:0] address);
        if (width >= 18) start = 0;
        else if (width == 9) start = address[3] * 9;
        else start = 5'(address[3] * 9 + (32'(address[2:0]) & ~(width - 1)));
    endfunction

    function [35:0] fetch(input integer width, input [13:0] address);
        if (width == 36) fetch = {mem[{address[13:5], 1'b1}], mem[{address[13:5], 1'b0}]};
        else fetch = 36'(mem[address[13:4]] >> start(width, address)) & ones(width);
    endfunction

    // Which bits a write changes: bytes have enables in widths 18 and 36.
    function [35:0] enabled(input integer width, input [13:0] address);
        case (width)
            36: enabled = {{9{address[3]}}, {9{address[2]}}, {9{address[1]}}, {9{address[0]}}};
            18: enabled = {18'b0, {9{address[1]}}, {9{address[0]}}};
            default: enabled = ones(width);
        endcase
    endfunction

    // How many low address bits select within a word.
    function integer low_bits(input integer width);
        low_bits = width == 36 ? 5 : width == 18 ? 4 : width == 9 ? 3 : width == 4 ? 2 : width - 1;
    endfunction

    // Whether two accesses meet: the address of the wider one decides.
    function meet(input integer one, input [13:0] x, input integer two, input [13:0] y);
        meet = (x ^ y) >> low_bits(one > two ? one : two) == 0;
    endfunction

    integer row, k;
    reg [319:0] words;
    initial begin
        if (CSDECODE_A != "0b000" || CSDECODE_B != "0b000")
            $fatal(1, "%m: a mode of DP16KD that the model does not have");
        latch_a = 0; latch_b = 0; out_a = 0; out_b = 0;
        for (row = 0; row < 64; row = row + 1) begin
            words = initval(6'(row));
            for (k = 0; k < 16; k = k + 1) mem[row * 16 + k] = words[k * 20 +: 18];
        end
    end

    wire [35:0] en_a = enabled(DATA_WIDTH_A, ada);
    wire [35:0] en_b = enabled(DATA_WIDTH_B, adb);
    wire wr_a = cea & WEA & ~RSTA & en_a != 0;
    wire wr_b = ceb & WEB & ~RSTB & ~PSEUDO & en_b != 0;
    wire same = meet(DATA_WIDTH_A, ada, DATA_WIDTH_B, adb);
    wire [35:0] old_a = fetch(DATA_WIDTH_A, ada);
    wire [35:0] old_b = fetch(DATA_WIDTH_B, adb);
    wire [35:0] new_a = old_a & ~en_a | {dib, dia} & en_a;
    wire [35:0] new_b = old_b & ~en_b | {18'b0, dib} & en_b;
    wire [4:0] at_a = start(DATA_WIDTH_A, ada);
    wire [4:0] at_b = start(DATA_WIDTH_B, adb);
    wire [17:0] keep_a = ~(18'(ones(DATA_WIDTH_A)) << at_a);
    wire [17:0] keep_b = ~(18'(ones(DATA_WIDTH_B)) << at_b);

    always @(RSTA or RSTB) if (RESETMODE != "SYNC" && (RSTA | RSTB))
        $fatal(1, "%m: asynchronous resets of DP16KD are not modelled");

    always @(posedge clka) begin
        if (wr_a & DATA_WIDTH_A == 36) begin
            mem[{ada[13:5], 1'b0}] <= new_a[17:0];
            mem[{ada[13:5], 1'b1}] <= new_a[35:18];
        end else if (wr_a)
            mem[ada[13:4]] <= mem[ada[13:4]] & keep_a | 18'(new_a) << at_a;
        if (OCEA) out_a <= RSTA ? 0 : latch_a;
        if (RSTA) latch_a <= 0;
        else if (cea & ~PSEUDO) begin
            if (~wr_a | WRITEMODE_A == "READBEFOREWRITE") latch_a <= same & wr_b ? ~old_a : old_a;
            else if (WRITEMODE_A == "WRITETHROUGH") latch_a <= new_a;
        end
    end

    always @(posedge clkb) begin
        if (wr_b) mem[adb[13:4]] <= mem[adb[13:4]] & keep_b | 18'(new_b) << at_b;
        if (OCEB) out_b <= RSTB ? 0 : latch_b;
        if (RSTB) latch_b <= 0;
        else if (ceb) begin
            if (~wr_b | WRITEMODE_B == "READBEFOREWRITE") latch_b <= same & wr_a ? ~old_b : old_b;
            else if (WRITEMODE_B == "WRITETHROUGH") latch_b <= new_b;
        end
    end

endmodule
