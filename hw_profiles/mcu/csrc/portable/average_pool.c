#include "arithmetic.h"
#include "hwnas_kernels.h"

void hwnas_average_pool(const hwnas_average_pool_params *params, const int8_t *in, int8_t *out,
                        void *scratch)
{
    const hwnas_average_pool_params copy = *params, *p = &copy; /* bytes may alias the struct */
    (void)scratch;
    for (int32_t y = 0; y < p->out_h; y++) {
        int32_t from_y = y * p->stride_h - p->pad_top, to_y = from_y + p->kernel_h;
        from_y = from_y < 0 ? 0 : from_y;
        to_y = to_y > p->in_h ? p->in_h : to_y;
        for (int32_t x = 0; x < p->out_w; x++) {
            int32_t from_x = x * p->stride_w - p->pad_left, to_x = from_x + p->kernel_w;
            from_x = from_x < 0 ? 0 : from_x;
            to_x = to_x > p->in_w ? p->in_w : to_x;
            for (int32_t c = 0; c < p->channels; c++) {
                int32_t total = 0;
                for (int32_t i = from_y; i < to_y; i++)
                    for (int32_t j = from_x; j < to_x; j++)
                        total += in[(i * p->in_w + j) * p->channels + c];
                total = hwnas_mean(total, (to_y - from_y) * (to_x - from_x));
                *out++ = hwnas_clamped(total, p->low, p->high);
            }
        }
    }
}
