"""Makes the pictures of the pages, small enough to be committed: all, or those named.

Each demo runs on two ranks; what it draws into `output/NAME` becomes `docs/images/NAME.webp`,
`NAME-2.webp`, ..., in the order of drawing. `meshes` draws the builders.
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from gallery import DEMOS, IMAGES, names
from PIL import Image

ROOT = DEMOS.parent
WIDTH = 1500
BUILDERS = """
import flows
m = flows.mesh
shapes = [m.sphere(h=0.25), m.torus(h=0.2), m.dumbbell(h=0.15), m.disk(h=0.15)]
flows.plot(shapes, "{path}", title=["sphere", "torus", "dumbbell", "disk"])
"""


def small(source: Path, target: Path) -> None:
    """As many pixels as a page shows on a fine screen."""
    image = Image.open(source).convert("RGB")
    if image.width > WIDTH:
        size = (WIDTH, round(image.height * WIDTH / image.width))
        image = image.resize(size, Image.Resampling.LANCZOS)
    image.save(target, quality=90, method=6)
    print(f"{target.relative_to(ROOT)}: {image.width} x {image.height}, {target.stat().st_size} B")


def demo(name: str) -> None:
    """Run a demo in a folder of its own and keep what it draws."""
    with TemporaryDirectory() as folder:
        command = ["mpirun", "-n", "2", sys.executable, str(DEMOS / f"{name}.py")]
        subprocess.run(command, cwd=folder, check=True)
        drawn = (Path(folder) / "output" / name).glob("*.png")
        for k, path in enumerate(sorted(drawn, key=lambda p: p.stat().st_mtime), start=1):
            small(path, IMAGES / (f"{name}.webp" if k == 1 else f"{name}-{k}.webp"))


def meshes() -> None:
    """The builders side by side."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "meshes.png"
        subprocess.run([sys.executable, "-c", BUILDERS.format(path=path)], cwd=folder, check=True)
        small(path, IMAGES / "meshes.webp")


if __name__ == "__main__":
    for name in sys.argv[1:] or ["meshes", *names()]:
        meshes() if name == "meshes" else demo(name)
