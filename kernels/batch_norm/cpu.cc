// Batch normalisation with its activation on a CPU, float32, channels last: the passes over the
// map that it takes, each fused. A row is a pixel. Only the first `active` channels are read and
// written; vectors of channels are zero beyond.

#include <cstdint>
#include <memory>
#include <vector>

#include "cpp/activations.h"
#include "cpp/parallel.h"
#include "cpp/vectors.h"

namespace ffi = xla::ffi;

namespace {

constexpr int kGroup = 4;  // vectors of channels whose coefficients stay in registers
constexpr Index kTaskFloats = 1 << 15;

// A run of `vectors` vectors of channels; the last one has `lanes`.
struct Span {
  Index channel;
  int vectors, lanes;
};

template <class Fn>
void ForSpans(Index live, const Fn& fn) {
  for (Index c = 0; c < live; c += kGroup * kLanes) {
    const Index left = std::min<Index>(kGroup * kLanes, live - c);
    const int vectors = int(CeilDiv<Index>(left, kLanes));
    fn(Span{c, vectors, int(left - (vectors - 1) * kLanes)});
  }
}

struct Map {
  Index rows, channels, live;
  Index parts() const {
    return std::max<Index>(1, std::min({rows * channels / kTaskFloats, rows, kParts}));
  }
  Index tasks() const { return CeilDiv<Index>(rows, task_rows()); }
  Index task_rows() const { return std::max<Index>(1, kTaskFloats / channels); }
};

template <int N>
inline void LoadAll(Vec (&to)[N], const float* from, int lanes) {
  UNROLL for (int n = 0; n < N - 1; ++n) to[n] = Load(from + n * kLanes);
  to[N - 1] = Load(from + (N - 1) * kLanes, lanes);
}
template <int N>
inline void StoreAll(float* to, const Vec (&from)[N], int lanes) {
  UNROLL for (int n = 0; n < N - 1; ++n) Store(to + n * kLanes, from[n]);
  Store(to + (N - 1) * kLanes, from[N - 1], lanes);
}

// Calls fn<N>() for a number of vectors known at run time.
#define FOR_VECTORS(count, call)   \
  switch (count) {                 \
    case 1: { constexpr int N = 1; call; break; } \
    case 2: { constexpr int N = 2; call; break; } \
    case 3: { constexpr int N = 3; call; break; } \
    case 4: { constexpr int N = 4; call; break; } \
  }

// Sums of x - pivot and of its square: near the mean, so that little cancels.
template <int N>
void AddMoments(const float* x, Index row, Index first, Index last, const float* pivot,
                float* sums, float* squares, int lanes) {
  Vec about[N], sum[N] = {}, square[N] = {};
  LoadAll(about, pivot, lanes);
  for (Index r = first; r < last; ++r) {
    Vec v[N];
    LoadAll(v, x + r * row, lanes);
    UNROLL for (int n = 0; n < N; ++n) {
      const Vec d = v[n] - about[n];
      sum[n] += d;
      square[n] += d * d;
    }
  }
  StoreAll(sums, sum, lanes);
  StoreAll(squares, square, lanes);
}

template <Activation A, int N>
void ActivateRows(const float* x, float* y, Index row, Index first, Index last,
                  const float* factor, const float* offset, int lanes) {
  Vec f[N], o[N];
  LoadAll(f, factor, lanes);
  LoadAll(o, offset, lanes);
  for (Index r = first; r < last; ++r) {
    Vec v[N];
    LoadAll(v, x + r * row, lanes);
    UNROLL for (int n = 0; n < N; ++n) v[n] = Activate<A>(v[n] * f[n] + o[n]);
    StoreAll(y + r * row, v, lanes);
  }
}

template <Activation A, int N>
void AddSums(const float* x, const float* g, Index row, Index first, Index last,
             const float* factor, const float* offset, const float* mean, float* sums,
             float* products, int lanes) {
  Vec f[N], o[N], m[N], sum[N] = {}, product[N] = {};
  LoadAll(f, factor, lanes);
  LoadAll(o, offset, lanes);
  LoadAll(m, mean, lanes);
  for (Index r = first; r < last; ++r) {
    Vec v[N], grad[N];
    LoadAll(v, x + r * row, lanes);
    LoadAll(grad, g + r * row, lanes);
    UNROLL for (int n = 0; n < N; ++n) {
      const Vec pulled = Pull<A>(grad[n], v[n] * f[n] + o[n]);
      sum[n] += pulled;
      product[n] += pulled * (v[n] - m[n]);
    }
  }
  StoreAll(sums, sum, lanes);
  StoreAll(products, product, lanes);
}

// dx = a * pulled + b * x + c.
template <Activation A, int N>
void PullRows(const float* x, const float* g, float* dx, Index row, Index first, Index last,
              const float* factor, const float* offset, const float* const (&line)[3],
              int lanes) {
  Vec f[N], o[N], a[N], b[N], c[N];
  LoadAll(f, factor, lanes);
  LoadAll(o, offset, lanes);
  LoadAll(a, line[0], lanes);
  LoadAll(b, line[1], lanes);
  LoadAll(c, line[2], lanes);
  for (Index r = first; r < last; ++r) {
    Vec v[N], grad[N];
    LoadAll(v, x + r * row, lanes);
    LoadAll(grad, g + r * row, lanes);
    UNROLL for (int n = 0; n < N; ++n) {
      grad[n] = a[n] * Pull<A>(grad[n], v[n] * f[n] + o[n]) + (b[n] * v[n] + c[n]);
    }
    StoreAll(dx + r * row, grad, lanes);
  }
}

// Runs fill(first, last) over all rows.
template <class Fn>
void FillRows(ffi::ThreadPool pool, const Map& m, const Fn& fill) {
  if (m.live == 0) return;
  ParallelFor(pool, m.tasks(), [&](Index task) {
    const Index first = task * m.task_rows();
    fill(first, std::min(m.rows, first + m.task_rows()));
  });
}

// Runs add(first, last, sums, more) over parts of the rows, and adds up what they found: two
// vectors of channels, zero where dead.
template <class Fn>
void SumRows(ffi::ThreadPool pool, const Map& m, float* sums, float* more, const Fn& add) {
  const Index parts = m.parts();
  std::unique_ptr<float[]> found(new float[2 * parts * m.channels]());
  ParallelFor(pool, parts, [&](Index part) {
    float* own = found.get() + 2 * part * m.channels;
    add(m.rows * part / parts, m.rows * (part + 1) / parts, own, own + m.channels);
  });
  std::fill(sums, sums + m.channels, 0.0f);
  std::fill(more, more + m.channels, 0.0f);
  for (Index part = 0; part < parts; ++part) {
    const float* own = found.get() + 2 * part * m.channels;
    for (Index c = 0; c < m.live; ++c) sums[c] += own[c];
    for (Index c = 0; c < m.live; ++c) more[c] += own[m.channels + c];
  }
}

using F32 = ffi::Buffer<ffi::F32>;
using S32 = ffi::Buffer<ffi::S32>;

Map MapOf(const F32& x, const S32& active) {
  const Index channels = x.dimensions().back();
  return {Index(x.element_count()) / channels, channels,
          std::clamp<Index>(active.typed_data()[0], 0, channels)};
}

// Calls `call` with A the activation of that number.
#define FOR_ACTIVATION(number, call)                                         \
  switch (number) {                                                          \
    case kNone: { constexpr Activation A = kNone; call; break; }             \
    case kRelu: { constexpr Activation A = kRelu; call; break; }             \
    case kRelu6: { constexpr Activation A = kRelu6; call; break; }           \
    case kHswish: { constexpr Activation A = kHswish; call; break; }         \
    default: return ffi::Error::InvalidArgument("no such activation");       \
  }

ffi::Error Moments(ffi::ThreadPool pool, F32 x, S32 active, ffi::Result<F32> mean,
                   ffi::Result<F32> variance) {
  const Map m = MapOf(x, active);
  const float* in = x.typed_data();
  std::vector<float> pivot(m.channels);
  const Index sample = std::min<Index>(m.rows, 64);
  for (Index i = 0; i < sample; ++i) {
    const float* row = in + m.rows * i / sample * m.channels;
    for (Index c = 0; c < m.live; ++c) pivot[c] += row[c] / float(sample);
  }
  float* sums = mean->typed_data();
  float* squares = variance->typed_data();
  SumRows(pool, m, sums, squares, [&](Index first, Index last, float* own, float* own_squares) {
    ForSpans(m.live, [&](const Span& s) {
      FOR_VECTORS(s.vectors, (AddMoments<N>(in + s.channel, m.channels, first, last,
                                            pivot.data() + s.channel, own + s.channel,
                                            own_squares + s.channel, s.lanes)));
    });
  });
  for (Index c = 0; c < m.live; ++c) {
    const float shift = sums[c] / float(m.rows);
    sums[c] = pivot[c] + shift;
    squares[c] = std::max(0.0f, squares[c] / float(m.rows) - shift * shift);
  }
  return ffi::Error::Success();
}

ffi::Error Forward(ffi::ThreadPool pool, F32 x, F32 factor, F32 offset, S32 active,
                   int64_t activation, ffi::Result<F32> y) {
  const Map m = MapOf(x, active);
  FOR_ACTIVATION(activation, {
    FillRows(pool, m, [&](Index first, Index last) {
      ForSpans(m.live, [&](const Span& s) {
        FOR_VECTORS(s.vectors,
                    (ActivateRows<A, N>(x.typed_data() + s.channel, y->typed_data() + s.channel,
                                        m.channels, first, last, factor.typed_data() + s.channel,
                                        offset.typed_data() + s.channel, s.lanes)));
      });
    });
  });
  return ffi::Error::Success();
}

ffi::Error Sums(ffi::ThreadPool pool, F32 x, F32 g, F32 factor, F32 offset, F32 mean, S32 active,
                int64_t activation, ffi::Result<F32> sums, ffi::Result<F32> products) {
  const Map m = MapOf(x, active);
  FOR_ACTIVATION(activation, {
    SumRows(pool, m, sums->typed_data(), products->typed_data(),
            [&](Index first, Index last, float* own, float* own_products) {
      ForSpans(m.live, [&](const Span& s) {
        FOR_VECTORS(s.vectors,
                    (AddSums<A, N>(x.typed_data() + s.channel, g.typed_data() + s.channel,
                                   m.channels, first, last, factor.typed_data() + s.channel,
                                   offset.typed_data() + s.channel, mean.typed_data() + s.channel,
                                   own + s.channel, own_products + s.channel, s.lanes)));
      });
    });
  });
  return ffi::Error::Success();
}

ffi::Error InputGradient(ffi::ThreadPool pool, F32 x, F32 g, F32 factor, F32 offset, F32 a, F32 b,
                         F32 c, S32 active, int64_t activation, ffi::Result<F32> dx) {
  const Map m = MapOf(x, active);
  FOR_ACTIVATION(activation, {
    FillRows(pool, m, [&](Index first, Index last) {
      ForSpans(m.live, [&](const Span& s) {
        const float* const line[3] = {a.typed_data() + s.channel, b.typed_data() + s.channel,
                                      c.typed_data() + s.channel};
        FOR_VECTORS(s.vectors,
                    (PullRows<A, N>(x.typed_data() + s.channel, g.typed_data() + s.channel,
                                    dx->typed_data() + s.channel, m.channels, first, last,
                                    factor.typed_data() + s.channel,
                                    offset.typed_data() + s.channel, line, s.lanes)));
      });
    });
  });
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    BatchNormMoments, Moments,
    ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<F32>().Arg<S32>().Ret<F32>().Ret<F32>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(BatchNormForward, Forward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<F32>()
                                  .Arg<F32>()
                                  .Arg<F32>()
                                  .Arg<S32>()
                                  .Attr<int64_t>("activation")
                                  .Ret<F32>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(BatchNormSums, Sums,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<F32>()
                                  .Arg<F32>()
                                  .Arg<F32>()
                                  .Arg<F32>()
                                  .Arg<F32>()
                                  .Arg<S32>()
                                  .Attr<int64_t>("activation")
                                  .Ret<F32>()
                                  .Ret<F32>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(BatchNormInputGradient, InputGradient,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<F32>()
                                  .Arg<F32>()
                                  .Arg<F32>()
                                  .Arg<F32>()
                                  .Arg<F32>()
                                  .Arg<F32>()
                                  .Arg<F32>()
                                  .Arg<S32>()
                                  .Attr<int64_t>("activation")
                                  .Ret<F32>());
