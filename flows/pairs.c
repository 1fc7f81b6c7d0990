// Facets of cells, and what pairs join, see pairs.py.

#include <stdint.h>

// The first side with the same vertices as each side of each cell, and, at those, how many there are.
// Sides begin at the corners on the way around a cell; those of an interval are its ends. Sides with
// one smallest vertex are chained from its head on. Returns the number of facets.
int64_t facets(int64_t cells, int corners, const int32_t *around, int32_t *heads, int32_t *next,
               int32_t *first, int32_t *count)
{
  int64_t distinct = 0;
  for (int64_t t = 0, side = 0; t < cells; ++t)
    for (int i = 0; i < corners; ++i, ++side)
    {
      const int32_t a = around[side], b = corners == 2 ? a : around[t * corners + (i + 1) % corners];
      const int32_t low = a < b ? a : b, high = a < b ? b : a;
      int32_t other = heads[low];
      while (other >= 0)
      {
        const int64_t cell = other / corners, j = other % corners;
        const int32_t p = around[other];
        const int32_t q = corners == 2 ? p : around[cell * corners + (j + 1) % corners];
        if ((p < q ? q : p) == high)
          break;
        other = next[other];
      }
      if (other < 0)
      {
        other = (int32_t)side;
        next[side] = heads[low];
        heads[low] = other;
        ++distinct;
      }
      first[side] = other;
      ++count[other];
    }
  return distinct;
}

// The lowest of the things that one is joined with, and the sign between them; paths are halved.
static inline int32_t lowest(int32_t i, int32_t *parent, double *sign, double *turn)
{
  *turn = 1;
  while (parent[i] != i)
  {
    sign[i] *= sign[parent[i]];
    parent[i] = parent[parent[i]];
    *turn *= sign[i];
    i = parent[i];
  }
  return i;
}

// Join things in pairs that agree or not: signs relative to the lowest thing of each component, and
// the number of the component. Returns how many pairs contradict others.
int64_t join(int64_t pairs, const int32_t *a, const int32_t *b, const int32_t *agree, int64_t things,
             int32_t *parent, double *sign, int64_t *component)
{
  int64_t twisted = 0, components = 0;
  for (int64_t k = 0; k < pairs; ++k)
  {
    double s, t;
    const int32_t p = lowest(a[k], parent, sign, &s), q = lowest(b[k], parent, sign, &t);
    const double turn = agree[k] ? s * t : -s * t;
    if (p == q)
      twisted += turn < 0;
    else
    {
      parent[p < q ? q : p] = p < q ? p : q;
      sign[p < q ? q : p] = turn;
    }
  }
  for (int64_t i = 0; i < things; ++i)
  {
    const int32_t p = parent[i]; // never above i
    component[i] = p == i ? components++ : component[p];
    sign[i] *= sign[p];
  }
  return twisted;
}
