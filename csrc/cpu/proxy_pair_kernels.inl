// The kernels of one instruction set. The including file defines FASTHASH_VECTOR (floats of a vector) and
// FASTHASH_PROXY_TABLE (the ProxyPairKernels to define). No standard C++ header may be included here: an inline
// function of one would be compiled with this file's flags and could be chosen by the linker for every other file.
#include <math.h>
#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "cpu/proxy_pair_block.h"

namespace fasthash {
namespace {

#include "cpu/float_simd.inl"
#include "cpu/gemm_tiles.inl"

static_assert(kProxyRows % kTileRows == 0 && kProxyColumns % kPanel == 0, "whole tiles");

constexpr float kShortest = 1e-12f;  // shorter rows have no direction
constexpr int64_t kTile = kProxyRows * kProxyStride;

static inline int64_t whole(int64_t x, int64_t step) { return (x + step - 1) / step * step; }

static inline double sum_of(Floats v) {
  float lanes[kVector];
  store(lanes, v);
  double sum = 0;
  for (int64_t i = 0; i < kVector; ++i) sum += lanes[i];
  return sum;
}

static inline Ints count_bits(Ints x) {
#if FASTHASH_VECTOR == 16
  return (Ints)_mm512_popcnt_epi32((__m512i)x);
#else
  typedef uint32_t Words __attribute__((vector_size(FASTHASH_VECTOR * 4)));
  Words v = (Words)x;
  v -= (v >> 1) & 0x55555555u;
  v = (v & 0x33333333u) + ((v >> 2) & 0x33333333u);
  v = (v + (v >> 4)) & 0x0f0f0f0fu;
  v += v >> 8;
  return (Ints)((v + (v >> 16)) & 0x3fu);
#endif
}

// How many labels row i has in common with rows j .. j + kVector.
static inline Ints shared_labels(const ProxyPairInputs& in, int64_t i, int64_t j) {
  Ints shared = {};
  for (int64_t p = 0; p < in.planes; ++p) {
    const int32_t* plane = in.bits + p * in.plane;
    shared += count_bits(load(plane + j) & plane[i]);
  }
  return shared;
}

// Which of the classes k .. k + kVector row i has.
static inline Mask has_labels(const ProxyPairInputs& in, int64_t i, int64_t k) {
  Ints powers;
  for (int l = 0; l < kVector; ++l) powers[l] = 1 << l;
  const auto bits = static_cast<uint32_t>(in.bits[k / 32 * in.plane + i]) >> (k % 32);
  return not_zero(powers & static_cast<int32_t>(bits));
}

static void prepare(const UnitRows& side, int64_t first_row, int64_t rows, int64_t d, int64_t width) {
  for (int64_t i = first_row; i < first_row + rows && i < side.count; ++i) {
    float* unit = side.unit + i * width;
    __builtin_memcpy(unit, side.rows + i * d, sizeof(float) * d);
    Floats squares = {};
    for (int64_t k = 0; k < width; k += kVector) squares += load(unit + k) * load(unit + k);
    const auto length = static_cast<float>(sqrt(sum_of(squares)));
    const float inverse = length < kShortest ? 0.0f : 1.0f / length;  // NaN stays one
    for (int64_t k = 0; k < width; k += kVector) store(unit + k, load(unit + k) * inverse);
    side.inverse[i] = inverse;
  }
  for (int64_t i = first_row; i < first_row + rows; i += kPanel) {
    pack_panel(side.unit + i * width, width, kPanel, d, 1.0f, side.panels + i * d);
  }
}

static void count(const ProxyPairInputs& in, int64_t first_row, int64_t rows, int64_t* shared, int64_t* apart) {
  for (int64_t i = first_row; i < first_row + rows; ++i) {
    Ints with = {}, without = {};
    for (int64_t j = 0; j < in.x.count; j += kVector) {
      const Ints common = shared_labels(in, i, j);
      with -= (Ints)(common != 0);
      without -= (Ints)((common == 0) & (load(in.many + j) != 0));
    }
    for (int64_t l = 0; l < kVector; ++l) {
      *shared += with[l];
      *apart += in.many[i] != 0 ? without[l] : 0;
    }
  }
}

// Cosines [kProxyRows, kProxyColumns] of the block's rows with up to kProxyColumns rows of another side.
static void cosines(const float* unit, int64_t rows, const ProxyPairInputs& in, const UnitRows& other,
                    int64_t first_row, int64_t columns, float* tile) {
  for (int64_t j = 0; j < columns; j += kPanel) {
    const float* panel = other.panels + (first_row + j) * in.d;
    for (int64_t i = 0; i < rows; i += kTileRows) {
      inner_tile<kTileRows, kProxyStride>(unit + i * in.width, in.width, panel, in.d, tile + i * kProxyStride + j);
    }
  }
}

struct ProxySums {
  Floats near = {}, far = {}, spread = {};
  double rest = 0;
};

// A row's cosines to all proxies become the loss's derivatives by them.
static void proxy_row(const ProxyPairInputs& in, int64_t i, float* row, ProxySums& sums) {
  const int64_t classes = in.proxies.count;
  const auto at = [&](int64_t k) { return row + k / kProxyColumns * kTile + k % kProxyColumns; };
  Floats distances = {};
  for (int64_t k = 0; k < classes; k += kVector) distances += keep(has_labels(in, i, k), 1.0f - load(at(k)));
  const auto own = static_cast<float>(in.size[i]);
  const float entries = in.relevant ? (own > 1 ? own : 1.0f) : static_cast<float>(classes);
  const float mean = static_cast<float>(sum_of(distances)) / entries;
  const float divisor = in.relevant ? own : static_cast<float>(classes - 1);
  const bool spreads = in.relevant ? own > 1 : classes > 1;
  const float weight = spreads ? 1.0f / divisor : 0.0f;
  const float slope = -2.0f * in.variance * weight / static_cast<float>(in.x.count);
  for (int64_t k = 0; k < classes; k += kVector) {
    const Mask has = has_labels(in, i, k);
    const Mask others = static_cast<Mask>(first(classes - k) & ~has);
    const Floats cosine = load(at(k)), gap = cosine - in.threshold, deviation = (1.0f - cosine) - mean;
    sums.far += keep(others, positive_part(gap));
    sums.spread += keep(has, deviation * deviation) * weight;
    const Floats away = keep(static_cast<Mask>(others & less(Floats{}, gap)), all(in.far));
    store(at(k), select(has, slope * deviation + in.near, away));
  }
  sums.near += distances;
  if (!in.relevant) sums.rest += static_cast<double>(classes - in.size[i]) * mean * mean * weight;
}

// One modality's rows against the proxies; grad [rows, width] and by_proxies are added to.
static void proxy_side(const ProxyPairInputs& in, const UnitRows& side, int64_t first_row, int64_t rows, float* tiles,
                       ProxyPairSums& total, float* grad, float* by_proxies) {
  const float* unit = side.unit + first_row * in.width;
  const int64_t classes = in.proxies.count;
  const auto columns = [&](int64_t k) { return classes - k < kProxyColumns ? classes - k : kProxyColumns; };
  for (int64_t k = 0; k < classes; k += kProxyColumns) {
    cosines(unit, rows, in, in.proxies, k, columns(k), tiles + k / kProxyColumns * kTile);
  }
  ProxySums sums;
  for (int64_t i = 0; i < rows; ++i) proxy_row(in, first_row + i, tiles + i * kProxyStride, sums);
  total.near += sum_of(sums.near);
  total.far += sum_of(sums.far);
  total.spread += sum_of(sums.spread) + sums.rest;
  if (grad == nullptr) return;
  for (int64_t k = 0; k < classes; k += kProxyColumns) {
    const float* tile = tiles + k / kProxyColumns * kTile;
    weighted_sums<kProxyStride, false>(tile, in.proxies.unit + k * in.width, in.width, columns(k), grad, in.width,
                                       rows);
    weighted_sums<kProxyStride, true>(tile, unit, in.width, rows, by_proxies + k * in.width, in.width, columns(k));
  }
}

// What is asked of the pairs of the block's rows with rows j ..: the cosine of their labels (> 0) where they share one,
// -1 where they should be apart, 0 where nothing is asked.
static void targets(const ProxyPairInputs& in, int64_t first_row, int64_t rows, int64_t j, int64_t columns,
                    float* tile) {
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t i = first_row + r;
    const Floats none = all(in.many[i] != 0 ? -1.0f : 0.0f);
    for (int64_t c = 0; c < columns; c += kVector) {
      const Ints common = shared_labels(in, i, j + c);
      const Floats root = load(in.inverse_root + j + c) * in.inverse_root[i];
      const Floats apart = keep(not_zero(load(in.many + j + c)), none);
      store(tile + r * kProxyStride + c,
            select(not_zero(common), __builtin_convertvector(common, Floats) * root, apart));
    }
  }
}

struct PairWeights {
  float pull, push;
};

// Cosines become the loss's derivatives by them.
static void pair_tile(const ProxyPairInputs& in, const float* target, PairWeights weights, int64_t rows,
                      int64_t columns, float* tile, double& pull, double& push) {
  Floats missing = {}, excess = {};
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; c += kVector) {
      float* cell = tile + r * kProxyStride + c;
      const Floats wanted = load(target + r * kProxyStride + c), cosine = load(cell);
      const Mask near = less(Floats{}, wanted), far = less(wanted, Floats{});
      const Floats gap = select(near, wanted - cosine, cosine - in.threshold), part = positive_part(gap);
      missing += keep(near, part);
      excess += keep(far, part);
      const Mask counts = static_cast<Mask>((near | far) & less(Floats{}, gap));
      store(cell, keep(counts, select(near, all(weights.pull), all(weights.push))));
    }
  }
  pull += sum_of(missing);
  push += sum_of(excess);
}

// The block's rows of both modalities against all rows of both; grads [2][kProxyRows, width] are added to.
static void pairs(const ProxyPairInputs& in, int64_t first_row, int64_t rows, float* target, float* tile,
                  ProxyPairSums& total, float* grads) {
  const UnitRows* sides[2] = {&in.x, &in.y};
  for (int64_t j = 0; j < in.x.count; j += kProxyColumns) {
    const int64_t columns = in.x.count - j < kProxyColumns ? in.x.count - j : kProxyColumns;
    targets(in, first_row, rows, j, columns, target);
    for (int a = 0; a < 2; ++a) {
      for (int b = 0; b < 2; ++b) {
        const bool again = a > b;  // (y, x) has the cosines of (x, y): it gives y its gradient
        if (again && grads == nullptr) continue;
        cosines(sides[a]->unit + first_row * in.width, rows, in, *sides[b], j, columns, tile);
        const float factor = a == b ? 2.0f : 1.0f;  // within a modality each pair is met from both its rows
        double pull = 0, push = 0;
        pair_tile(in, target, {factor * in.pull, factor * in.push}, rows, columns, tile, pull, push);
        total.pull += again ? 0.0 : pull;
        total.push += again ? 0.0 : push;
        if (grads == nullptr) continue;
        weighted_sums<kProxyStride, false>(tile, sides[b]->unit + j * in.width, in.width, columns,
                                           grads + a * kProxyRows * in.width, in.width, rows);
      }
    }
  }
}

// out[0..d) from the gradient by a row of length 1: what would change its length alone does not count.
static void through_length(const float* unit, float inverse, int64_t d, int64_t width, float* grad, float* out) {
  Floats along = {};
  for (int64_t k = 0; k < width; k += kVector) along += load(grad + k) * load(unit + k);
  const auto share = static_cast<float>(sum_of(along));
  for (int64_t k = 0; k < width; k += kVector) store(grad + k, (load(grad + k) - share * load(unit + k)) * inverse);
  __builtin_memcpy(out, grad, sizeof(float) * d);
}

static int64_t scratch(const ProxyPairInputs& in) {
  const int64_t chunks = whole(in.proxies.count, kProxyColumns) / kProxyColumns;
  return 2 * kProxyRows * in.width + kTile + (chunks > 1 ? chunks : 1) * kTile;
}

static ProxyPairSums block(const ProxyPairInputs& in, int64_t first_row, int64_t rows, float* memory, float* out_x,
                           float* out_y, float* by_proxies) {
  ProxyPairSums total = {0, 0, 0, 0, 0};
  float* grads = out_x != nullptr ? memory : nullptr;
  float* target = memory + 2 * kProxyRows * in.width;
  float* tiles = target + kTile;
  if (grads != nullptr) __builtin_memset(grads, 0, sizeof(float) * 2 * kProxyRows * in.width);
  const UnitRows* sides[2] = {&in.x, &in.y};
  float* outs[2] = {out_x, out_y};
  for (int s = 0; s < 2; ++s) {
    float* grad = grads != nullptr ? grads + s * kProxyRows * in.width : nullptr;
    proxy_side(in, *sides[s], first_row, rows, tiles, total, grad, by_proxies);
  }
  pairs(in, first_row, rows, target, tiles, total, grads);
  for (int s = 0; grads != nullptr && s < 2; ++s) {
    for (int64_t r = 0; r < rows; ++r) {
      through_length(sides[s]->unit + (first_row + r) * in.width, sides[s]->inverse[first_row + r], in.d, in.width,
                     grads + (s * kProxyRows + r) * in.width, outs[s] + r * in.d);
    }
  }
  return total;
}

static void finish(const UnitRows& side, int64_t d, int64_t width, float* grad, int64_t lanes, int64_t lane,
                   float* out) {
  for (int64_t i = 0; i < side.count; ++i) {
    float* sum = grad + i * width;
    for (int64_t l = 1; l < lanes; ++l) {
      for (int64_t k = 0; k < width; k += kVector) store(sum + k, load(sum + k) + load(sum + l * lane + k));
    }
    through_length(side.unit + i * width, side.inverse[i], d, width, sum, out + i * d);
  }
}

}  // namespace

extern const ProxyPairKernels FASTHASH_PROXY_TABLE = {kVector, prepare, count, scratch, block, finish};

}  // namespace fasthash
