// Runs a Verilated stem: pixels.bin in as fast as it takes them, every row read and taken at once.
// Arguments: rows, words of a row. Writes words.bin and, a line a row, when it was seen and taken.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "Vstem.h"
#include "verilated.h"

int main(int argc, char** argv) {
    VerilatedContext context;
    context.commandArgs(argc, argv);
    Vstem top{&context};
    std::vector<unsigned char> pixels;
    FILE* in = fopen("pixels.bin", "rb");
    for (int byte; (byte = fgetc(in)) != EOF;) pixels.push_back(byte);
    FILE* out = fopen("words.bin", "wb");
    FILE* cycles = fopen("cycles.txt", "w");
    const int rows = atoi(argv[1]), words = atoi(argv[2]);
    long cycle = -4;
    auto tick = [&] {
        top.clk = 1;
        top.eval();
        top.clk = 0;
        top.eval();
        cycle++;
    };
    top.clk = 0;
    top.rst = 1;
    top.eval();
    while (cycle < 0) tick();
    top.rst = 0;
    size_t at = 0;
    for (int row = 0, step = -1; row < rows;) {
        const bool valid = at < pixels.size();
        top.i_pixel___05Fvalid = valid;
        if (valid) {
            top.i_pixel___05Fpayload = pixels[at] | pixels[at + 1] << 8 | pixels[at + 2] << 16;
        }
        top.i_take = top.i_read = 0;
        top.eval();
        if (step < 0 && top.o_ready) {
            fprintf(cycles, "%ld ", cycle);
            step = 0;
        }
        if (step >= 0) {
            // a word comes two cycles after its address
            if (step >= 2 && step < words + 2) fwrite(&top.o_word, sizeof(top.o_word), 1, out);
            if (step < words) {
                top.i_read = 1;
                top.i_addr = step;
            }
            if (step++ == words + 2) {
                top.i_take = 1;
                fprintf(cycles, "%ld\n", cycle);
                row++;
                step = -1;
            }
        }
        top.eval();
        if (valid && top.i_pixel___05Fready) at += 3;
        tick();
    }
    fclose(out);
    fclose(cycles);
}
