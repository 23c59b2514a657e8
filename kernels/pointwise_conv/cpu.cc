// Pointwise convolution on a CPU, float32: y[r, o] = sum over i of x[r, i] * w[i, o], and both
// gradients. A row is a pixel. Only the first `active` input and output channels of maps are read and
// written; the gradient of the other weights is zero.
//
// Tiles of up to 12 rows by 2 vectors are summed in registers. The weights are few: they are
// packed once, in panels 2 vectors wide that a tile reads in order.

#include <cstdint>
#include <memory>
#include <vector>

#include "cpp/activations.h"
#include "cpp/parallel.h"
#include "cpp/vectors.h"

namespace ffi = xla::ffi;

namespace {

constexpr int kPanel = 2 * kLanes;
constexpr int kTileRows = kRegisters >= 32 ? 12 : 4;
constexpr Index kTaskRows = 16 * kTileRows;
constexpr Index kSliceRows = 256;  // of x and g, which stay in the second-level cache

// What is done to a sum before it is stored: the bias of the tile's first column (null for none)
// is added, then the result activated.
struct Finish {
  const float* bias;
  int64_t activation;
};

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
    UNROLL for (int n = 0; n < N; ++n) {
      const Vec bias = Load(p.finish.bias + n * kLanes, n == N - 1 ? p.lanes : kLanes);
      UNROLL for (int m = 0; m < M; ++m) {
        sum[m][n] = Activate(p.finish.activation, sum[m][n] + bias);
      }
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
      : depth_(depth), width_(width), data_(new float[CeilDiv<Index>(width, kPanel) * depth * kPanel]()) {
    for (Index n = 0; n < width; ++n) {
      float* to = data_.get() + n / kPanel * depth * kPanel + n % kPanel;
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
        const Product p{x + r * x_row, x_row, 1, data_.get() + n * depth_, kPanel, depth_,
                        out + r * out_row + n, out_row, left > kLanes ? left - kLanes : left,
                        {finish.bias ? finish.bias + n : nullptr, finish.activation}};
        if (left > kLanes) MultiplyRows<2, true, false>(tiling.size(t), p);
        else MultiplyRows<1, true, false>(tiling.size(t), p);
      }
    }
  }

 private:
  Index depth_, width_;
  std::unique_ptr<float[]> data_;
};

void ApplyToRows(ffi::ThreadPool pool, const Panels& panels, const float* x, Index x_channels,
                 float* out, Index out_channels, Index rows, Finish finish) {
  ParallelFor(pool, CeilDiv<Index>(rows, kTaskRows), [&](Index task) {
    const Index first = task * kTaskRows, last = std::min(rows, first + kTaskRows);
    panels.Apply(x, x_channels, out, out_channels, first, last, finish);
  });
}

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

using F32 = ffi::Buffer<ffi::F32>;
using S32 = ffi::Buffer<ffi::S32>;

// Weight shape, and what of it lives.
struct Live {
  Index in, out, live_in, live_out;
  Live(const F32& weight, const S32& active) : Live(weight.dimensions(), active) {}
  Live(ffi::Span<const int64_t> shape, const S32& active)
      : in(shape[0]),
        out(shape[1]),
        live_in(std::clamp<Index>(active.typed_data()[0], 0, in)),
        live_out(std::clamp<Index>(active.typed_data()[1], 0, out)) {}
};

ffi::Error Forward(ffi::ThreadPool pool, F32 x, F32 weight, S32 active, F32 bias,
                   int64_t activation, ffi::Result<F32> y) {
  const Live l(weight, active);
  if (l.live_out == 0) return ffi::Error::Success();
  const Panels panels(weight.typed_data(), l.out, 1, l.live_in, l.live_out);
  ApplyToRows(pool, panels, x.typed_data(), l.in, y->typed_data(), l.out,
              Index(x.element_count()) / l.in,
              {bias.element_count() ? bias.typed_data() : nullptr, activation});
  return ffi::Error::Success();
}

ffi::Error InputGradient(ffi::ThreadPool pool, F32 g, F32 weight, S32 active,
                         ffi::Result<F32> dx) {
  const Live l(weight, active);
  if (l.live_in == 0) return ffi::Error::Success();
  const Panels transposed(weight.typed_data(), 1, l.out, l.live_out, l.live_in);
  ApplyToRows(pool, transposed, g.typed_data(), l.out, dx->typed_data(), l.in,
              Index(g.element_count()) / l.out, {});
  return ffi::Error::Success();
}

ffi::Error WeightGradient(ffi::ThreadPool pool, F32 x, F32 g, S32 active, ffi::Result<F32> dw) {
  const Live l(dw->dimensions(), active);
  const Index rows = Index(x.element_count()) / l.in;
  const Index parts = std::clamp<Index>(rows / kSliceRows, 1, kParts);
  const Index size = l.live_in * l.live_out;
  std::unique_ptr<float[]> sums(new float[parts * size]());
  ParallelFor(pool, parts, [&](Index part) {
    AddProducts(x.typed_data(), l.in, l.live_in, g.typed_data(), l.out, l.live_out,
                rows * part / parts, rows * (part + 1) / parts, sums.get() + part * size,
                l.live_out);
  });
  std::fill(dw->typed_data(), dw->typed_data() + l.in * l.out, 0.0f);
  for (Index part = 0; part < parts; ++part) {
    for (Index i = 0; i < l.live_in; ++i) {
      float* to = dw->typed_data() + i * l.out;
      const float* from = sums.get() + part * size + i * l.live_out;
      for (Index o = 0; o < l.live_out; ++o) to[o] += from[o];
    }
  }
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(PointwiseForward, Forward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<F32>()
                                  .Arg<F32>()
                                  .Arg<S32>()
                                  .Arg<F32>()
                                  .Attr<int64_t>("activation")
                                  .Ret<F32>());

#define HWNAS_GRADIENT(symbol, function)                \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(symbol, function,       \
                                ffi::Ffi::Bind()        \
                                    .Ctx<ffi::ThreadPool>() \
                                    .Arg<F32>()         \
                                    .Arg<F32>()         \
                                    .Arg<S32>()         \
                                    .Ret<F32>())

HWNAS_GRADIENT(PointwiseInputGradient, InputGradient);
HWNAS_GRADIENT(PointwiseWeightGradient, WeightGradient);
