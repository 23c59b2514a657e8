/* Windows that have no loop of their own run in plain C. */
#define hwnas_depthwise depthwise_in_plain_c
#include "portable/depthwise.c"
#undef hwnas_depthwise

#include "matrix_simd.h"

/* Four channels at a time. Of each the last `kernel` rows wait in the scratch, widened to 16 bits,
 * so that two neighbours in a row are one word, and the output may overwrite the input (as in
 * portable/depthwise.c). Weights are widened as (w0, w1), (w2, 0) for outputs at even places and as
 * (0, w0), (w1, w2) for those at odd ones, which then read the same words. */
enum { CHANNELS = 4, OUTPUTS = 4 };

static void widen_weights(const int8_t *weight, int32_t kernel, uint32_t *even, uint32_t *odd)
{
    int32_t n = (kernel + 1) / 2;
    for (int32_t i = 0; i < kernel; i++, weight += kernel)
        for (int32_t j = 0; j < n; j++) {
            uint32_t before = j ? (uint16_t)weight[2 * j - 1] : 0;
            uint32_t here = (uint16_t)weight[2 * j];
            uint32_t after = 2 * j + 1 < kernel ? (uint16_t)weight[2 * j + 1] : 0;
            *even++ = here | after << 16;
            *odd++ = before | here << 16;
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

/* One row of one channel. */
HWNAS_INLINE void outputs(const hwnas_depthwise_params *p, const uint32_t *const *rows,
                          const uint32_t *even, const uint32_t *odd, int32_t channel,
                          const int kernel, const int stride, int8_t *out)
{
    const int n = (kernel + 1) / 2;
    int32_t bias = p->bias[channel], multiplier = p->multiplier[channel];
    int32_t shift = p->shift[channel], zero = p->out_zero, low = p->low, high = p->high;
    int32_t out_w = p->out_w, apart = p->channels;
    for (int32_t x = 0; x < out_w; x += OUTPUTS) {
        int32_t sum[OUTPUTS] = {bias, bias, bias, bias};
        for (int i = 0; i < kernel; i++) {
            const uint32_t *word = rows[i] + (stride == 1 ? x / 2 : x);
            for (int j = 0; j < n; j++) {
                int16x2_t e = (int16x2_t)even[i * n + j];
                sum[0] = __smlad((int16x2_t)word[j], e, sum[0]);
                if (stride == 1) {
                    int16x2_t o = (int16x2_t)odd[i * n + j];
                    sum[1] = __smlad((int16x2_t)word[j], o, sum[1]);
                    sum[2] = __smlad((int16x2_t)word[j + 1], e, sum[2]);
                    sum[3] = __smlad((int16x2_t)word[j + 1], o, sum[3]);
                } else {
                    sum[1] = __smlad((int16x2_t)word[j + 1], e, sum[1]);
                    sum[2] = __smlad((int16x2_t)word[j + 2], e, sum[2]);
                    sum[3] = __smlad((int16x2_t)word[j + 3], e, sum[3]);
                }
            }
        }
        for (int i = 0; i < OUTPUTS; i++, out += apart) {
            if (x + i >= out_w)
                break;
            int32_t made = hwnas_scaled(sum[i], multiplier, shift) + zero;
            *out = hwnas_clamped(made, low, high);
        }
    }
}

HWNAS_INLINE void run(const hwnas_depthwise_params *p, const int8_t *in, int8_t *out,
                      uint32_t *scratch, const int kernel, const int stride)
{
    const int n = (kernel + 1) / 2, weights = kernel * n;
    int32_t rounded = (p->out_w + OUTPUTS - 1) / OUTPUTS * OUTPUTS;
    int32_t words = ((rounded - 1) * stride + kernel + 2) / 2, apart = kernel * words;
    int32_t read = ((p->out_w - 1) * stride + kernel + 1) / 2;
    uint32_t *wide = scratch + CHANNELS * apart;
    for (int32_t c = 0; c < p->channels; c += CHANNELS, in += CHANNELS, out += CHANNELS) {
        int32_t valid = p->channels - c < CHANNELS ? p->channels - c : CHANNELS;
        for (int32_t i = 0; i < valid; i++)
            widen_weights(p->weight + (c + i) * kernel * kernel, kernel, wide + 2 * i * weights,
                          wide + (2 * i + 1) * weights);
        int32_t next = -p->pad_top, slot = 0;
        for (int32_t y = 0; y < p->out_h; y++) {
            int32_t end = y * stride - p->pad_top + kernel;
            for (; next < end; next++, slot = slot + 1 < kernel ? slot + 1 : 0)
                read_rows(p, in, next, valid, read, apart, scratch + slot * words);
            for (int32_t i = 0; i < valid; i++) {
                const uint32_t *rows[7];
                for (int j = 0; j < kernel; j++) {
                    int32_t place = slot + j < kernel ? slot + j : slot + j - kernel;
                    rows[j] = scratch + i * apart + place * words;
                }
                outputs(p, rows, wide + 2 * i * weights, wide + (2 * i + 1) * weights, c + i,
                        kernel, stride, out + y * p->out_w * p->channels + i);
            }
        }
    }
}

void hwnas_depthwise(const hwnas_depthwise_params *p, const int8_t *in, int8_t *out, void *scratch)
{
    int32_t square = p->kernel_h == p->kernel_w && p->stride_h == p->stride_w;
    switch (square ? p->kernel_h * 8 + p->stride_h : 0) {
    case 3 * 8 + 1: run(p, in, out, scratch, 3, 1); break;
    case 3 * 8 + 2: run(p, in, out, scratch, 3, 2); break;
    case 5 * 8 + 1: run(p, in, out, scratch, 5, 1); break;
    case 5 * 8 + 2: run(p, in, out, scratch, 5, 2); break;
    case 7 * 8 + 1: run(p, in, out, scratch, 7, 1); break;
    case 7 * 8 + 2: run(p, in, out, scratch, 7, 2); break;
    default: depthwise_in_plain_c(p, in, out, scratch);
    }
}
