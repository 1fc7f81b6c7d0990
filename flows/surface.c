// Loops over the cells and nodes of surfaces of flat cells, see flat.py.
//
// Arrays are contiguous, rows first. Kernels are compiled by kernels.py for the processor at hand.

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef double quad __attribute__((vector_size(32)));

// What two loops below find for a cell: its row, area vector and area; and the shares of its nodes in
// them, the vector times a sign, in 4 sums for each node. Returns whether the vector has turned by a
// right angle or more.
static inline int64_t take(int corners, const int32_t *nodes, double sign, quad found, double *row,
                           double *sums)
{
  const double part = 1.0 / corners, turn = part * sign;
  const quad parts = {turn, turn, turn, part}, shares = parts * found;
  quad old, sum;
  memcpy(&old, row, sizeof old);
  memcpy(row, &found, sizeof found);
  for (int i = 0; i < corners; ++i)
  {
    memcpy(&sum, sums + 4 * (int64_t)nodes[i], sizeof sum);
    sum += shares;
    memcpy(sums + 4 * (int64_t)nodes[i], &sum, sizeof sum);
  }
  return old[0] * found[0] + old[1] * found[1] + old[2] * found[2] <= 0;
}

// Rows of triangles, their shares and 3 numbers of stiffness each. Returns how many have turned over.
int64_t triangles(int64_t cells, const int32_t *corners, const double *x, const int32_t *nodes,
                  const double *signs, double *rows, double *edges, double *sums)
{
  int64_t turned = 0;
  for (int64_t t = 0; t < cells; ++t, corners += 3)
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
    const double size = sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]), scale = 0.25 / size;
    const quad found = {n[0], n[1], n[2], size};
    turned += take(3, nodes + 3 * t, signs[t], found, rows + 4 * t, sums);
    edges[3 * t] = scale * (q[0] * r[0] + q[1] * r[1] + q[2] * r[2]);
    edges[3 * t + 1] = scale * (r[0] * p[0] + r[1] * p[1] + r[2] * p[2]);
    edges[3 * t + 2] = scale * (p[0] * q[0] + p[1] * q[1] + p[2] * q[2]);
  }
  return turned;
}

// The same of intervals in the plane, whose nodes and normals have three coordinates, too, with 1
// number of stiffness each.
int64_t intervals(int64_t cells, const int32_t *corners, const double *x, const int32_t *nodes,
                  const double *signs, double *rows, double *edges, double *sums)
{
  int64_t turned = 0;
  for (int64_t t = 0; t < cells; ++t, corners += 2)
  {
    const double *a = x + 3 * corners[0], *b = x + 3 * corners[1];
    const double n[2] = {a[1] - b[1], b[0] - a[0]};
    const double size = sqrt(n[0] * n[0] + n[1] * n[1]);
    const quad found = {n[0], n[1], 0, size};
    turned += take(2, nodes + 2 * t, signs[t], found, rows + 4 * t, sums);
    edges[t] = -1 / size;
  }
  return turned;
}

// Whether numbers are the same, bit for bit.
int64_t same(int64_t count, const double *a, const double *b)
{
  return !memcmp(a, b, sizeof *a * count);
}

// Nodes of dim coordinates in another order, with three.
void carry(int64_t nodes, int dim, const int32_t *order, const double *from, double *x)
{
  for (int64_t i = 0; i < nodes; ++i, x += 3)
    for (int k = 0; k < dim; ++k)
      x[k] = from[dim * (int64_t)order[i] + k];
}

// Add the products of the stiffness of cells with x, of dim components, to forces at nodes.
void pull(int64_t cells, int corners, const int32_t *nodes, const double *edges, int dim,
          const double *x, double *forces)
{
  for (int64_t t = 0; t < cells; ++t, nodes += corners)
    for (int e = 0; e < (corners == 3 ? 3 : 1); ++e)
    {
      const int64_t i = dim * (int64_t)nodes[corners == 3 ? (e + 1) % 3 : 0];
      const int64_t j = dim * (int64_t)nodes[corners == 3 ? (e + 2) % 3 : 1];
      for (int m = 0; m < dim; ++m)
      {
        const double force = *edges * (x[j + m] - x[i + m]);
        forces[i + m] += force;
        forces[j + m] -= force;
      }
      ++edges;
    }
}

// Masses and normals, weighted by areas, of nodes from their sums.
void weigh(int64_t nodes, int dim, const double *sums, double *mass, double *w)
{
  for (int64_t i = 0; i < nodes; ++i, sums += 4, w += dim)
  {
    mass[i] = sums[3];
    for (int k = 0; k < dim; ++k)
      w[k] = sums[k] / sums[3];
  }
}

// Components of x - y along w, times a scale.
void project(int64_t nodes, int dim, const double *w, const double *x, const double *y,
             double scale, double *z)
{
  for (int64_t i = 0; i < nodes; ++i, w += dim, x += dim, y += dim)
  {
    double sum = 0;
    for (int k = 0; k < dim; ++k)
      sum += w[k] * (x[k] - y[k]);
    z[i] = scale * sum;
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
void add(int64_t cells, int corners, const int32_t *places, const double *edges, double *values)
{
  for (int64_t t = 0; t < cells; ++t, places += corners * corners)
    if (corners == 3)
    {
      const double k0 = edges[3 * t], k1 = edges[3 * t + 1], k2 = edges[3 * t + 2];
      const double k[9] = {-k1 - k2, k2, k1, k2, -k0 - k2, k0, k1, k0, -k0 - k1};
      for (int i = 0; i < 9; ++i)
        values[places[i]] += k[i];
    }
    else
    {
      values[places[0]] -= edges[t];
      values[places[1]] += edges[t];
      values[places[2]] += edges[t];
      values[places[3]] -= edges[t];
    }
}

// What is known of each part of a surface or curve. Sums of size, size times H^2, size times centre;
// the largest of curvature times width and of cotangents; the largest curvature and its place.
void survey(int64_t cells, int corners, int64_t width, const int32_t *points, const double *x,
            int64_t stride, const int32_t *nodes, const double *H, const int64_t *labels,
            double *sums, double *extremes, double *peaks)
{
  for (int64_t t = 0; t < cells; ++t, points += width, nodes += stride)
  {
    double *sum = sums + 5 * labels[t], *extreme = extremes + 2 * labels[t];
    double *peak = peaks + 4 * labels[t];
    double e[2][3], squares[2] = {0, 0}, product = 0, bend = 0, top = -1;
    int at = 0;
    for (int k = 1; k < corners; ++k)
      for (int i = 0; i < 3; ++i)
      {
        e[k - 1][i] = x[3 * points[k] + i] - x[3 * points[0] + i];
        squares[k - 1] += e[k - 1][i] * e[k - 1][i];
      }
    double size = sqrt(squares[0]), across = size;
    if (corners == 3)
    {
      double n[3];
      for (int i = 0; i < 3; ++i)
      {
        const int j = (i + 1) % 3, k = (i + 2) % 3;
        n[i] = e[0][j] * e[1][k] - e[0][k] * e[1][j];
        product += e[0][i] * e[1][i];
      }
      size = sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]) / 2;
      const double dots[3] = {product, squares[0] - product, squares[1] - product};
      for (int k = 0; k < 3; ++k)
        extreme[1] = fmax(extreme[1], dots[k] / (2 * size));
      across = sqrt(2 * size);
    }
    for (int k = 0; k < corners; ++k)
    {
      const double h = H[nodes[k]];
      bend += h * h;
      if (fabs(h) > top)
      {
        top = fabs(h);
        at = k;
      }
      for (int i = 0; i < 3; ++i)
        sum[2 + i] += size / corners * x[3 * points[k] + i];
    }
    sum[0] += size;
    sum[1] += size / corners * bend;
    extreme[0] = fmax(extreme[0], top * (corners == 3 ? across : 2 * across));
    if (top >= fabs(peak[0]))
    {
      peak[0] = H[nodes[at]];
      for (int i = 0; i < 3; ++i)
        peak[1 + i] = x[3 * points[at] + i];
    }
  }
}
