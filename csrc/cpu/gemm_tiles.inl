// Products of small matrices in registers, for kernels that fuse something between them. Include after float_simd.inl,
// in the same namespace. Rows are rows of floats with a stride; a "panel" is kPanel rows side by side.
//
//   pack_panel     panel[k][j] = scale * x[j][k]
//   inner_tile     out[i][0..kPanel) = a_i . x_j for the rows of a panel
//   weighted_sums  out[i] += sum_k weight(i, k) x[k]; the weights may be read transposed

#if FASTHASH_VECTOR == 16 || defined(__aarch64__)
constexpr int kTileRows = 12;  // x 2 vectors: 24 of 32 registers
constexpr int kMaxVectors = 4;
constexpr int kSumRows[] = {0, 14, 12, 8, 6};  // by vectors
#else
constexpr int kTileRows = 6;
constexpr int kMaxVectors = 2;
constexpr int kSumRows[] = {0, 12, 6};
#endif
constexpr int64_t kPanel = 2 * kVector;

// A function of its own keeps its sums in registers: inlined, they compete with the constants of what surrounds it.
#define FASTHASH_APART __attribute__((noinline))

// panel [d, kPanel] from `count` rows of x; the panel's rows past the end are 0, or NaN beside what is
// not finite.
[[maybe_unused]] static void pack_panel(const float* x, int64_t stride, int64_t count, int64_t d, float scale,
                                        float* panel) {
  typedef float Four __attribute__((vector_size(16)));
  for (int64_t j = 0; j < kPanel; j += 4) {
    const float* rows[4];
    float scales[4];
    for (int i = 0; i < 4; ++i) {
      const bool real = j + i < count;
      rows[i] = real ? x + (j + i) * stride : x;
      scales[i] = real ? scale : 0.0f;
    }
    const Four factor = {scales[0], scales[1], scales[2], scales[3]};
    for (int64_t k = 0; k < d; ++k) {
      const Four column = factor * Four{rows[0][k], rows[1][k], rows[2][k], rows[3][k]};
      __builtin_memcpy(panel + k * kPanel + j, &column, sizeof column);
    }
  }
}

// out[i][0..kPanel) = sum_k a[i][k] panel[k] for kRows rows of a
template <int kRows, int64_t kOutStride>
FASTHASH_APART static void inner_tile(const float* a, int64_t stride, const float* panel, int64_t d, float* out) {
  Floats sums[kRows][2] = {};
  for (int64_t k = 0; k < d; ++k) {
    const Floats left = load(panel + k * kPanel), right = load(panel + k * kPanel + kVector);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      sums[i][0] += a[i * stride + k] * left;
      sums[i][1] += a[i * stride + k] * right;
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    store(out + i * kOutStride, sums[i][0]);
    store(out + i * kOutStride + kVector, sums[i][1]);
  }
}

// out[i][:] += sum_k w(i, k) x[k][:] where w(i, k) is w[i][k], or w[k][i] when transposed; kStride: floats of a row of
// w
template <int kRows, int kVectors, int64_t kStride, bool kTransposed>
FASTHASH_APART static void sum_tile(const float* w, const float* x, int64_t stride, int64_t depth, float* out,
                                    int64_t out_stride) {
  Floats sums[kRows][kVectors] = {};
  for (int64_t k = 0; k < depth; ++k) {
    Floats row[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) row[v] = load(x + k * stride + v * kVector);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const float weight = kTransposed ? w[k * kStride + i] : w[i * kStride + k];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[i][v] += weight * row[v];
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      float* p = out + i * out_stride + v * kVector;
      store(p, load(p) + sums[i][v]);
    }
  }
}

// All rows of one group of columns: whole tiles first, then what is left in halves of a tile.
template <int kRows, int kVectors, int64_t kStride, bool kTransposed>
static void sum_rows(const float* w, const float* x, int64_t stride, int64_t depth, float* out, int64_t out_stride,
                     int64_t rows) {
  int64_t i = 0;
  for (; i + kRows <= rows; i += kRows) {
    const float* from = kTransposed ? w + i : w + i * kStride;
    sum_tile<kRows, kVectors, kStride, kTransposed>(from, x, stride, depth, out + i * out_stride, out_stride);
  }
  if constexpr (kRows > 1) {
    const float* from = kTransposed ? w + i : w + i * kStride;
    sum_rows<kRows / 2, kVectors, kStride, kTransposed>(from, x, stride, depth, out + i * out_stride, out_stride,
                                                        rows - i);
  }
}

// out [rows, width] += w x, or w^T x, with w a matrix of rows of kStride floats; width is a multiple of kVector,
// `depth` rows of x are read to their full width.
template <int64_t kStride, bool kTransposed>
static void weighted_sums(const float* w, const float* x, int64_t stride, int64_t depth, float* out, int64_t width,
                          int64_t rows) {
  int64_t v = 0;
  for (; v + kMaxVectors * kVector <= width; v += kMaxVectors * kVector) {
    sum_rows<kSumRows[kMaxVectors], kMaxVectors, kStride, kTransposed>(w, x + v, stride, depth, out + v, width, rows);
  }
  const int64_t left = (width - v) / kVector;
  if constexpr (kMaxVectors > 3) {
    if (left == 3) sum_rows<kSumRows[3], 3, kStride, kTransposed>(w, x + v, stride, depth, out + v, width, rows);
    if (left == 2) sum_rows<kSumRows[2], 2, kStride, kTransposed>(w, x + v, stride, depth, out + v, width, rows);
  }
  if (left == 1) sum_rows<kSumRows[1], 1, kStride, kTransposed>(w, x + v, stride, depth, out + v, width, rows);
}
