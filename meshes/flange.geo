// A flange: a disk with a hub, a bore and bolt holes, all edges rounded.
SetFactory("OpenCASCADE");

DefineConstant[
  radius = {1.65, Min 1.5, Max 3, Name "Parameters/Radius of the disk"},
  thickness = {0.45, Min 0.3, Max 0.8, Name "Parameters/Thickness of the disk"},
  hub = {0.75, Min 0.6, Max 1, Name "Parameters/Radius of the hub"},
  height = {1.3, Min 1, Max 2, Name "Parameters/Height of the hub"},
  bore = {0.4, Min 0.2, Max 0.5, Name "Parameters/Radius of the bore"},
  bolts = {6, Min 1, Max 8, Step 1, Name "Parameters/Number of bolt holes"},
  bolt = {0.17, Min 0.08, Max 0.2, Name "Parameters/Radius of the bolt holes"},
  size = {0.07, Min 0.02, Max 0.3, Name "Parameters/Mesh size"}
];

Cylinder(1) = {0, 0, 0, 0, 0, thickness, radius};
Cylinder(2) = {0, 0, 0, 0, 0, height, hub};
body() = BooleanUnion{ Volume{1}; Delete; }{ Volume{2}; Delete; };

Cylinder(11) = {0, 0, -1, 0, 0, height + 2, bore};
ring = 0.76 * radius;
For i In {1:bolts}
  angle = 2 * Pi * i / bolts;
  Cylinder(11 + i) = {ring * Cos(angle), ring * Sin(angle), -1, 0, 0, thickness + 2, bolt};
EndFor
part() = BooleanDifference{ Volume{body()}; Delete; }{ Volume{11 : 11 + bolts}; Delete; };

// The edges are circles in three planes; the hub stands on the disk in a wide fillet.
r = radius + 1;
e = 1e-4;
edges() = {Curve In BoundingBox{-r, -r, -e, r, r, e}};
edges() += {Curve In BoundingBox{-r, -r, thickness - e, r, r, thickness + e}};
edges() += {Curve In BoundingBox{-r, -r, height - e, r, r, height + e}};
edges() -= {Curve In BoundingBox{-hub - e, -hub - e, thickness - e, hub + e, hub + e, thickness + e}};
part() = Fillet{part()}{edges()}{0.08};
foot() = {Curve In BoundingBox{-hub - e, -hub - e, thickness - e, hub + e, hub + e, thickness + e}};
part() = Fillet{part()}{foot()}{0.15};

Mesh.MeshSizeMax = size;
