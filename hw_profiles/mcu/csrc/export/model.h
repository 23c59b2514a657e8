/* A network in 8 bits. Write an input, run, read the output:
 *
 *     int8_t *in = model_input();   in[i] = round(x / MODEL_INPUT_SCALE) + MODEL_INPUT_ZERO
 *     model_run();
 *     const int8_t *out = model_output();   y = MODEL_OUTPUT_SCALE * (out[i] - MODEL_OUTPUT_ZERO)
 *
 * Input and output lie in the arena: running overwrites the input.
 */
#ifndef MODEL_H
#define MODEL_H

#include <stdint.h>

/* $input_shape, rows first and channels last */
#define MODEL_INPUT_BYTES $input_bytes
#define MODEL_INPUT_SCALE ${input_scale}f
#define MODEL_INPUT_ZERO $input_zero
/* $output_shape */
#define MODEL_OUTPUT_BYTES $output_bytes
#define MODEL_OUTPUT_SCALE ${output_scale}f
#define MODEL_OUTPUT_ZERO $output_zero
#define MODEL_ARENA_BYTES $arena_bytes

int8_t *model_input(void);
const int8_t *model_output(void);
void model_run(void);

#endif
