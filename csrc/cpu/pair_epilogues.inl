// What is made of the inner products of a tile: the loss, and in their place the residual, its derivative. Include
// after gemm_tiles.inl and pair_block.h, in the same namespace. An epilogue has
//
//   tile<kTail, kResidual>(block, i, rows, j, tile)  rows i.. of the batch, one panel j.. of the bank; kTail: the panel
//                                                    has rows past the end, which add nothing to the loss
//   flush()                                          at least every kPanelsPerFlush panels
//   total()                                          the loss
//   kDifferences                                     the residual is by |a - b|^2 / -2, not by the inner product

// q = prod (1 + e) - 1 takes one factor of at most 2 per tile row and panel, and must stay below 2^127
constexpr int64_t kPanelsPerFlush = 96 / kTileRows;

// values of (i, j .. j + kVector), 0 past the end
static inline Floats pair_values(const PairValues& from, const PairBlock& block, int64_t i, int64_t j) {
  const float* p = from.values + i * from.step_a + j * from.step_b;
  if (from.step_b == 1 && j + kVector <= block.rows_b) return load(p);
  float values[kVector] = {};
  for (int64_t k = 0; k < kVector && j + k < block.rows_b; ++k) values[k] = p[k * from.step_b];
  return load(values);
}

// Which of kVector pairs share a label.
template <PairSimilar kSimilar>
static inline Mask similar(const PairBlock& block, int64_t i, int64_t j) {
  Ints bits = {};
  for (int64_t p = 0; p < block.planes; ++p) {
    const int32_t x = block.planes_a[p * block.plane_a + i];
    const Ints y = load(block.planes_b + p * block.plane_b + j);
    bits |= kSimilar == PairSimilar::kIds ? x ^ y : x & y;
  }
  return kSimilar == PairSimilar::kIds ? is_zero(bits) : not_zero(bits);
}

static inline Floats pair_weight(const PairBlock& block, int64_t i, int64_t j) {
  Floats w = all(block.row_weights_a != nullptr ? block.row_weights_a[i] : 1.0f);
  if (block.row_weights_b != nullptr) w *= load(block.row_weights_b + j);
  return block.weights.values != nullptr ? w * pair_values(block.weights, block, i, j) : w;
}

// Sums of one strip in float, of the whole block in double.
struct PairSum {
  Floats lanes = {};
  double sum = 0;

  FASTHASH_APART void flush() {
    float part[kVector];
    store(part, lanes);
    for (const float x : part) sum += x;
    lanes = Floats{};
  }
};

// Sum of log(1 + e) as the logarithm of a product, kept as q = product - 1 so that small e are not lost:
// (1 + x)(1 + y) - 1 = x + y + xy
struct LogSum {
  Floats q0 = {}, q1 = {};
  double lanes[kVector] = {};
  double sum = 0;
  int factors = 0;

  FASTHASH_APART void flush() {
    float q[kVector], r[kVector];
    store(q, q0);
    store(r, q1);
    for (int64_t i = 0; i < kVector; ++i) {
      const double x = q[i], y = r[i], both = x + y + x * y;
      lanes[i] += both + lanes[i] * both;
    }
    q0 = q1 = Floats{};
    if (++factors == 5) take_logs();  // at most 5 * 2 * 96 factors: below 2^1023
  }

  void take_logs() {
    for (int64_t i = 0; i < kVector; ++i) {
      sum += log1p(lanes[i]);
      lanes[i] = 0;
    }
    factors = 0;
  }
};

// softplus(theta) - S theta and its derivative sigmoid(theta) - S. With S in {0, 1}, one sign flip makes both
// one-sided: z = S ? -theta : theta, loss = max(z, 0) + log1p(e), residual = S ? -sigmoid(z) : sigmoid(z).
template <PairSimilar kSimilar, bool kWeighted>
struct NllEpilogue {
  static constexpr bool kDifferences = false;
  PairSum linear;
  LogSum logs;

  template <bool kTail, bool kResidual>
  static inline void pairs(const PairBlock& block, int64_t i, int64_t j, float* cell, Floats& linear, Floats& q) {
    const Floats theta = load(cell);
    const Mask real = first(block.rows_b - j);
    Floats part, numerator, offset = {};
    Mask flip = {};
    Floats e = exp_of_negative(minus_abs(theta));
    const Floats inverse = reciprocal(1.0f + e);
    if constexpr (kSimilar == PairSimilar::kDense) {
      const Floats s = pair_values(block.dense, block, i, j);
      flip = less(Floats{}, theta);
      offset = select(flip, 1.0f - s, -s);  // no difference of near-equals: theta's share and the tail are apart
      part = offset * theta;
      numerator = e;
    } else {
      flip = similar<kSimilar>(block, i, j);
      const Floats z = negate(flip, theta);
      part = positive_part(z);
      numerator = select(less(z, Floats{}), e, all(1.0f));
    }
    Floats residual = offset + negate(flip, numerator * inverse);
    if constexpr (kWeighted) {
      const Floats w = pair_weight(block, i, j);
      residual *= w;
      part = w * (part + log1p_of_share(e));
    }
    if constexpr (kResidual) store(cell, residual);
    if constexpr (kTail) {
      part = keep(real, part);
      e = keep(real, e);
    }
    linear += part;
    if constexpr (!kWeighted) q = (q * e + e) + q;
  }

  template <bool kTail, bool kResidual>
  FASTHASH_APART void tile(const PairBlock& block, int64_t i, int rows, int64_t j, float* tile) {
    Floats sum = linear.lanes, q0 = logs.q0, q1 = logs.q1;
    for (int r = 0; r < rows; ++r) {
      float* cell = tile + r * kPairResidualRow;
      pairs<kTail, kResidual>(block, i + r, j, cell, sum, q0);
      pairs<kTail, kResidual>(block, i + r, j + kVector, cell + kVector, sum, q1);
    }
    linear.lanes = sum;
    logs.q0 = q0;
    logs.q1 = q1;
  }

  void flush() {
    linear.flush();
    if constexpr (!kWeighted) logs.flush();
  }

  double total() {
    logs.take_logs();
    return linear.sum + logs.sum;
  }
};

// (cos - T)^2 of rows of unit length
struct CosineEpilogue {
  static constexpr bool kDifferences = false;
  PairSum squares;

  template <bool kTail, bool kResidual>
  FASTHASH_APART void tile(const PairBlock& block, int64_t i, int rows, int64_t j, float* tile) {
    Floats sum = squares.lanes;
    for (int r = 0; r < rows; ++r) {
#pragma GCC unroll 2
      for (int64_t v = 0; v < kPanel; v += kVector) {
        float* cell = tile + r * kPairResidualRow + v;
        const Floats miss = load(cell) - pair_values(block.dense, block, i + r, j + v);
        sum += kTail ? keep(first(block.rows_b - j - v), miss * miss) : miss * miss;
        if constexpr (kResidual) store(cell, 2.0f * miss);
      }
    }
    squares.lanes = sum;
  }

  void flush() { squares.flush(); }
  double total() const { return squares.sum; }
};

// (S delta)^2 + ((1 - S) margin - min((1 - S) delta, margin))^2 with delta = |a - b|. Its derivative by delta^2 is
// S^2 - (1 - S) h / delta, h the second bracket, where (1 - S) delta < margin; no gradient where delta is 0.
template <PairSimilar kSimilar>
struct EuclideanEpilogue {
  static constexpr bool kDifferences = true;
  PairSum losses;

  template <bool kTail, bool kResidual>
  static inline void pairs(const PairBlock& block, int64_t i, int64_t j, float* cell, Floats& sum) {
    const Floats length = block.squares_a[i] + load(block.squares_b + j);
    Floats square = positive_part(length - 2.0f * load(cell));
    Floats share, loss;
    if constexpr (kSimilar == PairSimilar::kDense) {
      const Floats s = pair_values(block.dense, block, i, j), rest = 1.0f - s;
      const Floats delta = distance(block, i, j, length, square), far = rest * delta;
      const Mask inside = less(far, all(block.margin));
      const Floats gap = rest * block.margin - select(inside, far, all(block.margin));
      loss = s * s * square + gap * gap;
      share = s * s - select(is_zero((Ints)delta), Floats{}, select(inside, rest * gap / delta, far - far));
    } else {
      const Mask both = similar<kSimilar>(block, i, j);
      const Floats delta = distance(block, i, j, select(both, Floats{}, length), square);
      const Mask inside = less(delta, all(block.margin));
      const Floats gap = select(inside, block.margin - delta, delta - delta);  // NaN stays NaN
      loss = select(both, square, gap * gap);
      share = select(both, all(1.0f), select(is_zero((Ints)delta), Floats{}, -(gap / delta)));
    }
    if constexpr (kResidual) store(cell, -2.0f * share);
    sum += kTail ? keep(first(block.rows_b - j), loss) : loss;
  }

  // The root of square, which is made again from a and b where it is small against length: there the difference of
  // lengths and inner product keeps few digits, and the derivative divides by it.
  static inline Floats distance(const PairBlock& block, int64_t i, int64_t j, Floats length, Floats& square) {
    const Mask near = less(square, length * 0.03f);
    if (any(near)) square = exact_squares(block, i, j, near, square);
    return square_root(square);
  }

  // |a_i - b_j|^2 where near, the rest as it was
  FASTHASH_APART static Floats exact_squares(const PairBlock& block, int64_t i, int64_t j, Mask near, Floats square) {
    float values[kVector], flags[kVector];
    store(values, square);
    store(flags, keep(near, all(1.0f)));
    const float* a = block.a + i * block.stride_a;
    for (int64_t k = 0; k < kVector && j + k < block.rows_b; ++k) {
      if (flags[k] == 0) continue;
      const float* b = block.b + (j + k) * block.stride_b;
      Floats sum = {};
      for (int64_t c = 0; c < block.width; c += kVector) {
        const Floats step = load(a + c) - load(b + c);
        sum += step * step;
      }
      float parts[kVector];
      store(parts, sum);
      values[k] = 0;
      for (const float part : parts) values[k] += part;
    }
    return load(values);
  }

  template <bool kTail, bool kResidual>
  FASTHASH_APART void tile(const PairBlock& block, int64_t i, int rows, int64_t j, float* tile) {
    Floats sum = losses.lanes;
    for (int r = 0; r < rows; ++r) {
      float* cell = tile + r * kPairResidualRow;
      pairs<kTail, kResidual>(block, i + r, j, cell, sum);
      pairs<kTail, kResidual>(block, i + r, j + kVector, cell + kVector, sum);
    }
    losses.lanes = sum;
  }

  void flush() { losses.flush(); }
  double total() const { return losses.sum; }
};
