"""Every common kind of image is read correctly, or refused with an error that names it."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msinet_core import cli
from msinet_core.data.decode import decode, image_size
from msinet_core.data.images import as_image, find_images, read_image, read_map, write_map
from msinet_core.errors import DataError, MsinetError, UsageError
from msinet_core.system.interrupt import InterruptFlag

COLORS = np.array(
    [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[255, 255, 0], [255, 255, 255], [0, 0, 0]]], np.uint8
)
"""2 rows of 3 pixels, all different: any turn or swap of channels shows."""


def save(path: Path, pixels: np.ndarray | Image.Image, **options: object) -> Path:
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(path, **options)
    return path


def photo(height: int = 64, width: int = 96) -> Image.Image:
    rows, columns = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(3).integers(0, 40, (height, width, 3))
    return Image.fromarray(
        (np.stack([rows * 2, columns * 2, rows + columns], axis=-1) + noise).astype(np.uint8)
    )


def jpeg(picture: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", **options)
    return stream.getvalue()


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "ppm", "gif"])
def test_lossless_color_is_read_exactly(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    image = read_image(save(tmp_path / f"a.{suffix}", COLORS, **options))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, COLORS)


@pytest.fixture(params=["Pillow", "simplejpeg"])
def decoder(request, monkeypatch) -> None:
    """What decodes JPEG files; the results must not depend on it."""
    if request.param == "Pillow":
        monkeypatch.setattr("msinet_core.data.decode._simplejpeg", lambda: None)
    else:
        pytest.importorskip("simplejpeg")


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0, "quality": 95}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_is_read_as_pillow_decodes_it(tmp_path, mode, options):
    exif = Image.Exif()
    exif[0x0112] = 3
    path = save(tmp_path / "a.jpg", photo().convert(mode), exif=exif, **options)
    picture = Image.open(path).rotate(180)
    if mode != "CMYK":  # Pillow inverts it
        np.testing.assert_array_equal(read_image(path), np.asarray(picture.convert("RGB")))
        np.testing.assert_array_equal(decode(path, "L")[..., 0], np.asarray(picture.convert("L")))
    assert read_image(path).shape == (64, 96, 3)


def test_the_first_frame_of_an_animation_is_read(tmp_path):
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "a.gif")[0, 0].tolist() == [255, 0, 0]


def test_sixteen_bit_gray_keeps_its_precision(tmp_path):
    values = np.array([[0, 1000, 65535]], np.uint16)
    path = save(tmp_path / "a.png", values)
    np.testing.assert_allclose(read_image(path)[0, :, 0], [0, 1000 / 257, 255], rtol=1e-6)
    np.testing.assert_allclose(read_map(path)[0, :, 0], [0, 1000 / 65535, 1], rtol=1e-6)


def png(width: int, height: int, depth: int, color: int, rows: bytes) -> bytes:
    """Assemble a PNG that Pillow cannot write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in chunks)


def test_sixteen_bit_color_is_reduced_to_eight(tmp_path):
    pixels = np.array([[0xFFFF, 0x8000, 0x0000], [0x1234, 0xABCD, 0x00FF]], ">u2")
    path = tmp_path / "a.png"
    path.write_bytes(png(2, 1, 16, 2, b"\0" + pixels.tobytes()))
    np.testing.assert_allclose(read_image(path)[0], pixels / 257, atol=1)


def test_palette_one_bit_and_gray_are_read_as_colors(tmp_path):
    palette = save(tmp_path / "p.png", Image.fromarray(COLORS).quantize(8))
    np.testing.assert_array_equal(read_image(palette), COLORS)
    bits = np.array([[True, False, True]])
    one_bit = save(tmp_path / "b.png", Image.fromarray(bits))
    np.testing.assert_array_equal(read_image(one_bit)[..., 1], bits * 255)
    gray = save(tmp_path / "g.png", np.array([[7, 200]], np.uint8))
    np.testing.assert_array_equal(read_image(gray), [[[7] * 3, [200] * 3]])


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_white_under_images_and_black_under_maps(tmp_path, mode):
    if mode == "P":
        picture = Image.new("P", (2, 1), 0)
        picture.putpalette([0, 0, 0, 255, 0, 0])
        path = save(tmp_path / "a.png", picture, transparency=0)
    else:
        clear = (0, 0, 0, 0) if mode == "RGBA" else (0, 0)
        path = save(tmp_path / "a.png", Image.new(mode, (2, 1), clear))
    assert read_image(path)[0, 0].tolist() == [255, 255, 255]
    assert read_map(path)[0, 0].tolist() == [0]


def test_half_transparent_color_is_mixed_with_white(tmp_path):
    path = save(tmp_path / "a.png", Image.new("RGBA", (1, 1), (255, 0, 0, 128)))
    np.testing.assert_allclose(read_image(path)[0, 0], [255, 127, 127], atol=1)


def test_inks_are_inverted_only_if_adobe_stored_them_so(tmp_path):
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    adobe = jpeg(cyan, quality=100)
    marker = adobe.index(b"\xff\xee")
    length = 2 + int.from_bytes(adobe[marker + 2 : marker + 4], "big")
    assert b"Adobe" in adobe[marker : marker + length]
    plain = adobe[:marker] + adobe[marker + length :]  # the same numbers now mean the opposite
    (tmp_path / "adobe.jpg").write_bytes(adobe)
    (tmp_path / "plain.jpg").write_bytes(plain)
    np.testing.assert_allclose(read_image(tmp_path / "adobe.jpg")[8, 8], [0, 255, 255], atol=2)
    np.testing.assert_allclose(read_image(tmp_path / "plain.jpg")[8, 8], [0, 0, 0], atol=2)
    tiff = save(tmp_path / "a.tif", cyan)
    np.testing.assert_allclose(read_image(tiff)[8, 8], [0, 255, 255])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_rotated_upright(tmp_path, orientation):
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = Image.fromarray(COLORS)
    if orientation in undo:
        stored = stored.transpose(undo[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", stored, exif=exif)
    np.testing.assert_array_equal(read_image(path), COLORS)
    assert image_size(path) == (2, 3)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_data_are_ignored(tmp_path):
    path = save(tmp_path / "a.jpg", photo(), exif=b"Exif\0\0MM\0\x2a\0\0\0\xffgarbage")
    assert read_image(path).shape == (64, 96, 3)


def test_a_map_is_gray_in_0_to_1(tmp_path):
    gray = np.array([[0, 51, 255]], np.uint8)
    for pixels in (gray, np.stack([gray] * 3, axis=-1)):
        map = read_map(save(tmp_path / "a.png", pixels))
        np.testing.assert_allclose(map[..., 0], [[0, 0.2, 1]], rtol=1e-6)
    with pytest.raises(DataError, match=r"a\.png is in color"):
        read_map(save(tmp_path / "a.png", COLORS))


@pytest.mark.usefixtures("decoder")
def test_gray_that_jpeg_saved_in_color_is_gray(tmp_path):
    gray = photo().convert("L")
    path = save(tmp_path / "a.jpg", gray.convert("RGB"), quality=60)
    assert np.abs(read_map(path)[..., 0] * 255 - np.asarray(gray)).mean() < 6


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_a_truncated_jpeg_is_refused(tmp_path, progressive, share):
    data = jpeg(photo(), progressive=progressive)
    path = tmp_path / "half.jpg"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DataError, match=r"half\.jpg"):
        read_image(path)


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_a_jpeg_whose_rest_would_be_filled_with_gray_is_refused(tmp_path, options, share):
    data = jpeg(photo(), **options)
    scan = data.index(b"\xff\xda") + 20
    path = tmp_path / "cut.jpg"
    path.write_bytes(data[: scan + int((len(data) - scan) * share)] + b"\xff\xd9")
    assert np.asarray(Image.open(path)).shape == (64, 96, 3), "Pillow sees nothing wrong"
    with pytest.raises(DataError, match=r"cut\.jpg"):
        read_image(path)


@pytest.mark.usefixtures("decoder")
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_that_really_is_gray_in_the_corner_is_read(tmp_path, options, mode):
    picture = photo()
    picture.paste((128, 128, 128), (40, 24, 96, 64))
    path = tmp_path / "gray.jpg"
    path.write_bytes(jpeg(picture.convert(mode), quality=95, **options))
    assert read_image(path)[-1, -1].tolist() == [128, 128, 128]


@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "bmp", "gif"])
def test_truncated_files_of_other_formats_are_refused(tmp_path, suffix):
    path = save(tmp_path / f"half.{suffix}", photo())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=rf"half\.{suffix}"):
        read_image(path)


def test_a_flipped_bit_in_a_png_is_refused(tmp_path):
    path = save(tmp_path / "bad.png", photo())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"bad\.png"):
        read_image(path)


def test_files_that_are_not_images_are_refused(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not an image at all")
    (tmp_path / "drawing.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (tmp_path / "folder.png").mkdir()
    for name in ("empty.jpg", "text.jpg", "drawing.png", "folder.png", "nowhere.jpg"):
        for read in (read_image, image_size):
            with pytest.raises(DataError, match=name):
                read(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_and_devices_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", Path("/dev/zero")):
        with pytest.raises(DataError, match=path.name):
            read_image(path)


@pytest.mark.parametrize("side", [13_000, 50_000])
def test_a_small_file_of_many_pixels_is_refused_without_decoding_it(tmp_path, side):
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png(side, side, 8, 2, b""))
    for read in (read_image, image_size):
        with pytest.raises(DataError, match=r"bomb\.png"):
            read(bomb)


@pytest.mark.filterwarnings("error")
def test_a_large_image_below_our_limit_is_read_by_the_program_without_a_warning(
    tmp_path, monkeypatch
):
    path = tmp_path / "large.png"
    path.write_bytes(png(11_000, 11_000, 8, 2, b""))
    with pytest.warns(Image.DecompressionBombWarning):  # the caller's own filters decide
        assert image_size(path) == (11_000, 11_000)
    monkeypatch.setattr(InterruptFlag, "forces_exit", False)  # `main` changes it
    monkeypatch.setattr(cli, "cli", lambda prog_name: image_size(path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cli.main()


def test_values_without_a_defined_range_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"f\.tif"):
        read_map(save(tmp_path / "f.tif", np.ones((4, 4), np.float32)))
    with pytest.raises(DataError, match=r"i\.tif.* 70000 "):
        read_map(save(tmp_path / "i.tif", np.full((4, 4), 70000, np.int32)))


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA", "CMYK", "I;16"])
def test_a_pil_image_is_converted_as_its_file_is(tmp_path, mode):
    if mode == "I;16":
        picture = Image.fromarray(np.array([[0, 1000, 65535]], np.uint16))
    elif mode == "RGBA":
        picture = Image.new("RGBA", (3, 2), (255, 0, 0, 128))
    else:
        picture = photo().convert(mode)
    path = save(tmp_path / "a.tif", picture)
    np.testing.assert_array_equal(as_image(picture), read_image(path))
    with Image.open(path) as opened:
        np.testing.assert_array_equal(as_image(opened), read_image(path))


def test_a_path_is_read_and_an_array_is_returned(tmp_path):
    path = save(tmp_path / "a.png", COLORS)
    for form in (path, str(path), COLORS, COLORS.astype(np.float64)):
        np.testing.assert_array_equal(as_image(form), COLORS)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((30, 44), np.uint8),
        np.zeros((30, 44, 1), np.uint8),
        np.zeros((30, 44, 4), np.uint8),
        np.zeros((2, 30, 44, 3), np.uint8),
        np.zeros((0, 44, 3), np.uint8),
        np.zeros((4, 4, 3), bool),
        np.zeros((4, 4, 3), complex),
        np.full((4, 4, 3), 256, np.uint16),
        np.full((4, 4, 3), -1.0),
        np.full((4, 4, 3), np.nan),
    ],
    ids=lambda array: f"{array.dtype}-{array.shape}",
)
def test_arrays_that_are_not_images_are_refused(array):
    with pytest.raises(DataError, match="Received"):
        as_image(array)


def test_an_array_in_0_to_1_is_read_with_a_warning():
    with pytest.warns(UserWarning, match="255"):
        as_image(COLORS / 255)


@pytest.mark.parametrize("value", [None, 3, b"a.png", {"path": "a.png"}])
def test_other_types_are_refused(value):
    with pytest.raises(UsageError, match=type(value).__name__):
        as_image(value)


MAP = np.linspace(0, 1, 48, dtype=np.float32).reshape(6, 8)


def test_maps_are_written_in_each_format(tmp_path):
    write_map(tmp_path / "a.png", MAP, "png")
    np.testing.assert_allclose(read_map(tmp_path / "a.png")[..., 0], MAP, atol=0.5 / 255 + 1e-6)
    write_map(tmp_path / "a.npy", MAP, "npy")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), MAP)
    write_map(tmp_path / "deep" / "a.jpeg", MAP, "jpeg")
    with Image.open(tmp_path / "deep" / "a.jpeg") as picture:
        assert (picture.format, picture.mode, picture.size) == ("JPEG", "L", (8, 6))
        assert max(picture.quantization[0]) == 1, "quality 100"
    assert not list(tmp_path.rglob("*.tmp"))


def test_maps_are_rounded_to_eight_bits(tmp_path):
    write_map(tmp_path / "a.png", np.array([[0.6 / 255, 254.4 / 255, 1.2, -0.1]]), "png")
    assert np.asarray(Image.open(tmp_path / "a.png")).tolist() == [[1, 254, 255, 0]]


def test_maps_that_cannot_be_written_leave_the_old_file(tmp_path):
    path = tmp_path / "a.png"
    write_map(path, MAP, "png")
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"a\.png"):
        write_map(path, np.full((2, 2), np.nan), "png")
    with pytest.raises(UsageError, match="'bmp'"):
        write_map(path, MAP, "bmp")
    assert path.read_bytes() == before
    (tmp_path / "file").touch()
    with pytest.raises(MsinetError, match=r"a\.png"):
        write_map(tmp_path / "file" / "a.png", MAP, "png")


def test_images_are_found_in_folders_and_hidden_files_are_not(tmp_path):
    names = [
        "b/2.PNG",
        "b/10.jpeg",
        "a.JPG",
        "c/.hidden/x.png",
        "._a.jpg",
        "Thumbs.db",
        "notes.txt",
    ]
    for name in names:
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = find_images([tmp_path / "photos"])
    assert [image.relative.as_posix() for image in found] == ["a.JPG", "b/10.jpeg", "b/2.PNG"]
    assert all(image.path == tmp_path / "photos" / image.relative for image in found)


def test_listed_files_come_first_and_once_whatever_their_suffix(tmp_path):
    for name in ("photos/a.png", "photos/b.png", "scan.dat"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_images([tmp_path / "scan.dat", tmp_path / "photos" / "b.png", tmp_path / "photos"])
    assert [str(image.relative) for image in found] == ["scan.dat", "b.png", "a.png"]


def test_all_missing_paths_are_listed_at_once(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError) as caught:
        find_images([tmp_path / "nowhere.jpg", tmp_path / "empty"])
    assert str(tmp_path / "nowhere.jpg") in str(caught.value)
    assert str(tmp_path / "empty") in str(caught.value)


def test_linked_folders_are_followed_but_not_in_circles(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a.png").touch()
    (tmp_path / "photos").mkdir()
    try:
        (tmp_path / "photos" / "link").symlink_to(tmp_path / "disk")
        (tmp_path / "disk" / "back").symlink_to(tmp_path / "photos")
    except OSError:
        pytest.skip("this system does not allow symbolic links")
    found = find_images([tmp_path / "photos"])
    assert [image.relative.as_posix() for image in found] == ["link/a.png"]


def test_a_link_and_its_target_are_two_images(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"")
    (tmp_path / "link.png").symlink_to(tmp_path / "photo.png")
    found = [image.path.name for image in find_images([tmp_path, tmp_path / "photo.png"])]
    assert found == ["link.png", "photo.png"]


def test_a_folder_that_cannot_be_listed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = tmp_path / "locked"
    locked.mkdir()

    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", str(locked))

    monkeypatch.setattr("os.scandir", refuse)  # a superuser may list everything
    with pytest.raises(DataError, match="locked"):
        find_images([tmp_path])
