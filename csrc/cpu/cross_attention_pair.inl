// One pair of an image and a caption in one direction, on a tile of cosines: a row for each vector that attends, a
// column for each that is attended to. With b = s after the leak, x = temperature b / |column of b|, e = exp(x - max)
// by row and G the Gram matrix, the cosine of a row with its attended vector is (e . s) / sqrt(e G e): the sum of e
// cancels. Include after cross_attention_products.inl.

constexpr float kEps = 1e-8f;           // added to the sum of squares of a column
constexpr float kLeastSquare = 1e-12f;  // of an attended vector's length

typedef float Four __attribute__((vector_size(16)));

static inline Four four_of(const float* p) {
  Four v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

static inline float sum_of(Floats x) {
  alignas(64) float lanes[kVector];
  store(lanes, x);
  Four sums = four_of(lanes);
  for (int64_t n = 4; n < kVector; n += 4) sums += four_of(lanes + n);
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

static inline float max_of(Floats x) {  // of what is not NaN
  alignas(64) float lanes[kVector];
  store(lanes, x);
  Four most = four_of(lanes);
  for (int64_t n = 4; n < kVector; n += 4) most = most < four_of(lanes + n) ? four_of(lanes + n) : most;
  const float left = most[0] < most[1] ? most[1] : most[0], right = most[2] < most[3] ? most[3] : most[2];
  return left < right ? right : left;
}

static inline Floats inverse_root(Floats x) {
  float lanes[kVector];
  store(lanes, x);
  for (float& lane : lanes) lane = 1.0f / sqrtf(lane);
  return load(lanes);
}

static int64_t padded(int64_t count) { return (count + kVector - 1) / kVector * kVector; }

static int64_t tile_floats(int64_t regions, int64_t words) {
  const int64_t longest = regions > words ? regions : words;
  const int64_t cells =
      regions * padded(words) > words * padded(regions) ? regions * padded(words) : words * padded(regions);
  return 4 * cells + 2 * padded(longest) + 4 * longest;
}

class Pair {
 public:
  // swapped: regions attend to words
  Pair(const AttentionBlock& block, int64_t image, int64_t caption, bool swapped)
      : way_(swapped ? block.i2t : block.t2i),
        leak_(all(block.leak)),
        swapped_(swapped),
        stride_(block.stride),
        item_(swapped ? caption : image),
        side_(swapped ? block.words : block.regions) {
    const int64_t row = block.regions.starts[image], column = block.words.starts[caption];
    regions_ = block.regions.starts[image + 1] - row;
    words_ = block.words.starts[caption + 1] - column;
    offset_ = (row - block.regions.begin()) * stride_ + column - block.words.begin();
    cosines_ = block.cosines + offset_;
    residual_ = block.residual + offset_;
    queries_ = swapped ? regions_ : words_;
    context_ = swapped ? words_ : regions_;
    width_ = padded(context_);
    gram_ = side_.grams + side_.gram_starts[item_];
    const int64_t cells = queries_ * width_;
    s_ = block.tile;
    e_ = s_ + cells;
    ge_ = e_ + cells;
    weighted_ = ge_ + cells;
    scale_ = weighted_ + cells;
    gone_ = scale_ + width_;
    sums_ = gone_ + width_;
    dots_ = sums_ + queries_;
    squares_ = dots_ + queries_;
    values_ = squares_ + queries_;
  }

  float score() {
    if (queries_ == 0 || context_ == 0) return 0;
    attend();
    return pool();
  }

  // Adds to the residual or, the first time, sets it; and adds to the Gram matrix's gradient.
  void gradient(float grad, bool add) {
    if (queries_ == 0 || context_ == 0) return set_zero(add);
    attend();
    pool_gradient(grad);
    for (int64_t q = 0; q < queries_; ++q) row_gradient(q);
    column_gradients();
    if (side_.gram_grads != nullptr) {
      add_products({weighted_, 1, width_}, {e_, width_, queries_}, side_.gram_grads + side_.gram_starts[item_], width_,
                   context_);
    }
    put_residual(add);
  }

 private:
  Floats leaky(Floats s) const { return select(less(s, Floats{}), leak_ * s, s); }

  void get_tile() {
    const int64_t row = swapped_ ? width_ : 1, column = swapped_ ? 1 : width_;
    for (int64_t q = 0; q < queries_; ++q) store(s_ + (q + 1) * width_ - kVector, Floats{});
    for (int64_t r = 0; r < regions_; ++r) {
      const float* from = cosines_ + r * stride_;
      for (int64_t w = 0; w < words_; ++w) s_[r * row + w * column] = from[w];
    }
    for (int64_t c = 0; c < width_; ++c) gone_[c] = c < context_ ? 0.0f : -1e30f;
  }

  void set_zero(bool add) {
    if (add) return;
    for (int64_t r = 0; r < regions_; ++r) {
      for (int64_t w = 0; w < words_; ++w) residual_[r * stride_ + w] = 0;
    }
  }

  void put_residual(bool add) {  // from ge_
    const int64_t row = swapped_ ? width_ : 1, column = swapped_ ? 1 : width_;
    for (int64_t r = 0; r < regions_; ++r) {
      float* to = residual_ + r * stride_;
      for (int64_t w = 0; w < words_; ++w) to[w] = (add ? to[w] : 0.0f) + ge_[r * row + w * column];
    }
  }

  void attend() {
    get_tile();
    for (int64_t c = 0; c < width_; c += kVector) {
      Floats sum = all(kEps);
      for (int64_t q = 0; q < queries_; ++q) {
        const Floats b = leaky(load(s_ + q * width_ + c));
        sum += b * b;
      }
      store(scale_ + c, inverse_root(sum));
    }
    for (int64_t q = 0; q < queries_; ++q) attend_row(q);
    for (int64_t k = 0; k < queries_ * width_; k += kVector) store(ge_ + k, Floats{});
    add_products({e_, width_, 1}, {gram_, width_, context_}, ge_, width_, queries_);
    for (int64_t q = 0; q < queries_; ++q) {
      Floats square{};
      for (int64_t c = q * width_; c < (q + 1) * width_; c += kVector) square += load(e_ + c) * load(ge_ + c);
      const float inverse = 1 / sums_[q];
      squares_[q] = sum_of(square) * inverse * inverse;
      dots_[q] *= inverse;
      values_[q] = dots_[q] / length(q);
    }
  }

  // e, its sum, and its inner product with s
  void attend_row(int64_t q) {
    const float* s = s_ + q * width_;
    float* e = e_ + q * width_;
    const Floats temperature = all(way_.temperature);
    Floats highest = all(-3e38f);
    for (int64_t c = 0; c < width_; c += kVector) {
      const Floats x = temperature * (leaky(load(s + c)) * load(scale_ + c)) + load(gone_ + c);
      highest = select(less(highest, x), x, highest);
      store(e + c, x);
    }
    const Floats shift = all(max_of(highest));
    Floats sum{}, dot{};
    for (int64_t c = 0; c < width_; c += kVector) {
      const Floats value = exp_of_negative(load(e + c) - shift);
      store(e + c, value);
      sum += value;
      dot += value * load(s + c);
    }
    sums_[q] = sum_of(sum);
    dots_[q] = sum_of(dot);
  }

  float length(int64_t q) const { return sqrtf(squares_[q] < kLeastSquare ? kLeastSquare : squares_[q]); }

  float highest_value() const {
    float highest = values_[0];
    for (int64_t q = 1; q < queries_; ++q) highest = highest < values_[q] ? values_[q] : highest;
    return highest;
  }

  float pool() const {
    double sum = 0;
    if (way_.pool == 0) {
      for (int64_t q = 0; q < queries_; ++q) sum += values_[q];
      return static_cast<float>(sum / static_cast<double>(queries_));
    }
    const float highest = highest_value();
    for (int64_t q = 0; q < queries_; ++q) {
      sum += exp(static_cast<double>(way_.pool * (values_[q] - highest)));
    }
    return highest + static_cast<float>(log(sum)) / way_.pool;
  }

  // values become the gradients of the values
  void pool_gradient(float grad) {
    if (way_.pool == 0) {
      for (int64_t q = 0; q < queries_; ++q) values_[q] = grad / static_cast<float>(queries_);
      return;
    }
    const float highest = highest_value();
    float sum = 0;
    for (int64_t q = 0; q < queries_; ++q) {
      values_[q] = expf(way_.pool * (values_[q] - highest));
      sum += values_[q];
    }
    for (int64_t q = 0; q < queries_; ++q) values_[q] *= grad / sum;
  }

  // e becomes the softmax, ge the gradient of x; dots the gradient of the inner products
  void row_gradient(int64_t q) {
    const float size = length(q), inverse = 1 / sums_[q];
    const float of_dot = values_[q] / size;
    const bool clamped = squares_[q] <= kLeastSquare;
    // twice the gradient of the squared length. Where it is not clamped, a softmax times a number changes nothing, so
    // the weights have no gradient along themselves.
    const float twice = clamped ? 0.0f : -of_dot * dots_[q] / (size * size);
    const Floats along = all(clamped ? of_dot * dots_[q] : 0.0f);
    for (int64_t c = q * width_; c < (q + 1) * width_; c += kVector) {
      const Floats weight = load(e_ + c) * inverse;
      const Floats of_weight = of_dot * load(s_ + c) + (twice * inverse) * load(ge_ + c);
      store(e_ + c, weight);
      store(weighted_ + c, twice * weight);
      store(ge_ + c, weight * (of_weight - along));
    }
    dots_[q] = of_dot;
  }

  // ge becomes the gradient of s
  void column_gradients() {
    for (int64_t c = 0; c < width_; c += kVector) {
      const Floats scale = load(scale_ + c);
      Floats across{};
      for (int64_t k = c; k < queries_ * width_; k += width_) across += load(ge_ + k) * (leaky(load(s_ + k)) * scale);
      const Floats factor = way_.temperature * scale;
      for (int64_t q = 0, k = c; q < queries_; ++q, k += width_) {
        const Floats s = load(s_ + k);
        const Floats of_b = factor * (load(ge_ + k) - leaky(s) * scale * across);
        store(ge_ + k, select(less(Floats{}, s), of_b, leak_ * of_b) + dots_[q] * load(e_ + k));
      }
    }
  }

  const AttentionWay& way_;
  Floats leak_;
  bool swapped_;
  int64_t stride_, item_;
  const AttentionSide& side_;
  int64_t regions_, words_, offset_, queries_, context_, width_;
  const float *cosines_, *gram_;
  float* residual_;
  float *s_, *e_, *ge_, *weighted_;           // [queries, width]
  float *scale_, *gone_;                      // [width]
  float *sums_, *dots_, *squares_, *values_;  // [queries]
};
