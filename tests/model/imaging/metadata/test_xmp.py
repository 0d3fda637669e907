from xml.etree import ElementTree

import pytest

from model.imaging.metadata import exif, xmp
from model.imaging.metadata.rights import FORMS, Rights, RightsCollector, Value
from tests.model.imaging.metadata.files import COMPACT, PACKET

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
DC = "http://purl.org/dc/elements/1.1/"


def packet(inside, root=""):
    """A packet with these elements in its description."""
    return (
        f'{root}<rdf:RDF xmlns:rdf="{RDF}" xmlns:dc="{DC}"><rdf:Description rdf:about="">'
        f"{inside}</rdf:Description></rdf:RDF>"
    ).encode()


def test_elements_and_attributes_are_read_in_every_encoding():
    found = xmp.read(PACKET)
    assert found["dc:creator"] == [Value("Jürgen Müller"), Value("Ann")]
    assert found["dc:rights"][1] == Value("Alle Rechte", "de-DE")
    assert xmp.read(COMPACT)["photoshop:Credit"] == [Value("Agency")]
    for encoding in ("utf-8-sig", "utf-16"):
        assert xmp.read(PACKET.decode().replace("\ufeff", "").encode(encoding)) == found
    assert xmp.read(PACKET + bytes(3000)) == found  # padding of writers
    assert set(found) <= set(FORMS)


def test_a_text_without_the_list_that_the_standard_asks_for_counts():
    assert xmp.read(packet("<dc:rights>plain</dc:rights>")) == {"dc:rights": [Value("plain")]}


def test_what_stands_before_the_damage_counts():
    whole = packet("<dc:rights>first</dc:rights><dc:creator>second</dc:creator>")
    cut = whole[: whole.index(b"second") + 3]
    assert xmp.read(cut) == {"dc:rights": [Value("first")]}


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE = {
    "a bomb": packet("<dc:rights>&i;</dc:rights>", f"{BOMB}]>"),
    "a bomb in UTF-16": packet("<dc:rights>&i;</dc:rights>", f"{BOMB}]>")
    .decode()
    .encode("utf-16"),
    "a file of the machine": packet(
        "<dc:rights>&e;</dc:rights>", '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    ),
    "too many bytes": packet("<dc:rights>x</dc:rights>" + " " * (4 << 20)),
    "deep": packet("<a>" * 100_000),
    "unknown encoding": packet("", "<?xml version='1.0' encoding='klingon'?>"),
    "an encoding of several bytes": packet("", "<?xml version='1.0' encoding='utf-7'?>"),
    "nothing": b"",
    "an unknown prefix": packet("<me:rights>x</me:rights>"),
    "rights of something else": packet(f'<a xmlns="{DC}"><rights>x</rights></a>'),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_packets_hold_nothing(name):
    assert xmp.read(HOSTILE[name]) == {}


def test_reading_ends_after_so_many_elements():
    many = "<dc:creator><rdf:Seq>" + "<rdf:li>x</rdf:li>" * 200_000 + "</rdf:Seq></dc:creator>"
    assert len(xmp.read(packet(many))["dc:creator"]) < 100_000


def test_a_packet_is_xml_whatever_the_texts_hold():
    nasty = "]]><&>\"'\x00\x1b\x85\ufffe\ud800\u202eé😀"
    collector = RightsCollector()
    for name in FORMS:
        collector.fill(name, [Value(nasty, "de\"'><"), Value(f"{nasty}\n2")])
    rights = collector.collected()
    ElementTree.fromstring(xmp.write(rights).decode())
    found = xmp.read(xmp.write(rights))
    cleaned = "]]><&>\"'\u202eé😀"
    languages = [value.language for value in found["dc:rights"]]
    assert [value.text for value in found["dc:rights"]] == [cleaned, f"{cleaned}\n2"]
    assert languages == ["x-default", "x-default"]
    assert found["cc:license"] == [Value(cleaned)]
    assert set(found) == {name for name in FORMS if not name.startswith("exif:")}


@pytest.mark.parametrize("letter", ["a", "&", '"', "'", "\"'", "é", "😀", "\n&"])
def test_everything_that_can_be_collected_fits_into_a_jpeg(letter):
    collector = RightsCollector()
    for name in FORMS:
        collector.fill(name, (Value(letter * 3000 + str(number)) for number in range(100)))
    rights = collector.collected()
    assert rights is not None
    assert len(xmp.write(rights)) < 60_000 and len(exif.write(rights)) < 60_000
    assert Rights.from_json(rights.to_json()) == rights


def test_without_properties_there_is_no_packet():
    assert xmp.write(Rights((("exif:Artist", (Value("Ann"),)),))) == b""


def test_that_a_model_made_the_image_is_kept():
    """Marketplaces ask shops not to remove it."""
    kind = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    extension = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    name = "Iptc4xmpExt:DigitalSourceType"
    found = xmp.read(
        packet(f'<x:DigitalSourceType xmlns:x="{extension}">{kind}</x:DigitalSourceType>')
    )
    assert found == {name: [Value(kind)]}
    collector = RightsCollector()
    collector.fill(name, found[name])
    assert xmp.read(xmp.write(collector.collected())) == found
