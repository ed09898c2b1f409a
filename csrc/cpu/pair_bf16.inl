// The pairwise likelihood by matrix products of bfloat16 numbers. Include after pair_bf16_operands.inl and
//
//   kRowStep          what the rows of a product are a multiple of
//   multiply<kTerms>  c = factor * left x right, or c += left x right

static_assert(kRightColumns == kPanel && kStrip <= kPairBatchRows);
constexpr int64_t kTilesPerFlush = 96 / kStrip;  // as kPanelsPerFlush, for tiles of kStrip rows

// The residual of a tile as operand of both gradients; rows and columns that are not there become zero.
template <int kTerms>
FASTHASH_APART static void keep_residual(const PairBlock& block, int64_t i, int64_t rows, int64_t j,
                                         const Operands<kTerms>& o) {
  const int64_t there = block.rows_b - j;
  const __mmask32 real = there >= 32 ? ~__mmask32{0} : (__mmask32)((1u << there) - 1);
  for (int64_t r = 0; r < kStrip; r += 2) {
    __m512i terms[2][kTerms];
    for (int64_t half = 0; half < 2; ++half) {
      const float* cell = block.residual + (r + half) * kPairResidualRow;
      narrow(_mm512_loadu_ps(cell), _mm512_loadu_ps(cell + 16), terms[half]);
      const __mmask32 kept = r + half < rows ? real : 0;
      for (int t = 0; t < kTerms; ++t) terms[half][t] = _mm512_maskz_mov_epi16(kept, terms[half][t]);
    }
    for (int t = 0; t < kTerms; ++t) {
      const Left& left = o.residual_rows;
      const Right& right = o.residual_pairs;
      int32_t* row = left.words + t * left.plane + (i + r) * left.stride + j / 2;
      _mm512_storeu_si512(row, terms[0][t]);
      _mm512_storeu_si512(row + left.stride, terms[1][t]);
      interleave(terms[0][t], terms[1][t],
                 right.words + t * right.plane + j / kRightColumns * right.panel + (i + r) / 2 * kRightColumns);
    }
  }
}

// grad_b += columns^T
FASTHASH_APART static void add_columns(const PairBlock& block, const float* columns, int64_t stride) {
  float turned[16 * 16];
  for (int64_t j = 0; j < block.rows_b; j += 16) {
    for (int64_t k = 0; k < block.width; k += 16) {
      transpose(reinterpret_cast<const int32_t*>(columns + k * stride + j), stride, reinterpret_cast<int32_t*>(turned),
                16);
      for (int64_t r = 0; r < 16 && j + r < block.rows_b; ++r) {
        float* out = block.grad_b + (j + r) * block.width + k;
        store(out, load(out) + load(turned + r * 16));
      }
    }
  }
}

// theta and the residual of one batch group against the block
template <int kTerms, bool kResidual, typename Epilogue>
static void tiles(const PairBlock& block, int64_t first_row, int64_t rows, const Operands<kTerms>& o,
                  Epilogue& epilogue) {
  int64_t count = 0;
  for (int64_t j = 0; j < block.rows_b; j += kRightColumns) {
    Right panel = o.bank_panels;
    panel.words += j / kRightColumns * panel.panel;
    for (int64_t i = 0; i < rows; i += kStrip) {
      Left strip = o.batch_rows;
      strip.words += i * strip.stride;
      const int64_t real = rows - i < kStrip ? rows - i : kStrip;
      multiply<kTerms>(strip, panel, block.width / 2, block.scale, block.residual, kPairResidualRow,
                       round_up(real, kRowStep), kRightColumns, false);
      if (j + kRightColumns <= block.rows_b) {
        epilogue.template tile<false, kResidual>(block, first_row + i, static_cast<int>(real), j, block.residual);
      } else {
        epilogue.template tile<true, kResidual>(block, first_row + i, static_cast<int>(real), j, block.residual);
      }
      if constexpr (kResidual) keep_residual<kTerms>(block, i, real, j, o);
      if (++count % kTilesPerFlush == 0) epilogue.flush();
    }
  }
  epilogue.flush();
}

template <int kTerms>
static void gradients(const PairBlock& block, int64_t first_row, int64_t rows, const Operands<kTerms>& o) {
  if (block.grad_a != nullptr) {
    multiply<kTerms>(o.residual_rows, o.bank_pairs, round_up(block.rows_b, kStrip) / 2, 1.0f, o.sums, block.width,
                     round_up(rows, kRowStep), block.width, false);
    float* out = block.grad_a + first_row * block.width;
    for (int64_t c = 0; c < rows * block.width; c += kVector) store(out + c, load(out + c) + load(o.sums + c));
  }
  if (block.grad_b != nullptr) {
    multiply<kTerms>(o.batch_columns, o.residual_pairs, round_up(rows, kStrip) / 2, 1.0f, o.columns,
                     Operands<kTerms>::kColumnRow, block.width, round_up(block.rows_b, kRightColumns), first_row > 0);
  }
}

template <int kTerms, typename Epilogue>
static double run_bf16(const PairBlock& block) {
  const Operands<kTerms> operands(block.panel, block.width);
  Epilogue epilogue;
  pack_bank<kTerms>(block, operands);
  const bool residual = block.grad_a != nullptr || block.grad_b != nullptr;
  for (int64_t i = 0; i < block.rows_a; i += kBatch) {
    const int64_t rows = block.rows_a - i < kBatch ? block.rows_a - i : kBatch;
    pack_batch<kTerms>(block, i, rows, operands);
    if (residual) {
      tiles<kTerms, true>(block, i, rows, operands, epilogue);
      gradients<kTerms>(block, i, rows, operands);
    } else {
      tiles<kTerms, false>(block, i, rows, operands, epilogue);
    }
  }
  if (block.grad_b != nullptr) add_columns(block, operands.columns, Operands<kTerms>::kColumnRow);
  return epilogue.total();
}

template <int kTerms, PairSimilar kSimilar>
static double run_similar(const PairBlock& block) {
  const bool weighted =
      block.weights.values != nullptr || block.row_weights_a != nullptr || block.row_weights_b != nullptr;
  return weighted ? run_bf16<kTerms, NllEpilogue<kSimilar, true>>(block)
                  : run_bf16<kTerms, NllEpilogue<kSimilar, false>>(block);
}

template <int kTerms>
static double nll_bf16(const PairBlock& block) {
  if (block.similar == PairSimilar::kDense) return run_similar<kTerms, PairSimilar::kDense>(block);
  if (block.similar == PairSimilar::kIds) return run_similar<kTerms, PairSimilar::kIds>(block);
  return run_similar<kTerms, PairSimilar::kMasks>(block);
}
