// Sums over the real positions of padded histories x [B, T, D], and DIEN's auxiliary loss, which is made of them.
//
// Paddle has them as thousands of tiny matrix products, or as passes over temporaries of x's size.
#include <omp.h>

#include "vector.h"

using namespace interest;

namespace {

// log(1 + eˣ), without overflow.
inline float softplus(float x) { return (x > 0.0f ? x : 0.0f) + std::log1p(std::exp(-std::fabs(x))); }

}  // namespace

extern "C" {

// y_t = x_t·q: x [B, T, D], q [B, D] → y [B, T], 0 behind the length.
void positions_dot(int64_t rows, int64_t steps, int64_t width, const float* x, const float* q, const int64_t* length, float* y) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t t = 0; t < steps; ++t)
      y[i * steps + t] = t < length[i] ? dot(width, x + (i * steps + t) * width, q + i * width) : 0.0f;
}

// z = Σ_t w_t·x_t: w [B, T], x [B, T, D] → z [B, D].
void positions_pool(int64_t rows, int64_t steps, int64_t width, const float* w, const float* x, const int64_t* length, float* z) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < rows; ++i) {
    std::fill(z + i * width, z + (i + 1) * width, 0.0f);
    for (int64_t t = 0; t < std::min(length[i], steps); ++t)
      add(width, w[i * steps + t], x + (i * steps + t) * width, z + i * width);
  }
}

// x_t = w_t·q: w [B, T], q [B, D] → x [B, T, D], 0 behind the length.
void positions_outer(int64_t rows, int64_t steps, int64_t width, const float* w, const float* q, const int64_t* length, float* x) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t t = 0; t < steps; ++t) {
      float* out = x + (i * steps + t) * width;
      std::fill(out, out + width, 0.0f);
      if (t < length[i]) add(width, w[i * steps + t], q + i * width, out);
    }
}

// The sum over t ≥ 1 with mask_t = 1 of softplus(−h_{t−1}·e_t) + softplus(h_{t−1}·ê_t), for each row: h, e, ê [B, T, D],
// mask [B, T] → loss [B]; slope [B, T, 2]: the derivatives of the two terms, 0 where there are none.
void auxiliary_forward(int64_t rows, int64_t steps, int64_t width, const float* h, const float* e, const float* negative,
                       const float* mask, float* loss, float* slope) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < rows; ++i) {
    loss[i] = 0.0f;
    for (int64_t t = 0; t < steps; ++t) {
      const int64_t at = i * steps + t;
      slope[2 * at] = slope[2 * at + 1] = 0.0f;
      if (t == 0 || mask[at] == 0.0f) continue;
      const float *before = h + (at - 1) * width;
      const float yes = dot(width, before, e + at * width), no = dot(width, before, negative + at * width);
      loss[i] += softplus(-yes) + softplus(no);
      slope[2 * at] = sigmoid(yes) - 1.0f;
      slope[2 * at + 1] = sigmoid(no);
    }
  }
}

// Gradients dh, de and dnegative [B, T, D], times `factor`.
void auxiliary_backward(int64_t rows, int64_t steps, int64_t width, const float* h, const float* e, const float* negative,
                        const float* slope, float factor, float* dh, float* de, float* dnegative) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < rows; ++i) {
    for (float* x : {dh, de, dnegative}) std::fill(x + i * steps * width, x + (i + 1) * steps * width, 0.0f);
    for (int64_t t = 1; t < steps; ++t) {
      const int64_t at = i * steps + t;
      const float yes = factor * slope[2 * at], no = factor * slope[2 * at + 1];
      if (yes == 0.0f && no == 0.0f) continue;
      add(width, yes, e + at * width, dh + (at - 1) * width);
      add(width, no, negative + at * width, dh + (at - 1) * width);
      add(width, yes, h + (at - 1) * width, de + at * width);
      add(width, no, h + (at - 1) * width, dnegative + at * width);
    }
  }
}

}  // extern "C"
