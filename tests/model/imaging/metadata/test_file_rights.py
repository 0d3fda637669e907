"""From files to files: what is kept of a source's metadata, and that nothing else is."""

import io
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from model.imaging.decode import decode
from model.imaging.encode import encode
from model.imaging.formats import IMAGE_FORMATS, Encoding
from model.imaging.sandbox import DecoderPool
from tests.malformed import saved
from tests.model.imaging.metadata import files
from tests.model.imaging.metadata.files import RIGHTS, SECRET


def read(data):
    """The image of a file, and its texts by property."""
    _, image = decode(data, max_pixels=10**6)
    return image, texts(image.rights)


def texts(rights):
    if rights is None:
        return {}
    return {name: [value.text for value in values] for name, values in rights.properties}


@pytest.mark.parametrize("image_format", IMAGE_FORMATS)
@pytest.mark.parametrize(("name", "data"), files.with_rights().items())
def test_rights_stay_and_all_else_goes(name, data, image_format):
    image, found = read(data)
    assert found == RIGHTS, name
    result = encode(image, image_format).data
    assert SECRET.encode() not in result
    assert read(result)[1] == RIGHTS
    opened = Image.open(io.BytesIO(result))
    opened.load()
    assert dict(opened.getexif()) == {
        315: "J. Müller".encode().decode("latin-1"),
        33432: "© Müller".encode().decode("latin-1"),
    }
    packet = opened.info["xmp"]
    root = ElementTree.fromstring(packet if isinstance(packet, str) else packet.decode())
    german = root.find(".//{*}li[@{http://www.w3.org/XML/1998/namespace}lang='de-de']")
    assert german.text == "Alle Rechte"


@pytest.mark.parametrize("image_format", IMAGE_FORMATS)
def test_rights_change_no_pixel_and_their_absence_no_byte(image_format):
    image, _ = read(files.with_rights()["png"])
    plain, _ = read(saved(files.plain_image(), "PNG"))
    with_rights = encode(image, image_format).data
    without = encode(image, image_format, encoding=Encoding(metadata="none")).data
    assert without == encode(plain, image_format).data != with_rights
    shown, plainly = (np.asarray(Image.open(io.BytesIO(one))) for one in (with_rights, without))
    np.testing.assert_array_equal(shown, plainly)


UTF8 = b"\x1b%G"
NOTICE = "© Müller"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            files.jpeg_with_iptc(
                files.iim(
                    (80, "Jürgen".encode()),
                    (80, b"Ann"),
                    (110, b"Agency"),
                    (115, b"Stock"),
                    (116, NOTICE.encode()),
                    (90, b"Berlin"),
                    charset=UTF8,
                )
            ),
            {
                "dc:creator": ["Jürgen", "Ann"],
                "dc:rights": [NOTICE],
                "photoshop:Credit": ["Agency"],
                "photoshop:Source": ["Stock"],
                "exif:Artist": ["Jürgen; Ann"],
                "exif:Copyright": [NOTICE],
            },
        ),
        # Old programs write the letters of Windows and state no encoding.
        (
            files.jpeg_with_iptc(files.iim((116, NOTICE.encode("cp1252")))),
            {"dc:rights": [NOTICE], "exif:Copyright": [NOTICE]},
        ),
        # Photoshop's TIFFs count bytes as 32-bit numbers.
        (
            files.tiff_with_tags(
                t33723=(4, np.frombuffer(files.iim((116, b"(c) Shops")) + bytes(2), "<u4"))
            ),
            {"dc:rights": ["(c) Shops"], "exif:Copyright": ["(c) Shops"]},
        ),
        # ImageMagick writes the tag with a quarter of its bytes, and resources with all of them.
        (
            files.tiff_with_tags(
                t33723=(1, files.iim((116, b"(c) Shop"))[:8]),
                t34377=(1, files.resources(files.iim((116, b"(c) Shop")))),
            ),
            {"dc:rights": ["(c) Shop"], "exif:Copyright": ["(c) Shop"]},
        ),
        (
            files.raw_profile("iptc", files.iim((116, b"(c) Shop"))),
            {"dc:rights": ["(c) Shop"], "exif:Copyright": ["(c) Shop"]},
        ),
        (
            files.raw_profile("iptc", files.resources(files.iim((110, b"Agency")))),
            {"photoshop:Credit": ["Agency"]},
        ),
        (
            files.raw_profile("xmp", files.COMPACT),
            {
                "xmpRights:Marked": ["False"],
                "photoshop:Credit": ["Agency"],
                "photoshop:Source": ["Stock"],
            },
        ),
        (
            files.raw_profile("exif", files.exif_block("Ann; Bob")),
            {"dc:creator": ["Ann", "Bob"], "exif:Artist": ["Ann; Bob"]},
        ),
        (
            files.png_with_texts({"Author": b"Ann", "Copyright": b"\xa9 Ann", "Comment": b"x"}),
            {
                "dc:creator": ["Ann"],
                "dc:rights": ["© Ann"],
                "exif:Artist": ["Ann"],
                "exif:Copyright": ["© Ann"],
            },
        ),
        # A NUL parts photographer and editor; many cameras fill the field with blanks.
        (
            saved(files.plain_image(), "JPEG", exif=files.exif_block(b"   ", b"Ann\0Shop")),
            {"dc:rights": ["Ann, Shop"], "exif:Copyright": ["Ann, Shop"]},
        ),
    ],
)
def test_every_place_where_programs_put_rights(data, expected):
    assert read(data)[1] == expected


def test_the_most_trusted_place_counts_property_by_property():
    jpeg = files.jpeg_with_iptc(files.iim((116, b"of IPTC"), (110, b"credit of IPTC")))
    exif = files.exif_block("artist of EXIF", "of EXIF")
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2) + exif
    packet = files.COMPACT.replace(b' photoshop:Credit="Agency"', b"")
    content = b"http://ns.adobe.com/xap/1.0/\0" + packet
    segment += b"\xff\xe1" + (len(content) + 2).to_bytes(2) + content
    assert read(jpeg[:2] + segment + jpeg[2:])[1] == {
        "dc:creator": ["artist of EXIF"],
        "dc:rights": ["of IPTC"],
        "xmpRights:Marked": ["False"],
        "photoshop:Credit": ["credit of IPTC"],
        "photoshop:Source": ["Stock"],
        "exif:Artist": ["artist of EXIF"],
        "exif:Copyright": ["of EXIF"],
    }


HOSTILE = {
    "texts named as Pillow's own": files.png_with_texts(
        {"photoshop": b"x", "xmp": b"<x", "exif": b"y", "icc_profile": b"z"}
    ),
    "a raw profile of no digits": files.png_with_texts({"Raw profile type iptc": b"\nx\n9\nzz"}),
    "a raw profile of one line": files.png_with_texts({"Raw profile type xmp": b"x"}),
    "EXIF of noise": saved(files.plain_image(), "JPEG", exif=b"Exif\0\0II*\0" + b"\xff" * 400),
    "EXIF whose artist lies nowhere": saved(
        files.plain_image(),
        "WEBP",
        exif=b"II*\0\x08\0\0\0\1\0\x3b\1\2\0\xff\xff\xff\x7f\xff\xff\xff\x7f\0\0\0\0",
    ),
    "IPTC of noise": files.jpeg_with_iptc(b"\x1c\2\x74\xff\xff" + b"\x1c" * 999),
    "resources of noise": files.tiff_with_tags(t34377=(1, b"8BIM\4\4\xff")),
    "XMP in a tag of numbers": files.tiff_with_tags(t700=(4, [1, 2, 2**32 - 1])),
    "an artist of numbers": files.tiff_with_tags(t315=(3, [7])),
    "XMP of noise": saved(files.plain_image(), "JPEG", xmp=b"<x:xmpmeta" + b"\xff<" * 9000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_broken_metadata_fails_no_image_and_leaves_nothing(name):
    image, found = read(HOSTILE[name])
    assert found == {}
    for image_format in IMAGE_FORMATS:
        assert Image.open(io.BytesIO(encode(image, image_format).data)).size == (
            image.width,
            image.height,
        )


def test_the_sandboxed_decoder_hands_rights_over():
    with DecoderPool(1, max_pixels=10**6) as pool:
        for data in (*files.with_rights().values(), saved(files.plain_image(), "PNG")):
            _, image = pool.decode(data, max_pixels=10**6)
            assert image.rights == decode(data, max_pixels=10**6)[1].rights
