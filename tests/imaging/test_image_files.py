"""Radiographs as floats: each format, DICOM's gray scale against values worked out by hand, damage of every kind."""

import io
import struct
import zlib
from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    MPEG2MPML,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from sightline.errors import DataError
from sightline.imaging import image_files

REAL = Path(__file__).resolve().parents[2] / "../shared/data"
RNG = np.random.default_rng(0)
RAMP8 = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
RAMP16 = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000


def dicom(path: Path, stored: np.ndarray, syntax: UID = ExplicitVRLittleEndian, **elements: object) -> Path:
    """A minimal DICOM file of `stored`; `elements` are set last, or removed where None."""
    ds = FileDataset(str(path), {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = "1.2.3"
    ds.Rows, ds.Columns = stored.shape[:2]
    ds.SamplesPerPixel = 1 if stored.ndim == 2 else 3
    ds.PhotometricInterpretation = "MONOCHROME2" if stored.ndim == 2 else "RGB"
    if stored.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = ds.BitsStored = stored.dtype.itemsize * 8
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(stored.dtype.kind == "i")
    ds.PixelData = stored.tobytes()
    for name, value in elements.items():
        if value is None:
            delattr(ds, name)
        else:
            setattr(ds, name, value)
    ds.save_as(path, enforce_file_format=True)
    return path


def table(first: int, depth: int, entries: list[int]) -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, depth])
    item.add_new("LUTData", "US", entries)
    return Sequence([item])


def recoded(source: Path, target: Path, syntax: int) -> Path:
    """The same file in another transfer syntax, by GDCM's encoder."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(source))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return target


def test_png_of_8_and_16_bits_keeps_every_value(tmp_path: Path) -> None:
    Image.fromarray(RAMP8).save(tmp_path / "a.png")
    Image.fromarray(RAMP16).save(tmp_path / "b.png")
    np.testing.assert_array_equal(
        image_files.read_image(tmp_path / "a.png"), RAMP8.astype(np.float32) / np.float32(255)
    )
    np.testing.assert_array_equal(
        image_files.read_image(tmp_path / "b.png"), RAMP16.astype(np.float32) / np.float32(65535)
    )


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "1"])
def test_every_png_mode_gives_the_same_gray(tmp_path: Path, mode: str) -> None:
    gray = np.uint8([[0, 255], [255, 0]])
    Image.fromarray(gray).convert(mode).save(tmp_path / "a.png")
    np.testing.assert_array_equal(image_files.read_image(tmp_path / "a.png"), gray / np.float32(255))


def test_color_is_reduced_by_luma_and_opacity_ignored(tmp_path: Path) -> None:
    pixels = np.uint8([[[200, 100, 50, 0]]])
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert image_files.read_image(tmp_path / "a.png")[0, 0] * 255 == pytest.approx(
        0.299 * 200 + 0.587 * 100 + 0.114 * 50, abs=0.6
    )


def test_jpeg_is_told_by_content_not_name_and_exif_rotation_ignored(tmp_path: Path) -> None:
    pixels = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (16, 1))  # (16, 32)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(pixels).save(tmp_path / "a.png", "JPEG", quality=95, exif=exif)
    found = image_files.read_image(tmp_path / "a.png")
    assert found.shape == image_files.read_size(tmp_path / "a.png") == (16, 32)
    np.testing.assert_allclose(found * 255, pixels, atol=3)


def test_read_returns_float32_that_may_be_changed(tmp_path: Path) -> None:
    Image.fromarray(RAMP8).save(tmp_path / "a.png")
    for path in (tmp_path / "a.png", dicom(tmp_path / "a.dcm", RAMP8)):
        found = image_files.read_image(path)
        assert found.dtype == np.float32
        found[0, 0] = 1


@pytest.mark.parametrize("stored", [RAMP8, RAMP16, (RAMP16.astype(np.int32) - 30000).astype(np.int16)], ids=str)
def test_dicom_without_window_spans_what_its_bits_can_take(tmp_path: Path, stored: np.ndarray) -> None:
    info = np.iinfo(stored.dtype)
    expected = (stored.astype(float) - info.min) / (info.max - info.min)
    np.testing.assert_allclose(image_files.read_image(dicom(tmp_path / "a.dcm", stored)), expected, atol=1e-6)
    inverted = dicom(tmp_path / "b.dcm", stored, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_allclose(image_files.read_image(inverted), 1 - expected, atol=1e-6)


def test_unused_high_bits_are_no_gray(tmp_path: Path) -> None:
    stored = np.uint16([[0, 4095], [0xF000, 0x8FFF]])  # an overlay in the upper four bits
    path = dicom(tmp_path / "a.dcm", stored, BitsStored=12, HighBit=11)
    np.testing.assert_allclose(image_files.read_image(path), [[0, 1], [0, 1]])


def test_bits_stored_at_the_top_of_the_word(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", np.uint16([[0, 0x0010], [0xFFF0, 0x8000]]), BitsStored=12, HighBit=15)
    np.testing.assert_allclose(image_files.read_image(path), [[0, 1 / 4095], [1, 2048 / 4095]], atol=1e-6)


def test_windows_follow_the_three_functions_of_the_standard(tmp_path: Path) -> None:
    stored = np.uint16([[0, 1000, 2000, 3000, 4000]])
    given = {"WindowCenter": 2000, "WindowWidth": 2001}
    linear = image_files.read_image(dicom(tmp_path / "a.dcm", stored, **given))
    np.testing.assert_allclose(linear, [[0, 0.00025, 0.50025, 1, 1]], atol=1e-6)  # (x - 1999.5) / 2000 + 0.5
    exact = image_files.read_image(dicom(tmp_path / "b.dcm", stored, VOILUTFunction="LINEAR_EXACT", **given))
    np.testing.assert_allclose(exact, np.clip((stored - 2000.0) / 2001 + 0.5, 0, 1), atol=1e-6)
    sigmoid = image_files.read_image(dicom(tmp_path / "c.dcm", stored, VOILUTFunction="SIGMOID", **given))
    np.testing.assert_allclose(sigmoid, 1 / (1 + np.exp(-4 * (stored - 2000.0) / 2001)), atol=1e-6)


def test_window_of_width_one_is_a_step_and_the_first_of_several_counts(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", np.uint8([[9, 10, 11]]), WindowCenter=[10.5, 99], WindowWidth=[1, 7])
    np.testing.assert_array_equal(image_files.read_image(path), [[0, 0, 1]])


def test_order_is_rescale_then_window_then_inversion(tmp_path: Path) -> None:
    path = dicom(
        tmp_path / "a.dcm",
        np.uint8([[10, 20, 30]]),
        RescaleSlope=10,
        RescaleIntercept=-100,  # -> 0, 100, 200
        WindowCenter=100,
        WindowWidth=400,
        VOILUTFunction="LINEAR_EXACT",
        PhotometricInterpretation="MONOCHROME1",
        PresentationLUTShape="INVERSE",  # says the same again
    )
    np.testing.assert_allclose(image_files.read_image(path), [[0.75, 0.5, 0.25]], atol=1e-6)


def test_negative_slope_keeps_the_range(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", np.uint8([[0, 255]]), RescaleSlope=-2, RescaleIntercept=5)
    np.testing.assert_allclose(image_files.read_image(path), [[1, 0]])


def test_modality_then_voi_tables(tmp_path: Path) -> None:
    path = dicom(
        tmp_path / "a.dcm",
        np.uint8([[0, 1, 2, 3, 200]]),
        ModalityLUTSequence=table(1, 12, [7, 8, 9]),  # -> 7, 7, 8, 9, 9
        VOILUTSequence=table(7, 10, [0, 300, 1023]),
        WindowCenter=1,  # the table comes first
        WindowWidth=1,
    )
    np.testing.assert_allclose(image_files.read_image(path), np.array([[0, 0, 300, 1023, 1023]]) / 1023, atol=1e-6)


def test_voi_table_shallower_than_its_input_does_not_wrap_around(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", np.uint16([[0, 255, 256, 300, 5000]]), VOILUTSequence=table(0, 8, [*range(256)]))
    np.testing.assert_allclose(image_files.read_image(path), [[0, 1, 1, 1, 1]])


def test_voi_table_stored_as_bytes_after_a_rescale_of_one(tmp_path: Path) -> None:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4, 0, 16])
    item.add_new("LUTData", "OW", np.uint16([0, 1, 2, 65535]).tobytes())
    elements = {"VOILUTSequence": Sequence([item]), "RescaleSlope": 1, "RescaleIntercept": 0}
    path = dicom(tmp_path / "a.dcm", np.uint8([[0, 3, 2]]), **elements)
    np.testing.assert_allclose(image_files.read_image(path), [[0, 1, 2 / 65535]], atol=1e-7)


def test_color_dicom_is_reduced_by_luma(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", np.uint8([[[255, 255, 255], [255, 0, 0]]]))
    np.testing.assert_allclose(image_files.read_image(path), [[1, 0.299]], atol=1e-6)


@pytest.mark.parametrize(
    ("syntax", "uid"),
    [
        (gdcm.TransferSyntax.JPEGLosslessProcess14_1, JPEGLosslessSV1),
        (gdcm.TransferSyntax.JPEGLSLossless, JPEGLSLossless),
        (gdcm.TransferSyntax.JPEG2000Lossless, JPEG2000Lossless),
        (gdcm.TransferSyntax.RLELossless, RLELossless),
    ],
    ids=["jpeg-lossless", "jpeg-ls", "jpeg-2000", "rle"],
)
@pytest.mark.parametrize("bits", [8, 16])
def test_lossless_transfer_syntaxes_give_the_same_pixels(tmp_path: Path, syntax: int, uid: UID, bits: int) -> None:
    stored = RNG.integers(0, 2**bits, (24, 40)).astype(f"u{bits // 8}")
    plain = dicom(tmp_path / "a.dcm", stored, PhotometricInterpretation="MONOCHROME1")
    packed = recoded(plain, tmp_path / "b.dcm", syntax)
    assert pydicom.dcmread(packed, stop_before_pixels=True).file_meta.TransferSyntaxUID == uid
    np.testing.assert_array_equal(image_files.read_image(packed), image_files.read_image(plain))
    assert image_files.read_size(packed) == (24, 40)


def jpeg_dicom(path: Path, pixels: np.ndarray, **elements: object) -> Path:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=95)
    data = encapsulate([stream.getvalue()])
    return dicom(path, np.uint8([[0]]), JPEGBaseline8Bit, PixelData=data, **elements)


def test_jpeg_baseline_dicom(tmp_path: Path) -> None:
    pixels = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (16, 1))
    found = image_files.read_image(jpeg_dicom(tmp_path / "a.dcm", pixels, Rows=16, Columns=32))
    np.testing.assert_allclose(found * 255, pixels, atol=3)


def test_compressed_pixels_of_another_size_than_declared_are_refused(tmp_path: Path) -> None:
    path = jpeg_dicom(tmp_path / "a.dcm", np.zeros((16, 32), np.uint8), Rows=16, Columns=16)
    with pytest.raises(DataError, match=r"declares .*\(16, 16, 1\) .*stream \(16, 32, 1\)"):
        image_files.read_image(path)


@pytest.mark.parametrize("elements", [{"BitsStored": 4, "HighBit": 3}, {"HighBit": 6}], ids=str)
def test_compressed_bits_that_make_gdcm_end_the_process_are_refused(tmp_path: Path, elements: dict[str, int]) -> None:
    packed = recoded(dicom(tmp_path / "a.dcm", RAMP8), tmp_path / "b.dcm", gdcm.TransferSyntax.JPEGLosslessProcess14_1)
    ds = pydicom.dcmread(packed)
    for name, value in elements.items():
        setattr(ds, name, value)
    ds.save_as(packed)
    with pytest.raises(DataError, match=r"of 8 bits with high bit \d; allowed: 8 of 8"):
        image_files.read_image(packed)


def png_declaring(height: int, width: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(10_000, 20_001), (60_000, 60_000)])
def test_bombs_are_refused_by_declared_size(tmp_path: Path, size: tuple[int, int]) -> None:
    (tmp_path / "a.png").write_bytes(png_declaring(*size))
    bomb = dicom(tmp_path / "a.dcm", RAMP8, Rows=size[0], Columns=size[1])
    for path in (tmp_path / "a.png", bomb):
        for reader in (image_files.read_image, image_files.read_size):
            with pytest.raises(DataError, match=rf"{size[0]} × {size[1]} pixels.*200,000,000"):
                reader(path)


def test_sizes_that_pillow_alone_would_warn_of_are_not(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_declaring(10_000, 10_000))
    before = Image.MAX_IMAGE_PIXELS
    assert image_files.read_size(tmp_path / "a.png") == (10_000, 10_000)  # pytest turns warnings into errors
    assert before == Image.MAX_IMAGE_PIXELS


def test_what_is_no_image_says_so(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.png").touch()
    with pytest.raises(DataError, match=r"text\.png begins with b'not an i': it is neither PNG nor JPEG nor DICOM"):
        image_files.read_image(tmp_path / "text.png")
    with pytest.raises(DataError, match=r"empty\.png is empty"):
        image_files.read_size(tmp_path / "empty.png")
    with pytest.raises(DataError, match=r"gone\.png does not exist"):
        image_files.read_image(tmp_path / "gone.png")
    with pytest.raises(DataError, match="is a folder"):
        image_files.read_image(tmp_path)


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"NumberOfFrames": 3}, "has 3 frames"),
        ({"PixelData": None}, "without integer pixel data"),
        ({"Rows": None}, "without Rows and Columns"),
        ({"Rows": 0}, "is empty"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "'PALETTE COLOR'; allowed: MONOCHROME1"),
        ({"WindowCenter": 5, "WindowWidth": 0}, "window of width 0"),
        ({"WindowCenter": 5, "WindowWidth": 9, "VOILUTFunction": "CUBIC"}, "'CUBIC'; allowed: LINEAR"),
        ({"PixelData": b"\0\0"}, "damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_dicoms_without_one_gray_image_say_why(tmp_path: Path, elements: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        image_files.read_image(dicom(tmp_path / "a.dcm", RAMP8, **elements))
    assert "a.dcm" in str(caught.value)


def test_transfer_syntax_without_decoder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = dicom(tmp_path / "a.dcm", RAMP8, MPEG2MPML, PixelData=encapsulate([b"\0" * 8]))
    with pytest.raises(DataError, match=r"MPEG2.*1\.2\.840\.10008\.1\.2\.4\.100.*nothing here decodes"):
        image_files.read_image(video)
    decoder = pydicom.pixels.decoders.base.get_decoder(JPEGLSLossless)
    missing = {"gdcm": ("python-gdcm>=3.0.10",), "pyjpegls": ("pyjpegls>=1.2",)}
    monkeypatch.setattr(decoder, "_available", {})
    monkeypatch.setattr(decoder, "_unavailable", missing)
    packed = recoded(dicom(tmp_path / "b.dcm", RAMP8), tmp_path / "c.dcm", gdcm.TransferSyntax.JPEGLSLossless)
    with pytest.raises(DataError, match=r"JPEG-LS Lossless.*needs one of: .*python-gdcm"):
        image_files.read_image(packed)


def test_deflated_dicom_is_refused_before_unpacking(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", np.zeros((64, 64), np.uint8), DeflatedExplicitVRLittleEndian)
    with pytest.raises(DataError, match="deflated"):
        image_files.read_size(path)


def make_samples(folder: Path) -> list[Path]:
    pixels = RNG.integers(0, 255, (40, 56)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    Image.fromarray(pixels).save(folder / "a.jpg")
    Image.fromarray(pixels.astype(np.uint16) * 257).save(folder / "b.png")
    plain = dicom(folder / "a.dcm", pixels, VOILUTSequence=table(0, 8, [*range(256)]), WindowCenter=1, WindowWidth=2)
    packed = [
        recoded(plain, folder / f"{name}.dcm", syntax)
        for name, syntax in [
            ("ls", gdcm.TransferSyntax.JPEGLSLossless),
            ("j2k", gdcm.TransferSyntax.JPEG2000Lossless),
            ("rle", gdcm.TransferSyntax.RLELossless),
            ("jpg", gdcm.TransferSyntax.JPEGLosslessProcess14_1),
        ]
    ]
    return [folder / "a.png", folder / "a.jpg", folder / "b.png", plain, *packed]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, bytes]]:
    return [(path.name, path.read_bytes()) for path in make_samples(tmp_path_factory.mktemp("samples"))]


def reads_or_explains(path: Path) -> None:
    for reader in (image_files.read_image, image_files.read_size):
        try:
            found = reader(path)
        except DataError as error:
            assert str(path) in str(error)
        else:  # what still decodes is fine
            assert isinstance(found, tuple) or (found.dtype == np.float32 and found.ndim == 2)


@pytest.mark.filterwarnings("ignore")  # pydicom also warns of what it finds in damaged files
def test_files_cut_short_anywhere_are_explained(tmp_path: Path, samples: list[tuple[str, bytes]]) -> None:
    for name, data in samples:
        for length in np.unique(np.linspace(0, len(data) - 1, 60).astype(int)):
            (tmp_path / name).write_bytes(data[:length])
            reads_or_explains(tmp_path / name)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=300, deadline=None, derandomize=True)
@given(which=st.integers(0, 7), where=st.floats(0, 1, exclude_max=True), value=st.binary(min_size=1, max_size=4))
def test_flipped_bytes_are_explained(
    tmp_path_factory: pytest.TempPathFactory, samples: list[tuple[str, bytes]], which: int, where: float, value: bytes
) -> None:
    name, data = samples[which]
    at = int(where * len(data))
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(data[:at] + value + data[at + len(value) :])
    reads_or_explains(path)


def test_real_dicoms_of_both_polarities_agree() -> None:
    files = sorted((REAL / "formats").glob("*.dcm"))
    if len(files) != 2:
        pytest.skip(f"the two published DICOM files are not in {REAL / 'formats'}")
    first, second = (image_files.read_image(file) for file in files)
    assert first.shape == image_files.read_size(files[0]) == (1024, 1024)
    # The same pixels, one declared MONOCHROME1
    np.testing.assert_allclose(first + second, 1, atol=1e-6)
    upright = next(
        image_files.read_image(f) for f in files if pydicom.dcmread(f).PhotometricInterpretation == "MONOCHROME2"
    )
    assert upright[300:700, 480:544].mean() > upright[300:500, 200:300].mean()  # spine above lung


def test_real_jpeg_of_chexpert() -> None:
    file = REAL / "chexlocalize/CheXpert/val/patient64541/study1/view1_frontal.jpg"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    assert image_files.read_image(file).shape == image_files.read_size(file) == (2320, 2828)


def test_a_great_age_is_not_told_exactly(tmp_path: Path) -> None:
    from sightline.imaging import dicom

    for age, told in (("094Y", "090Y"), ("089Y", "089Y"), ("003M", "003M"), ("", "")):
        dicom.write_dicom(np.zeros((2, 2), np.uint8), tmp_path / "a.dcm", "a", patient_id="p")
        ds = pydicom.dcmread(tmp_path / "a.dcm")
        ds.PatientAge = age
        ds.save_as(tmp_path / "a.dcm")
        assert image_files.read_patient_metadata(tmp_path / "a.dcm")["age"] == told
