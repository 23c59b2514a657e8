// Vectors of floats as wide as the machine's registers.

#ifndef HWNAS_CPP_VECTORS_H_
#define HWNAS_CPP_VECTORS_H_

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kRegisters = 32;
#elif defined(__AVX__)
constexpr int kLanes = 8, kRegisters = 16;
#elif defined(__aarch64__)
constexpr int kLanes = 4, kRegisters = 32;
#else
constexpr int kLanes = 4, kRegisters = 16;
#endif

typedef float Vec __attribute__((vector_size(kLanes * 4)));
typedef float LooseVec __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));
using Index = std::ptrdiff_t;

inline Vec Load(const float* p) { return *reinterpret_cast<const LooseVec*>(p); }
inline void Store(float* p, Vec v) { *reinterpret_cast<LooseVec*>(p) = v; }
inline Vec Splat(float value) { return value - Vec{}; }

// Writes a whole cache line past the caches, without reading it first; `p` is at its beginning.
inline void Stream(float* p, Vec v) {
#if defined(__AVX512F__)
  _mm512_stream_ps(p, (__m512)v);
#else
  Store(p, v);
#endif
}

// The first `lanes` (1 to kLanes) of a vector; the others are read as zero and not written.
inline Vec Load(const float* p, int lanes) {
#if defined(__AVX512F__)
  return (Vec)_mm512_maskz_loadu_ps(__mmask16((1u << lanes) - 1), p);
#else
  if (lanes == kLanes) return Load(p);
  Vec v = {};
  std::memcpy(&v, p, 4 * lanes);
  return v;
#endif
}
inline void Store(float* p, Vec v, int lanes) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, __mmask16((1u << lanes) - 1), (__m512)v);
#else
  if (lanes == kLanes) return Store(p, v);
  std::memcpy(p, &v, 4 * lanes);
#endif
}

// Floats that begin at a cache line: a vector that crosses into the next one costs twice.
class Floats {
 public:
  explicit Floats(Index size) : data_(static_cast<float*>(std::aligned_alloc(64, Bytes(size)))) {}
  float* data() const { return data_.get(); }

 protected:
  static std::size_t Bytes(Index size) { return (std::size_t(size) * 4 + 64) / 64 * 64; }

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  std::unique_ptr<float, Free> data_;
};

struct Zeros : Floats {
  explicit Zeros(Index size) : Floats(size) { std::memset(data(), 0, Bytes(size)); }
};

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 64")
#endif

template <class Int>
inline Int FloorDiv(Int a, Int b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }
template <class Int>
inline Int CeilDiv(Int a, Int b) { return -FloorDiv<Int>(-a, b); }

}  // namespace

#endif  // HWNAS_CPP_VECTORS_H_
