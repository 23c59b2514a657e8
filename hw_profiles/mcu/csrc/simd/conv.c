#include "hwnas_kernels.h"
#include "matrix_simd.h"

static int8_t *copied(int8_t *to, const int8_t *from, int32_t n)
{
    for (; n >= 4; n -= 4, to += 4, from += 4)
        __builtin_memcpy(to, from, 4);
    for (; n > 0; n--)
        *to++ = *from++;
    return to;
}

static int8_t *filled(int8_t *to, int32_t value, int32_t n)
{
    uint32_t word = (uint32_t)(uint8_t)value * 0x01010101u;
    for (; n >= 4; n -= 4, to += 4)
        __builtin_memcpy(to, &word, 4);
    for (; n > 0; n--)
        *to++ = (int8_t)value;
    return to;
}

/* What output (y, x) reads, in a row: whole rows of the kernel are copied where they can be. */
static void gather(const hwnas_conv_params *p, const int8_t *in, int32_t y, int32_t x, int8_t *to)
{
    int32_t row = y * p->stride_h - p->pad_top, column = x * p->stride_w - p->pad_left;
    int32_t left = column < 0 ? -column : 0, right = column + p->kernel_w - p->in_w;
    right = right < 0 ? 0 : right;
    int32_t inside = (p->kernel_w - left - right) * p->in_c;
    const int8_t *from = in + (row * p->in_w + column + left) * p->in_c;
    for (int32_t i = 0; i < p->kernel_h; i++, row++, from += p->in_w * p->in_c) {
        if (row < 0 || row >= p->in_h) {
            to = filled(to, p->in_zero, p->kernel_w * p->in_c);
            continue;
        }
        to = filled(to, p->in_zero, left * p->in_c);
        to = copied(to, from, inside);
        to = filled(to, p->in_zero, right * p->in_c);
    }
}

void hwnas_conv(const hwnas_conv_params *p, const int8_t *in, int8_t *out, void *scratch)
{
    hwnas_finish finish = {p->out_c, p->out_zero, p->low,  p->high,
                           p->bias,  p->multiplier, p->shift};
    int32_t n = p->kernel_h * p->kernel_w * p->in_c, fours = (n + 3) / 4;
    uint32_t *wide = scratch;
    int8_t *first = (int8_t *)(wide + 4 * fours), *second = first + 4 * fours;
    int32_t waiting = 0;
    for (int32_t y = 0; y < p->out_h; y++)
        for (int32_t x = 0; x < p->out_w; x++) {
            gather(p, in, y, x, waiting ? second : first);
            waiting = !waiting;
            if (waiting)
                continue;
            hwnas_widen(first, second, n, 2, wide);
            hwnas_columns(&finish, p->weight, wide, fours, 2, out);
            out += 2 * p->out_c;
        }
    if (waiting) {
        hwnas_widen(first, first, n, 1, wide);
        hwnas_columns(&finish, p->weight, wide, fours, 1, out);
    }
}
