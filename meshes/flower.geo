// A plane domain bounded by r = 1 + a cos(n t): a frame for soap films.
SetFactory("OpenCASCADE");

DefineConstant[
  petals = {5, Min 2, Max 12, Step 1, Name "Parameters/Number of petals"},
  depth = {0.3, Min 0, Max 0.6, Name "Parameters/Depth of the petals"},
  size = {0.06, Min 0.005, Max 0.3, Name "Parameters/Mesh size"}
];

n = 24 * petals;
For i In {1:n}
  t = 2 * Pi * i / n;
  r = 1 + depth * Cos(petals * t);
  Point(i) = {r * Cos(t), r * Sin(t), 0};
EndFor
Spline(1) = {1:n, 1};
Curve Loop(1) = {1};
Plane Surface(1) = {1};

Physical Surface("film", 1) = {1};
Physical Curve("frame", 2) = {1};
Mesh.MeshSizeMax = size;
