#include "arithmetic.h"
#include "hwnas_kernels.h"

/* Some channels at a time, so that whole pixels are read in a row. */
enum { TOGETHER = 4 };

void hwnas_global_pool(const hwnas_global_pool_params *params, const int8_t *in, int8_t *out,
                       void *scratch)
{
    const hwnas_global_pool_params copy = *params, *p = &copy; /* bytes may alias the struct */
    int32_t c = 0;
    (void)scratch;
    for (; c + TOGETHER <= p->channels; c += TOGETHER) {
        int32_t a = 0, b = 0, d = 0, e = 0;
        const int8_t *pixel = in + c;
        for (int32_t i = 0; i < p->positions; i++, pixel += p->channels) {
            a += pixel[0];
            b += pixel[1];
            d += pixel[2];
            e += pixel[3];
        }
        out[c] = (int8_t)hwnas_mean(a, p->positions);
        out[c + 1] = (int8_t)hwnas_mean(b, p->positions);
        out[c + 2] = (int8_t)hwnas_mean(d, p->positions);
        out[c + 3] = (int8_t)hwnas_mean(e, p->positions);
    }
    for (; c < p->channels; c++) {
        int32_t total = 0;
        for (int32_t i = 0; i < p->positions; i++)
            total += in[i * p->channels + c];
        out[c] = (int8_t)hwnas_mean(total, p->positions);
    }
}
