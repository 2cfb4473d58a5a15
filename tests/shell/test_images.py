"""Images from files and folders; every refusal in one line."""

import numpy as np
import pytest
from PIL import Image

from hwbnn.errors import UserError
from hwbnn.images import Preprocess, load_images, synthetic_images
from hwbnn.ir import Graph, Node
from hwbnn.ops.float_ops import FInput


def network(height=6, width=8, **meta):
    node = Node("input", FInput((3, height, width), np.zeros(3), np.ones(3)))
    return Graph([node], "input", (), meta)


@pytest.fixture
def npz(tmp_path):
    def write(**arrays):
        path = tmp_path / "images.npz"
        np.savez(path, **arrays)
        return path

    return write


def test_npz_with_labels(npz):
    x = np.arange(2 * 6 * 8 * 3, dtype=np.uint8).reshape(2, 6, 8, 3)
    found = load_images(npz(x=x, y=np.array([1, 2], np.uint8)), network(), labelled=True)
    assert np.array_equal(found.x, x)
    assert found.y.tolist() == [1, 2]
    assert found.source == "images.npz"


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"a": np.zeros(1)},
         "has no array 'x' (it holds a); write it with numpy.savez(path, x=images)"),
        ({"x": np.zeros((2, 9, 8, 3), np.uint8)},
         ("x is uint8 2x9x8x3, the network takes uint8 Nx6x8x3; "
         "resize them, or pass --input-size when compiling")),
        ({"x": np.zeros((2, 3, 6, 8), np.uint8)},
         ("x is uint8 2x3x6x8, the network takes uint8 Nx6x8x3; "
         "colour comes last: x.transpose(0, 2, 3, 1)")),
        ({"x": np.zeros((2, 6, 8, 3), np.float32)},
         ("x is float32 2x6x8x3, the network takes uint8 Nx6x8x3; "
         "give pixels 0 to 255 as uint8; the build normalises them")),
        ({"x": np.zeros((6, 8, 3), np.uint8)},
         "x is uint8 6x8x3, the network takes uint8 Nx6x8x3; add the leading axis: x[None]"),
        ({"x": np.zeros((0, 6, 8, 3), np.uint8)}, "holds no images"),
        ({"x": np.zeros((2, 6, 8, 3), np.uint8)},
         "has no array 'y'; labels are integers, one an image"),
        ({"x": np.zeros((2, 6, 8, 3), np.uint8), "y": np.zeros(3, int)},
         "y is int64 (3,) for 2 images; labels are integers, one an image"),
        ({"x": np.zeros((2, 6, 8, 3), np.uint8), "y": np.zeros(2)},
         "y is float64 (2,) for 2 images; labels are integers, one an image"),
    ],
)
def test_npz_refused(npz, arrays, text):
    path = npz(**arrays)
    with pytest.raises(UserError) as error:
        load_images(path, network(), labelled=True)
    assert str(error.value) == f"{path}: {text}"


def test_npz_that_needs_pickle_is_not_read(npz):
    path = npz(x=np.array([{"code": 1}], dtype=object))
    with pytest.raises(UserError, match="not a readable .npz file; write it with"):
        load_images(path, network())


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 torn"])
def test_file_that_is_no_npz(tmp_path, content):
    path = tmp_path / "images.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a readable .npz file"):
        load_images(path, network())


def test_missing(tmp_path):
    with pytest.raises(UserError, match=r"none: no such file or folder; give an \.npz"):
        load_images(tmp_path / "none", network())


def test_folder_in_order_of_names(tmp_path):
    for n, name in enumerate(("b.png", "a.png", "c.txt")):
        Image.new("RGB", (8, 6), (n, 0, 0)).save(tmp_path / name, "PNG")
    found = load_images(tmp_path, network(geometry={"stem": "cifar"}))
    assert found.names == ("a.png", "b.png")
    assert found.x[:, 0, 0, 0].tolist() == [1, 0]


def test_empty_folder_and_damaged_picture(tmp_path):
    with pytest.raises(UserError, match="holds no pictures"):
        load_images(tmp_path, network())
    (tmp_path / "x.jpg").write_bytes(b"\xff\xd8\xff\xe0 torn")
    with pytest.raises(UserError, match=r"x\.jpg: not a readable picture"):
        load_images(tmp_path, network())


def test_folder_has_no_labels(tmp_path):
    with pytest.raises(UserError, match="a folder has no labels"):
        load_images(tmp_path, network(), labelled=True)


def test_grey_and_transparent_pictures_become_rgb(tmp_path):
    Image.new("L", (8, 6), 7).save(tmp_path / "a.png")
    Image.new("RGBA", (8, 6), (1, 2, 3, 0)).save(tmp_path / "b.png")
    x = load_images(tmp_path, network()).x
    assert x.shape == (2, 6, 8, 3)
    assert x[0, 0, 0].tolist() == [7, 7, 7]
    assert x[1, 0, 0].tolist() == [1, 2, 3]


def test_preprocessing_by_family():
    imagenet = Preprocess.of(network(224, 224, geometry={"stem": "imagenet"}))
    assert imagenet == Preprocess(256, (224, 224))
    assert Preprocess.of(network(32, 32, geometry={"stem": "cifar"})) == Preprocess(32, (32, 32))
    stated = network(32, 32, preprocess={"resize": 40})
    assert Preprocess.of(stated) == Preprocess(40, (32, 32))
    assert str(imagenet) == "RGB, shorter side to 256 (bilinear), centre crop 224x224"


def test_resize_keeps_the_ratio_and_crops_the_centre():
    # A picture of its own column numbers: the crop must start where torchvision's does.
    columns = np.repeat(np.arange(12, dtype=np.uint8)[None, :, None], 6, 0).repeat(3, 2)
    x = Preprocess(6, (6, 7)).apply(Image.fromarray(columns))
    assert x.shape == (6, 7, 3)
    assert x[0, :, 0].tolist() == list(range(2, 9))
    wide = Preprocess(3, (3, 3)).apply(Image.fromarray(columns))
    assert wide.shape == (3, 3, 3)


def test_synthetic_images_are_smooth_seeded_and_different():
    graph = network(32, 32)
    a, b = synthetic_images(graph, 3), synthetic_images(graph, 3)
    assert a.x.dtype == np.uint8 and a.x.shape == (3, 32, 32, 3)
    assert np.array_equal(a.x, b.x)
    assert not np.array_equal(a.x[0], a.x[1])
    assert not np.array_equal(a.x, synthetic_images(graph, 3, seed=2).x)
    wide = a.x.astype(int)
    neighbours = np.abs(np.diff(wide, axis=2)).mean()
    strangers = np.abs(wide[:, :, :16] - wide[:, :, 16:]).mean()
    assert neighbours < strangers / 2
    assert a.source == "synthetic colour fields, seed 1"
