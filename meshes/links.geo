// Two linked rings: neither can shrink through the other.
SetFactory("OpenCASCADE");

DefineConstant[
  ring = {1, Min 0.5, Max 2, Name "Parameters/Radius of the rings"},
  tube = {0.3, Min 0.05, Max 0.45, Name "Parameters/Radius of the tube"},
  size = {0.1, Min 0.02, Max 0.3, Name "Parameters/Mesh size"}
];

Torus(1) = {-ring / 2, 0, 0, ring, tube};
Torus(2) = {ring / 2, 0, 0, ring, tube};
Rotate{{1, 0, 0}, {0, 0, 0}, Pi / 2}{ Volume{2}; }

Mesh.MeshSizeMax = size;
