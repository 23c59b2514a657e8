// Pointwise convolution on a CPU, float32: y[r, o] = sum over i of x[r, i] * w[i, o], and both
// gradients. A row is a pixel. Only the first `active` input and output channels of maps are read and
// written; the gradient of the other weights is zero.

#include <cstdint>

#include "cpp/panels.h"
#include "cpp/parallel.h"

namespace ffi = xla::ffi;

namespace {

constexpr Index kTaskRows = 16 * kTileRows;

void ApplyToRows(ffi::ThreadPool pool, const Panels& panels, const float* x, Index x_channels,
                 float* out, Index out_channels, Index rows, Finish finish) {
  ParallelFor(pool, CeilDiv<Index>(rows, kTaskRows), [&](Index task) {
    const Index first = task * kTaskRows, last = std::min(rows, first + kTaskRows);
    panels.Apply(x, x_channels, out, out_channels, first, last, finish);
  });
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
  const Zeros sums(parts * size);
  ParallelFor(pool, parts, [&](Index part) {
    AddProducts(x.typed_data(), l.in, l.live_in, g.typed_data(), l.out, l.live_out,
                rows * part / parts, rows * (part + 1) / parts, sums.data() + part * size,
                l.live_out);
  });
  std::fill(dw->typed_data(), dw->typed_data() + l.in * l.out, 0.0f);
  for (Index part = 0; part < parts; ++part) {
    for (Index i = 0; i < l.live_in; ++i) {
      float* to = dw->typed_data() + i * l.out;
      const float* from = sums.data() + part * size + i * l.live_out;
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
