// Products of a map with the gradient of a map, summed: what a kernel's gradient is made of.

#ifndef HWNAS_DEPTHWISE_CONV_CPU_PRODUCTS_H_
#define HWNAS_DEPTHWISE_CONV_CPU_PRODUCTS_H_

#include "cpp/depthwise.h"

namespace {

// Rows of a map, `to` not among them.
struct Rows {
  int from, to;
};

// Sums over rows of a map of g[o] * x[o * stride + tap] for `rows` x Taps taps, added to `sums`.
struct Taps2d {
  const float* x;
  const float* g;
  Index pixel;
  float* sums;
  Index sums_row;
  int height, width;
  Rows out_rows;  // those of g that count
  int out_width;
  int top, left;  // input pixel that the first tap meets at output (0, 0)
  int rows, stride;
};

constexpr int RowsAtOnce(int taps) {
  const int rows = (kRegisters - 9) / taps;
  return rows < 1 ? 1 : rows > 4 ? 4 : rows;
}

template <int Taps, int T, int Step, int Rows>
inline void AddProducts(const Taps2d& a, Vec (&sum)[Rows][Taps], int y, int x) {
  const float* g = a.g + (Index(y) * a.out_width + x) * a.pixel;
  Vec gradient[T];
  UNROLL for (int t = 0; t < T; ++t) gradient[t] = Load(g + t * a.pixel);
  const int stride = Step == 0 ? a.stride : Step;
  const int column = x * stride + a.left;
  UNROLL for (int r = 0; r < Rows; ++r) {
    const int row = y * stride + a.top + r;
    if (r >= a.rows || row < 0 || row >= a.height) continue;
    const float* in = a.x + (Index(row) * a.width + column) * a.pixel;
    if (Step == 0) {
      for (int t = 0; t < T; ++t) {
        UNROLL for (int k = 0; k < Taps; ++k) {
          const int at = t * stride + k;
          if (at + column < 0 || at + column >= a.width) continue;
          sum[r][k] += Load(in + at * a.pixel) * gradient[t];
        }
      }
      continue;
    }
    constexpr int kStep = Step == 0 ? 1 : Step;
    UNROLL for (int m = 0; m < (T - 1) * kStep + Taps; ++m) {
      if (column + m < 0 || column + m >= a.width) continue;
      const Vec v = Load(in + m * a.pixel);
      UNROLL for (int k = 0; k < Taps; ++k) {
        if (m >= k && (m - k) % kStep == 0 && (m - k) / kStep < T) {
          sum[r][k] += v * gradient[(m - k) / kStep];
        }
      }
    }
  }
}

template <int Taps, int Step>
void AddTaps(const Taps2d& a) {
  constexpr int Rows = RowsAtOnce(Taps);
  Vec sum[Rows][Taps];
  UNROLL for (int r = 0; r < Rows; ++r) {
    UNROLL for (int k = 0; k < Taps; ++k) {
      sum[r][k] = r < a.rows ? Load(a.sums + r * a.sums_row + k * kLanes) : Vec{};
    }
  }
  const int stride = Step == 0 ? a.stride : Step;
  // Output rows that meet a real input row at some tap.
  const int from = std::max(a.out_rows.from, CeilDiv(1 - a.top - a.rows, stride));
  const int to = std::min(a.out_rows.to, FloorDiv(a.height - 1 - a.top, stride) + 1);
  for (int y = from; y < to; ++y) {
    for (int x = 0; x < a.out_width;) {
      const int width = Step == 0 ? 1 : TileWidth(a.out_width, a.out_width - x);
      switch (width) {
        case 8: AddProducts<Taps, 8, Step, Rows>(a, sum, y, x); break;
        case 7: AddProducts<Taps, 7, Step, Rows>(a, sum, y, x); break;
        case 4: AddProducts<Taps, 4, Step, Rows>(a, sum, y, x); break;
        case 2: AddProducts<Taps, 2, Step, Rows>(a, sum, y, x); break;
        default: AddProducts<Taps, 1, Step, Rows>(a, sum, y, x); break;
      }
      x += width;
    }
  }
  UNROLL for (int r = 0; r < Rows; ++r) {
    UNROLL for (int k = 0; k < Taps; ++k) {
      if (r < a.rows) Store(a.sums + r * a.sums_row + k * kLanes, sum[r][k]);
    }
  }
}

template <int Step>
void AddTapsOf(int taps, const Taps2d& a) {
  switch (taps) {
    case 1: return AddTaps<1, Step>(a);
    case 3: return AddTaps<3, Step>(a);
    case 5: return AddTaps<5, Step>(a);
    default: return AddTaps<7, Step>(a);
  }
}

}  // namespace

#endif  // HWNAS_DEPTHWISE_CONV_CPU_PRODUCTS_H_
