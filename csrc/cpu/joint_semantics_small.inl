// Loss and gradients of up to kJointSmall items, all matrices in the cache. Part of joint_semantics_kernels.inl.
//
// Residuals are differences of cosines and targets, entry by entry: a loss near 0 keeps its digits.

static inline float sum_of(Floats v) {
  float lanes[kVector], total = 0;
  store(lanes, v);
  for (int64_t i = 0; i < kVector; ++i) total += lanes[i];
  return total;
}

// out [m, width]: rows of length 1, columns d .. width - 1 zero; inverse[i]: 1 / length, 0 where it is below
// 1e-12: no direction, and no gradient
static void normalise(const float* x, int64_t m, int64_t d, int64_t width, float* out, float* inverse) {
  for (int64_t i = 0; i < m; ++i) {
    float* row = out + i * width;
    __builtin_memcpy(row, x + i * d, sizeof(float) * (size_t)d);
    for (int64_t k = d; k < width; ++k) row[k] = 0;
    Floats squares = {};
    for (int64_t k = 0; k < width; k += kVector) squares += load(row + k) * load(row + k);
    const float length = sqrtf(sum_of(squares));
    const float factor = length < 1e-12f ? 0.0f : 1.0f / length;
    for (int64_t k = 0; k < width; k += kVector) store(row + k, load(row + k) * factor);
    inverse[i] = factor;
  }
}

// out [m, kJointSmallStride] = a b^T in tiles of kRows rows, what is left in halves of a tile
template <int kRows>
static void cosine_rows(const float* a, int64_t rows, int64_t stride, const float* panel, int64_t d, float* out) {
  int64_t i = 0;
  for (; i + kRows <= rows; i += kRows) {
    inner_tile<kRows, kJointSmallStride>(a + i * stride, stride, panel, d, out + i * kJointSmallStride);
  }
  if constexpr (kRows > 1) {
    cosine_rows<kRows / 2>(a + i * stride, rows - i, stride, panel, d, out + i * kJointSmallStride);
  }
}

static void cosines(const JointSmall& p, const float* a, const float* b, float* panel, float* out) {
  for (int64_t j = 0; j < p.m; j += kPanel) {
    pack_panel(b + j * p.width, p.width, p.m - j, p.d, 1.0f, panel);
    cosine_rows<kTileRows>(a, p.m, p.width, panel, p.d, out + j);
  }
}

// Cosines become factor * (cosine - target); returns the sum of (cosine - target)^2.
static double residuals(const JointSmall& p, const float* target, int64_t target_stride, float factor, float* c) {
  double total[kVector] = {};
  for (int64_t i = 0; i < p.m; ++i) {
    Floats squares = {};
    for (int64_t j = 0; j < p.m; j += kVector) {
      float* cell = c + i * kJointSmallStride + j;
      const Floats difference = load(cell) - load(target + i * target_stride + j);
      squares += difference * difference;
      store(cell, factor * difference);
    }
    float lanes[kVector];
    store(lanes, squares);
    for (int64_t k = 0; k < kVector; ++k) total[k] += lanes[k];
  }
  double sum = 0;
  for (int64_t k = 0; k < kVector; ++k) sum += total[k];
  return sum;
}

// Through the normalisation: out = (g - (g . u) u) / length
static void project(const JointSmall& p, const float* g, const float* u, const float* inverse, float* out) {
  for (int64_t i = 0; i < p.m; ++i) {
    const float *gradient = g + i * p.width, *unit = u + i * p.width;
    Floats products = {};
    for (int64_t k = 0; k < p.width; k += kVector) products += load(gradient + k) * load(unit + k);
    const float along = sum_of(products);
    for (int64_t k = 0; k < p.d; ++k) out[i * p.d + k] = inverse[i] * (gradient[k] - along * unit[k]);
  }
}

// T [m, whole vectors] = mu [(1 - eta) S + (eta / m) S S]
static void make_target(const JointSmall& p, int64_t columns, float* target) {
  for (int64_t k = 0; k < p.m * columns; k += kVector) store(target + k, Floats{});
  if (p.eta != 0) {
    weighted_sums<kJointSmallStride, false>(p.affinity, p.affinity, kJointSmallStride, p.m, target, columns, p.m);
  }
  const float first = p.mu * (1 - p.eta), second = p.mu * p.eta / (float)p.m;
  for (int64_t i = 0; i < p.m; ++i) {
    for (int64_t j = 0; j < columns; j += kVector) {
      float* cell = target + i * columns + j;
      store(cell, first * load(p.affinity + i * kJointSmallStride + j) + second * load(cell));
    }
  }
}

static void add(const float* r, const JointSmall& p, const float* x, float* g) {
  weighted_sums<kJointSmallStride, false>(r, x, p.width, p.m, g, p.width, p.m);
}

static double small_loss(const JointSmall& p) {
  const int64_t columns = (p.m + kVector - 1) / kVector * kVector, square = (p.m + 16) * kJointSmallStride;
  float* target = p.scratch;
  float* cross = target + square;
  float* image = cross + square;
  float* text = image + square;
  float* u = text + square;
  float* v = u + p.m * p.width;
  float* g_image = v + p.m * p.width;
  float* g_text = g_image + p.m * p.width;
  float* inverse = g_text + p.m * p.width;
  float* panel = inverse + 2 * kJointSmall;
  normalise(p.image, p.m, p.d, p.width, u, inverse);
  normalise(p.text, p.m, p.d, p.width, v, inverse + kJointSmall);
  make_target(p, columns, target);
  const float mean = 1.0f / (float)(p.m * p.m);
  cosines(p, u, v, panel, cross);
  double loss = residuals(p, target, columns, 2 * mean, cross);
  if (p.lambda1 != 0) {
    cosines(p, u, u, panel, image);
    loss += (double)p.lambda1 * residuals(p, target, columns, 4 * p.lambda1 * mean, image);
  }
  if (p.lambda2 != 0) {
    cosines(p, v, v, panel, text);
    loss += (double)p.lambda2 * residuals(p, target, columns, 4 * p.lambda2 * mean, text);
  }
  for (int64_t k = 0; k < 2 * p.m * p.width; k += kVector) store(g_image + k, Floats{});
  if (p.grad_image) {
    add(cross, p, v, g_image);
    if (p.lambda1 != 0) add(image, p, u, g_image);
    project(p, g_image, u, inverse, p.grad_image);
  }
  if (p.grad_text) {
    weighted_sums<kJointSmallStride, true>(cross, u, p.width, p.m, g_text, p.width, p.m);
    if (p.lambda2 != 0) add(text, p, v, g_text);
    project(p, g_text, v, inverse + kJointSmall, p.grad_text);
  }
  return loss / ((double)p.m * (double)p.m);
}
