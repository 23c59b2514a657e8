// Pointwise convolution on a CPU, float32: y[r, o] = sum over i of x[r, i] * w[i, o], and both
// gradients. A row is a pixel. Only the first `active` input and output channels of maps are read and
// written; the gradient of the other weights is zero. Where there is a scale (image, input channel),
// x is multiplied by it a few rows at a time, which stay in a cache.

#include <cstdint>

#include "cpp/panels.h"
#include "cpp/parallel.h"
#include "cpp/scale.h"

namespace ffi = xla::ffi;

namespace {

constexpr Index kTaskRows = 16 * kTileRows;
constexpr Index kScaledRows = 4 * kTileRows;

template <class Fn>
void ForRows(ffi::ThreadPool pool, Index rows, const Fn& fn) {
  ParallelFor(pool, CeilDiv<Index>(rows, kTaskRows), [&](Index task) {
    const Index first = task * kTaskRows;
    fn(first, std::min(rows, first + kTaskRows));
  });
}

Index Padded(Index channels) { return CeilDiv<Index>(channels, kLanes) * kLanes; }

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

// Nothing where `scale` is empty.
Scale ScaleOf(const F32& scale, const F32& x, const Live& l) {
  const Index images = x.dimensions()[0];
  const Index rows = Index(x.element_count()) / std::max<Index>(1, l.in * images);
  return {scale.element_count() ? scale.typed_data() : nullptr, l.in, std::max<Index>(1, rows),
          l.live_in};
}

ffi::Error Forward(ffi::ThreadPool pool, F32 x, F32 weight, S32 active, F32 scale, F32 bias,
                   int64_t activation, ffi::Result<F32> y) {
  const Live l(weight, active);
  if (l.live_out == 0) return ffi::Error::Success();
  const Panels panels(weight.typed_data(), l.out, 1, l.live_in, l.live_out);
  const Finish finish{bias.element_count() ? bias.typed_data() : nullptr, activation};
  const Scale factors = ScaleOf(scale, x, l);
  const float* in = x.typed_data();
  float* out = y->typed_data();
  ForRows(pool, Index(x.element_count()) / l.in, [&](Index first, Index last) {
    if (!factors.factors) return panels.Apply(in, l.in, out, l.out, first, last, finish);
    const Index pitch = Padded(l.live_in);
    const Floats scaled(kScaledRows * pitch);
    for (Index r = first; r < last; r += kScaledRows) {
      const Index end = std::min(last, r + kScaledRows);
      ScaleRows(factors, in, l.in, r, end, scaled.data(), pitch);
      panels.Apply(scaled.data(), pitch, out + r * l.out, l.out, 0, end - r, finish);
    }
  });
  return ffi::Error::Success();
}

ffi::Error InputGradient(ffi::ThreadPool pool, F32 g, F32 weight, S32 active,
                         ffi::Result<F32> dx) {
  const Live l(weight, active);
  if (l.live_in == 0) return ffi::Error::Success();
  const Panels transposed(weight.typed_data(), 1, l.out, l.live_out, l.live_in);
  ForRows(pool, Index(g.element_count()) / l.out, [&](Index first, Index last) {
    transposed.Apply(g.typed_data(), l.out, dx->typed_data(), l.in, first, last, {});
  });
  return ffi::Error::Success();
}

// A task has whole images, so that it alone adds to their sums.
ffi::Error ScaledInputGradient(ffi::ThreadPool pool, F32 g, F32 weight, S32 active, F32 x,
                               F32 scale, ffi::Result<F32> dx, ffi::Result<F32> dscale) {
  const Live l(weight, active);
  if (l.live_in == 0) return ffi::Error::Success();
  const Panels transposed(weight.typed_data(), 1, l.out, l.live_out, l.live_in);
  const Scale factors = ScaleOf(scale, x, l);
  const Index images = scale.dimensions()[0];
  const Index at_once = std::max<Index>(1, kTaskRows / factors.pixels);
  float *to = dx->typed_data(), *sums = dscale->typed_data();
  ParallelFor(pool, CeilDiv<Index>(images, at_once), [&](Index task) {
    const Index image = task * at_once, next = std::min(images, image + at_once);
    std::fill(sums + image * l.in, sums + next * l.in, 0.0f);
    const Index last = next * factors.pixels;
    for (Index r = image * factors.pixels; r < last; r += kScaledRows) {
      const Index end = std::min(last, r + kScaledRows);
      transposed.Apply(g.typed_data(), l.out, to, l.in, r, end, {});
      PullScale(factors, x.typed_data(), to, l.in, sums, r, end);
    }
  });
  return ffi::Error::Success();
}

ffi::Error WeightGradient(ffi::ThreadPool pool, F32 x, F32 g, S32 active, F32 scale,
                          ffi::Result<F32> dw) {
  const Live l(dw->dimensions(), active);
  const Scale factors = ScaleOf(scale, x, l);
  const Index rows = Index(x.element_count()) / l.in;
  const Index parts = std::clamp<Index>(rows / kSliceRows, 1, kParts);
  const Index size = l.live_in * l.live_out, pitch = Padded(l.live_in);
  const Zeros sums(parts * size);
  ParallelFor(pool, parts, [&](Index part) {
    const Index first = rows * part / parts, last = rows * (part + 1) / parts;
    float* own = sums.data() + part * size;
    if (!factors.factors) {
      return AddProducts(x.typed_data(), l.in, l.live_in, g.typed_data(), l.out, l.live_out, first,
                         last, own, l.live_out);
    }
    const Floats scaled(kSliceRows * pitch);
    for (Index r = first; r < last; r += kSliceRows) {
      const Index end = std::min(last, r + kSliceRows);
      ScaleRows(factors, x.typed_data(), l.in, r, end, scaled.data(), pitch);
      AddProducts(scaled.data(), pitch, l.live_in, g.typed_data() + r * l.out, l.out, l.live_out,
                  0, end - r, own, l.live_out);
    }
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
                                  .Arg<F32>()
                                  .Attr<int64_t>("activation")
                                  .Ret<F32>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    PointwiseInputGradient, InputGradient,
    ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<F32>().Arg<F32>().Arg<S32>().Ret<F32>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(PointwiseScaledInputGradient, ScaledInputGradient,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<F32>()
                                  .Arg<F32>()
                                  .Arg<S32>()
                                  .Arg<F32>()
                                  .Arg<F32>()
                                  .Ret<F32>()
                                  .Ret<F32>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(PointwiseWeightGradient, WeightGradient,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<F32>()
                                  .Arg<F32>()
                                  .Arg<S32>()
                                  .Arg<F32>()
                                  .Ret<F32>());
