// Products of many rows with few weights: tiles of up to 12 rows by 2 vectors are summed in registers.
// The weights are packed once, in panels 2 vectors wide that a tile reads in order.

#ifndef HWNAS_CPP_PANELS_H_
#define HWNAS_CPP_PANELS_H_

#include "cpp/activations.h"
#include "cpp/vectors.h"

namespace {

constexpr int kPanel = 2 * kLanes;
constexpr int kTileRows = kRegisters >= 32 ? 12 : 4;

// One tile of c = a b: `a` element (m, k) lies at m * a_row + k * a_column.
struct Product {
  const float* a;
  Index a_row, a_column;
  const float* b;
  Index b_row;
  Index depth;
  float* c;
  Index c_row;
  int lanes;  // of the last vector of a row of b and c
  Finish finish;
};

template <int M, int N, bool WholeB, bool Add>
void Multiply(const Product& p) {
  Vec sum[M][N] = {};
  const float* a = p.a;
  const float* b = p.b;
  for (Index k = 0; k < p.depth; ++k, a += p.a_column, b += p.b_row) {
    Vec row[N];
    UNROLL for (int n = 0; n < N - 1; ++n) row[n] = Load(b + n * kLanes);
    row[N - 1] = WholeB ? Load(b + (N - 1) * kLanes) : Load(b + (N - 1) * kLanes, p.lanes);
    UNROLL for (int m = 0; m < M; ++m) {
      const Vec value = Splat(a[m * p.a_row]);
      UNROLL for (int n = 0; n < N; ++n) sum[m][n] += value * row[n];
    }
  }
  if (p.finish.bias) {
    Vec bias[N];
    UNROLL for (int n = 0; n < N; ++n) {
      bias[n] = Load(p.finish.bias + n * kLanes, n == N - 1 ? p.lanes : kLanes);
    }
    UNROLL for (int m = 0; m < M; ++m) {
      UNROLL for (int n = 0; n < N; ++n) sum[m][n] += bias[n];
      ActivateAll(p.finish.activation, sum[m]);
    }
  }
  UNROLL for (int m = 0; m < M; ++m) {
    float* c = p.c + m * p.c_row;
    UNROLL for (int n = 0; n < N; ++n) {
      const int lanes = n == N - 1 ? p.lanes : kLanes;
      if (Add) sum[m][n] += Load(c + n * kLanes, lanes);
      Store(c + n * kLanes, sum[m][n], lanes);
    }
  }
}

template <int N, bool WholeB, bool Add>
void MultiplyRows(int rows, const Product& p) {
  switch (rows) {
    case 1: return Multiply<1, N, WholeB, Add>(p);
    case 2: return Multiply<2, N, WholeB, Add>(p);
    case 3: return Multiply<3, N, WholeB, Add>(p);
    case 4: return Multiply<4, N, WholeB, Add>(p);
#if defined(__AVX512F__) || defined(__aarch64__)
    case 5: return Multiply<5, N, WholeB, Add>(p);
    case 6: return Multiply<6, N, WholeB, Add>(p);
    case 7: return Multiply<7, N, WholeB, Add>(p);
    case 8: return Multiply<8, N, WholeB, Add>(p);
    case 9: return Multiply<9, N, WholeB, Add>(p);
    case 10: return Multiply<10, N, WholeB, Add>(p);
    case 11: return Multiply<11, N, WholeB, Add>(p);
    case 12: return Multiply<12, N, WholeB, Add>(p);
#endif
  }
}

// Tiles of `rows` rows, as equal as can be and none over kTileRows.
struct Tiling {
  Index rows, tiles;
  explicit Tiling(Index count) : rows(count), tiles(CeilDiv<Index>(count, kTileRows)) {}
  Index begin(Index tile) const { return rows * tile / tiles; }
  int size(Index tile) const { return int(begin(tile + 1) - begin(tile)); }
};

// Weights (depth x width, element (k, n) at k * row + n * column) in panels of kPanel columns.
class Panels {
 public:
  Panels(const float* w, Index row, Index column, Index depth, Index width)
      : depth_(depth), width_(width), data_(CeilDiv<Index>(width, kPanel) * depth * kPanel) {
    for (Index n = 0; n < width; ++n) {
      float* to = data_.data() + n / kPanel * depth * kPanel + n % kPanel;
      for (Index k = 0; k < depth; ++k) to[k * kPanel] = w[k * row + n * column];
    }
  }

  // out[r, :] = x[r, :] w, finished, for rows [first, last).
  void Apply(const float* x, Index x_row, float* out, Index out_row, Index first, Index last,
             Finish finish) const {
    const Tiling tiling(last - first);
    for (Index t = 0; t < tiling.tiles; ++t) {
      const Index r = first + tiling.begin(t);
      for (Index n = 0; n < width_; n += kPanel) {
        const int left = int(std::min<Index>(kPanel, width_ - n));
        const Product p{x + r * x_row, x_row, 1, data_.data() + n * depth_, kPanel, depth_,
                        out + r * out_row + n, out_row, left > kLanes ? left - kLanes : left,
                        finish.at(n)};
        if (left > kLanes) MultiplyRows<2, true, false>(tiling.size(t), p);
        else MultiplyRows<1, true, false>(tiling.size(t), p);
      }
    }
  }

 private:
  Index depth_, width_;
  Zeros data_;
};

constexpr Index kSliceRows = 256;  // of x and g, which stay in the second-level cache

// sums[i, o] += x[r, i] * g[r, o] over rows [first, last); `sums` has rows of `width` floats.
void AddProducts(const float* x, Index x_row, Index live_in, const float* g, Index g_row,
                 Index live_out, Index first, Index last, float* sums, Index width) {
  const Tiling tiling(live_in);
  for (Index r = first; r < last; r += kSliceRows) {
    const Index depth = std::min(kSliceRows, last - r);
    for (Index n = 0; n < live_out; n += kPanel) {
      const int left = int(std::min<Index>(kPanel, live_out - n));
      for (Index t = 0; t < tiling.tiles; ++t) {
        const Index i = tiling.begin(t);
        const Product p{x + r * x_row + i, 1, x_row, g + r * g_row + n, g_row, depth,
                        sums + i * width + n, width, left > kLanes ? left - kLanes : left, {}};
        if (left > kLanes) MultiplyRows<2, false, true>(tiling.size(t), p);
        else MultiplyRows<1, false, true>(tiling.size(t), p);
      }
    }
  }
}

}  // namespace

#endif  // HWNAS_CPP_PANELS_H_
