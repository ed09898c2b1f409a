// Vectors of FASTHASH_VECTOR floats by compiler extensions, with intrinsics where they save work. Everything has
// internal linkage: the linker must never choose one instruction set's copy of a function for another.
// NaN in an argument stays NaN in every function that takes floats.

constexpr int64_t kVector = FASTHASH_VECTOR;
typedef float Floats __attribute__((vector_size(FASTHASH_VECTOR * 4)));
typedef int32_t Ints __attribute__((vector_size(FASTHASH_VECTOR * 4)));

#if FASTHASH_VECTOR == 16
typedef __mmask16 Mask;
#else
typedef Ints Mask;  // all bits of a lane
#endif

static inline Floats load(const float* p) {
  Floats v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

static inline Ints load(const int32_t* p) {
  Ints v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

static inline void store(float* p, Floats v) { __builtin_memcpy(p, &v, sizeof v); }

static inline Floats all(float x) { return x - Floats{}; }  // x - 0 keeps every bit of x
static inline Ints all(int32_t x) { return x - Ints{}; }

#if FASTHASH_VECTOR == 16

constexpr Mask kLanes = 0xffff;  // a full mask costs nothing; the forms without one warn in some compilers

static inline Mask not_zero(Ints x) { return _mm512_test_epi32_mask((__m512i)x, (__m512i)x); }
static inline Mask is_zero(Ints x) { return _mm512_testn_epi32_mask((__m512i)x, (__m512i)x); }
static inline Mask less(Floats x, Floats y) { return _mm512_cmp_ps_mask((__m512)x, (__m512)y, _CMP_LT_OQ); }
static inline Mask first(int64_t lanes) { return lanes >= 16 ? 0xffff : (Mask)((1u << (lanes < 0 ? 0 : lanes)) - 1); }
static inline Floats select(Mask m, Floats x, Floats y) {
  return (Floats)_mm512_mask_blend_ps(m, (__m512)y, (__m512)x);
}
static inline Floats keep(Mask m, Floats x) { return (Floats)_mm512_maskz_mov_ps(m, (__m512)x); }
static inline Floats negate(Mask m, Floats x) {
  return (Floats)_mm512_mask_xor_epi32((__m512i)x, m, (__m512i)x, _mm512_set1_epi32(INT32_MIN));
}
static inline Floats positive_part(Floats x) {
  return (Floats)_mm512_maskz_max_ps(kLanes, _mm512_setzero_ps(), (__m512)x);
}

// exp(-104) is 0 in float
static inline Floats clamp(Floats x) { return (Floats)_mm512_maskz_max_ps(kLanes, _mm512_set1_ps(-104.0f), (__m512)x); }
static inline Floats scale_by_power(Floats p, Floats n, Floats, Floats) {
  return (Floats)_mm512_maskz_scalef_ps(kLanes, (__m512)p, (__m512)n);
}

static inline bool any(Mask m) { return m != 0; }
static inline Floats square_root(Floats x) { return (Floats)_mm512_maskz_sqrt_ps(kLanes, (__m512)x); }

static inline Floats reciprocal(Floats x) {  // of 1 to 2: one Newton step after 14 bits
  const Floats y = (Floats)_mm512_maskz_rcp14_ps(kLanes, (__m512)x);
  return y + y * (1.0f - x * y);
}

#else

static inline Mask not_zero(Ints x) { return x != 0; }
static inline Mask is_zero(Ints x) { return x == 0; }
static inline Mask less(Floats x, Floats y) { return x < y; }
static inline Mask first(int64_t lanes) {
  Mask m;
  for (int64_t i = 0; i < kVector; ++i) m[i] = i < lanes ? -1 : 0;
  return m;
}
static inline Floats select(Mask m, Floats x, Floats y) { return (Floats)((m & (Ints)x) | (~m & (Ints)y)); }
static inline Floats keep(Mask m, Floats x) { return (Floats)(m & (Ints)x); }
static inline Floats negate(Mask m, Floats x) { return (Floats)((Ints)x ^ (m & INT32_MIN)); }
static inline Floats positive_part(Floats x) { return (Floats)(~(x < 0.0f) & (Ints)x); }

static inline Floats clamp(Floats x) { return x; }
// p * 2^n; the low bits of shifted = n + 1.5 * 2^23 hold n. Below -87.3 that leaves the normal range: 0 there
static inline Floats scale_by_power(Floats p, Floats, Floats shifted, Floats x) {
  const Floats power = (Floats)(((Ints)shifted + 127) << 23);
  return (Floats)(~(x < -87.3f) & (Ints)(p * power));
}

static inline Floats reciprocal(Floats x) { return 1.0f / x; }

static inline bool any(Mask m) {
  int32_t bits = 0;
  for (int64_t i = 0; i < kVector; ++i) bits |= m[i];
  return bits != 0;
}

static inline Floats square_root(Floats x) {
#if FASTHASH_VECTOR == 8
  return (Floats)_mm256_sqrt_ps((__m256)x);
#elif defined(__x86_64__)
  return (Floats)_mm_sqrt_ps((__m128)x);
#elif defined(__aarch64__)
  return (Floats)vsqrtq_f32((float32x4_t)x);
#else
  for (int64_t i = 0; i < kVector; ++i) x[i] = sqrtf(x[i]);
  return x;
#endif
}

#endif

static inline Floats minus_abs(Floats x) { return (Floats)((Ints)x | INT32_MIN); }

// exp(x) for x <= 0, relative error 9e-8, exp(0) = 1 exactly: x = n log 2 + r, polynomial in |r| <= log(2) / 2
static inline Floats exp_of_negative(Floats x) {
  x = clamp(x);
  const Floats shifter = all(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number
  const Floats shifted = x * 1.44269504f + shifter;
  const Floats n = shifted - shifter;
  const Floats r = (x - n * 0.693145752f) - n * 1.42860677e-6f;  // log 2 in two parts, n times the first is exact
  Floats p = r * 8.29027215e-3f + 4.18981599e-2f;
  p = p * r + 0.166676381f;
  p = p * r + 0.499991478f;
  p = p * r + 0.999999706f;
  p = p * r + 1.0f;
  return scale_by_power(p, n, shifted, x);
}

// log(1 + e) for e in [0, 1], relative error 2e-7, also for small e
static inline Floats log1p_of_share(Floats e) {
  Floats p = e * 0.00536482455f - 0.0300657935f;
  p = p * e + 0.079204537f;
  p = p * e - 0.137538031f;
  p = p * e + 0.191536546f;
  p = p * e - 0.248571634f;
  p = p * e + 0.33321324f;
  p = p * e - 0.499996483f;
  p = p * e + 1.0f;
  return p * e;
}
