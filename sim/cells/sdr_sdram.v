// A 16-bit SDR SDRAM that objects: every rule of its data sheet that is broken ends the simulation
// with the parameter's name. Stricter than a real part where that costs a controller nothing:
//
//   - every interval between refreshes is at most T_REFI (a part wants the average)
//   - bursts are 8 words, sequential, of reads alone (A9 set), and nothing may cut one short
//   - no self refresh, power-down, burst stop; one cycle between its data and the controller's
//
// T_* in fs; T_CK is the clock's period and all intervals are counted in clocks. Plusargs of the same
// names (+T_RCD=21000000) override them, so that one build serves any part and clock. WORDS is how
// much of the array can be used, from address 0; an address is {row, bank, column}. Contents come
// from the file of +SDRAM=name ($readmemh). dq_o carries junk whenever dq_o_en is low.
module sdr_sdram #(
    parameter ROW_BITS = 13,
    parameter COLUMN_BITS = 9,
    parameter BANK_BITS = 2,
    parameter WORDS = 1 << (ROW_BITS + COLUMN_BITS + BANK_BITS),
    parameter CAS_LATENCY = 3,  // the least that T_CK allows
    parameter INIT_REFRESHES = 8,
    parameter longint T_CK = 64'd10000000,
    parameter longint T_RCD = 64'd21000000,
    parameter longint T_RP = 64'd21000000,
    parameter longint T_RC = 64'd63000000,
    parameter longint T_RAS = 64'd42000000,
    parameter longint T_RAS_MAX = 64'd100000000000,
    parameter longint T_RRD = 64'd15000000,
    parameter longint T_WR = 64'd20000000,
    parameter longint T_RFC = 64'd70000000,
    parameter longint T_MRD = 64'd20000000,
    parameter longint T_REFI = 64'd7812500000,
    parameter longint T_POWER_UP = 64'd200000000000
) (
    input clk,
    input cke,
    input cs_n,
    input ras_n,
    input cas_n,
    input we_n,
    input [BANK_BITS-1:0] ba,
    input [12:0] a,
    input [1:0] dqm,
    input [15:0] dq_i,
    input dq_i_en,
    output reg [15:0] dq_o,
    output reg dq_o_en
);
    localparam BANKS = 1 << BANK_BITS;
    localparam BURST = 8;
    localparam longint LONG_AGO = -1000000;
    longint t_ck = T_CK;
    longint t_rcd = T_RCD;
    longint t_rp = T_RP;
    longint t_rc = T_RC;
    longint t_ras = T_RAS;
    longint t_ras_max = T_RAS_MAX;
    longint t_rrd = T_RRD;
    longint t_wr = T_WR;
    longint t_rfc = T_RFC;
    longint t_mrd = T_MRD;
    longint t_refi = T_REFI;
    longint t_power_up = T_POWER_UP;

    reg [15:0] mem [0:WORDS-1] /*verilator public_flat_rw*/;

    longint now = 0;
    longint up_at = -1, ref_at = LONG_AGO, mode_at = LONG_AGO, any_act_at = LONG_AGO;
    longint act_at [0:BANKS-1];
    longint pre_at [0:BANKS-1];
    longint write_at [0:BANKS-1];
    longint close_at [0:BANKS-1];  // when an automatic precharge begins; -1: none
    reg open [0:BANKS-1];
    reg [ROW_BITS-1:0] row [0:BANKS-1];
    integer refreshes = 0;
    reg started = 0, precharged = 0, moded = 0, initialised = 0;
    integer cl = 3;

    longint read_at = LONG_AGO;
    reg [BANK_BITS-1:0] read_bank = 0;
    reg [ROW_BITS-1:0] read_row = 0;
    reg [COLUMN_BITS-1:0] read_column = 0;
    reg fetched [0:3];
    reg [31:0] fetched_address [0:3];
    reg [1:0] dqm_before = 0;
    reg drove_before = 0;

    string file;
    integer k;
    initial begin
        dq_o = 16'hdead;
        dq_o_en = 0;
        for (k = 0; k < 4; k = k + 1) fetched[k] = 0;
        for (k = 0; k < BANKS; k = k + 1) begin
            open[k] = 0;
            row[k] = 0;
            act_at[k] = LONG_AGO;
            pre_at[k] = LONG_AGO;
            write_at[k] = LONG_AGO;
            close_at[k] = -1;
        end
        void'($value$plusargs("T_CK=%d", t_ck));
        void'($value$plusargs("T_RCD=%d", t_rcd));
        void'($value$plusargs("T_RP=%d", t_rp));
        void'($value$plusargs("T_RC=%d", t_rc));
        void'($value$plusargs("T_RAS=%d", t_ras));
        void'($value$plusargs("T_RAS_MAX=%d", t_ras_max));
        void'($value$plusargs("T_RRD=%d", t_rrd));
        void'($value$plusargs("T_WR=%d", t_wr));
        void'($value$plusargs("T_RFC=%d", t_rfc));
        void'($value$plusargs("T_MRD=%d", t_mrd));
        void'($value$plusargs("T_REFI=%d", t_refi));
        void'($value$plusargs("T_POWER_UP=%d", t_power_up));
        if ($value$plusargs("SDRAM=%s", file)) $readmemh(file, mem);
    end

    task automatic object(input string rule, input string what);
        $fatal(1, "SDRAM rule %s: %s (bank %0d, cycle %0d)", rule, what, ba, now);
    endtask

    task automatic need(input longint since, input longint least, input string name);
        if ((now - since) * t_ck < least)
            object(name, $sformatf("%0d ps of %0d ps", (now - since) * t_ck / 1000, least / 1000));
    endtask

    task automatic close(input integer b, input longint at);
        if ((at - act_at[b]) * t_ck < t_ras)
            object("tRAS", $sformatf("%0d ps of %0d ps", (at - act_at[b]) * t_ck / 1000, t_ras / 1000));
        if ((at - act_at[b]) * t_ck > t_ras_max) object("tRAS(max)", "row open for too long");
        if ((at - write_at[b]) * t_ck < t_wr)
            object("tWR", $sformatf("%0d ps of %0d ps", (at - write_at[b]) * t_ck / 1000, t_wr / 1000));
        open[b] = 0;
        pre_at[b] = at;
        close_at[b] = -1;
    endtask

    // what every command but NOP waits for
    task automatic settled;
        if (up_at < 0) object("CKE", "command while CKE is low");
        if (!started) need(up_at, t_power_up, "power-up");
        started = 1;
        need(mode_at, t_mrd, "tMRD");
        need(ref_at, t_rfc, "tRFC");
    endtask

    task automatic all_idle(input string what);
        for (integer b = 0; b < BANKS; b = b + 1) begin
            if (open[b]) object("idle", {what, " with an open bank"});
            need(pre_at[b], t_rp, "tRP");
        end
    endtask

    task automatic column_command(input string what);
        if (!open[ba]) object("open", {what, " to a closed bank"});
        if (close_at[ba] >= 0) object("auto-precharge", {what, " to a closing bank"});
        need(act_at[ba], t_rcd, "tRCD");
        if (now - read_at < BURST) object("burst", {what, " cuts a burst short"});
        if (COLUMN_BITS < 10 && (a[9:0] >> COLUMN_BITS) != 0) object("column", "beyond the row");
    endtask

    function automatic [31:0] address(
        input [ROW_BITS-1:0] r, input [BANK_BITS-1:0] b, input [COLUMN_BITS-1:0] c
    );
        address = {r, b, c};
    endfunction

    task automatic in_array(input [31:0] where);
        if (where >= WORDS) object("address", $sformatf("word %0d of %0d", where, WORDS));
    endtask

    reg [31:0] where;
    always @(posedge clk) begin
        if (cke && up_at < 0) up_at = now;
        if (!cke && up_at >= 0) object("CKE", "low after power-up");
        for (k = 0; k < BANKS; k = k + 1)
            if (close_at[k] >= 0 && now >= close_at[k]) close(k, close_at[k]);
        if (initialised && (now - ref_at) * t_ck > t_refi) object("tREFI", "no refresh in time");
        if (dq_i_en && (dq_o_en || drove_before)) object("contention", "both drive the data pins");

        if (!cs_n) case ({ras_n, cas_n, we_n})
            3'b111: ;
            3'b011: begin  // ACTIVATE
                settled;
                if (!precharged) object("initialisation", "no PRECHARGE ALL");
                if (!moded) object("initialisation", "mode register not loaded");
                if (refreshes < INIT_REFRESHES)
                    object("initialisation", $sformatf("%0d refreshes", refreshes));
                if (open[ba]) object("closed", "ACTIVATE of an open bank");
                need(pre_at[ba], t_rp, "tRP");
                need(act_at[ba], t_rc, "tRC");
                need(any_act_at, t_rrd, "tRRD");
                open[ba] = 1;
                row[ba] = a[ROW_BITS-1:0];
                act_at[ba] = now;
                any_act_at = now;
            end
            3'b101: begin  // READ
                settled;
                column_command("READ");
                read_at = now;
                read_bank = ba;
                read_row = row[ba];
                read_column = a[COLUMN_BITS-1:0];
                if (a[10]) close_at[ba] = now + BURST;
            end
            3'b100: begin  // WRITE
                settled;
                column_command("WRITE");
                if (!dq_i_en) object("data", "WRITE without data");
                where = address(row[ba], ba, a[COLUMN_BITS-1:0]);
                in_array(where);
                if (!dqm[0]) mem[where][7:0] = dq_i[7:0];
                if (!dqm[1]) mem[where][15:8] = dq_i[15:8];
                write_at[ba] = now;
                if (a[10]) close_at[ba] = now + (t_wr + t_ck - 1) / t_ck;
            end
            3'b010: begin  // PRECHARGE
                settled;
                if (!precharged && !a[10]) object("initialisation", "PRECHARGE of one bank");
                precharged = 1;
                for (k = 0; k < BANKS; k = k + 1)
                    if (open[k] && (a[10] || ba == k[BANK_BITS-1:0])) begin
                        if (close_at[k] >= 0) object("auto-precharge", "PRECHARGE before it");
                        if (read_bank == k[BANK_BITS-1:0] && now - read_at < BURST)
                            object("burst", "PRECHARGE cuts a burst short");
                        close(k, now);
                    end
                if (!initialised)
                    for (k = 0; k < BANKS; k = k + 1) if (a[10]) pre_at[k] = now;
            end
            3'b001: begin  // AUTO REFRESH
                settled;
                if (!precharged) object("initialisation", "no PRECHARGE ALL");
                all_idle("AUTO REFRESH");
                refreshes = refreshes + 1;
                ref_at = now;
            end
            3'b000: begin  // LOAD MODE REGISTER
                settled;
                if (!precharged) object("initialisation", "no PRECHARGE ALL");
                all_idle("LOAD MODE REGISTER");
                if (a[3:0] != 4'b0011) object("mode", "not bursts of 8, sequential");
                if (a[12:10] != 0 || a[8:7] != 0 || ba != 0) object("mode", "reserved bits set");
                if (!a[9]) object("mode", "burst writes are not modelled");
                cl = {29'd0, a[6:4]};
                if (cl < CAS_LATENCY || cl > 3) object("CAS latency", $sformatf("%0d", cl));
                moded = 1;
                mode_at = now;
            end
            default: object("command", "burst stop is not modelled");
        endcase
        if (moded && refreshes >= INIT_REFRESHES) initialised = 1;

        // read data: a word is on the pins before the edge that is CAS latency after its command
        for (k = 3; k > 0; k = k - 1) begin
            fetched[k] = fetched[k-1];
            fetched_address[k] = fetched_address[k-1];
        end
        fetched[0] = now - read_at < BURST;
        fetched_address[0] = address(read_row, read_bank, {read_column[COLUMN_BITS-1:3],
                                     read_column[2:0] + 3'(now - read_at)});
        drove_before = dq_o_en;
        dq_o <= 16'hdead ^ {now[7:0], now[7:0]};
        dq_o_en <= fetched[cl-1];
        if (fetched[cl-1]) begin
            in_array(fetched_address[cl-1]);
            if (!dqm_before[0]) dq_o[7:0] <= mem[fetched_address[cl-1]][7:0];
            if (!dqm_before[1]) dq_o[15:8] <= mem[fetched_address[cl-1]][15:8];
        end
        dqm_before = dqm;
        now = now + 1;
    end
endmodule
