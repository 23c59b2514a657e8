// Sums of rows of tables for very many architectures: what `_look_up` of joint.py does, faster.
// Host code: built and loaded by joint.py.
#include <algorithm>
#include <cstdint>
#include <cstring>

namespace {

// Architectures at a time: their rows and sums stay in the first-level cache.
constexpr int64_t kBlock = 256, kLanes = 16;

typedef int8_t Entries __attribute__((vector_size(kLanes)));
typedef int16_t Wider __attribute__((vector_size(2 * kLanes)));
typedef int32_t Rows __attribute__((vector_size(4 * kLanes)));
typedef double Sums __attribute__((vector_size(32), aligned(8), may_alias));

// Mirrored by `_Tables` of joint.py.
struct Tables {
    int64_t groups, sums;
    const int32_t *begin;    // of group g: knobs and strides begin[g] to begin[g + 1] - 1
    const int32_t *knobs;
    const int32_t *strides;  // rows that the next option of the knob is further on
    const int32_t *first;    // of group g: rows first[g] to first[g + 1] - 1 of `values`
    const double *values;    // rows of all groups
    const double *constant;
};

// Rows of `count` architectures in group g; entries that are no options end in its last row.
void Find(const Tables &tables, int64_t g, const int8_t *entries, int64_t stride, int64_t count,
          Rows *rows)
{
    const Rows none = {}, last = none + (tables.first[g + 1] - 1);
    for (int64_t i = 0; i < count; i += kLanes) {
        Rows row = none + tables.first[g];
        for (int32_t k = tables.begin[g]; k < tables.begin[g + 1]; ++k) {
            const int8_t *column = entries + tables.knobs[k] * stride + i;
            Entries options = {};
            if (i + kLanes <= count)
                std::memcpy(&options, column, kLanes);
            else
                std::memcpy(&options, column, count - i);
            // In two steps: GCC 12 makes one instruction of each, and none of both.
            const Wider wider = __builtin_convertvector(options, Wider);
            row += __builtin_convertvector(wider, Rows) * tables.strides[k];
        }
        const Rows first = none + tables.first[g];
        row = row < first ? first : row;
        rows[i / kLanes] = row > last ? last : row;
    }
}

void Add(double *sums, const double *row, int64_t n)
{
    int64_t i = 0;
    for (; i + 4 <= n; i += 4)
        *reinterpret_cast<Sums *>(sums + i) += *reinterpret_cast<const Sums *>(row + i);
    for (; i < n; ++i)
        sums[i] += row[i];
}

}  // namespace

// Entry of knob k in architecture i is entries[k * stride + i]; its sums go to out[i * sums].
extern "C" void hwnas_joint(const Tables *tables, const int8_t *entries, int64_t stride, int64_t n,
                            double *out)
{
    const int64_t sums = tables->sums;
    for (int64_t start = 0; start < n; start += kBlock) {
        const int64_t count = std::min(kBlock, n - start);
        double *block = out + start * sums;
        for (int64_t i = 0; i < count; ++i)
            std::memcpy(block + i * sums, tables->constant, sums * sizeof(double));
        for (int64_t g = 0; g < tables->groups; ++g) {
            Rows rows[kBlock / kLanes];
            Find(*tables, g, entries + start, stride, count, rows);
            int32_t row[kBlock];
            std::memcpy(row, rows, sizeof rows);
            for (int64_t i = 0; i < count; ++i)
                Add(block + i * sums, tables->values + row[i] * sums, sums);
        }
    }
}
