// One row of a correlation over vectors of channels, in tiles whose sums stay in registers.

#ifndef HWNAS_DEPTHWISE_CONV_CPU_ROWS_H_
#define HWNAS_DEPTHWISE_CONV_CPU_ROWS_H_

#include "cpp/activations.h"
#include "cpp/vectors.h"

namespace {

constexpr int kMaxTaps = 7;  // of a row in one tile; longer rows take several passes

// Distances in floats between neighbours of a map or a kernel.
struct Pitch {
  Index row, pixel;
};

// What is done to a sum before it is stored for the last time: a bias is added (null for none), then
// the result activated.
struct Finish {
  const float* bias;
  int64_t activation;
};

// `rows` rows of taps over T output pixels that lie `Step` input pixels apart. `in` is the pixel
// that the first tap of the first output meets; columns outside [low, high) do not exist.
struct Tile {
  const float* in;
  Pitch in_pitch;
  const float* weight;
  Pitch weight_pitch;
  float* out;
  Index out_pixel;
  int rows, low, high;
  bool add;
  Finish finish;
};

template <int Taps, int T, int Step>
void Correlate(const Tile& a) {
  Vec sum[T];
  UNROLL for (int t = 0; t < T; ++t) sum[t] = a.add ? Load(a.out + t * a.out_pixel) : Vec{};
  const float* in = a.in;
  const float* weight = a.weight;
  for (int y = 0; y < a.rows; ++y, in += a.in_pitch.row, weight += a.weight_pitch.row) {
    Vec w[Taps];
    UNROLL for (int k = 0; k < Taps; ++k) w[k] = Load(weight + k * a.weight_pitch.pixel);
    UNROLL for (int m = 0; m < (T - 1) * Step + Taps; ++m) {
      if (m < a.low || m >= a.high) continue;
      const Vec v = Load(in + m * a.in_pitch.pixel);
      UNROLL for (int k = 0; k < Taps; ++k) {
        if (m >= k && (m - k) % Step == 0 && (m - k) / Step < T) sum[(m - k) / Step] += v * w[k];
      }
    }
  }
  if (a.finish.bias) {
    const Vec bias = Load(a.finish.bias);
    UNROLL for (int t = 0; t < T; ++t) sum[t] = Activate(a.finish.activation, sum[t] + bias);
  }
  UNROLL for (int t = 0; t < T; ++t) Store(a.out + t * a.out_pixel, sum[t]);
}

using CorrelateFn = void (*)(const Tile&);

template <int Taps, int Step>
CorrelateFn CorrelateOfWidth(int width) {
  switch (width) {
    case 8: return Correlate<Taps, 8, Step>;
    case 7: return Correlate<Taps, 7, Step>;
    case 4: return Correlate<Taps, 4, Step>;
    case 2: return Correlate<Taps, 2, Step>;
    default: return Correlate<Taps, 1, Step>;
  }
}

// The tap counts that have a tile of their own; others take several passes.
int TapsAtOnce(int taps, int step) {
  if (step == 1) return taps == 6 ? 5 : std::min(taps, kMaxTaps);
  return step > 2 ? 1 : taps >= 7 ? 7 : taps >= 5 ? 5 : taps >= 3 ? 3 : 1;
}

CorrelateFn CorrelateOf(int taps, int step, int width) {
  if (step == 2) {
    switch (taps) {
      case 7: return CorrelateOfWidth<7, 2>(width);
      case 5: return CorrelateOfWidth<5, 2>(width);
      case 3: return CorrelateOfWidth<3, 2>(width);
      default: return CorrelateOfWidth<1, 2>(width);
    }
  }
  switch (taps) {
    case 7: return CorrelateOfWidth<7, 1>(width);
    case 5: return CorrelateOfWidth<5, 1>(width);
    case 4: return CorrelateOfWidth<4, 1>(width);
    case 3: return CorrelateOfWidth<3, 1>(width);
    case 2: return CorrelateOfWidth<2, 1>(width);
    default: return CorrelateOfWidth<1, 1>(width);
  }
}

int TileWidth(int width, int left) {
  if (width % 7 == 0) return 7;
  return left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

// One row of a correlation: out[x] = sum over taps of in[x * step + first + tap].
struct Row {
  const float* in;  // its column 0
  Pitch in_pitch;
  int in_width;
  const float* weight;
  Pitch weight_pitch;
  int rows, taps, step, first;
  float* out;
  Index out_pixel;
  int out_width;
  Finish finish;
};

// A row that meets no input.
void EmptyRow(const Row& a) {
  Vec value = {};
  if (a.finish.bias) value = Activate(a.finish.activation, Load(a.finish.bias));
  for (int x = 0; x < a.out_width; ++x) Store(a.out + x * a.out_pixel, value);
}

void CorrelateRow(const Row& a) {
  if (a.rows <= 0 || a.taps <= 0) return EmptyRow(a);
  // Steps over 2 are rare: a tap at a time, over every step-th pixel.
  const int stretch = a.step > 2 ? a.step : 1, step = a.step / stretch;
  for (int x = 0; x < a.out_width;) {
    const int width = TileWidth(a.out_width, a.out_width - x);
    for (int tap = 0; tap < a.taps;) {
      const int taps = TapsAtOnce(a.taps - tap, a.step);
      const int column = x * a.step + a.first + tap;
      CorrelateOf(taps, step, width)(
          {a.in + column * a.in_pitch.pixel,
           {a.in_pitch.row, a.in_pitch.pixel * stretch},
           a.weight + tap * a.weight_pitch.pixel,
           a.weight_pitch,
           a.out + x * a.out_pixel,
           a.out_pixel,
           a.rows,
           CeilDiv(-column, stretch),
           CeilDiv(a.in_width - column, stretch),
           tap > 0,
           tap + taps < a.taps ? Finish{} : a.finish});
      tap += taps;
    }
    x += width;
  }
}

}  // namespace

#endif  // HWNAS_DEPTHWISE_CONV_CPU_ROWS_H_
