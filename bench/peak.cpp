// The int8 peak of one core, and what the engine's matrix products reach of it; peak.py compiles and
// runs it: ISA, rows, layers, width, inner width, rounds. It prints a line a round: the peak, the
// bare products, and the products with scales and biases, in 10^9 operations a second.

#include <cstdio>
#include <ctime>

#include "../src/tinybert/engine/engine.cpp"

// Seconds of the processor, so that what else the machine does takes none away.
static double now() { return (double)clock() / CLOCKS_PER_SEC; }

// Sixteen sums that do not wait for each other, all in registers. Returns operations.
#if HAS_X86
#define ONE(n) "vpdpbusd %%zmm30, %%zmm31, %%zmm" #n "\n\t"
__attribute__((target("avx512f,avx512vnni"))) static double peak_avx512(int64_t count) {
    for (int64_t i = 0; i < count; ++i)
        asm volatile(ONE(0) ONE(1) ONE(2) ONE(3) ONE(4) ONE(5) ONE(6) ONE(7) ONE(8) ONE(9) ONE(10)
                         ONE(11) ONE(12) ONE(13) ONE(14) ONE(15)
                     :
                     :
                     : "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8",
                       "zmm9", "zmm10", "zmm11", "zmm12", "zmm13", "zmm14", "zmm15");
    return 16.0 * 64 * 2 * (double)count;
}
#undef ONE
// Without VNNI a product of bytes is three instructions.
#define ONE(n, t)                                                                         \
    "vpmaddubsw %%ymm14, %%ymm15, %%ymm" #t "\n\tvpmaddwd %%ymm13, %%ymm" #t ", %%ymm" #t \
    "\n\tvpaddd %%ymm" #t ", %%ymm" #n ", %%ymm" #n "\n\t"
__attribute__((target("avx2"))) static double peak_avx2(int64_t count) {
    for (int64_t i = 0; i < count; ++i)
        asm volatile(ONE(0, 6) ONE(1, 7) ONE(2, 8) ONE(3, 9) ONE(4, 10) ONE(5, 11)
                     :
                     :
                     : "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7", "ymm8",
                       "ymm9", "ymm10", "ymm11");
    return 6.0 * 32 * 2 * (double)count;
}
#undef ONE
#endif

// What `product` does without its scales: the sums are left where they fall.
#define BARE                                                                                \
    static void bare(const Matrix& w, Bytes a, int64_t rows, float*) {                      \
        alignas(64) int32_t sums[64 * TILE];                                                \
        for (int64_t panel = 0; panel < w.panels; ++panel)                                  \
            for (int64_t row = 0; row < rows; row += TILE) {                                \
                tile<TILE>(a.values + row * a.stride, a.stride,                             \
                           w.packed + panel * w.groups * 256, w.groups, w.paired, sums);    \
                asm volatile("" : : "r"(sums) : "memory");                                  \
            }                                                                               \
    }                                                                                       \
    static void whole_product(const Matrix& w, Bytes a, int64_t rows, float* out) {         \
        product(w, a, rows, out, 64 * w.panels, NONE);                                      \
    }

#if HAS_X86
#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace avx2 {
BARE
}
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
namespace avx512 {
BARE
}
#pragma GCC pop_options
#endif

static Matrix random_matrix(Block& block, int64_t in, int64_t out) {
    Matrix m{};
    m.in = in;
    m.panels = rounded(out, 64) / 64;
    m.groups = rounded(in, 4) / 4;
    m.paired = true;
    int8_t* packed = block.take<int8_t>(m.panels * m.groups * 256);
    for (int64_t i = 0; i < m.panels * m.groups * 256; ++i) packed[i] = (int8_t)(i * 37 % 101 - 50);
    float* ones = block.take<float>(64 * m.panels);
    for (int64_t i = 0; i < 64 * m.panels; ++i) ones[i] = 1e-3f;
    m.packed = packed;
    m.scale = m.total = m.bias = ones;
    return m;
}

typedef void (*Product)(const Matrix&, Bytes, int64_t, float*);

// As the engine goes: groups of rows through all layers, in blocks of rows that stay in the cache.
static double products(Product product, const std::vector<Matrix>& all, Bytes a, int64_t rows,
                       float* out) {
    double operations = 0;
    for (int64_t group = 0; group < rows; group += GROUP)
        for (const Matrix& m : all)
            for (int64_t i = group; i < group + GROUP && i < rows; i += ROWS) {
                int64_t end = group + GROUP < rows ? group + GROUP : rows;
                int64_t count = end - i < ROWS ? end - i : ROWS;
                product(m, a, count, out);
                operations += 2.0 * (double)(count * m.in * 64 * m.panels);
            }
    return operations;
}

int main(int, char** given) {
    int isa = atoi(given[1]);
    int64_t rows = atoll(given[2]), layers = atoll(given[3]), width = atoll(given[4]);
    int64_t inner = atoll(given[5]), rounds = atoll(given[6]);
#if HAS_X86
    if (!runs(isa) || (isa != LANES_AVX2 && isa != LANES_AVX512)) return 1;
    bool wide = isa == LANES_AVX512;
    Product bare = wide ? avx512::bare : avx2::bare;
    Product whole = wide ? avx512::whole_product : avx2::whole_product;
    Block block;
    std::vector<Matrix> all;
    for (int64_t i = 0; i < layers; ++i) {
        for (int n = 0; n < 4; ++n) all.push_back(random_matrix(block, width, width));
        all.push_back(random_matrix(block, width, inner));
        all.push_back(random_matrix(block, inner, width));
    }
    int64_t longest = rounded(width > inner ? width : inner, 64);
    Bytes a{};
    a.stride = longest;
    a.values = block.take<uint8_t>((ROWS + 8) * longest);
    a.scale = block.take<float>(ROWS + 8);
    a.low = block.take<float>(ROWS + 8);
    for (int64_t i = 0; i < ROWS * longest; ++i) a.values[i] = (uint8_t)(i * 31);
    for (int64_t i = 0; i < ROWS; ++i) a.scale[i] = 1e-3f;
    float* out = block.take<float>((ROWS + 8) * longest);
    for (int64_t i = 0; i < rounds + 1; ++i) {
        double speed[3];
        for (int n = 0; n < 3; ++n) {
            double start = now();
            double done = n ? products(n == 1 ? bare : whole, all, a, rows, out)
                            : wide ? peak_avx512(2000000) : peak_avx2(2000000);
            speed[n] = done / (now() - start) / 1e9;
        }
        if (i) printf("%.2f %.2f %.2f\n", speed[0], speed[1], speed[2]);
    }
    return 0;
#else
    return 1;
#endif
}
