#include "arithmetic.h"
#include "hwnas_kernels.h"

/* Output channels that read an input while it is in a register. */
enum { TOGETHER = 4 };

/* Out of the map the input counts as its zero point, which the folded bias takes off. */
static const int8_t *read_at(const hwnas_conv_params *p, const int8_t *in, int32_t y, int32_t x)
{
    int32_t inside = y >= 0 && y < p->in_h && x >= 0 && x < p->in_w;
    return inside ? in + (y * p->in_w + x) * p->in_c : 0;
}

static int32_t sum(const hwnas_conv_params *p, const int8_t *in, const int8_t *weight, int32_t y,
                   int32_t x, int32_t total)
{
    for (int32_t i = 0; i < p->kernel_h; i++)
        for (int32_t j = 0; j < p->kernel_w; j++, weight += p->in_c) {
            const int8_t *pixel = read_at(p, in, y + i, x + j);
            for (int32_t c = 0; c < p->in_c; c++)
                total += (pixel ? pixel[c] : p->in_zero) * weight[c];
        }
    return total;
}

static void sums(const hwnas_conv_params *p, const int8_t *in, const int8_t *weight, int32_t y,
                 int32_t x, int32_t *total)
{
    int32_t row = p->kernel_h * p->kernel_w * p->in_c, n = p->in_c;
    int32_t s0 = total[0], s1 = total[1], s2 = total[2], s3 = total[3];
    for (int32_t i = 0; i < p->kernel_h; i++)
        for (int32_t j = 0; j < p->kernel_w; j++, weight += n) {
            const int8_t *pixel = read_at(p, in, y + i, x + j);
            const int8_t *w0 = weight, *w1 = w0 + row, *w2 = w1 + row, *w3 = w2 + row;
            for (int32_t c = 0; c < n; c++) {
                int32_t value = pixel ? pixel[c] : p->in_zero;
                s0 += value * w0[c];
                s1 += value * w1[c];
                s2 += value * w2[c];
                s3 += value * w3[c];
            }
        }
    total[0] = s0, total[1] = s1, total[2] = s2, total[3] = s3;
}

void hwnas_conv(const hwnas_conv_params *params, const int8_t *in, int8_t *out, void *scratch)
{
    const hwnas_conv_params copy = *params, *p = &copy; /* bytes may alias the struct */
    int32_t row = p->kernel_h * p->kernel_w * p->in_c;
    (void)scratch;
    for (int32_t y = 0; y < p->out_h; y++)
        for (int32_t x = 0; x < p->out_w; x++, out += p->out_c) {
            int32_t top = y * p->stride_h - p->pad_top, left = x * p->stride_w - p->pad_left;
            for (int32_t c = 0; c < p->out_c; c += TOGETHER) {
                int32_t total[TOGETHER], n = p->out_c - c < TOGETHER ? p->out_c - c : TOGETHER;
                for (int32_t i = 0; i < n; i++)
                    total[i] = p->bias[c + i];
                if (n == TOGETHER)
                    sums(p, in, p->weight + c * row, top, left, total);
                else
                    for (int32_t i = 0; i < n; i++)
                        total[i] = sum(p, in, p->weight + (c + i) * row, top, left, total[i]);
                for (int32_t i = 0; i < n; i++) {
                    int32_t made = hwnas_scaled(total[i], p->multiplier[c + i], p->shift[c + i]);
                    out[c + i] = hwnas_clamped(made + p->out_zero, p->low, p->high);
                }
            }
        }
}
