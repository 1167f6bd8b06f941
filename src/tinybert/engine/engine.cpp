// An int8 encoder for packed sequences, behind a plain C interface; native.py is its only caller
// and checks every shape. Here every id and every length is checked before it indexes anything.

#include <stdint.h>
#include <string.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define HAS_X86 1
#elif defined(__aarch64__) && defined(__linux__) && defined(__GNUC__)
#include <arm_neon.h>
#include <sys/auxv.h>
#define HAS_NEON 1
#elif defined(__aarch64__) && defined(__APPLE__)
#include <arm_neon.h>
#define HAS_NEON 1
#endif

#define INLINE static inline __attribute__((always_inline))
#define EXPORT extern "C" __attribute__((visibility("default")))

#define LANES_PLAIN 0
#define LANES_AVX2 1
#define LANES_AVX512 2
#define LANES_NEON 3

namespace {

enum { NONE = 0, GELU = 1, TANH = 2 };
enum { FIRST = 0, TOKENS = 1, MEAN = 2 };
const int64_t ROWS = 96, GROUP = 288, FIRSTS = 4;
const int CACHED = 64;

// Rows of bytes with a scale each and one for each column, or rows of floats.
struct Table {
    const int8_t* rows;
    const float *scale, *columns, *plain;
    int64_t count, width, stride;
};
// Weights in panels of 64 columns, four rows of a column side by side; floats where `plain` is set.
struct Matrix {
    const int8_t* packed;
    const float *scale, *total, *bias, *plain;
    int64_t in, panels, groups;
    bool paired;
};
struct Norm {
    const float *gain, *bias;
    float epsilon;
};
struct Layer {
    Matrix query, key, value, out, inner, outer;
    Norm attention_norm, output_norm;
};
struct Bytes {
    uint8_t* values;
    int64_t stride;
    float *scale, *low;
};
struct Model {
    int64_t head_width, width, layers, pool, unit, steps, outputs, longest, padding, stride, inner_stride;
    Table words, segments, positions;
    Norm norm;
    Matrix project;
    const Layer* layer;
    const Matrix* head;
    const int32_t* activations;
};
struct Work {
    const int32_t *ids, *types;
    const int64_t* starts;
    int64_t sequences, first;
    float* out;
};
struct Space {
    float *states, *mixed, *context, *inner, *keys, *head, *scores, *spread;
    int64_t mixed_stride, inner_stride;
    Bytes bytes;
};

INLINE int32_t four_bytes(const uint8_t* p) {
    int32_t found;
    memcpy(&found, p, 4);
    return found;
}

}  // namespace

namespace plain {
#define LANES LANES_PLAIN
#include "lanes.inc"
#include "kernels.inc"
#undef LANES
}  // namespace plain

#if HAS_X86
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
namespace avx2 {
#define LANES LANES_AVX2
#include "lanes.inc"
#include "kernels.inc"
#undef LANES
}  // namespace avx2
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#endif
namespace avx512 {
#define LANES LANES_AVX512
#include "lanes.inc"
#include "kernels.inc"
#undef LANES
}  // namespace avx512
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

#if HAS_NEON
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("+dotprod")
#endif
namespace neon {
#define LANES LANES_NEON
#include "lanes.inc"
#include "kernels.inc"
#undef LANES
}  // namespace neon
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

namespace {

bool runs(int isa) {
    if (isa == LANES_PLAIN) return true;
#if HAS_X86
    if (isa == LANES_AVX2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (isa == LANES_AVX512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512vnni");
#endif
#if HAS_NEON && defined(__linux__)
    if (isa == LANES_NEON) return (getauxval(AT_HWCAP) >> 20) & 1;  // HWCAP_ASIMDDP
#elif HAS_NEON
    if (isa == LANES_NEON) return true;
#endif
    return false;
}

void run_work(int isa, const Model& model, const Space& space, const Work& work) {
#if HAS_X86
    if (isa == LANES_AVX512) return avx512::run_work(model, space, work);
    if (isa == LANES_AVX2) return avx2::run_work(model, space, work);
#endif
#if HAS_NEON
    if (isa == LANES_NEON) return neon::run_work(model, space, work);
#endif
    plain::run_work(model, space, work);
}

int64_t rounded(int64_t n, int64_t step) { return (n + step - 1) / step * step; }

}  // namespace

// What native.py hands over; the arrays outlive the engine. A matrix is K × N, row after row.
struct MatrixSpec {
    const int8_t* values;
    const float *scale, *total, *bias, *plain;
    int64_t in, out;
};
struct LayerSpec {
    MatrixSpec query, key, value, out, inner, outer;
    Norm attention_norm, output_norm;
};
struct Spec {
    int64_t head_width, width, layers, pool, unit, steps, longest, padding;
    Table words, segments, positions;
    Norm norm;
    MatrixSpec project;
    const LayerSpec* layer;
    const MatrixSpec* head;
    const int32_t* activations;
};

namespace {

// A block of memory that grows and is never moved while it is used.
class Block {
  public:
    template <class T>
    T* take(int64_t count) {
        size_t bytes = (size_t)rounded(count * (int64_t)sizeof(T) + 64, 64);
        parts_.emplace_back(new char[bytes + 64]());
        uintptr_t at = (uintptr_t)parts_.back().get();
        return (T*)((at + 63) / 64 * 64);
    }

  private:
    std::vector<std::unique_ptr<char[]>> parts_;
};

struct Memory {
    Block block;
    Space space;
    int64_t rows, longest;
};

class Engine {
  public:
    Engine(const Spec& spec, int isa) : isa_(isa) {
        for (auto& slot : free_) slot.store(nullptr);
        int64_t wide = spec.words.width > spec.width ? spec.words.width : spec.width;
        model_.stride = rounded(wide, 64);
        model_.inner_stride = model_.stride;
        model_.head_width = spec.head_width;
        model_.width = spec.width;
        model_.layers = spec.layers;
        model_.pool = spec.pool;
        model_.unit = spec.unit;
        model_.steps = spec.steps;
        model_.longest = spec.longest;
        model_.padding = spec.padding;
        model_.words = spec.words;
        model_.segments = spec.segments;
        model_.positions = spec.positions;
        model_.norm = padded(spec.norm, spec.words.width);
        model_.project = packed(spec.project);
        for (int64_t i = 0; i < spec.layers; ++i)
            layers_.push_back(layer(spec.layer[i], spec.width, spec.pool == FIRST && i + 1 == spec.layers));
        for (int64_t i = 0; i < spec.steps; ++i) head_.push_back(packed(spec.head[i]));
        activations_.assign(spec.activations, spec.activations + spec.steps);
        model_.layer = layers_.data();
        model_.head = head_.data();
        model_.activations = activations_.data();
        model_.outputs = spec.steps ? spec.head[spec.steps - 1].out : spec.width;
        for (Table* table : {&model_.words, &model_.segments, &model_.positions}) pad(*table);
    }

    ~Engine() {
        for (auto& slot : free_) delete slot.load();
    }

    // 0, or what is wrong at `at`: 1 an id, 2 a segment, 3 a length, 4 memory.
    int run(const int32_t* ids, const int32_t* types, const int64_t* starts, int64_t sequences,
            int64_t threads, float* out, int64_t* at) {
        int problem = check(ids, types, starts, sequences, at);
        if (problem || !sequences) return problem;
        try {
            std::vector<int64_t> cuts = groups(starts, sequences, threads);
            std::atomic<size_t> next{0};
            std::atomic<bool> failed{false};
            auto work = [&] {
                for (size_t i; (i = next.fetch_add(1)) + 1 < cuts.size();)
                    if (!group(ids, types, starts, cuts[i], cuts[i + 1], out)) failed = true;
            };
            std::vector<std::thread> others;
            for (int64_t n = 1; n < threads && (size_t)n + 1 < cuts.size(); ++n) {
                try {
                    others.emplace_back(work);
                } catch (...) {
                    break;
                }
            }
            work();
            for (auto& other : others) other.join();
            return failed ? 4 : 0;
        } catch (const std::bad_alloc&) {
            return 4;
        }
    }

  private:
    int check(const int32_t* ids, const int32_t* types, const int64_t* starts, int64_t sequences,
              int64_t* at) const {
        for (int64_t n = 0; n < sequences; ++n) {
            int64_t count = starts[n + 1] - starts[n];
            *at = n;
            if (count < 1 || count > model_.longest) return 3;
            for (int64_t t = starts[n]; t < starts[n + 1]; ++t) {
                if (ids[t] < 0 || ids[t] >= model_.words.count) return 1;
                if (model_.segments.width && (types[t] < 0 || types[t] >= model_.segments.count))
                    return 2;
            }
        }
        return 0;
    }

    // Sequences that run through all layers together: enough rows to use each weight often, few
    // enough to stay in the cache and to give every thread some.
    std::vector<int64_t> groups(const int64_t* starts, int64_t sequences, int64_t threads) const {
        int64_t rows = starts[sequences] - starts[0], size = GROUP;
        int64_t share = (rows + threads - 1) / threads;
        int64_t parts = (share + size - 1) / size;
        size = (share + parts - 1) / parts;
        std::vector<int64_t> cuts{0};
        for (int64_t n = 1; n <= sequences; ++n) {
            int64_t begin = starts[cuts.back()], with = starts[n] - begin;
            int64_t without = starts[n - 1] - begin;
            if (without > 0 && with - size > size - without) cuts.push_back(n - 1);
        }
        cuts.push_back(sequences);
        return cuts;
    }

    bool group(const int32_t* ids, const int32_t* types, const int64_t* starts, int64_t first,
               int64_t last, float* out) {
        int64_t longest = 0;
        for (int64_t n = first; n < last; ++n)
            if (starts[n + 1] - starts[n] > longest) longest = starts[n + 1] - starts[n];
        Memory* memory = take(starts[last] - starts[first], longest);
        if (!memory) return false;
        ::run_work(isa_, model_, memory->space, Work{ids, types, starts + first, last - first, first, out});
        for (auto& slot : free_) {
            Memory* empty = nullptr;
            if (slot.compare_exchange_strong(empty, memory)) return true;
        }
        delete memory;
        return true;
    }

    // Working memory that no other thread holds, from those that earlier calls gave back.
    Memory* take(int64_t rows, int64_t longest) {
        for (auto& slot : free_) {
            Memory* found = slot.exchange(nullptr);
            if (found && found->rows >= rows && found->longest >= longest) return found;
            delete found;
        }
        try {
            return made(rows < GROUP ? GROUP : rows, longest);
        } catch (const std::bad_alloc&) {
            return nullptr;
        }
    }

    Memory* made(int64_t rows, int64_t longest) const {
        std::unique_ptr<Memory> memory(new Memory);
        Block& block = memory->block;
        Space& s = memory->space;
        int64_t wide = rounded(model_.head_width, 16), turned = rounded(longest, 16);
        int64_t held = longest > ROWS ? turned : rounded(ROWS, 16);
        memory->rows = rows;
        memory->longest = longest;
        s.mixed_stride = 3 * model_.stride;
        s.inner_stride = model_.inner_stride;
        s.states = block.take<float>(rows * model_.stride);
        s.context = block.take<float>(rows * model_.stride);
        s.mixed = block.take<float>(rows * s.mixed_stride);
        s.inner = block.take<float>(ROWS * s.inner_stride);
        s.keys = block.take<float>(wide * turned + FIRSTS * (wide + 8));
        s.head = block.take<float>(wide * turned);
        s.scores = block.take<float>(8 * turned);
        s.spread = block.take<float>(FIRSTS * layers_.back().out.in / model_.head_width * model_.stride);
        s.bytes.stride = model_.inner_stride;
        s.bytes.values = block.take<uint8_t>(held * s.bytes.stride);
        s.bytes.scale = block.take<float>(held);
        s.bytes.low = block.take<float>(held);
        return memory.release();
    }

    const float* padded(const float* values, int64_t count) {
        float* to = own_.take<float>(rounded(count, 64));
        if (values) memcpy(to, values, (size_t)count * sizeof(float));
        return to;
    }

    Norm padded(const Norm& norm, int64_t width) {
        return Norm{padded(norm.gain, width), padded(norm.bias, width), norm.epsilon};
    }

    // Rows of floats are copied with room for whole lanes; rows of bytes stay where they are.
    void pad(Table& table) {
        table.stride = table.width;
        if (!table.plain) {
            if (table.width) table.columns = padded(table.columns, table.width);
            return;
        }
        table.stride = rounded(table.width, 16);
        float* to = own_.take<float>(table.count * table.stride);
        for (int64_t i = 0; i < table.count; ++i)
            memcpy(to + i * table.stride, table.plain + i * table.width,
                   (size_t)table.width * sizeof(float));
        table.plain = to;
    }

    Matrix packed(const MatrixSpec& spec) {
        Matrix m{};
        m.in = spec.in;
        if (!spec.in) return m;
        m.panels = rounded(spec.out, 64) / 64;
        m.groups = rounded(spec.in, 4) / 4;
        int64_t widest = 64 * m.panels > rounded(spec.in, 64) ? 64 * m.panels : rounded(spec.in, 64);
        if (widest > model_.inner_stride) model_.inner_stride = widest;
        m.bias = padded(spec.bias, spec.out);
        if (spec.plain) {
            float* to = own_.take<float>(spec.in * 64 * m.panels);
            for (int64_t k = 0; k < spec.in; ++k)
                memcpy(to + k * 64 * m.panels, spec.plain + k * spec.out,
                       (size_t)spec.out * sizeof(float));
            m.plain = to;
            return m;
        }
        m.scale = padded(spec.scale, spec.out);
        m.total = padded(spec.total, spec.out);
        int8_t* to = own_.take<int8_t>(m.panels * m.groups * 256);
        m.paired = true;
        for (int64_t k = 0; k < spec.in; ++k)
            for (int64_t n = 0; n < spec.out; ++n) {
                int w = spec.values[k * spec.out + n];
                to[(n / 64 * m.groups + k / 4) * 256 + n % 64 * 4 + k % 4] = (int8_t)w;
                int above = k % 2 ? spec.values[(k - 1) * spec.out + n] : 0;
                if ((w < 0) == (above < 0) && (w + above > 128 || w + above < -128)) m.paired = false;
            }
        m.packed = to;
        return m;
    }

    // Where the first rows alone are wanted, queries go through the keys' weights: see turn_queries.
    Matrix turned(const MatrixSpec& spec) {
        std::vector<int8_t> values((size_t)(spec.in * spec.out));
        for (int64_t k = 0; k < spec.in; ++k)
            for (int64_t n = 0; n < spec.out; ++n) values[n * spec.in + k] = spec.values[k * spec.out + n];
        Matrix m = packed(MatrixSpec{values.data(), nullptr, nullptr, nullptr, nullptr, spec.out, spec.in});
        m.scale = padded(spec.scale, spec.out);
        return m;
    }

    Layer layer(const LayerSpec& spec, int64_t width, bool firsts) {
        return Layer{packed(spec.query), firsts ? turned(spec.key) : packed(spec.key), packed(spec.value), packed(spec.out),
                     packed(spec.inner), packed(spec.outer), padded(spec.attention_norm, width),
                     padded(spec.output_norm, width)};
    }

    int isa_;
    Model model_{};
    Block own_;
    std::vector<Layer> layers_;
    std::vector<Matrix> head_;
    std::vector<int32_t> activations_;
    std::atomic<Memory*> free_[CACHED];
};

}  // namespace

EXPORT int tinybert_runs(int isa) { return runs(isa); }

EXPORT void* tinybert_open(const Spec* spec, int isa) {
    if (!runs(isa)) return nullptr;
    try {
        return new Engine(*spec, isa);
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

EXPORT int tinybert_run(void* engine, const int32_t* ids, const int32_t* types,
                        const int64_t* starts, int64_t sequences, int64_t threads, float* out,
                        int64_t* at) {
    return ((Engine*)engine)->run(ids, types, starts, sequences, threads, out, at);
}

EXPORT void tinybert_close(void* engine) { delete (Engine*)engine; }
