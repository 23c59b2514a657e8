/* int8 kernels of hwnas. Maps are (h, w, c), batch left out.
 *
 * All kernels are called alike: constants, one or two inputs, the output, scratch memory.
 * Scratch is aligned to 4 bytes, holds nothing between calls, and is as large as
 * `scratch_bytes` of hw_profiles/mcu/constants.py says; kernels that ask for none take NULL.
 * Outputs lie apart from inputs, but that of depthwise, add, multiply and table may lie where
 * the first input does (an add's also where the second does), and that of others as many bytes
 * below the input as `distance_below` of hw_profiles/mcu/overlap.py says.
 *
 * Structs hold 32-bit words only, in the order of hw_profiles/mcu/constants.py. Biases are
 * folded: less the input's zero point times the sum of the weights. An output is
 * clamp(((sum * multiplier) >> 31, shifted by `shift` to the left) + out_zero, low, high), with the
 * two roundings of gemmlowp. Sums stay below 2^30 in magnitude, also after a shift to the left.
 */
#ifndef HWNAS_KERNELS_H
#define HWNAS_KERNELS_H

#include <stdint.h>

typedef struct {
    int32_t in_h, in_w, out_h, out_w, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left;
    int32_t in_c, out_c, in_zero, out_zero, low, high;
    const int8_t *weight; /* portable: (out_c, kernel_h, kernel_w, in_c); SIMD: packed */
    const int32_t *bias, *multiplier, *shift;
} hwnas_conv_params;

typedef struct {
    int32_t in_h, in_w, out_h, out_w, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left;
    int32_t channels, in_zero, out_zero, low, high;
    const int8_t *weight; /* (channels, kernel_h, kernel_w) */
    const int32_t *bias, *multiplier, *shift;
} hwnas_depthwise_params;

typedef struct {
    int32_t positions, in_c, out_c, in_zero, out_zero, low, high;
    const int8_t *weight; /* portable: (out_c, in_c); SIMD: packed */
    const int32_t *bias, *multiplier, *shift;
} hwnas_pointwise_params;

typedef hwnas_pointwise_params hwnas_fully_connected_params;

typedef struct {
    int32_t in_h, in_w, out_h, out_w, kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left;
    int32_t channels, low, high;
} hwnas_average_pool_params;

typedef hwnas_average_pool_params hwnas_max_pool_params;

typedef struct {
    int32_t positions, channels;
} hwnas_global_pool_params;

typedef struct {
    int32_t size, first_zero, second_zero, out_zero, low, high;
    int32_t first_multiplier, first_shift, second_multiplier, second_shift;
    int32_t out_multiplier, out_shift;
} hwnas_add_params;

typedef struct {
    int32_t positions, channels, first_zero, second_zero, out_zero, low, high;
    int32_t multiplier, shift;
} hwnas_multiply_params;

typedef struct {
    int32_t size;
    const int8_t *table; /* entry q + 128 */
} hwnas_table_params;

typedef struct {
    int32_t size;
    const int32_t *exponentials; /* exp of 0, -1, ... -255 steps, 31 bits behind the point */
} hwnas_softmax_params;

typedef struct {
    int32_t rows, row_bytes, in_start, in_stride, out_start, out_stride;
} hwnas_copy_params;

void hwnas_conv(const hwnas_conv_params *p, const int8_t *in, int8_t *out, void *scratch);
void hwnas_depthwise(const hwnas_depthwise_params *p, const int8_t *in, int8_t *out, void *scratch);
void hwnas_pointwise(const hwnas_pointwise_params *p, const int8_t *in, int8_t *out, void *scratch);
void hwnas_fully_connected(const hwnas_fully_connected_params *p, const int8_t *in, int8_t *out,
                           void *scratch);
void hwnas_average_pool(const hwnas_average_pool_params *p, const int8_t *in, int8_t *out,
                        void *scratch);
void hwnas_max_pool(const hwnas_max_pool_params *p, const int8_t *in, int8_t *out, void *scratch);
void hwnas_global_pool(const hwnas_global_pool_params *p, const int8_t *in, int8_t *out,
                       void *scratch);
void hwnas_add(const hwnas_add_params *p, const int8_t *first, const int8_t *second, int8_t *out,
               void *scratch);
void hwnas_multiply(const hwnas_multiply_params *p, const int8_t *first, const int8_t *second,
                    int8_t *out, void *scratch);
void hwnas_table(const hwnas_table_params *p, const int8_t *in, int8_t *out, void *scratch);
void hwnas_softmax(const hwnas_softmax_params *p, const int8_t *in, int8_t *out, void *scratch);
void hwnas_copy(const hwnas_copy_params *p, const int8_t *in, int8_t *out, void *scratch);

#endif
