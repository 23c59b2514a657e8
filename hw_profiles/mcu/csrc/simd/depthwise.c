/* Windows that have no loop of their own run in plain C. */
#define hwnas_depthwise depthwise_in_plain_c
#include "portable/depthwise.c"
#undef hwnas_depthwise

#include "matrix_simd.h"

/* Four channels at a time. Of each the last `kernel` rows wait in the scratch, widened to 16 bits,
 * so that two neighbours in a row are one word, and the output may overwrite the input (as in
 * portable/depthwise.c). Weights are widened as (w0, w1), (w2, 0) for outputs at even places and as
 * (0, w0), (w1, w2) for those at odd ones, which then read the same words. */
enum { CHANNELS = 4, OUTPUTS = 4, TOGETHER = 32 };

static void widen_weights(const int8_t *weight, int32_t kernel, uint32_t *to)
{
    int32_t n = (kernel + 1) / 2;
    for (int32_t i = 0; i < kernel; i++, weight += kernel, to += 2 * n)
        for (int32_t j = 0; j < n; j++) {
            uint32_t before = j ? (uint16_t)weight[2 * j - 1] : 0;
            uint32_t here = (uint16_t)weight[2 * j];
            uint32_t after = 2 * j + 1 < kernel ? (uint16_t)weight[2 * j + 1] : 0;
            to[j] = here | after << 16;
            to[n + j] = before | here << 16;
        }
}

/* Four channels of columns x and x + 1 to a word of each channel, `apart` words from each other. */
HWNAS_INLINE void put_pair(uint32_t first, uint32_t second, int32_t apart, uint32_t *to)
{
    uint32_t even = hwnas_even(first), odd = hwnas_odd(first);
    uint32_t next_even = hwnas_even(second), next_odd = hwnas_odd(second);
    to[0] = (even & 0xFFFF) | next_even << 16;
    to[apart] = (odd & 0xFFFF) | next_odd << 16;
    to[2 * apart] = even >> 16 | (next_even & 0xFFFF0000);
    to[3 * apart] = odd >> 16 | (next_odd & 0xFFFF0000);
}

static void read_rows(const hwnas_depthwise_params *p, const int8_t *in, int32_t y, int32_t valid,
                      int32_t words, int32_t apart, uint32_t *to)
{
    uint32_t zero = (uint32_t)(uint8_t)p->in_zero * 0x01010101u;
    const int8_t *row = in + y * p->in_w * p->channels;
    int32_t x = -p->pad_left, inside = y >= 0 && y < p->in_h;
    for (int32_t i = 0; i < words; i++, x += 2, to++) {
        if (inside && valid == CHANNELS) {
            const int8_t *from = row + x * p->channels;
            for (; x >= 0 && x + 1 < p->in_w && i < words; i++, x += 2, to++) {
                put_pair(hwnas_word(from), hwnas_word(from + p->channels), apart, to);
                from += 2 * p->channels;
            }
            if (i == words)
                break;
        }
        uint32_t pair[2] = {zero, zero};
        for (int32_t j = 0; j < 2; j++)
            if (inside && x + j >= 0 && x + j < p->in_w) {
                const int8_t *from = row + (x + j) * p->channels;
                pair[j] = valid == CHANNELS ? hwnas_word(from) : hwnas_part_of_word(from, valid);
            }
        put_pair(pair[0], pair[1], apart, to);
    }
}

/* Sums of a row of one channel, whose inputs are `at` words behind `rows`; n is rounded up to
 * `OUTPUTS`. The inner loops are functions of their own: what they keep in registers is then all
 * that is alive. */
typedef void row_sums(const uint32_t *const *rows, int32_t at, const uint32_t *weights, int32_t bias,
                      int32_t n, int32_t *to);

HWNAS_INLINE void sums(const uint32_t *const *rows, int32_t at, const uint32_t *weights, int32_t bias,
                       int32_t n, int32_t *to, const int kernel, const int stride)
{
    const int words = (kernel + 1) / 2;
    for (; n > 0; n -= OUTPUTS, at += OUTPUTS * stride / 2, to += OUTPUTS) {
        int32_t a = bias, b = bias, c = bias, d = bias;
        const uint32_t *even = weights;
        for (int i = 0; i < kernel; i++, even += 2 * words) {
            const uint32_t *word = rows[i] + at, *odd = even + words;
            for (int j = 0; j < words; j++, word++) {
                int16x2_t e = (int16x2_t)even[j];
                a = __smlad((int16x2_t)word[0], e, a);
                if (stride == 1) {
                    int16x2_t o = (int16x2_t)odd[j];
                    b = __smlad((int16x2_t)word[0], o, b);
                    c = __smlad((int16x2_t)word[1], e, c);
                    d = __smlad((int16x2_t)word[1], o, d);
                } else {
                    b = __smlad((int16x2_t)word[1], e, b);
                    c = __smlad((int16x2_t)word[2], e, c);
                    d = __smlad((int16x2_t)word[3], e, d);
                }
            }
        }
        to[0] = a, to[1] = b, to[2] = c, to[3] = d;
    }
}

#define ROW_SUMS(kernel, stride)                                                                  \
    static __attribute__((noinline)) void sums_##kernel##_##stride(                               \
        const uint32_t *const *rows, int32_t at, const uint32_t *weights, int32_t bias, int32_t n, \
        int32_t *to)                                                                              \
    {                                                                                             \
        sums(rows, at, weights, bias, n, to, kernel, stride);                                     \
    }
ROW_SUMS(3, 1)
ROW_SUMS(3, 2)
ROW_SUMS(5, 1)
ROW_SUMS(5, 2)
ROW_SUMS(7, 1)
ROW_SUMS(7, 2)

/* What a channel's sums are scaled by and brought into. */
typedef struct {
    int32_t multiplier, shift, zero, low, high;
} scale;

/* An output, where the factor shifts to the right. */
HWNAS_INLINE int8_t made(int32_t sum, scale by, const int bounded)
{
    int32_t x = hwnas_scaled_right(sum, by.multiplier, -by.shift) + by.zero;
    return bounded ? hwnas_clamped(x, by.low, by.high) : (int8_t)__ssat(x, 8);
}

/* n outputs of one channel, two at a time: more would not stay in registers. */
HWNAS_INLINE void finish_pairs(const int32_t *sum, int32_t n, scale by, int32_t apart,
                               const int bounded, int8_t *out)
{
    for (; n > 1; n -= 2, sum += 2) {
        int8_t a = made(sum[0], by, bounded), b = made(sum[1], by, bounded);
        *out = a, out += apart;
        *out = b, out += apart;
    }
    if (n)
        *out = made(*sum, by, bounded);
}

/* n outputs of one channel from their sums. */
static __attribute__((noinline)) void finish(const hwnas_depthwise_params *p, int32_t channel,
                                             const int32_t *sum, int32_t n, int8_t *out)
{
    int32_t apart = p->channels;
    scale by = {p->multiplier[channel], p->shift[channel], p->out_zero, p->low, p->high};
    if (by.shift < 0 && by.low == -128 && by.high == 127)
        finish_pairs(sum, n, by, apart, 0, out);
    else if (by.shift < 0)
        finish_pairs(sum, n, by, apart, 1, out);
    else
        for (; n > 0; n--, out += apart)
            *out = hwnas_clamped(hwnas_scaled(*sum++, by.multiplier, by.shift) + by.zero, by.low,
                                 by.high);
}

static void run(const hwnas_depthwise_params *p, const int8_t *in, int8_t *out, uint32_t *scratch,
                row_sums *sums_of)
{
    int32_t kernel = p->kernel_w, stride = p->stride_w;
    int32_t weights = kernel * ((kernel + 1) & ~1);
    int32_t rounded = (p->out_w + OUTPUTS - 1) / OUTPUTS * OUTPUTS;
    int32_t words = ((rounded - 1) * stride + kernel + 2) / 2, apart = kernel * words;
    int32_t read = ((p->out_w - 1) * stride + kernel + 1) / 2;
    uint32_t *wide = scratch + CHANNELS * apart;
    for (int32_t c = 0; c < p->channels; c += CHANNELS, in += CHANNELS, out += CHANNELS) {
        int32_t valid = p->channels - c < CHANNELS ? p->channels - c : CHANNELS;
        for (int32_t i = 0; i < valid; i++)
            widen_weights(p->weight + (c + i) * kernel * kernel, kernel, wide + i * weights);
        int32_t next = -p->pad_top, slot = 0;
        for (int32_t y = 0; y < p->out_h; y++) {
            int32_t end = y * stride - p->pad_top + kernel;
            for (; next < end; next++, slot = slot + 1 < kernel ? slot + 1 : 0)
                read_rows(p, in, next, valid, read, apart, scratch + slot * words);
            const uint32_t *rows[7];
            for (int32_t j = 0; j < kernel; j++)
                rows[j] = scratch + (slot + j < kernel ? slot + j : slot + j - kernel) * words;
            for (int32_t x = 0; x < p->out_w; x += TOGETHER) {
                int32_t sum[TOGETHER], n = p->out_w - x < TOGETHER ? p->out_w - x : TOGETHER;
                int32_t at = x * stride / 2;
                for (int32_t i = 0; i < valid; i++, at += apart) {
                    sums_of(rows, at, wide + i * weights, p->bias[c + i], n, sum);
                    finish(p, c + i, sum, n, out + (y * p->out_w + x) * p->channels + i);
                }
            }
        }
    }
}

void hwnas_depthwise(const hwnas_depthwise_params *p, const int8_t *in, int8_t *out, void *scratch)
{
    int32_t square = p->kernel_h == p->kernel_w && p->stride_h == p->stride_w;
    switch (square ? p->kernel_h * 8 + p->stride_h : 0) {
    case 3 * 8 + 1: run(p, in, out, scratch, sums_3_1); break;
    case 3 * 8 + 2: run(p, in, out, scratch, sums_3_2); break;
    case 5 * 8 + 1: run(p, in, out, scratch, sums_5_1); break;
    case 5 * 8 + 2: run(p, in, out, scratch, sums_5_2); break;
    case 7 * 8 + 1: run(p, in, out, scratch, sums_7_1); break;
    case 7 * 8 + 2: run(p, in, out, scratch, sums_7_2); break;
    default: depthwise_in_plain_c(p, in, out, scratch);
    }
}
