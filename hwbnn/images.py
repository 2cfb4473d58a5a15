"""Images for calibration, verification and inference: .npz files, folders, or synthetic ones."""

import dataclasses
import zipfile
from pathlib import Path

import numpy as np

from .errors import UserError
from .ir import Graph

__all__ = ["Images", "Preprocess", "load_images", "synthetic_images"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".tif", ".tiff")
IMAGENET_RESIZE = 256 / 224  # evaluation resizes the shorter side to 256 and crops 224


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """How a picture becomes the network's input: RGB, shorter side to ``resize``, centre crop.

    Resizing is bilinear with anti-aliasing and cropping rounds as torchvision's Resize and
    CenterCrop do on PIL images. ``crop`` is (height, width). Mean and deviation are part of the
    network itself.
    """

    resize: int
    crop: tuple[int, int]

    @classmethod
    def of(cls, graph: Graph) -> "Preprocess":
        """What the family states in ``meta["preprocess"]``, else by the stem.

        An ImageNet stem resizes to 256/224 of the crop; any other to the crop itself.
        """
        _c, h, w = input_shape(graph)
        stated = graph.meta.get("preprocess")
        if stated:
            return cls(int(stated["resize"]), (h, w))
        imagenet = graph.meta.get("geometry", {}).get("stem") == "imagenet"
        return cls(round(min(h, w) * (IMAGENET_RESIZE if imagenet else 1)), (h, w))

    def __str__(self) -> str:
        h, w = self.crop
        return f"RGB, shorter side to {self.resize} (bilinear), centre crop {h}x{w}"

    def apply(self, picture) -> np.ndarray:
        """A PIL image as uint8 (H, W, 3)."""
        from PIL import Image

        picture = picture.convert("RGB")
        w, h = picture.size
        short = min(w, h)
        if short != self.resize:
            size = (int(self.resize * w / short), int(self.resize * h / short))
            picture = picture.resize(size, Image.Resampling.BILINEAR)
        w, h = picture.size
        crop_h, crop_w = self.crop
        top, left = int(round((h - crop_h) / 2)), int(round((w - crop_w) / 2))
        return np.asarray(picture.crop((left, top, left + crop_w, top + crop_h)), np.uint8)


@dataclasses.dataclass(frozen=True)
class Images:
    """``x`` uint8 (N,H,W,3) in RGB, ``y`` int64 (N,) or None, where they came from, file names."""

    x: np.ndarray
    y: np.ndarray | None
    source: str
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.x)

    def first(self, count: int) -> "Images":
        """The first ``count`` of them."""
        y = None if self.y is None else self.y[:count]
        return Images(self.x[:count], y, self.source, self.names[:count])


def input_shape(graph: Graph) -> tuple[int, int, int]:
    """Channels, height and width that a graph takes."""
    shape = next(iter(graph)).op.shape
    return tuple(int(s) for s in shape)


def load_images(path: str | Path, graph: Graph, *, labelled: bool = False) -> Images:
    """Read an .npz (``x``, optionally ``y``) or a folder of pictures for ``graph``.

    ``labelled`` requires ``y``. Pictures of a folder are taken in the order of their names.

    Raises
    ------
    UserError
        One line: missing, unreadable, empty, or of another shape than the network's input.
    """
    path = Path(path)
    if path.is_dir():
        if labelled:
            raise UserError("a folder has no labels", where=str(path),
                            hint="give an .npz with arrays x and y")
        return _from_folder(path, graph)
    if not path.is_file():
        raise UserError("no such file or folder", where=str(path),
                        hint="give an .npz with an array x, or a folder of pictures")
    return _from_npz(path, graph, labelled)


def _from_npz(path: Path, graph: Graph, labelled: bool) -> Images:
    where = str(path)
    c, h, w = input_shape(graph)
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = list(getattr(archive, "files", ()))
            x = archive["x"] if "x" in names else None
            y = archive["y"] if "y" in names else None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise UserError("not a readable .npz file", where=where,
                        hint="write it with numpy.savez(path, x=images)") from error
    if x is None:
        held = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        raise UserError(f"has no array 'x' (it holds {held or 'nothing'})", where=where,
                        hint="write it with numpy.savez(path, x=images)")
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[1:] != (h, w, c):
        shape = "x".join(map(str, x.shape)) or "a scalar"
        raise UserError(f"x is {x.dtype} {shape}, the network takes uint8 Nx{h}x{w}x{c}",
                        where=where, hint=_shape_hint(x, (h, w, c)))
    if not len(x):
        raise UserError("holds no images", where=where)
    if labelled and y is None:
        raise UserError("has no array 'y'", where=where, hint="labels are integers, one an image")
    if y is not None:
        if y.shape != x.shape[:1] or not np.issubdtype(y.dtype, np.integer):
            raise UserError(f"y is {y.dtype} {y.shape} for {len(x)} images", where=where,
                            hint="labels are integers, one an image")
        y = y.astype(np.int64)
    return Images(x, y, path.name)


def _shape_hint(x: np.ndarray, wanted: tuple[int, int, int]) -> str:
    h, w, c = wanted
    if x.ndim == 4 and x.shape[1:] == (c, h, w):
        return "colour comes last: x.transpose(0, 2, 3, 1)"
    if x.shape[1:] == wanted:
        return "give pixels 0 to 255 as uint8; the build normalises them"
    if x.ndim == 3 and x.shape == wanted:
        return "add the leading axis: x[None]"
    if x.ndim == 4 and x.dtype == np.uint8 and x.shape[3] == c:
        return "resize them, or pass --input-size when compiling"
    return "see 'hwbnn infer --help'"


def _from_folder(path: Path, graph: Graph) -> Images:
    from PIL import Image, UnidentifiedImageError

    files = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
    if not files:
        raise UserError("holds no pictures", where=str(path), hint=f"known: {', '.join(SUFFIXES)}")
    preprocess = Preprocess.of(graph)
    arrays = []
    for file in files:
        try:
            with Image.open(file) as picture:
                arrays.append(preprocess.apply(picture))
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
            raise UserError("not a readable picture", where=str(file)) from error
    return Images(np.stack(arrays), None, f"{path.name}/ ({preprocess})",
                  tuple(f.name for f in files))


def synthetic_images(graph: Graph, count: int, seed: int = 1) -> Images:
    """Smooth random colour fields, the same ones for a seed; not pictures of anything.

    A coarse grid of random colours is interpolated, so that neighbouring pixels agree as in a
    photograph, and a little noise keeps values apart.
    """
    c, h, w = input_shape(graph)
    rng = np.random.default_rng(seed)
    grid = rng.uniform(0, 255, (count, 5, 5, c))
    smooth = _interpolate(_interpolate(grid, 1, h), 2, w)
    noisy = smooth + rng.normal(0, 6, smooth.shape)
    return Images(np.clip(np.rint(noisy), 0, 255).astype(np.uint8), None,
                  f"synthetic colour fields, seed {seed}")


def _interpolate(grid: np.ndarray, axis: int, size: int) -> np.ndarray:
    at = np.linspace(0, grid.shape[axis] - 1, size)
    low = np.minimum(at.astype(int), grid.shape[axis] - 2)
    shape = [1] * grid.ndim
    shape[axis] = size
    part = (at - low).reshape(shape)
    return np.take(grid, low, axis) * (1 - part) + np.take(grid, low + 1, axis) * part
