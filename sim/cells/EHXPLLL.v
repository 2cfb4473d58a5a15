// EHXPLLL: CLKOP, CLKOS and CLKOS2 at the frequencies that the dividers make of CLKI, LOCK once the
// input's period is known. Only feedback through CLKOP. CLKOS2 is later than CLKOS by the difference of
// their phases: CPHASE in VCO periods, FPHASE in eighths of one; or by the eighths of +CLKOS2_LATE=n.
`timescale 1ps / 1ps
module EHXPLLL #(
    parameter CLKI_DIV = 1,
    parameter CLKFB_DIV = 1,
    parameter CLKOP_DIV = 8,
    parameter CLKOS_DIV = 8,
    parameter CLKOP_CPHASE = 0,
    parameter CLKOP_FPHASE = 0,
    parameter CLKOS_CPHASE = 0,
    parameter CLKOS_FPHASE = 0,
    parameter CLKOS2_DIV = 8,
    parameter CLKOS2_CPHASE = 0,
    parameter CLKOS2_FPHASE = 0,
    parameter CLKOS2_ENABLE = "DISABLED",
    parameter CLKOP_ENABLE = "ENABLED",
    parameter CLKOS_ENABLE = "DISABLED",
    parameter FEEDBK_PATH = "CLKOP",
    parameter DPHASE_SOURCE = "DISABLED",
    parameter INTFB_WAKE = "DISABLED",
    parameter PLLRST_ENA = "DISABLED",
    parameter STDBY_ENABLE = "DISABLED",
    parameter OUTDIVIDER_MUXA = "DIVA",
    parameter OUTDIVIDER_MUXB = "DIVB",
    parameter OUTDIVIDER_MUXC = "DIVC",
    parameter OUTDIVIDER_MUXD = "DIVD"
) (
    input CLKI, CLKFB, RST, STDBY, PHASESEL1, PHASESEL0, PHASEDIR, PHASESTEP, PHASELOADREG,
    input PLLWAKESYNC, ENCLKOP, ENCLKOS, ENCLKOS2, ENCLKOS3,
    output reg CLKOP,
    output reg CLKOS,
    output reg CLKOS2,
    output reg LOCK
);

    real period, last, vco;
    integer edges, late;

    initial begin
        CLKOP = 0;
        CLKOS = 0;
        CLKOS2 = 0;
        LOCK = 0;
        edges = 0;
        period = 0;
        last = 0;
        if (FEEDBK_PATH != "CLKOP")
            $fatal(1, "%m: a mode of EHXPLLL that the model does not have");
    end

    always @(posedge CLKI) begin
        period = $realtime - last;
        last = $realtime;
        edges <= edges + 1;
        if (edges == 4) begin
            // VCO = CLKI / CLKI_DIV * CLKFB_DIV * CLKOP_DIV
            vco = period * CLKI_DIV / (1.0 * CLKFB_DIV * CLKOP_DIV);
            LOCK <= 1;
        end
    end

    always begin
        wait (LOCK);
        #(vco * CLKOP_DIV / 2.0) CLKOP = ~CLKOP;
    end

    always begin
        wait (LOCK);
        #(vco * CLKOS_DIV / 2.0) CLKOS = ~CLKOS;
    end

    initial if (CLKOS2_ENABLE == "ENABLED") begin
        if (!$value$plusargs("CLKOS2_LATE=%d", late))
            late = 8 * (CLKOS2_CPHASE - CLKOS_CPHASE) + CLKOS2_FPHASE - CLKOS_FPHASE;
        wait (LOCK);
        #(vco * late / 8.0);
        forever #(vco * CLKOS2_DIV / 2.0) CLKOS2 = ~CLKOS2;
    end

endmodule
