"""Image files with rights beside secrets, as other programs write them."""

import struct

import numpy as np
from PIL import Image, PngImagePlugin

from tests.malformed import png, saved, tiff

SECRET = "SN-0815, 52.52 N 13.40 E"

# As ExifTool 12.57 writes it, properties as elements; beside rights all that must be dropped.
PACKET = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Image::ExifTool 12.57">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
 <rdf:Description rdf:about="" xmlns:cc="http://creativecommons.org/ns#">
  <cc:attributionName>J. M.</cc:attributionName>
  <cc:license rdf:resource="https://creativecommons.org/licenses/by/4.0/"/>
 </rdf:Description>
 <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">
  <dc:creator><rdf:Seq><rdf:li>Jürgen Müller</rdf:li><rdf:li>Ann</rdf:li></rdf:Seq></dc:creator>
  <dc:rights><rdf:Alt>
   <rdf:li xml:lang="x-default">© 2026 Müller &amp; Co &lt;x&gt;</rdf:li>
   <rdf:li xml:lang="de-DE">Alle Rechte</rdf:li>
  </rdf:Alt></dc:rights>
  <dc:subject><rdf:Bag><rdf:li>{SECRET}</rdf:li></rdf:Bag></dc:subject>
 </rdf:Description>
 <rdf:Description rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/">
  <exif:GPSLatitude>{SECRET}</exif:GPSLatitude>
 </rdf:Description>
 <rdf:Description rdf:about="" xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/"
   xmlns:dc="http://purl.org/dc/elements/1.1/">
  <xmpMM:Ingredients><rdf:Bag><rdf:li rdf:parseType="Resource">
   <dc:rights>{SECRET}</dc:rights></rdf:li></rdf:Bag></xmpMM:Ingredients>
 </rdf:Description>
 <rdf:Description rdf:about="" xmlns:xmpRights="http://ns.adobe.com/xap/1.0/rights/">
  <xmpRights:Marked>True</xmpRights:Marked>
  <xmpRights:Owner><rdf:Bag><rdf:li>Shop</rdf:li></rdf:Bag></xmpRights:Owner>
  <xmpRights:UsageTerms><rdf:Alt><rdf:li xml:lang="x-default">No AI.</rdf:li></rdf:Alt>
  </xmpRights:UsageTerms>
  <xmpRights:WebStatement>https://example.org/l?a=1&amp;b=2</xmpRights:WebStatement>
 </rdf:Description>
</rdf:RDF>
</x:xmpmeta>
{" " * 2000}
<?xpacket end="w"?>""".encode()

# As Photoshop does, simple properties as attributes.
COMPACT = b"""<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"
 xmlns:xmpRights="http://ns.adobe.com/xap/1.0/rights/" photoshop:Credit="Agency"
 photoshop:Source="Stock" photoshop:City="52.52 N" xmpRights:Marked="False"/></rdf:RDF>"""

RIGHTS = {
    "dc:creator": ["Jürgen Müller", "Ann"],
    "dc:rights": ["© 2026 Müller & Co <x>", "Alle Rechte"],
    "xmpRights:Marked": ["True"],
    "xmpRights:WebStatement": ["https://example.org/l?a=1&b=2"],
    "xmpRights:UsageTerms": ["No AI."],
    "xmpRights:Owner": ["Shop"],
    "cc:license": ["https://creativecommons.org/licenses/by/4.0/"],
    "cc:attributionName": ["J. M."],
    "exif:Artist": ["J. Müller"],
    "exif:Copyright": ["© Müller"],
}


def plain_image(side=24):
    """A small image without metadata."""
    colours = np.random.default_rng(1).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((side, side), Image.Resampling.BICUBIC)


def exif_block(artist=None, notice=None):
    """An EXIF block as cameras write it: with maker, position and serial number."""
    exif = Image.Exif()
    exif[0x010F], exif[0x010E] = SECRET, SECRET
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 29: SECRET})
    exif.get_ifd(0x8769)[0xA431] = SECRET
    for tag, text in ((0x013B, artist), (0x8298, notice)):
        if text is not None:
            exif[tag] = text if isinstance(text, bytes) else text.encode()
    return exif.tobytes()


def with_rights():
    """Files of each format with the same rights, by name."""
    image = plain_image()
    block = exif_block("J. Müller", "© Müller")
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", PACKET.decode())
    in_tags = {700: PACKET, 315: "J. Müller".encode(), 33432: "© Müller".encode(), 271: SECRET}
    return {
        "jpeg": saved(image, "JPEG", exif=block, xmp=PACKET),
        "png": saved(image, "PNG", exif=block, pnginfo=text),
        "webp": saved(image, "WEBP", exif=block, xmp=PACKET),
        "avif": saved(image, "AVIF", exif=block, xmp=PACKET),
        "tiff": saved(image, "TIFF", tiffinfo=in_tags),
    }


def iim(*datasets, charset=b""):
    """IPTC-IIM of (number, content), in record 2."""
    found = [(1, 90, charset)] if charset else []
    found += [(2, number, content) for number, content in datasets]
    return b"".join(struct.pack(">BBBH", 0x1C, r, n, len(c)) + c for r, n, c in found)


def resources(block):
    """Photoshop's image resources: a resolution, then IPTC-IIM."""
    found = b""
    for kind, content in ((0x03ED, bytes(16)), (0x0404, block)):
        padding = bytes(len(content) % 2)
        found += b"8BIM" + struct.pack(">HHL", kind, 0, len(content)) + content + padding
    return found


def jpeg_with_iptc(block):
    """A JPEG with IPTC-IIM in a segment of Photoshop's."""
    jpeg = saved(plain_image(), "JPEG")
    content = b"Photoshop 3.0\0" + resources(block)
    return jpeg[:2] + b"\xff\xed" + struct.pack(">H", len(content) + 2) + content + jpeg[2:]


def tiff_with_tags(**tags):
    """A grey TIFF with tags by number: `t700=(1, b"...")`."""
    basic = {258: (3, [8]), 259: (3, [1]), 262: (3, [1]), 277: (3, [1])}
    given = {int(name[1:]): (kind, list(content)) for name, (kind, content) in tags.items()}
    return tiff(2, 2, bytes(4), {**basic, **given})


def raw_profile(kind, content):
    """A PNG with metadata in a text chunk, as ImageMagick 6.9 writes it."""
    digits = content.hex()
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    text = PngImagePlugin.PngInfo()
    text.add_text(f"Raw profile type {kind}", f"\n{kind}\n{len(content):8}\n{lines}\n", zip=True)
    return saved(plain_image(), "PNG", pnginfo=text)


def png_with_texts(texts):
    """A PNG with text chunks by keyword."""
    chunks = [(b"tEXt", keyword.encode() + b"\0" + text) for keyword, text in texts.items()]
    return png(1, 1, 8, 2, bytes(4), *chunks)
