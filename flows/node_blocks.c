// Loops over the nodes of a surface in a step of mean curvature flow, see node_blocks.py.
//
// The matrix of the step is A = K + c w w^T for three components, or K + c without w, with compressed
// rows of K; M is the inverse of its blocks of nodes. Arrays are contiguous, rows first.

#include <stdint.h>
#include <string.h>

typedef double pair __attribute__((vector_size(16)));
typedef double quad __attribute__((vector_size(32)));

// Add the products of a row of K with three columns to a sum.
static inline void along(int64_t start, int64_t end, const int32_t *columns, const double *values,
                         const double *x, double *sum)
{
  pair s = {0, 0};
  double t = 0;
  for (int64_t k = start; k < end; ++k)
  {
    const double *z = x + 3 * (int64_t)columns[k], a = values[k];
    pair p;
    memcpy(&p, z, sizeof p);
    s += a * p;
    t += a * z[2];
  }
  sum[0] += s[0];
  sum[1] += s[1];
  sum[2] += t;
}

static inline double dot(const double *x, const double *y)
{
  return x[0] * y[0] + x[1] * y[1] + x[2] * y[2];
}

// y = A x, where A x = K x + c (w . x) w for three components, or K x + c x without w; returns x . y.
double multiply(int64_t nodes, const int64_t *starts, const int32_t *columns, const double *values,
                const double *c, const double *w, const double *x, double *y)
{
  double product = 0;
  for (int64_t i = 0; i < nodes; ++i)
  {
    double s[3] = {0, 0, 0};
    along(starts[i], starts[i + 1], columns, values, x, s);
    const double *z = x + 3 * i, *v = w ? w + 3 * i : z;
    const double b = w ? c[i] * dot(v, z) : c[i];
    for (int m = 0; m < 3; ++m)
      product += z[m] * (y[3 * i + m] = s[m] + b * v[m]);
  }
  return product;
}

// Rows of d hold, for each component, three fields d_a and, last, positions x. f = -K x, and the sums
// d_a . A d_b and, last in each row, d_a . K x.
void expect(int64_t nodes, const int64_t *starts, const int32_t *columns, const double *values,
            const double *c, const double *w, const double *d, double *f, double *sums)
{
  quad rows[3] = {{0}};
  for (int64_t i = 0; i < nodes; ++i)
  {
    quad s[3] = {{0}}, e[3];
    for (int64_t k = starts[i]; k < starts[i + 1]; ++k)
    {
      memcpy(e, d + 12 * (int64_t)columns[k], sizeof e);
      for (int m = 0; m < 3; ++m)
        s[m] += values[k] * e[m];
    }
    memcpy(e, d + 12 * i, sizeof e);
    const quad scale = {c[i], c[i], c[i], 0};
    for (int m = 0; m < 3; ++m)
      f[3 * i + m] = -s[m][3];
    if (w)
    {
      const double *v = w + 3 * i;
      const quad along = scale * (v[0] * e[0] + v[1] * e[1] + v[2] * e[2]);
      for (int m = 0; m < 3; ++m)
        s[m] += v[m] * along;
    }
    else
      for (int m = 0; m < 3; ++m)
        s[m] += scale * e[m];
    for (int a = 0; a < 3; ++a)
      for (int m = 0; m < 3; ++m)
        rows[a] += e[m][a] * s[m];
  }
  memcpy(sums, rows, sizeof rows);
}

// x = sum of weights times the three fields.
void blend(int64_t nodes, const double *weights, const double *d, double *x)
{
  for (int64_t i = 0; i < 3 * nodes; ++i, d += 4)
    x[i] = weights[0] * d[0] + weights[1] * d[1] + weights[2] * d[2];
}

// The velocity x times a scale and its backward differences take the place of the three fields.
void follow(int64_t nodes, double scale, const double *x, double *d)
{
  for (int64_t i = 0; i < 3 * nodes; ++i, d += 4)
  {
    const double v = scale * x[i], first = v - d[0], second = first - d[1];
    d[0] = v;
    d[1] = first;
    d[2] = second;
  }
}

// The inverses g - h w w^T of the blocks k + c w w^T of nodes, or 1/(k + c) without w, where c is
// the mass times a scale.
void invert(int64_t nodes, const double *values, const int64_t *diagonal, double scale,
            const double *mass, const double *w, double *c, double *g, double *h)
{
  for (int64_t i = 0; i < nodes; ++i)
  {
    const double k = values[diagonal[i]], *v = w + 3 * i;
    c[i] = scale * mass[i];
    g[i] = 1 / (w ? k : k + c[i]);
    h[i] = w ? c[i] * g[i] / (k + c[i] * (v[0] * v[0] + v[1] * v[1] + v[2] * v[2])) : 0;
  }
}

// p = g r - h (w . r) w, or g r without w; returns r . p.
static inline double divide(double g, double h, const double *w, const double *r, double *p)
{
  const double b = w ? h * dot(w, r) : 0;
  for (int m = 0; m < 3; ++m)
    p[m] = g * r[m] - (w ? b * w[m] : 0);
  return dot(r, p);
}

// Begin conjugate gradients for A x = f with the inverses of blocks, M: r = f - A x and p = M r, from
// zero without x. Finds f . M f and r . p.
void begin(int64_t nodes, const int64_t *starts, const int32_t *columns, const double *values,
           const double *c, const double *w, const double *g, const double *h, const double *f,
           const double *x, double *r, double *p, double *sums)
{
  double whole = 0, rest = 0;
  for (int64_t i = 0; i < nodes; ++i, f += 3, r += 3, p += 3)
  {
    const double *v = w ? w + 3 * i : 0;
    double s[3] = {0, 0, 0};
    whole += divide(g[i], h[i], v, f, p);
    if (x)
    {
      const double *z = x + 3 * i, b = w ? c[i] * dot(v, z) : c[i];
      along(starts[i], starts[i + 1], columns, values, x, s);
      for (int m = 0; m < 3; ++m)
        s[m] += b * (w ? v[m] : z[m]);
    }
    for (int m = 0; m < 3; ++m)
      r[m] = f[m] - s[m];
    rest += divide(g[i], h[i], v, r, p);
  }
  sums[0] = whole;
  sums[1] = rest;
}

// r -= scale q; returns r . M r.
double descend(int64_t nodes, double scale, const double *q, const double *w, const double *g,
               const double *h, double *r)
{
  double rest = 0;
  for (int64_t i = 0; i < nodes; ++i, q += 3, r += 3)
  {
    double z[3];
    for (int m = 0; m < 3; ++m)
      r[m] -= scale * q[m];
    rest += divide(g[i], h[i], w ? w + 3 * i : 0, r, z);
  }
  return rest;
}

// x += scale p, and, where r is given, p = M r + turn p.
void proceed(int64_t nodes, double scale, double turn, const double *w, const double *g,
             const double *h, const double *r, double *p, double *x)
{
  for (int64_t i = 0; i < nodes; ++i, p += 3, x += 3)
  {
    for (int m = 0; m < 3; ++m)
      x[m] += scale * p[m];
    if (r)
    {
      double z[3];
      divide(g[i], h[i], w ? w + 3 * i : 0, r + 3 * i, z);
      for (int m = 0; m < 3; ++m)
        p[m] = z[m] + turn * p[m];
    }
  }
}
