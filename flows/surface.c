// Loops over the cells and nodes of surfaces of flat cells, see flat.py and curvature_solver.py.
//
// Arrays are contiguous, rows first. Kernels are compiled by kernels.py for the processor at hand.

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef double pair __attribute__((vector_size(16)));
typedef double quad __attribute__((vector_size(32)));

// Area vector, area and stiffness of triangles: 7 numbers each. Returns how many area vectors have
// turned by a right angle or more.
int64_t triangles(int64_t cells, const int32_t *corners, const double *x, double *rows)
{
  int64_t turned = 0;
  for (int64_t t = 0; t < cells; ++t, corners += 3, rows += 7)
  {
    const double *a = x + 3 * corners[0], *b = x + 3 * corners[1], *c = x + 3 * corners[2];
    double p[3], q[3], r[3];
    for (int k = 0; k < 3; ++k)
    {
      p[k] = c[k] - b[k];
      q[k] = a[k] - c[k];
      r[k] = b[k] - a[k];
    }
    const double n[3] = {(p[1] * q[2] - p[2] * q[1]) / 2, (p[2] * q[0] - p[0] * q[2]) / 2,
                         (p[0] * q[1] - p[1] * q[0]) / 2};
    turned += rows[0] * n[0] + rows[1] * n[1] + rows[2] * n[2] <= 0;
    const double size = sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]), scale = 0.25 / size;
    rows[0] = n[0];
    rows[1] = n[1];
    rows[2] = n[2];
    rows[3] = size;
    rows[4] = scale * (q[0] * r[0] + q[1] * r[1] + q[2] * r[2]);
    rows[5] = scale * (r[0] * p[0] + r[1] * p[1] + r[2] * p[2]);
    rows[6] = scale * (p[0] * q[0] + p[1] * q[1] + p[2] * q[2]);
  }
  return turned;
}

// The same of intervals in the plane, whose nodes and normals have three coordinates, too: 5 numbers.
int64_t intervals(int64_t cells, const int32_t *corners, const double *x, double *rows)
{
  int64_t turned = 0;
  for (int64_t t = 0; t < cells; ++t, corners += 2, rows += 5)
  {
    const double *a = x + 3 * corners[0], *b = x + 3 * corners[1];
    const double n[2] = {a[1] - b[1], b[0] - a[0]};
    turned += rows[0] * n[0] + rows[1] * n[1] <= 0;
    const double size = sqrt(n[0] * n[0] + n[1] * n[1]);
    rows[0] = n[0];
    rows[1] = n[1];
    rows[2] = 0;
    rows[3] = size;
    rows[4] = -1 / size;
  }
  return turned;
}

// Shares of the nodes in area vectors, times signs, and in areas: 4 sums for each node.
void share(int64_t cells, int corners, const int32_t *nodes, const double *signs, int64_t width,
           const double *rows, double *sums)
{
  const double part = 1.0 / corners;
  for (int64_t t = 0; t < cells; ++t, rows += width)
  {
    const double turn = part * signs[t];
    quad row, sum, parts = {turn, turn, turn, part};
    memcpy(&row, rows, sizeof row);
    parts *= row;
    for (int i = 0; i < corners; ++i, ++nodes)
    {
      memcpy(&sum, sums + 4 * (int64_t)*nodes, sizeof sum);
      sum += parts;
      memcpy(sums + 4 * (int64_t)*nodes, &sum, sizeof sum);
    }
  }
}

// Where the entries (node, node) of each cell stand in compressed rows.
void find(int64_t cells, int corners, const int32_t *nodes, const int64_t *starts,
          const int32_t *columns, int32_t *places)
{
  for (int64_t t = 0; t < cells; ++t, nodes += corners)
    for (int i = 0; i < corners; ++i)
      for (int j = 0; j < corners; ++j)
      {
        int64_t at = starts[nodes[i]];
        while (columns[at] != nodes[j])
          ++at;
        *places++ = (int32_t)at;
      }
}

// Add the stiffness of cells, given between the ends of edges, to entries of a matrix.
void add(int64_t cells, int corners, const int32_t *places, int64_t width, const double *edges,
         double *values)
{
  for (int64_t t = 0; t < cells; ++t, edges += width, places += corners * corners)
    if (corners == 3)
    {
      const double k0 = edges[0], k1 = edges[1], k2 = edges[2];
      const double k[9] = {-k1 - k2, k2, k1, k2, -k0 - k2, k0, k1, k0, -k0 - k1};
      for (int i = 0; i < 9; ++i)
        values[places[i]] += k[i];
    }
    else
    {
      values[places[0]] -= edges[0];
      values[places[1]] += edges[0];
      values[places[2]] += edges[0];
      values[places[3]] -= edges[0];
    }
}

// y = K x + c (w . x) w for three components, or K x + c x without w.
void multiply(int64_t nodes, const int64_t *starts, const int32_t *columns, const double *values,
              const double *c, const double *w, const double *x, double *y)
{
  for (int64_t i = 0; i < nodes; ++i)
  {
    pair s = {0, 0};
    double t = 0;
    for (int64_t k = starts[i]; k < starts[i + 1]; ++k)
    {
      const double *z = x + 3 * (int64_t)columns[k], a = values[k];
      pair p;
      memcpy(&p, z, sizeof p);
      s += a * p;
      t += a * z[2];
    }
    const double *z = x + 3 * i, *v = w ? w + 3 * i : z;
    const double b = w ? c[i] * (v[0] * z[0] + v[1] * z[1] + v[2] * z[2]) : c[i];
    y[3 * i] = s[0] + b * v[0];
    y[3 * i + 1] = s[1] + b * v[1];
    y[3 * i + 2] = t + b * v[2];
  }
}

// z = g r - h (w . r) w, or g r without w.
void divide(int64_t nodes, const double *g, const double *h, const double *w, const double *r,
            double *z)
{
  for (int64_t i = 0; i < nodes; ++i, r += 3, z += 3)
  {
    const double *v = w ? w + 3 * i : r;
    const double b = w ? h[i] * (v[0] * r[0] + v[1] * r[1] + v[2] * r[2]) : 0;
    z[0] = g[i] * r[0] - b * v[0];
    z[1] = g[i] * r[1] - b * v[1];
    z[2] = g[i] * r[2] - b * v[2];
  }
}
