#include "arithmetic.h"
#include "hwnas_kernels.h"

/* Channel by channel. The last kernel_h rows that were read of a channel wait in the scratch, so
 * the output may overwrite the input: of this channel it only reaches what was read already. */
static void read_row(const hwnas_depthwise_params *p, const int8_t *in, int32_t y, int32_t length,
                     int16_t *row)
{
    for (int32_t j = 0; j < length; j++) {
        int32_t x = j - p->pad_left;
        int32_t inside = y >= 0 && y < p->in_h && x >= 0 && x < p->in_w;
        row[j] = inside ? in[(y * p->in_w + x) * p->channels] : (int16_t)p->in_zero;
    }
}

void hwnas_depthwise(const hwnas_depthwise_params *params, const int8_t *in, int8_t *out, void *scratch)
{
    const hwnas_depthwise_params copy = *params, *p = &copy; /* bytes may alias the struct */
    int32_t length = (p->out_w - 1) * p->stride_w + p->kernel_w;
    for (int32_t c = 0; c < p->channels; c++, in++, out++) {
        const int8_t *weight = p->weight + c * p->kernel_h * p->kernel_w;
        int32_t next = -p->pad_top;
        for (int32_t y = 0; y < p->out_h; y++) {
            int32_t top = y * p->stride_h - p->pad_top;
            for (next = next < top ? top : next; next < top + p->kernel_h; next++)
                read_row(p, in, next, length,
                         (int16_t *)scratch + (next + p->pad_top) % p->kernel_h * length);
            for (int32_t x = 0; x < p->out_w; x++) {
                int32_t total = p->bias[c];
                for (int32_t i = 0; i < p->kernel_h; i++) {
                    const int16_t *row = (const int16_t *)scratch
                                         + (top + i + p->pad_top) % p->kernel_h * length
                                         + x * p->stride_w;
                    for (int32_t j = 0; j < p->kernel_w; j++)
                        total += row[j] * weight[i * p->kernel_w + j];
                }
                total = hwnas_scaled(total, p->multiplier[c], p->shift[c]) + p->out_zero;
                out[(y * p->out_w + x) * p->channels] = hwnas_clamped(total, p->low, p->high);
            }
        }
    }
}
