// What the native operators share: a small matrix product in registers, and σ and tanh that compilers can vectorise.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace interest {

#if defined(__AVX512F__)
constexpr int LANES = 16, COLUMNS = 4;  // floats a register; registers that a tile is wide
#elif defined(__AVX__)
constexpr int LANES = 8, COLUMNS = 2;
#else
constexpr int LANES = 4, COLUMNS = 2;
#endif
typedef float Register __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));

inline int64_t padded(int64_t n) { return (n + LANES - 1) / LANES * LANES; }

template <int M, int N>
inline void tile(int64_t k, const float* a, int64_t row, int64_t column, const float* b, int64_t ldb, float* c, int64_t ldc) {
  Register sum[M][N];
  for (int m = 0; m < M; ++m)
    for (int n = 0; n < N; ++n) sum[m][n] = *(const Register*)(c + m * ldc + n * LANES);
  for (int64_t j = 0; j < k; ++j, a += column, b += ldb) {
    Register line[N];
    for (int n = 0; n < N; ++n) line[n] = *(const Register*)(b + n * LANES);
    for (int m = 0; m < M; ++m)
      for (int n = 0; n < N; ++n) sum[m][n] += a[m * row] * line[n];
  }
  for (int m = 0; m < M; ++m)
    for (int n = 0; n < N; ++n) *(Register*)(c + m * ldc + n * LANES) = sum[m][n];
}

template <int M>
inline void strip(int64_t n, int64_t k, const float* a, int64_t row, int64_t column, const float* b, int64_t ldb, float* c,
                  int64_t ldc) {
  int64_t j = 0;
  for (; j + COLUMNS * LANES <= n; j += COLUMNS * LANES) tile<M, COLUMNS>(k, a, row, column, b + j, ldb, c + j, ldc);
  for (; j < n; j += LANES) tile<M, 1>(k, a, row, column, b + j, ldb, c + j, ldc);
}

// C += A·B for C [m, n], B [k, n], and A [m, k] whose element (i, j) is a[i·row + j·column]; n a multiple of LANES.
inline void multiply_add(int64_t m, int64_t n, int64_t k, const float* a, int64_t row, int64_t column, const float* b,
                         int64_t ldb, float* c, int64_t ldc) {
  int64_t i = 0;
  for (; i + 6 <= m; i += 6) strip<6>(n, k, a + i * row, row, column, b, ldb, c + i * ldc, ldc);
  for (; i + 2 <= m; i += 2) strip<2>(n, k, a + i * row, row, column, b, ldb, c + i * ldc, ldc);
  for (; i < m; ++i) strip<1>(n, k, a + i * row, row, column, b, ldb, c + i * ldc, ldc);
}

// eˣ to about 1e-7 of its value: 2ⁿ·eʳ with |r| ≤ ln 2 / 2 and the Taylor series of eʳ. NaN stays NaN.
inline float exponential(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  float n = std::nearbyint(x * 1.44269504f);
  float r = x - n * 0.693359375f + n * 2.12194440e-4f;
  float e = 1.0f + r * (1.0f + r * (0.5f + r * (1 / 6.0f + r * (1 / 24.0f + r * (1 / 120.0f + r * (1 / 720.0f))))));
  int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return e * power;
}

inline float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }
inline float tangent(float x) { return 1.0f - 2.0f / (1.0f + exponential(2.0f * x)); }

inline float dot(int64_t n, const float* a, const float* b) {
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int64_t k = 0; k < n; ++k) sum += a[k] * b[k];
  return sum;
}

inline void add(int64_t n, float factor, const float* x, float* y) {
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) y[k] += factor * x[k];
}

}  // namespace interest
