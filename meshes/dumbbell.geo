// Two balls joined by a bar: with a thin bar it pinches under mean curvature flow.
SetFactory("OpenCASCADE");

DefineConstant[
  distance = {2, Min 1.5, Max 4, Name "Parameters/Distance of the balls"},
  radius = {0.7, Min 0.3, Max 0.75, Name "Parameters/Radius of the balls"},
  neck = {0.2, Min 0.05, Max 0.3, Name "Parameters/Radius of the bar"},
  fillet = {0.25, Min 0.02, Max 0.3, Name "Parameters/Radius of the fillets"},
  size = {0.08, Min 0.01, Max 0.3, Name "Parameters/Mesh size"}
];

Sphere(1) = {-distance / 2, 0, 0, radius};
Sphere(2) = {distance / 2, 0, 0, radius};
Cylinder(3) = {-distance / 2, 0, 0, distance, 0, 0, neck};
body() = BooleanUnion{ Volume{1}; Delete; }{ Volume{2, 3}; Delete; };

// The bar meets the balls in two circles.
x = distance / 2 - Sqrt(radius^2 - neck^2);
e = 1e-4;
r = neck + e;
circles() = {Curve In BoundingBox{-x - e, -r, -r, -x + e, r, r}};
circles() += {Curve In BoundingBox{x - e, -r, -r, x + e, r, r}};
Fillet{body()}{circles()}{fillet}

Mesh.MeshSizeMax = size;
