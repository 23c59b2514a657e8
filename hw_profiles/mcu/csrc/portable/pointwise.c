#include "arithmetic.h"
#include "hwnas_kernels.h"

/* Output channels that read an input while it is in a register. */
enum { TOGETHER = 4 };

static void put(const hwnas_pointwise_params *p, int32_t c, int32_t sum, int8_t *out)
{
    sum = hwnas_scaled(sum, p->multiplier[c], p->shift[c]) + p->out_zero;
    out[c] = hwnas_clamped(sum, p->low, p->high);
}

void hwnas_pointwise(const hwnas_pointwise_params *params, const int8_t *in, int8_t *out,
                     void *scratch)
{
    const hwnas_pointwise_params copy = *params, *p = &copy; /* bytes may alias the struct */
    int32_t n = p->in_c;
    (void)scratch;
    for (int32_t i = 0; i < p->positions; i++, in += n, out += p->out_c) {
        const int8_t *weight = p->weight;
        int32_t c = 0;
        for (; c + TOGETHER <= p->out_c; c += TOGETHER, weight += TOGETHER * n) {
            const int8_t *w0 = weight, *w1 = w0 + n, *w2 = w1 + n, *w3 = w2 + n;
            int32_t s0 = p->bias[c], s1 = p->bias[c + 1], s2 = p->bias[c + 2], s3 = p->bias[c + 3];
            for (int32_t k = 0; k < n; k++) {
                int32_t x = in[k];
                s0 += x * w0[k];
                s1 += x * w1[k];
                s2 += x * w2[k];
                s3 += x * w3[k];
            }
            put(p, c, s0, out);
            put(p, c + 1, s1, out);
            put(p, c + 2, s2, out);
            put(p, c + 3, s3, out);
        }
        for (; c < p->out_c; c++, weight += n) {
            int32_t sum = p->bias[c];
            for (int32_t k = 0; k < n; k++)
                sum += in[k] * weight[k];
            put(p, c, sum, out);
        }
    }
}
