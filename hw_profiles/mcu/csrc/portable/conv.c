#include "arithmetic.h"
#include "hwnas_kernels.h"

/* Out of the map the input counts as its zero point, which the folded bias takes off. */
static int32_t sum(const hwnas_conv_params *p, const int8_t *in, const int8_t *weight, int32_t y,
                   int32_t x)
{
    int32_t total = 0;
    for (int32_t i = 0; i < p->kernel_h; i++, y++) {
        for (int32_t j = 0; j < p->kernel_w; j++, weight += p->in_c) {
            int32_t column = x + j;
            if (y >= 0 && y < p->in_h && column >= 0 && column < p->in_w) {
                const int8_t *pixel = in + (y * p->in_w + column) * p->in_c;
                for (int32_t c = 0; c < p->in_c; c++)
                    total += pixel[c] * weight[c];
            } else {
                int32_t weights = 0;
                for (int32_t c = 0; c < p->in_c; c++)
                    weights += weight[c];
                total += p->in_zero * weights;
            }
        }
    }
    return total;
}

void hwnas_conv(const hwnas_conv_params *params, const int8_t *in, int8_t *out, void *scratch)
{
    const hwnas_conv_params copy = *params, *p = &copy; /* bytes may alias what lies elsewhere */
    int32_t row = p->kernel_h * p->kernel_w * p->in_c;
    (void)scratch;
    for (int32_t y = 0; y < p->out_h; y++)
        for (int32_t x = 0; x < p->out_w; x++)
            for (int32_t c = 0; c < p->out_c; c++) {
                int32_t total = p->bias[c] + sum(p, in, p->weight + c * row,
                                                 y * p->stride_h - p->pad_top,
                                                 x * p->stride_w - p->pad_left);
                total = hwnas_scaled(total, p->multiplier[c], p->shift[c]) + p->out_zero;
                *out++ = hwnas_clamped(total, p->low, p->high);
            }
}
