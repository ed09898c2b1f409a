// Products whose strides are known at run time only, as the sizes of images and captions are. Include after
// gemm_tiles.inl, in the same namespace.

// out [rows, columns] = rows of x times a panel, in tiles of kRows rows and then of half as many; columns <= kPanel
template <int kRows>
static void inner_rows(const float* x, int64_t stride, int64_t rows, const float* panel, int64_t d, float* out,
                       int64_t out_stride, int64_t columns) {
  alignas(64) float tile[kRows * kPanel];
  int64_t i = 0;
  for (; i + kRows <= rows; i += kRows) {
    inner_tile<kRows, kPanel>(x + i * stride, stride, panel, d, tile);
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t j = 0; j < columns; j += kVector) store(out + (i + r) * out_stride + j, load(tile + r * kPanel + j));
    }
  }
  if constexpr (kRows > 1) {
    inner_rows<kRows / 2>(x + i * stride, stride, rows - i, panel, d, out + i * out_stride, out_stride, columns);
  }
}

// Weight (i, k) is at weights[i * row + k * step].
struct Weights {
  const float* weights;
  int64_t row, step;
};

// `depth` rows, read to the full width of what they are added to
struct Operand {
  const float* rows;
  int64_t stride, depth;
};

template <int kRows, int kVectors>
FASTHASH_APART static void add_tile(Weights w, Operand x, float* out, int64_t out_stride) {
  Floats sums[kRows][kVectors] = {};
  const float* weight = w.weights;
  const float* row = x.rows;
  for (int64_t k = 0; k < x.depth; ++k, weight += w.step, row += x.stride) {
    Floats values[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) values[v] = load(row + v * kVector);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[i][v] += weight[i * w.row] * values[v];
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

template <int kRows, int kVectors>
static void add_rows(Weights w, Operand x, float* out, int64_t out_stride, int64_t rows) {
  int64_t i = 0;
  for (; i + kRows <= rows; i += kRows) {
    add_tile<kRows, kVectors>({w.weights + i * w.row, w.row, w.step}, x, out + i * out_stride, out_stride);
  }
  if constexpr (kRows > 1) {
    add_rows<kRows / 2, kVectors>({w.weights + i * w.row, w.row, w.step}, x, out + i * out_stride, out_stride,
                                  rows - i);
  }
}

// Columns of x and out from v on: whole tiles first, then narrower ones.
template <int kVectors>
static void add_columns(Weights w, Operand x, float* out, int64_t width, int64_t rows, int64_t v) {
  for (; v + kVectors * kVector <= width; v += kVectors * kVector) {
    add_rows<kSumRows[kVectors], kVectors>(w, {x.rows + v, x.stride, x.depth}, out + v, width, rows);
  }
  if constexpr (kVectors > 1) add_columns<kVectors - 1>(w, x, out, width, rows, v);
}

// out [rows, width] += weights [rows, depth] x [depth, width]; width is a multiple of kVector
static void add_products(Weights w, Operand x, float* out, int64_t width, int64_t rows) {
  add_columns<kMaxVectors>(w, x, out, width, rows, 0);
}
