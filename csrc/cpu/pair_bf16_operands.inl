// The pairwise likelihood by matrix products of bfloat16 numbers with float32 sums: its operands. Include after
// pair_epilogues.inl, in the same namespace, in files compiled for AVX-512 with AVX512_BF16.
//
// With one term, operands are rounded to bfloat16: of codes that are bfloat16 numbers nothing is lost, and the residual
// keeps 8 bits. With two terms x = hi + lo, and hi hi + hi lo + lo hi keeps about 16 bits of each operand; codes must
// be finite or NaN.
//
// All three products have one form, rows times pairs: left [rows][depth] row-major, right [depth / 2][columns] with the
// two numbers of a pair in one word, which is what both vdpbf16ps and tdpbf16ps multiply.
//
//   theta [i][j]    = batch_rows [i][k]     x bank_panels [k pairs][j]
//   grad_a [i][k]   = residual_rows [i][j]  x bank_pairs [j pairs][k]
//   grad_b^T [k][j] = batch_columns [k][i]  x residual_pairs [i pairs][j]

constexpr int64_t kBatch = 128;        // batch rows handled at a time
constexpr int64_t kStrip = 32;         // of them, those whose tile of inner products is made at once
constexpr int64_t kRightColumns = 32;  // columns of a panel of right operands
constexpr int64_t kPad = 16;           // words added to a row, against rows in the same cache sets

// The two numbers of a pair in one 32-bit word; `plane` words from term to term.
struct Left {  // [rows][stride] words: the pairs of a row
  int32_t* words;
  int64_t stride, plane;
};
struct Right {  // [panels][pairs][kRightColumns] words, `panel` words from panel to panel
  int32_t* words;
  int64_t panel, plane;
};

static inline int64_t round_up(int64_t x, int64_t step) { return (x + step - 1) / step * step; }

// 32 numbers and what is left of them, as bfloat16
template <int kTerms>
static inline void narrow(__m512 left, __m512 right, __m512i (&terms)[kTerms]) {
  terms[0] = (__m512i)_mm512_cvtne2ps_pbh(right, left);
  if constexpr (kTerms == 2) {
    const __m512i low = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(terms[0]));
    const __m512i high = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(terms[0], 1));
    left = left - (__m512)_mm512_slli_epi32(low, 16);
    right = right - (__m512)_mm512_slli_epi32(high, 16);
    terms[1] = (__m512i)_mm512_cvtne2ps_pbh(right, left);
  }
}

// out [32] words: element k of two rows of 32 side by side
static inline void interleave(__m512i even, __m512i odd, int32_t* out) {
  alignas(64) static const uint16_t kIndex[2][32] = {{0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                                      8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47},
                                                     {16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55,
                                                      24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63}};
  _mm512_storeu_si512(out, _mm512_permutex2var_epi16(even, _mm512_load_si512(kIndex[0]), odd));
  _mm512_storeu_si512(out + 16, _mm512_permutex2var_epi16(even, _mm512_load_si512(kIndex[1]), odd));
}

// out[j][i] = in[i][j], 16 x 16
static inline void transpose(const int32_t* in, int64_t stride, int32_t* out, int64_t out_stride) {
  __m512i x[16], y[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) x[i] = _mm512_loadu_si512(in + i * stride);
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
    y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {  // x[i + c]: column 4 L + c of rows i .. i + 3 in 128-bit lane L
    x[i] = _mm512_unpacklo_epi64(y[i], y[i + 2]);
    x[i + 1] = _mm512_unpackhi_epi64(y[i], y[i + 2]);
    x[i + 2] = _mm512_unpacklo_epi64(y[i + 1], y[i + 3]);
    x[i + 3] = _mm512_unpackhi_epi64(y[i + 1], y[i + 3]);
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    const __m512i even = _mm512_shuffle_i32x4(x[c], x[4 + c], 0x88), odd = _mm512_shuffle_i32x4(x[c], x[4 + c], 0xdd);
    const __m512i even2 = _mm512_shuffle_i32x4(x[8 + c], x[12 + c], 0x88);
    const __m512i odd2 = _mm512_shuffle_i32x4(x[8 + c], x[12 + c], 0xdd);
    _mm512_storeu_si512(out + c * out_stride, _mm512_shuffle_i32x4(even, even2, 0x88));
    _mm512_storeu_si512(out + (4 + c) * out_stride, _mm512_shuffle_i32x4(odd, odd2, 0x88));
    _mm512_storeu_si512(out + (8 + c) * out_stride, _mm512_shuffle_i32x4(even, even2, 0xdd));
    _mm512_storeu_si512(out + (12 + c) * out_stride, _mm512_shuffle_i32x4(odd, odd2, 0xdd));
  }
}

// Operands in scratch memory that starts at a cache line, each with one plane per term.
template <int kTerms>
class Operands {
 public:
  static int64_t floats(int64_t width) { return Operands(nullptr, width).used_; }

  Operands(float* scratch, int64_t width) : scratch_(scratch) {
    const int64_t words = width / 2;
    batch_rows = rows(kBatch, words);
    batch_columns = rows(width, kBatch / 2);
    bank_panels = panels(kPairBankRows, round_up(words, 16));
    bank_pairs = panels(width, kPairBankRows / 2);
    residual_rows = rows(kBatch, kPairBankRows / 2);
    residual_pairs = panels(kPairBankRows, kBatch / 2);
    narrowed = rows(kStrip, words);
    pairs = take(round_up(width, kRightColumns) * kStrip / 2);
    sums = reinterpret_cast<float*>(take(kBatch * width));
    columns = reinterpret_cast<float*>(take(width * kColumnRow));
  }

  static constexpr int64_t kColumnRow = kPairBankRows + kPad;
  Left batch_rows, batch_columns, residual_rows, narrowed;
  Right bank_panels, bank_pairs, residual_pairs;
  int32_t* pairs;  // [panels][kStrip / 2][kRightColumns]
  float* sums;     // [kBatch, width]
  float* columns;  // [width, kColumnRow], grad_b transposed

 private:
  int32_t* take(int64_t words) {
    float* from = scratch_ != nullptr ? scratch_ + used_ : nullptr;
    used_ += round_up(words, 16);
    return reinterpret_cast<int32_t*>(from);
  }
  Left rows(int64_t count, int64_t words) {
    const int64_t stride = round_up(words, 16) + kPad, plane = count * stride;
    return {take(kTerms * plane), stride, plane};
  }
  Right panels(int64_t count, int64_t pairs) {
    const int64_t panel = pairs * kRightColumns, plane = round_up(count, kRightColumns) / kRightColumns * panel;
    return {take(kTerms * plane), panel, plane};
  }

  float* scratch_;
  int64_t used_ = 0;
};

// kStrip rows of x, those past `count` zero
template <int kTerms>
static void narrow_rows(const float* x, int64_t stride, int64_t count, int64_t width, const Left& out, int64_t row) {
  for (int64_t i = 0; i < kStrip; ++i) {
    for (int64_t k = 0; k < width; k += 32) {
      __m512 left = _mm512_setzero_ps(), right = left;
      if (i < count) {
        left = _mm512_loadu_ps(x + i * stride + k);
        if (k + 16 < width) right = _mm512_loadu_ps(x + i * stride + k + 16);
      }
      __m512i terms[kTerms];
      narrow(left, right, terms);
      for (int t = 0; t < kTerms; ++t) {
        _mm512_storeu_si512(out.words + t * out.plane + (row + i) * out.stride + k / 2, terms[t]);
      }
    }
  }
}

// out[panel][pair][32]: rows 2 pair and 2 pair + 1 of kStrip rows side by side
static void pair_rows(const int32_t* rows, int64_t stride, int64_t width, int32_t* out, int64_t panel) {
  for (int64_t r = 0; r < kStrip; r += 2) {
    for (int64_t k = 0; k < width; k += 32) {
      const int32_t* from = rows + r * stride + k / 2;
      interleave(_mm512_loadu_si512(from), _mm512_loadu_si512(from + stride),
                 out + k / 32 * panel + r / 2 * kRightColumns);
    }
  }
}

template <int kTerms>
FASTHASH_APART static void pack_bank(const PairBlock& block, const Operands<kTerms>& o) {
  const Left& rows = o.narrowed;
  for (int64_t j = 0; j < block.rows_b; j += kStrip) {
    narrow_rows<kTerms>(block.b + j * block.stride_b, block.stride_b, block.rows_b - j, block.width, rows, 0);
    for (int t = 0; t < kTerms; ++t) {
      const int32_t* from = rows.words + t * rows.plane;
      int32_t* panel = o.bank_panels.words + t * o.bank_panels.plane + j / kRightColumns * o.bank_panels.panel;
      for (int64_t k = 0; k < block.width / 2; k += 16) {
        transpose(from + k, rows.stride, panel + k * kRightColumns, kRightColumns);
        transpose(from + 16 * rows.stride + k, rows.stride, panel + k * kRightColumns + 16, kRightColumns);
      }
      if (block.grad_a == nullptr) continue;
      pair_rows(from, rows.stride, block.width, o.bank_pairs.words + t * o.bank_pairs.plane + j / 2 * kRightColumns,
                o.bank_pairs.panel);
    }
  }
}

template <int kTerms>
FASTHASH_APART static void pack_batch(const PairBlock& block, int64_t first_row, int64_t rows,
                                      const Operands<kTerms>& o) {
  constexpr int64_t kPanelWords = kStrip / 2 * kRightColumns;
  for (int64_t i = 0; i < rows; i += kStrip) {
    narrow_rows<kTerms>(block.a + (first_row + i) * block.stride_a, block.stride_a, rows - i, block.width, o.batch_rows,
                        i);
    if (block.grad_b == nullptr) continue;
    for (int t = 0; t < kTerms; ++t) {
      const Left& out = o.batch_columns;
      pair_rows(o.batch_rows.words + t * o.batch_rows.plane + i * o.batch_rows.stride, o.batch_rows.stride, block.width,
                o.pairs, kPanelWords);
      for (int64_t k = 0; k < block.width; k += 16) {
        transpose(o.pairs + k / kRightColumns * kPanelWords + k % kRightColumns, kRightColumns,
                  out.words + t * out.plane + k * out.stride + i / 2, out.stride);
      }
    }
  }
}
