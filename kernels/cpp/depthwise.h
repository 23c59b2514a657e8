// Depthwise convolution in tiles of a row, whose sums stay in registers. Channels are the innermost
// loop, so that maps are read in the order in which they lie.

#ifndef HWNAS_CPP_DEPTHWISE_H_
#define HWNAS_CPP_DEPTHWISE_H_

#include <cstdint>

#include "cpp/activations.h"
#include "cpp/vectors.h"

namespace {

constexpr int kMaxTaps = 7;  // of a row in one tile; longer rows take several passes

// Distances in floats between neighbours of a map or a kernel.
struct Pitch {
  Index row, pixel;
};

// Channels in vectors. The last one overlaps its neighbour where they are no multiple of the lanes:
// both write the same values.
struct Lanes {
  Index vectors, last;  // where the last one begins, if there is one
  bool streams;         // results go past the caches
  Index start(Index i) const { return std::min(i * kLanes, last); }
};

constexpr Index kStreamed = 4 << 20;  // floats

// Whether a result should go past the caches: it is too large for whoever reads it next to find it
// there, and its vectors are whole cache lines.
inline bool Streams(const float* map, Index floats, Index channels) {
  return floats >= kStreamed && kLanes == 16 && channels % kLanes == 0 &&
         reinterpret_cast<std::uintptr_t>(map) % 64 == 0;
}

// `rows` rows of taps over T output pixels that lie `Step` input pixels apart. `in` is the pixel
// that the first tap of the first output meets; columns outside [low, high) do not exist.
struct Tile {
  Lanes lanes;
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
  for (Index i = 0; i < a.lanes.vectors; ++i) {
    const Index c = a.lanes.start(i);
    float* out = a.out + c;
    Vec sum[T];
    UNROLL for (int t = 0; t < T; ++t) sum[t] = a.add ? Load(out + t * a.out_pixel) : Vec{};
    const float* in = a.in + c;
    const float* weight = a.weight + c;
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
      const Vec bias = Load(a.finish.bias + c);
      UNROLL for (int t = 0; t < T; ++t) sum[t] += bias;
      ActivateAll(a.finish.activation, sum);
    }
    if (a.lanes.streams) {
      UNROLL for (int t = 0; t < T; ++t) Stream(out + t * a.out_pixel, sum[t]);
    } else {
      UNROLL for (int t = 0; t < T; ++t) Store(out + t * a.out_pixel, sum[t]);
    }
  }
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
  Lanes lanes;
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
  for (Index i = 0; i < a.lanes.vectors; ++i) {
    const Index c = a.lanes.start(i);
    Vec value[1] = {};
    if (a.finish.bias) {
      value[0] = Load(a.finish.bias + c);
      ActivateAll(a.finish.activation, value);
    }
    for (int x = 0; x < a.out_width; ++x) Store(a.out + x * a.out_pixel + c, value[0]);
  }
}

void CorrelateRow(const Row& a) {
  if (a.rows <= 0 || a.taps <= 0) return EmptyRow(a);
  if (a.lanes.vectors > 1 && TapsAtOnce(a.taps, a.step) < a.taps) {
    // Several passes add up, so vectors that overlap must not take them together.
    for (Index i = 0; i < a.lanes.vectors; ++i) {
      const Index c = a.lanes.start(i);
      Row one = a;
      one.lanes = {1, 0, false};
      one.in += c, one.weight += c, one.out += c;
      if (one.finish.bias) one.finish.bias += c;
      CorrelateRow(one);
    }
    return;
  }
  // Steps over 2 are rare: a tap at a time, over every step-th pixel.
  const int stretch = a.step > 2 ? a.step : 1, step = a.step / stretch;
  for (int x = 0; x < a.out_width;) {
    const int width = TileWidth(a.out_width, a.out_width - x);
    for (int tap = 0; tap < a.taps;) {
      const int taps = TapsAtOnce(a.taps - tap, a.step);
      const int column = x * a.step + a.first + tap;
      CorrelateOf(taps, step, width)(
          {a.lanes,
           a.in + column * a.in_pitch.pixel,
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

struct Shape {
  Index batches, n, height, width, out_height, out_width, channels, kernel, stride, padding;
};

// The part of a kernel that lives.
struct Live {
  int kernel, channels, offset, padding;
};

// One image. Pointers are at the first channel; `pixel` is the distance between pixels.
void ForwardImage(const Shape& s, const Live& live, Lanes lanes, const float* x,
                  const float* weight, Finish finish, float* out, Index pixel) {
  const Pitch taps{s.kernel * pixel, pixel};
  const float* corner = weight + live.offset * (taps.row + taps.pixel);
  for (int y = 0; y < s.out_height; ++y) {
    const int top = y * int(s.stride) - live.padding;
    const int from = std::max(0, -top), to = std::min(live.kernel, int(s.height) - top);
    CorrelateRow({lanes, x + (top + from) * s.width * pixel, {s.width * pixel, pixel},
                  int(s.width), corner + from * taps.row, taps, to - from, live.kernel,
                  int(s.stride), -live.padding, out + y * s.out_width * pixel, pixel,
                  int(s.out_width), finish});
  }
}

}  // namespace

#endif  // HWNAS_CPP_DEPTHWISE_H_
