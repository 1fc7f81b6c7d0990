// A spur gear with a bore and lightening holes.
SetFactory("OpenCASCADE");

DefineConstant[
  teeth = {12, Min 6, Max 24, Step 1, Name "Parameters/Number of teeth"},
  root = {1, Min 0.8, Max 2, Name "Parameters/Radius of the root circle"},
  depth = {0.25, Min 0.1, Max 0.4, Name "Parameters/Depth of the teeth"},
  width = {0.5, Min 0.3, Max 1, Name "Parameters/Width"},
  bore = {0.28, Min 0.1, Max 0.3, Name "Parameters/Radius of the bore"},
  holes = {6, Min 1, Max 8, Step 1, Name "Parameters/Number of holes"},
  hole = {0.14, Min 0.05, Max 0.15, Name "Parameters/Radius of the holes"},
  size = {0.06, Min 0.01, Max 0.3, Name "Parameters/Mesh size"}
];

// Each tooth is a trapezium: foot, tip, tip, foot.
pitch = 2 * Pi / teeth;
For i In {0 : teeth - 1}
  a = i * pitch;
  foot = 0.27 * pitch;
  tip = 0.13 * pitch;
  Point(4 * i + 1) = {root * Cos(a - foot), root * Sin(a - foot), 0};
  Point(4 * i + 2) = {(root + depth) * Cos(a - tip), (root + depth) * Sin(a - tip), 0};
  Point(4 * i + 3) = {(root + depth) * Cos(a + tip), (root + depth) * Sin(a + tip), 0};
  Point(4 * i + 4) = {root * Cos(a + foot), root * Sin(a + foot), 0};
EndFor
For i In {1 : 4 * teeth}
  Line(i) = {i, i % (4 * teeth) + 1};
EndFor
Curve Loop(1) = {1 : 4 * teeth};
Plane Surface(1) = {1};
blank() = Extrude{0, 0, width}{ Surface{1}; };

Cylinder(100) = {0, 0, -1, 0, 0, width + 2, bore};
For i In {1:holes}
  a = 2 * Pi * i / holes;
  Cylinder(100 + i) = {0.62 * root * Cos(a), 0.62 * root * Sin(a), -1, 0, 0, width + 2, hole};
EndFor
BooleanDifference{ Volume{blank(1)}; Delete; }{ Volume{100 : 100 + holes}; Delete; }

Mesh.MeshSizeMax = size;
